"""FilterInputStream and FilterOutputStream: streams over another stream."""

from __future__ import annotations

from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.input_stream import InputStream
from unixconn._gio.output_stream import OutputStream

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from typing_extensions import Self

    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.control_messages import BytesLike
    from unixconn._gio.transfers import Writing


class FilterInputStream(InputStream):
    """
    A stream that reads from another one, its base stream (Gio.FilterInputStream).

    An operation of one of the two is pending on both. Closing this stream closes the base stream, unless
    `set_close_base_stream` says otherwise.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("base-stream", InputStream, "get_base_stream", construct_only=True),
        Property("close-base-stream", bool, "get_close_base_stream", "set_close_base_stream", default=True),
    )

    _base_stream: InputStream
    _close_base_stream: bool

    def __init__(self, base_stream: InputStream, *, close_base_stream: bool = True) -> None:
        if self.__class__ is FilterInputStream:
            raise TypeError("FilterInputStream is abstract: make a DataInputStream or a BufferedInputStream")
        if not isinstance(base_stream, InputStream):
            raise TypeError(f"base_stream must be an InputStream, not {base_stream!r}")
        super().__init__()
        _build_on(self, base_stream, close_base_stream)

    @classmethod
    def new(cls, base_stream: InputStream) -> Self:
        """Make a stream that reads from *base_stream*. Raises TypeError if that is not an InputStream."""
        return cls(base_stream)

    def get_base_stream(self) -> InputStream:
        """Return the stream that this one reads from."""
        return self._base_stream

    def get_close_base_stream(self) -> bool:
        """Return whether closing this stream closes the base stream."""
        return self._close_base_stream

    def set_close_base_stream(self, close_base: bool) -> None:
        """Set whether closing this stream closes the base stream."""
        self._change("close-base-stream", bool(close_base))

    def _close(self) -> None:
        _close_base(self)


class FilterOutputStream(OutputStream):
    """
    A stream that writes to another one, its base stream (Gio.FilterOutputStream).

    An operation of one of the two is pending on both, and closing the base stream closes both. Closing this stream
    closes the base stream, unless `set_close_base_stream` says otherwise.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("base-stream", OutputStream, "get_base_stream", construct_only=True),
        Property("close-base-stream", bool, "get_close_base_stream", default=True, construct_only=True),
    )

    _was_closed = False

    _base_stream: OutputStream
    _close_base_stream: bool

    def __init__(self, base_stream: OutputStream, *, close_base_stream: bool = True) -> None:
        if self.__class__ is FilterOutputStream:
            raise TypeError("FilterOutputStream is abstract: make a DataOutputStream")
        if not isinstance(base_stream, OutputStream):
            raise TypeError(f"base_stream must be an OutputStream, not {base_stream!r}")
        super().__init__()
        _build_on(self, base_stream, close_base_stream)

    @classmethod
    def new(cls, base_stream: OutputStream) -> Self:
        """Make a stream that writes to *base_stream*. Raises TypeError if that is not an OutputStream."""
        return cls(base_stream)

    def get_base_stream(self) -> OutputStream:
        """Return the stream that this one writes to."""
        return self._base_stream

    def get_close_base_stream(self) -> bool:
        """Return whether closing this stream closes the base stream."""
        return self._close_base_stream

    def set_close_base_stream(self, close_base: bool) -> None:
        """Set whether closing this stream closes the base stream."""
        self._change("close-base-stream", bool(close_base))

    def write(self, buffer: BytesLike, cancellable: Cancellable | None = None) -> int:
        """Write to the base stream, as its `write` does; return the number of bytes."""
        if self._closed:
            return super().write(buffer, cancellable)  # raises CLOSED
        return self._base_stream.write(buffer, cancellable)

    def _write_operation(self, buffer: BytesLike) -> Writing[int]:
        made = self._base_stream._write_operation(buffer)
        made._stream = self
        return made

    @property
    def _closed(self) -> bool:
        return self._was_closed or self._base_stream._closed

    @_closed.setter
    def _closed(self, closed: bool) -> None:
        self._was_closed = closed

    def _close(self) -> None:
        _close_base(self)


# --- what the two share ---


def _build_on(stream: Any, base: Any, close_base: bool) -> None:
    """Let *stream* use what its base stream uses, and be pending with it."""
    stream._base_stream = base
    stream._socket = base._socket
    stream._pending = base._pending
    stream._close_base_stream = bool(close_base)


def _close_base(stream: FilterInputStream | FilterOutputStream) -> None:
    if stream._close_base_stream:
        stream._base_stream._closed = True
        stream._base_stream._close()
