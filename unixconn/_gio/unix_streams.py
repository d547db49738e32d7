"""UnixInputStream and UnixOutputStream: streams over a descriptor of any kind."""

from __future__ import annotations

from unixconn._base.arguments import as_copy
from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.input_stream import InputStream
from unixconn._gio.output_stream import OutputStream
from unixconn._gio.transfers import Writing
from unixconn._kernel.descriptors import as_descriptor
from unixconn._kernel.epoll import IOCondition
from unixconn._kernel.file_descriptor import as_own_descriptor, owner_of
from unixconn._kernel.files import handle_of

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from typing_extensions import Self

    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.control_messages import BytesLike
    from unixconn._kernel.descriptors import FileDescriptorLike


_PROPERTIES = (
    Property("fd", int, "get_fd", default=-1, construct_only=True),
    Property("close-fd", bool, "get_close_fd", "set_close_fd", default=True),
)


class _Descriptor:
    """What a stream needs of a Socket, for a descriptor of any kind."""

    _timeout = 0

    def __init__(self, fd: FileDescriptorLike, closes: bool) -> None:
        self._number = as_own_descriptor(fd) if closes else as_descriptor(fd)
        self._handle = handle_of(self._number)
        self._given = fd  # it may close its descriptor when it is dropped
        self.closes = bool(closes)
        if closes:
            self._handle.python.own(owner_of(fd, self._number))

    def get_fd(self) -> int:
        return -1 if self._handle.number < 0 else self._number

    def condition_check(self, condition: int) -> IOCondition:
        return IOCondition(self._handle.poll(condition))

    def set_closes(self, closes: bool) -> None:
        self.closes = closes
        # If it is closed, the number may be another file's by now.
        if self._handle.number >= 0:
            if closes:
                self._handle.python.own(owner_of(self._given, self._number))
            else:
                self._handle.python.disown()

    def close(self) -> None:
        if self.closes and self._handle.number >= 0:
            self._handle.python.own([self._number])
            self._handle.close()


class UnixInputStream(InputStream):
    """
    The bytes of a descriptor of any kind: a pipe, a terminal, a file (GioUnix.UnixInputStream).

    A read waits until poll(2) says that the descriptor is ready. So it can be cancelled, whether or not the descriptor
    has O_NONBLOCK, which is not changed. A regular file is always ready.

    If it is a socket, descriptors that a peer sends are lost here. A connection over the socket keeps them.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = _PROPERTIES

    def __init__(self, *, fd: FileDescriptorLike, close_fd: bool = True) -> None:
        super().__init__()
        self._socket: Any = _Descriptor(fd, close_fd)

    @classmethod
    def new(cls, fd: FileDescriptorLike, close_fd: bool) -> Self:
        """
        Make a stream over the descriptor *fd*.

        If *close_fd* is true, *fd* is a number or a `FileDescriptor`, and belongs to the stream from now on: it is
        closed with the stream, or when that is dropped. Otherwise *fd* may be any object with ``fileno()``, too.

        Raises TypeError, ValueError or OverflowError for an *fd* that cannot be a descriptor. A number that is not open
        is the Error FAILED of the first operation.
        """
        return cls(fd=fd, close_fd=close_fd)

    def get_close_fd(self) -> bool:
        """Return whether closing the stream closes the descriptor."""
        return self._socket.closes  # type: ignore[no-any-return]

    def set_close_fd(self, close_fd: bool) -> None:
        """Set whether closing the stream closes the descriptor."""
        if self._socket.closes != bool(close_fd):
            self._socket.set_closes(bool(close_fd))
            self._notify("close-fd")

    def _close(self) -> None:
        self._socket.close()


class UnixOutputStream(OutputStream):
    """
    The bytes that go to a descriptor of any kind: a pipe, a terminal, a file (GioUnix.UnixOutputStream).

    The bytes go out in pieces, each when poll(2) says that the descriptor is ready. So a write can be cancelled,
    whether or not the descriptor has O_NONBLOCK, which is not changed. `write` writes all bytes, as `write_all` does.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = _PROPERTIES

    def __init__(self, *, fd: FileDescriptorLike, close_fd: bool = True) -> None:
        super().__init__()
        self._socket: Any = _Descriptor(fd, close_fd)

    @classmethod
    def new(cls, fd: FileDescriptorLike, close_fd: bool) -> Self:
        """
        Make a stream over the descriptor *fd*.

        If *close_fd* is true, *fd* is a number or a `FileDescriptor`, and belongs to the stream from now on: it is
        closed with the stream, or when that is dropped. Otherwise *fd* may be any object with ``fileno()``, too.

        Raises TypeError, ValueError or OverflowError for an *fd* that cannot be a descriptor. A number that is not open
        is the Error FAILED of the first operation.
        """
        return cls(fd=fd, close_fd=close_fd)

    def get_close_fd(self) -> bool:
        """Return whether closing the stream closes the descriptor."""
        return self._socket.closes  # type: ignore[no-any-return]

    def set_close_fd(self, close_fd: bool) -> None:
        """Set whether closing the stream closes the descriptor."""
        if self._socket.closes != bool(close_fd):
            self._socket.set_closes(bool(close_fd))
            self._notify("close-fd")

    def _close(self) -> None:
        self._socket.close()

    def write(self, buffer: BytesLike, cancellable: Cancellable | None = None) -> int:
        """Write all bytes of *buffer*, a bytes-like object; return their number."""
        return self.write_all(buffer, cancellable).bytes_written

    def _write_operation(self, buffer: BytesLike) -> Writing[int]:
        data = as_copy(buffer)
        return Writing(self, data, len(data), int)
