"""DataInputStream: lines, and numbers in binary form."""

from __future__ import annotations

import sys
from functools import partial

from unixconn._base.arguments import as_integer, as_member
from unixconn._base.enums import GEnum
from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING, overload, result_tuple
from unixconn._gio.asynchronous import finish
from unixconn._gio.buffered_input_stream import BufferedInputStream, start_taking
from unixconn._gio.streams import give_back_turn
from unixconn._gio.triples import AWAIT, NO_DATA, with_async
from unixconn._io.priorities import PRIORITY_DEFAULT

if TYPE_CHECKING:
    from typing import Any, ClassVar, NamedTuple

    from typing_extensions import Self

    from unixconn._gio.buffered_input_stream import Taking
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.future import Future
    from unixconn._gio.input_stream import InputStream
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback


class DataStreamByteOrder(GEnum, prefix="G_DATA_STREAM_BYTE_ORDER_"):
    """The order of the bytes of a number (Gio.DataStreamByteOrder)."""

    __module__ = "unixconn"

    BIG_ENDIAN = 0
    """The most significant byte comes first."""
    LITTLE_ENDIAN = 1
    """The least significant byte comes first."""
    HOST_ENDIAN = 2
    """The order of this machine."""


class DataStreamNewlineType(GEnum, prefix="G_DATA_STREAM_NEWLINE_TYPE_"):
    """What ends a line (Gio.DataStreamNewlineType)."""

    __module__ = "unixconn"

    LF = 0
    CR = 1
    CR_LF = 2
    ANY = 3
    """Each of the others. After a CR the next byte is awaited, as it may be the LF."""


if TYPE_CHECKING:

    class Line(NamedTuple):
        """The result of `DataInputStream.read_line`."""

        line: bytes
        """The bytes of the line, without its end."""
        length: int
        """The number of these bytes."""

    class Text(NamedTuple):
        """The result of `DataInputStream.read_line_utf8` and `DataInputStream.read_upto`."""

        text: str | None
        """The text; None at the end of the stream."""
        length: int
        """The number of bytes of the text in UTF-8."""

else:
    Line = result_tuple(
        "Line",
        "The result of `DataInputStream.read_line`.",
        line="The bytes of the line, without its end.",
        length="The number of these bytes.",
    )
    Text = result_tuple(
        "Text",
        "The result of `DataInputStream.read_line_utf8` and `DataInputStream.read_upto`.",
        text="The text; None at the end of the stream.",
        length="The number of bytes of the text in UTF-8.",
    )

_new = tuple.__new__
"""Makes a Line of a tuple; its constructor is Python code, which would take one more frame."""
_LINES_AT_ONCE = 32
"""The most lines that `async for` takes out of the buffer between two awaits."""

_END = Line(b"", 0)
"""The line at the end of the stream. It is equal to an empty one."""

_ORDERS = {
    DataStreamByteOrder.BIG_ENDIAN: "big",
    DataStreamByteOrder.LITTLE_ENDIAN: "little",
    DataStreamByteOrder.HOST_ENDIAN: sys.byteorder,
}

_ENDS = {
    DataStreamNewlineType.LF: b"\n",
    DataStreamNewlineType.CR: b"\r",
    DataStreamNewlineType.CR_LF: b"\r\n",
    DataStreamNewlineType.ANY: b"",
}


def order_of(order: DataStreamByteOrder) -> Any:
    """Return the name of *order* for `int.to_bytes` and `int.from_bytes`."""
    return _ORDERS[order]


