"""IOStream and its two directions."""

from __future__ import annotations

import threading
from abc import abstractmethod

from unixconn._typing import TYPE_CHECKING, TypeVar, overload
from unixconn.arguments import as_bytes, as_integer
from unixconn.asynchronous import AWAIT, check_arguments, ended, finish
from unixconn.cancellable import Cancellable, check_cancellable
from unixconn.descriptors import INT_MAX
from unixconn.errors import Error, IOErrorEnum, io_error
from unixconn.future import Future
from unixconn.mainloop import PRIORITY_DEFAULT
from unixconn.object import Object, Property
from unixconn.results import Written
from unixconn.task import AsyncResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, ClassVar

    from unixconn.socket import Socket

    Callback = Callable[..., object] | None

StreamT = TypeVar("StreamT", bound="_Closable")

_CLOSE = "g_io_stream_close_async"


class Bytes:
    """Bytes that do not change (GLib.Bytes)."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)

    @classmethod
    def new(cls, data: bytes) -> Bytes:
        """Make one of a copy of *data*."""
        return cls(data)

    def get_data(self) -> bytes:
        """Give the content."""
        return self._data

    def get_size(self) -> int:
        """Give the number of bytes."""
        return len(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bytes) and self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        return f"Bytes({self._data!r})"


class _Closable(Object):
    """What can be closed once, and has one operation under way at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = False
        # Taken without waiting: who does not get it raises PENDING.
        self._pending = threading.Lock()

    def set_pending(self) -> bool:
        """
        Say that an operation is under way, and give True; `clear_pending` says that it has ended.

        Raises the Error CLOSED on a closed object, PENDING if one is under way.
        """
        if self._closed:
            raise io_error(IOErrorEnum.CLOSED, "Stream is already closed")
        self._take_pending()
        return True

    def _take_pending(self) -> None:
        if not self._pending.acquire(blocking=False):
            raise io_error(IOErrorEnum.PENDING, "Stream has outstanding operation")

    def clear_pending(self) -> None:
        """Say that the operation has ended."""
        if self._pending.locked():
            self._pending.release()

    def has_pending(self) -> bool:
        """Tell whether an operation is under way."""
        return self._pending.locked()

    def is_closed(self) -> bool:
        """Tell whether `close` was called."""
        return self._closed

    def close(self, cancellable: Cancellable | None = None) -> bool:
        """
        Close it, and give True; a second time does nothing.

        *cancellable* has no effect. Raises the Error PENDING while an operation is under way.
        """
        check_cancellable(cancellable)
        if not self._closed:
            self._take_pending()
            try:
                self._closed = True
                self._close()
            finally:
                self.clear_pending()
        return True

    @overload
    def close_async(
        self, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None
    ) -> Future[bool]: ...

    @overload
    def close_async(
        self,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def close_async(
        self, io_priority: int = PRIORITY_DEFAULT, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any
    ) -> Any:
        """
        Close it at once, but only say so, and only end to be pending, when *callback* is called.

        *callback* gets (object, result, *user_data), and calls `close_finish`; without one, None being one too, a
        `Future` is given. If *cancellable* is cancelled the result is CANCELLED, and it is closed all the same.
        """
        priority = as_integer(io_priority, "io_priority", -INT_MAX - 1, INT_MAX)
        check_arguments(cancellable, callback)
        error, before = None, None
        try:
            if not self._closed:
                self._take_pending()
                before = self._say_closed
                self._close()
            if cancellable is not None:
                cancellable.set_error_if_cancelled()
        except Error as caught:
            error = caught
        outcome = ([True], error)
        return ended(self, _CLOSE, outcome, cancellable, callback, user_data, priority=priority, before=before)

    def close_finish(self, result: AsyncResult) -> bool:
        """
        Give True, or raise the Error, for the *result* of `close_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another object or operation, or whose
        value was handed out already.
        """
        return finish(self, _CLOSE, result)  # type: ignore[no-any-return]

    def _say_closed(self) -> None:
        self._closed = True
        self.clear_pending()

    @abstractmethod
    def _close(self) -> None: ...

    def __enter__(self: StreamT) -> StreamT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _SocketStream(_Closable):
    """One direction of a connection."""

    _properties: ClassVar[tuple[Property, ...]] = (Property("socket", "_get_socket"),)

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self._socket = socket

    def _get_socket(self) -> Socket:
        return self._socket

    def get_fd(self) -> int:
        """Give the number of the socket's descriptor, -1 once it is closed."""
        return self._socket.get_fd()

    def _close(self) -> None:
        """Leave the socket alone: the connection closes it."""

    def _begin(self) -> Socket:
        self.set_pending()
        return self._socket


class InputStream(_SocketStream):
    """What comes from the peer (Gio.InputStream). It waits for data, also if the Socket is set not to block."""

    def read_bytes(self, count: int, cancellable: Cancellable | None = None) -> Bytes:
        """
        Read at most *count* bytes, at least one; none at the end of the stream.

        Descriptors that come with them are closed. Errors: TIMED_OUT, CANCELLED, CLOSED, PENDING, BROKEN_PIPE.
        """
        socket = self._begin()
        try:
            return Bytes(socket._receive(count, cancellable, blocking=True))
        finally:
            self.clear_pending()


class OutputStream(_SocketStream):
    """What goes to the peer (Gio.OutputStream). It waits for room, also if the Socket is set not to block."""

    def write(self, buffer: Any, cancellable: Cancellable | None = None) -> int:
        """
        Write the bytes of *buffer*, a bytes-like object, or the beginning of them; give how many went.

        Errors: TIMED_OUT, CANCELLED, CLOSED, PENDING, BROKEN_PIPE.
        """
        socket = self._begin()
        try:
            return socket._send(buffer, cancellable, blocking=True)
        finally:
            self.clear_pending()

    def write_all(self, buffer: Any, cancellable: Cancellable | None = None) -> Written:
        """Write all bytes of *buffer*; give (True, how many). Errors as of `write`; what went before one has gone."""
        left = as_bytes(buffer)
        size = len(left)
        socket = self._begin()
        try:
            while left:
                left = left[socket._send(left, cancellable, blocking=True) :]
        finally:
            self.clear_pending()
        return Written(True, size)


class IOStream(_Closable):
    """A pair of streams that are closed together (Gio.IOStream)."""

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("input-stream", "get_input_stream"),
        Property("output-stream", "get_output_stream"),
        Property("closed", "is_closed"),
    )

    @abstractmethod
    def get_input_stream(self) -> InputStream:
        """Give the stream of what comes."""

    @abstractmethod
    def get_output_stream(self) -> OutputStream:
        """Give the stream of what goes."""
