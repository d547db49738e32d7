"""OutputStream: the bytes that go to the peer."""

from __future__ import annotations

from functools import partial

from unixconn._base.arguments import as_bytes, as_copy, as_member
from unixconn._base.deferred import defer
from unixconn._base.enums import GFlags
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING, overload, result_tuple
from unixconn._gio.input_stream import InputStream
from unixconn._gio.streams import (
    Bytes,
    check_free,
    close_stream,
    closed,
    exclusively,
    give_back_turn,
    in_turn,
    shown,
    start_close,
    start_exclusively,
    take_turn,
)
from unixconn._gio.transfers import Writing, first, start_transfer
from unixconn._gio.triples import AWAIT, NO_DATA, with_async
from unixconn._io.blocking import complete
from unixconn._io.priorities import PRIORITY_DEFAULT
from unixconn._io.sending_data import SendData
from unixconn._kernel.epoll import WRITABLE, IOCondition
from unixconn._kernel.send import send_data
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from typing import ClassVar, NamedTuple

    from typing_extensions import Self

    from unixconn._gio.asynchronous import finish
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.control_messages import BytesLike
    from unixconn._gio.future import Future
    from unixconn._gio.socket import Socket
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._io.steps import Steps
else:
    defer(globals(), "_gio.asynchronous", "finish")

_PIECE = 65536
"""The number of bytes that a splice reads and writes at a time."""


def _data_of(data: Bytes) -> bytes:
    if not isinstance(data, Bytes):
        raise TypeError(f"bytes must be Bytes, not {data!r}")
    return data.get_data()


def _as_source(source: InputStream) -> InputStream:
    if not isinstance(source, InputStream):
        raise TypeError(f"source must be an InputStream, not {source!r}")
    return source


if TYPE_CHECKING:

    class Written(NamedTuple):
        """The result of `OutputStream.write_all`."""

        ok: bool
        """Always True: a failure is raised as an Error."""
        bytes_written: int
        """The number of bytes written."""

else:
    Written = result_tuple(
        "Written",
        "The result of `OutputStream.write_all`.",
        ok="Always True: a failure is raised as an Error.",
        bytes_written="The number of bytes written.",
    )


_written = partial(tuple.__new__, Written)
"""Makes a `Written` of a tuple; its constructor is Python code, which would take one more frame."""


def _all_written(size: int) -> Written:
    return _written((True, size))


class OutputStreamSpliceFlags(GFlags, prefix="G_OUTPUT_STREAM_SPLICE_"):
    """Flags of `OutputStream.splice`: what it closes at its end (Gio.OutputStreamSpliceFlags)."""

    __module__ = "unixconn"

    NONE = 0
    CLOSE_SOURCE = 1
    CLOSE_TARGET = 2


# Plain integers, as the operators of an IntFlag are slow.
_CLOSE_SOURCE, _CLOSE_TARGET = map(int, (OutputStreamSpliceFlags.CLOSE_SOURCE, OutputStreamSpliceFlags.CLOSE_TARGET))