class DataInputStream(BufferedInputStream):
    """
    A stream that reads lines, and numbers in binary form (Gio.DataInputStream).

    ``for line in stream`` and ``async for line in stream`` yield the lines as bytes, without their ends.

    A line may be of any length, as in Gio: the buffer grows until the line has ended. If you do not trust the peer,
    call `fill` instead, which never reads more than `get_buffer_size` bytes.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property(
            "byte-order",
            DataStreamByteOrder,
            "get_byte_order",
            "set_byte_order",
            default=DataStreamByteOrder.BIG_ENDIAN,
        ),
        Property(
            "newline-type",
            DataStreamNewlineType,
            "get_newline_type",
            "set_newline_type",
            default=DataStreamNewlineType.LF,
        ),
    )

    _byte_order = DataStreamByteOrder.BIG_ENDIAN
    _newline_type = DataStreamNewlineType.LF
    _line_end = b"\n"
    _line_end_size = 1

    def __init__(
        self,
        base_stream: InputStream,
        *,
        close_base_stream: bool = True,
        buffer_size: int = 4096,
        byte_order: DataStreamByteOrder = DataStreamByteOrder.BIG_ENDIAN,
        newline_type: DataStreamNewlineType = DataStreamNewlineType.LF,
    ) -> None:
        super().__init__(base_stream, close_base_stream=close_base_stream, buffer_size=buffer_size)
        self.set_byte_order(byte_order)
        self.set_newline_type(newline_type)

    def get_byte_order(self) -> DataStreamByteOrder:
        """Return the order of the bytes of a number."""
        return self._byte_order

    def set_byte_order(self, order: DataStreamByteOrder) -> None:
        """Set the order of the bytes of a number. Raises TypeError for what is not a DataStreamByteOrder."""
        self._change("byte-order", as_member(DataStreamByteOrder, order))

    def get_newline_type(self) -> DataStreamNewlineType:
        """Return what ends a line."""
        return self._newline_type

    def set_newline_type(self, type: DataStreamNewlineType) -> None:  # noqa: A002 - Gio's name
        """Set what ends a line. Raises TypeError for what is not a DataStreamNewlineType."""
        kind = as_member(DataStreamNewlineType, type)
        self._line_end = _ENDS[kind]
        self._line_end_size = len(self._line_end)
        self._change("newline-type", kind)

    # --- lines ---

    def read_line(self, cancellable: Cancellable | None = None) -> Line:
        """
        Read a line; return (its bytes without the end, their number).

        At the end of the stream this is (b"", 0), as for an empty line; `read_line_utf8` and the iterators tell the two
        apart. What is before the end of the stream is a line, too. A zero byte does not end the result, unlike in
        PyGObject.
        """
        # The lines of `_take_now` and `_take_line`, for what is in the buffer already.
        pending, token, size = self._pending, object(), 0
        try:
            pending.append(token)
            if pending == [token] and cancellable is None and not self._closed:
                buffer = self._buffer
                end = buffer.find(self._line_end)
                if end >= 0 and self._line_end:
                    line = _new(Line, (bytes(buffer[:end]), end))
                    size = len(buffer)
                    # No call comes after this, in which a signal handler could raise: the line would be lost.
                    del pending[:]
                    del buffer[: end + self._line_end_size]
                    return line
            if pending and pending[0] is token:
                del pending[0]
            elif pending:
                give_back_turn(self, token)
        except BaseException:  # as in `_take_now`
            if len(self._buffer) < size:
                self._buffer[:0] = line.line + self._line_end
            if pending and pending[0] is token:
                del pending[0]
            elif pending:
                give_back_turn(self, token)
            raise
        return self._take_now(self._take_line, cancellable)

    @with_async(
        "g_data_input_stream_read_line_async",
        returns="(the bytes of the line, their number)",
        io_priority=True,
        start=start_taking,
        result=Line,
    )
    def _read_line_operation(self) -> Taking[Line]:
        return self._take_line

    def read_line_utf8(self, cancellable: Cancellable | None = None) -> Text:
        """
        Read a line of text; return (the text, the number of its bytes), or (None, 0) at the end of the stream.

        Raises the Error ILLEGAL_SEQUENCE (1) of the domain g_convert_error if the line is not UTF-8. Its `partial` has
        the line, which counts as read.
        """
        return self._take_now(self._take_text, cancellable)

    def read_line_finish_utf8(self, result: AsyncResult) -> Text:
        """
        Return what `read_line_utf8` does, for the *result* of `read_line_async`.

        Raises the Errors of `read_line_utf8`, and otherwise as `read_line_finish` does.
        """
        return _text_of(self.read_line_finish(result))

    def read_upto(self, stop_chars: str, stop_chars_len: int, cancellable: Cancellable | None = None) -> Text:
        """
        Read up to the first of *stop_chars*, which stays in the stream; return (the text, the number of its bytes).

        At the end of the stream this is (None, 0). *stop_chars_len* is the number of bytes of *stop_chars* in UTF-8; -1
        stands for those before a zero byte. Without any, this reads up to the end of the stream. Raises the Error
        ILLEGAL_SEQUENCE as `read_line_utf8` does, and TypeError if *stop_chars* is not a str.
        """
        return self._take_now(self._upto(stop_chars, stop_chars_len), cancellable)

    @with_async(
        "g_data_input_stream_read_upto_async",
        returns="(the text, the number of its bytes)",
        io_priority=True,
        start=start_taking,
        result=Text,
    )
    def _read_upto_operation(self, stop_chars: str, stop_chars_len: int) -> Taking[Text]:
        return self._upto(stop_chars, stop_chars_len)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        line = self.read_line()
        if line is _END:
            raise StopIteration
        return line.line

    def __aiter__(self) -> Self:
        return self

    _lines_left = 0

    async def __anext__(self) -> bytes:
        # A line that is in the buffer is no reason to pause. But one byte may be a line, so other tasks have their turn
        # after some lines as well, and not only when the buffer is empty.
        if self._lines_left and self._line_end and self._line_end in self._buffer:
            self._lines_left -= 1
            return self.read_line().line
        self._lines_left = _LINES_AT_ONCE
        line = await self.read_line_async()
        if line is _END:
            raise StopAsyncIteration
        return line.line

    def _take_line(self, at_end: bool) -> Line | None:
        buffer, end = self._buffer, self._line_end
        if end:
            size = buffer.find(end, self._checked)
            width = self._line_end_size
        else:
            size, width = self._find_any_end()
        if size < 0:
            if not at_end:
                # The last byte may be the first of two that end the line.
                self._checked = max(len(buffer) - 1, 0)
                return None
            if not buffer:
                return _END
            size, width = len(buffer), 0
        self._width = size + width
        return _new(Line, (bytes(buffer[:size]), size))

    def _take_text(self, at_end: bool) -> Text | None:
        line = self._take_line(at_end)
        return None if line is None else self._as_text(line)

    def _as_text(self, line: Line) -> Text:
        try:
            return _text_of(line)
        except Error:
            # What is no text counts as read.
            del self._buffer[: self._width]
            self._width = 0
            raise

    def _find_any_end(self) -> tuple[int, int]:
        """Return where the line ends, -1 if that has not come yet, and how many bytes the end has."""
        buffer = self._buffer
        size = buffer.find(b"\n", self._checked)
        carriage = buffer.find(b"\r", self._checked, size if size >= 0 else len(buffer))
        if carriage < 0:
            return size, 1
        following = buffer[carriage + 1 : carriage + 2]
        return (carriage, 1 + (following == b"\n")) if following else (-1, 0)

    def _upto(self, stop_chars: str, stop_chars_len: int) -> Taking[Text]:
        if not isinstance(stop_chars, str):
            raise TypeError(f"stop_chars must be a str, not {stop_chars!r}")
        count = as_integer(stop_chars_len, "stop_chars_len", -sys.maxsize - 1, sys.maxsize)
        encoded = stop_chars.encode()
        stops = encoded[:count] if count >= 0 else encoded.partition(b"\0")[0]
        return partial(self._take_upto, stops)

    def _take_upto(self, stops: bytes, at_end: bool) -> Text | None:
        buffer = self._buffer
        size = len(buffer)
        for each in stops:
            found = buffer.find(each, self._checked, size)
            if found >= 0:
                size = found
        if size == len(buffer) and not at_end:
            self._checked = size
            return None
        return Text(None, 0) if not buffer else self._as_text(Line(self._take(size), size))

    # --- numbers ---

    def read_byte(self, cancellable: Cancellable | None = None) -> int:
        """
        Read a byte and return its value.

        Like the other methods that read a number, this reads no more than it needs from the base stream. All of them
        raise the Error FAILED if the stream ends before or in the number.
        """
        return self._number(1, False, cancellable)

    def read_int16(self, cancellable: Cancellable | None = None) -> int:
        """Read a number of 2 bytes, with a sign; see `read_byte`."""
        return self._number(2, True, cancellable)

    def read_uint16(self, cancellable: Cancellable | None = None) -> int:
        """Read a number of 2 bytes, without a sign; see `read_byte`."""
        return self._number(2, False, cancellable)

    def read_int32(self, cancellable: Cancellable | None = None) -> int:
        """Read a number of 4 bytes, with a sign; see `read_byte`."""
        return self._number(4, True, cancellable)

    def read_uint32(self, cancellable: Cancellable | None = None) -> int:
        """Read a number of 4 bytes, without a sign; see `read_byte`."""
        return self._number(4, False, cancellable)

    def read_int64(self, cancellable: Cancellable | None = None) -> int:
        """Read a number of 8 bytes, with a sign; see `read_byte`."""
        return self._number(8, True, cancellable)

    def read_uint64(self, cancellable: Cancellable | None = None) -> int:
        """Read a number of 8 bytes, without a sign; see `read_byte`."""
        return self._number(8, False, cancellable)

    def _number(self, size: int, signed: bool, cancellable: Cancellable | None) -> int:
        return self._take_now(partial(self._take_number, size, signed), cancellable, size)

    def _take_number(self, size: int, signed: bool, at_end: bool) -> int | None:
        if len(self._buffer) >= size:
            return int.from_bytes(self._take(size), order_of(self._byte_order), signed=signed)
        if at_end:
            raise io_error(IOErrorEnum.FAILED, "Unexpected early end-of-stream")
        return None

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def read_line_async(self, io_priority: int = PRIORITY_DEFAULT,
                        cancellable: Cancellable | None = None) -> Future[Line]: ...
    @overload
    def read_line_async(self, io_priority: int = ..., cancellable: Cancellable | None = ..., callback: Callback = ...,
                        user_data: object = ..., *more: object) -> None: ...
    def read_line_async(self, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                        callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[Line] | None:
        """
        Start what `read_line` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `read_line_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_taking(self, "g_data_input_stream_read_line_async", self._read_line_operation(), io_priority,
                            cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more)

    def read_line_finish(self, result: AsyncResult) -> Line:
        """
        Return (the bytes of the line, their number), for the *result* of `read_line_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_data_input_stream_read_line_async", result)

    @overload
    def read_upto_async(self, stop_chars: str, stop_chars_len: int, io_priority: int = PRIORITY_DEFAULT,
                        cancellable: Cancellable | None = None) -> Future[Text]: ...
    @overload
    def read_upto_async(self, stop_chars: str, stop_chars_len: int, io_priority: int = ...,
                        cancellable: Cancellable | None = ..., callback: Callback = ..., user_data: object = ...,
                        *more: object) -> None: ...
    def read_upto_async(self, stop_chars: str, stop_chars_len: int, io_priority: int = PRIORITY_DEFAULT,
                        cancellable: Cancellable | None = None, callback: Callback = AWAIT, user_data: object = NO_DATA,
                        *more: object) -> Future[Text] | None:
        """
        Start what `read_upto` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `read_upto_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_taking(self, "g_data_input_stream_read_upto_async",
                            self._read_upto_operation(stop_chars, stop_chars_len), io_priority, cancellable, callback,
                            (user_data, *more) if user_data is not NO_DATA else more)

    def read_upto_finish(self, result: AsyncResult) -> Text:
        """
        Return (the text, the number of its bytes), for the *result* of `read_upto_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_data_input_stream_read_upto_async", result)

    # fmt: on
    # --- end of the generated part ---


def _text_of(line: Line) -> Text:
    if line is _END:
        return Text(None, 0)
    try:
        return Text(line.line.decode(), line.length)
    except UnicodeDecodeError:
        error = Error("Invalid byte sequence in conversion input", "g_convert_error", 1)
        error.partial = line.line
        raise error from None