class OutputStream(Object):
    """
    The stream of the bytes that go to the peer (Gio.OutputStream). A connection's `get_output_stream` returns it.

    - A write waits even if the Socket is non-blocking. Each of its steps waits for at most the Socket's timeout.
    - Nothing is buffered. Closing the stream leaves the connection and its Socket open.
    - The stream is also a file object, as far as io.BufferedWriter needs.

    The methods that write raise TypeError for a str, which has to be encoded, and these Errors:

    - CLOSED if the stream or its Socket is closed
    - PENDING if another operation is pending
    - CANCELLED if *cancellable* was cancelled, TIMED_OUT after its deadline or the Socket's timeout
    - BROKEN_PIPE if the peer has closed its end
    """

    __module__ = "unixconn"

    _uncalled: ClassVar[str] = (
        "do_write_fn do_write_async do_write_finish do_writev_fn do_writev_async do_writev_finish do_flush "
        "do_flush_async do_flush_finish do_splice do_splice_async do_splice_finish do_close_fn do_close_async "
        "do_close_finish"
    )

    _closed = False
    _socket: Socket

    def __init__(self) -> None:
        if self.__class__ is OutputStream:
            raise TypeError("OutputStream is abstract: get_output_stream() of a connection returns one")
        super(Object, self).__init__()
        self._pending: list[object] = []

    def get_fd(self) -> int:
        """Return the number of the Socket's descriptor; -1 once it is closed."""
        return self._socket.get_fd()

    # --- writing ---

    def write(self, buffer: BytesLike, cancellable: Cancellable | None = None) -> int:
        """Write the bytes of *buffer*, a bytes-like object, or the first of them; return the number of bytes."""
        data: bytes | memoryview = buffer if buffer.__class__ is bytes else as_bytes(buffer)
        if not data:
            return self._nothing(cancellable)
        return in_turn(self, send_data, data, first, 1, cancellable)  # type: ignore[no-any-return]

    @with_async(
        "g_output_stream_write_async", returns="the number of bytes", io_priority=True, start=start_transfer, result=int
    )
    def _write_operation(self, buffer: BytesLike) -> Writing[int]:
        return Writing(self, as_copy(buffer), 1, int)

    def write_bytes(self, bytes: Bytes, cancellable: Cancellable | None = None) -> int:  # noqa: A002 - Gio's name
        """Write as `write` does, from a `Bytes`."""
        return self.write(_data_of(bytes), cancellable)

    @with_async(
        "g_output_stream_write_bytes_async",
        returns="the number of bytes",
        io_priority=True,
        start=start_transfer,
        result=int,
    )
    def _write_bytes_operation(self, bytes: Bytes) -> Writing[int]:  # noqa: A002
        return Writing(self, _data_of(bytes), 1, int)

    def write_all(self, buffer: BytesLike, cancellable: Cancellable | None = None) -> Written:
        """
        Write all bytes of *buffer*, a bytes-like object; return (True, the number of bytes).

        After an error, the bytes written before it stay written.
        """
        data: bytes | memoryview = buffer if buffer.__class__ is bytes else as_bytes(buffer)
        size = len(data)
        if not size:
            return Written(True, self._nothing(cancellable))
        in_turn(self, send_data, data, first, size, cancellable)
        return _written((True, size))

    @with_async(
        "g_output_stream_write_all_async",
        returns="(True, the number of bytes)",
        io_priority=True,
        start=start_transfer,
        result=Written,
    )
    def _write_all_operation(self, buffer: BytesLike) -> Writing[Written]:
        data = as_copy(buffer)
        return Writing(self, data, len(data), _all_written)

    def flush(self, cancellable: Cancellable | None = None) -> bool:
        """
        Return True: nothing is buffered. Raises the Error CLOSED or PENDING.

        A *cancellable* that is cancelled has no effect, as in Gio.
        """
        check_cancellable(cancellable)
        check_free(self)
        return True

    @with_async("g_output_stream_flush_async", returns="True", io_priority=True, start=start_exclusively)
    def _flush_steps(self, cancellable: Cancellable | None) -> Steps[bool]:
        return self._flush(cancellable)

    def splice(
        self,
        source: InputStream,
        flags: OutputStreamSpliceFlags = OutputStreamSpliceFlags.NONE,
        cancellable: Cancellable | None = None,
    ) -> int:
        """
        Write all bytes that *source* has until its end; return their number.

        *flags* says which of the two streams to close at the end. The errors are those of reading and of writing. If
        *source* is closed already, nothing else is.
        """
        source, closing = _as_source(source), int(as_member(OutputStreamSpliceFlags, flags))
        if cancellable is not None:
            check_cancellable(cancellable)
        if source._closed:
            raise closed("Source stream")
        token = object()
        try:
            take_turn(self, token)
            try:
                size = self._copy(source, cancellable)
            finally:
                self._end_splice(source, closing)
            give_back_turn(self, token)
            return size
        finally:  # once more, as a signal handler may have raised before or at the end
            give_back_turn(self, token)

    def _copy(self, source: InputStream, cancellable: Cancellable | None) -> int:
        # The attempts are those of `write_all`, whose turn this stream has already.
        handle = self._socket._handle
        size = 0
        while data := source.read(_PIECE, cancellable):
            sent: list[int] = []
            count = len(data)
            if WRITABLE in handle.waiting or send_data(handle, data, sent) < count:
                self._go_on(data, sent, count, cancellable)
            size += count
        return size

    def _end_splice(self, source: InputStream, closing: int) -> None:
        if closing & _CLOSE_SOURCE:
            source.close()
        if closing & _CLOSE_TARGET:
            self._closed = True
            self._close()

    @with_async(
        "g_output_stream_splice_async", returns="the number of bytes", io_priority=True, start=start_exclusively
    )
    def _splice_steps(
        self, source: InputStream, flags: OutputStreamSpliceFlags = OutputStreamSpliceFlags.NONE
    ) -> Steps[int]:
        return self._splice(_as_source(source), int(as_member(OutputStreamSpliceFlags, flags)))

    def is_writable(self) -> bool:
        """Whether a write would find room for a byte without waiting."""
        return bool(self._socket.condition_check(IOCondition.OUT))

    # The parts of `in_turn` that are particular to writing.

    _queue = WRITABLE

    def _go_on(self, data: bytes | memoryview, sent: list[int], least: int, cancellable: Cancellable | None) -> None:
        """Write, waiting before each step, until *sent* has the counts of *least* bytes of *data*."""
        timeout = self._socket._timeout or None
        size = sum(sent)
        while size < least:
            # Each step has its own timeout. Without one, all are one operation, which keeps its place in the queue.
            operation = SendData(self._socket._handle, data, sent, least if timeout is None else size + 1)
            operation.timeout = timeout
            size = complete(operation, cancellable, tried=not sent)

    def _keep(self, data: bytes | memoryview, sent: list[int]) -> None:
        """Do nothing: what was written stays written."""

    def _nothing(self, cancellable: Cancellable | None) -> int:
        """Write no bytes, which succeeds, as in Gio, even if the stream is closed or has a pending operation."""
        check_cancellable(cancellable)
        return 0

    # Each of these yields the operations of one method.

    def _flush(self, cancellable: Cancellable | None) -> Steps[bool]:
        if cancellable is not None:
            cancellable.set_error_if_cancelled()
        yield from ()
        return True

    def _splice(self, source: InputStream, closing: int) -> Steps[int]:
        if source._closed:
            raise closed("Source stream")
        size = 0
        try:
            # Not "while data": see "Signal handlers that raise" in CONTRIBUTING.md.
            while True:
                reading = source._read_operation(_PIECE)
                data = yield from exclusively(source, reading.steps(), reading.end_turn)
                if not data:
                    break
                size += yield from Writing(self, data, len(data), int).steps()
        finally:
            self._end_splice(source, closing)
        return size

    # --- closing, and the pending operation ---

    @with_async(
        "g_output_stream_close_async",
        returns="True",
        summary="Close the stream, and return without waiting for the callback.",
        note="Until the callback is called, `is_closed` returns False and `has_pending` True. The result is the Error "
        "PENDING if an operation is pending, and then nothing is closed. It is CANCELLED if *cancellable* is "
        "cancelled, but the stream is closed anyway.",
        io_priority=True,
        start=start_close,
    )
    def close(self, cancellable: Cancellable | None = None) -> bool:
        """
        Close the stream, and return True; a second call does nothing. *cancellable* has no effect.

        Raises the Error PENDING while an operation is pending.
        """
        return close_stream(self, cancellable)

    def is_closed(self) -> bool:
        """Whether the stream is closed."""
        return self._closed

    def is_closing(self) -> bool:
        """Return False: nothing is buffered that closing would have to write. A stream is closed at once."""
        return False

    def set_pending(self) -> bool:
        """
        Mark the stream as having a pending operation, until `clear_pending`; return True.

        Raises the Error CLOSED on a closed stream, PENDING if an operation is pending already.
        """
        take_turn(self, object())
        return True

    def clear_pending(self) -> None:
        """Mark the stream as having no pending operation."""
        self._pending.clear()

    def has_pending(self) -> bool:
        """Whether an operation is pending."""
        return bool(self._pending)

    def _close(self) -> None:
        """Do nothing to the Socket: the connection closes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    __repr__ = shown

    # --- as a file object ---

    def fileno(self) -> int:
        """Return the number of the Socket's descriptor. Raises ValueError once it is closed."""
        if self.get_fd() < 0:
            raise ValueError("the socket is closed, and has no descriptor any more")
        return self.get_fd()

    @property
    def closed(self) -> bool:
        """Whether the stream is closed, as `is_closed` returns it."""
        return self._closed

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False

    def isatty(self) -> bool:
        """Return False."""
        return False

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def write_async(self, buffer: BytesLike, io_priority: int = PRIORITY_DEFAULT,
                    cancellable: Cancellable | None = None) -> Future[int]: ...
    @overload
    def write_async(self, buffer: BytesLike, io_priority: int = ..., cancellable: Cancellable | None = ...,
                    callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def write_async(self, buffer: BytesLike, io_priority: int = PRIORITY_DEFAULT,
                    cancellable: Cancellable | None = None, callback: Callback = AWAIT, user_data: object = NO_DATA,
                    *more: object) -> Future[int] | None:
        """
        Start what `write` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `write_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_transfer(self, "g_output_stream_write_async", self._write_operation(buffer), io_priority,
                              cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more)

    def write_finish(self, result: AsyncResult) -> int:
        """
        Return the number of bytes, for the *result* of `write_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_output_stream_write_async", result)

    @overload
    def write_bytes_async(self, bytes: Bytes, io_priority: int = PRIORITY_DEFAULT,
                          cancellable: Cancellable | None = None) -> Future[int]: ...
    @overload
    def write_bytes_async(self, bytes: Bytes, io_priority: int = ..., cancellable: Cancellable | None = ...,
                          callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def write_bytes_async(self, bytes: Bytes,  # noqa: A002 - Gio's name
                          io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                          callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[int] | None:
        """
        Start what `write_bytes` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `write_bytes_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_transfer(self, "g_output_stream_write_bytes_async", self._write_bytes_operation(bytes),
                              io_priority, cancellable, callback,
                              (user_data, *more) if user_data is not NO_DATA else more)

    def write_bytes_finish(self, result: AsyncResult) -> int:
        """
        Return the number of bytes, for the *result* of `write_bytes_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_output_stream_write_bytes_async", result)

    @overload
    def write_all_async(self, buffer: BytesLike, io_priority: int = PRIORITY_DEFAULT,
                        cancellable: Cancellable | None = None) -> Future[Written]: ...
    @overload
    def write_all_async(self, buffer: BytesLike, io_priority: int = ..., cancellable: Cancellable | None = ...,
                        callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def write_all_async(self, buffer: BytesLike, io_priority: int = PRIORITY_DEFAULT,
                        cancellable: Cancellable | None = None, callback: Callback = AWAIT, user_data: object = NO_DATA,
                        *more: object) -> Future[Written] | None:
        """
        Start what `write_all` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `write_all_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_transfer(self, "g_output_stream_write_all_async", self._write_all_operation(buffer), io_priority,
                              cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more)

    def write_all_finish(self, result: AsyncResult) -> Written:
        """
        Return (True, the number of bytes), for the *result* of `write_all_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_output_stream_write_all_async", result)

    @overload
    def flush_async(self, io_priority: int = PRIORITY_DEFAULT,
                    cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def flush_async(self, io_priority: int = ..., cancellable: Cancellable | None = ..., callback: Callback = ...,
                    user_data: object = ..., *more: object) -> None: ...
    def flush_async(self, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                    callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[bool] | None:
        """
        Start what `flush` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `flush_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_exclusively(self, "g_output_stream_flush_async", self._flush_steps(cancellable), io_priority,
                                 cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more)

    def flush_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `flush_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_output_stream_flush_async", result)

    @overload
    def splice_async(self, source: InputStream, flags: OutputStreamSpliceFlags = OutputStreamSpliceFlags.NONE,
                     io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None) -> Future[int]: ...
    @overload
    def splice_async(self, source: InputStream, flags: OutputStreamSpliceFlags = ..., io_priority: int = ...,
                     cancellable: Cancellable | None = ..., callback: Callback = ..., user_data: object = ...,
                     *more: object) -> None: ...
    def splice_async(self, source: InputStream, flags: OutputStreamSpliceFlags = OutputStreamSpliceFlags.NONE,
                     io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                     callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[int] | None:
        """
        Start what `splice` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `splice_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_exclusively(self, "g_output_stream_splice_async", self._splice_steps(source, flags), io_priority,
                                 cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more)

    def splice_finish(self, result: AsyncResult) -> int:
        """
        Return the number of bytes, for the *result* of `splice_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_output_stream_splice_async", result)

    @overload
    def close_async(self, io_priority: int = PRIORITY_DEFAULT,
                    cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def close_async(self, io_priority: int = ..., cancellable: Cancellable | None = ..., callback: Callback = ...,
                    user_data: object = ..., *more: object) -> None: ...
    def close_async(self, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                    callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[bool] | None:
        """
        Close the stream, and return without waiting for the callback.

        At the end *callback* is called with (stream, result, user_data, *more); `close_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Until the callback is called, `is_closed` returns False and `has_pending` True. The result is the Error
        PENDING if an operation is pending, and then nothing is closed. It is CANCELLED if *cancellable* is cancelled,
        but the stream is closed anyway. Callbacks with a lower *io_priority* are called first.
        """
        return start_close(self, "g_output_stream_close_async", io_priority, cancellable, callback,
                           (user_data, *more) if user_data is not NO_DATA else more)

    def close_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `close_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_output_stream_close_async", result)

    # fmt: on
    # --- end of the generated part ---


class SocketOutputStream(OutputStream):
    """The OutputStream of a connection. Gio's class for it is not public, either."""

    _properties: ClassVar[tuple[Property, ...]] = (Property("socket", Object, "_get_socket", construct_only=True),)

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self._socket = socket

    def _get_socket(self) -> Socket:
        return self._socket
