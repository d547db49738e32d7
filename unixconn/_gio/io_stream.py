"""IOStream: a pair of streams, one for each direction, which are closed together."""

from __future__ import annotations

from unixconn._base.arguments import as_int, as_member
from unixconn._base.deferred import defer, load
from unixconn._base.enums import GFlags
from unixconn._base.errors import Error
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.streams import close_stream, exclusively, start_close, take_turn
from unixconn._gio.triples import AWAIT, NO_DATA, with_async
from unixconn._io.priorities import PRIORITY_DEFAULT

if TYPE_CHECKING:
    from typing import ClassVar

    from typing_extensions import Self

    from unixconn._gio.asynchronous import finish, source_of, start_both
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.future import Future
    from unixconn._gio.input_stream import InputStream
    from unixconn._gio.output_stream import OutputStream
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._io.steps import Steps
else:
    defer(globals(), "_gio.asynchronous", "finish", "source_of", "start_both")


class IOStreamSpliceFlags(GFlags, prefix="G_IO_STREAM_SPLICE_"):
    """Flags of `IOStream.splice_async`: what it waits for, and what it closes at its end (Gio.IOStreamSpliceFlags)."""

    __module__ = "unixconn"

    NONE = 0
    CLOSE_STREAM1 = 1
    CLOSE_STREAM2 = 2
    WAIT_FOR_BOTH = 4


class _Splice:
    """Two connections, each of which gets the bytes that come from the other."""

    __slots__ = ("_flags", "_one", "_other")

    def __init__(self, one: IOStream, other: IOStream, flags: IOStreamSpliceFlags) -> None:
        self._one = one
        self._other = other
        self._flags = flags

    @property
    def waits_for_both(self) -> bool:
        """Whether the splice ends with the second of the two directions, and not with the first."""
        return bool(self._flags & IOStreamSpliceFlags.WAIT_FOR_BOTH)

    def steps(self) -> tuple[Steps[int], Steps[int]]:
        """Return the steps of each direction."""
        return _copied(self._one, self._other), _copied(self._other, self._one)

    def close(self) -> Error | None:
        """Close the connections that the flags name; return the first Error."""
        first = None
        for each, flag in (
            (self._one, IOStreamSpliceFlags.CLOSE_STREAM1),
            (self._other, IOStreamSpliceFlags.CLOSE_STREAM2),
        ):
            try:
                if self._flags & flag:
                    each.close()
            except Error as error:
                first = first or error
        return first


def _copied(source: IOStream, target: IOStream) -> Steps[int]:
    output = target.get_output_stream()
    return exclusively(output, output._splice(source.get_input_stream(), 0))


def _start_splice(
    stream: IOStream,
    name: str,
    splice: _Splice,
    io_priority: int,
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
) -> Future[bool] | None:
    return start_both(
        stream,
        name,
        splice.steps(),
        cancellable,
        callback,
        data,
        priority=as_int(io_priority, "io_priority"),
        wait_for_both=splice.waits_for_both,
        at_end=splice.close,
    )


def _input_stream() -> type[InputStream]:
    return load("_gio.input_stream", "unixconn.InputStream").InputStream  # type: ignore[no-any-return]


def _output_stream() -> type[OutputStream]:
    return load("_gio.output_stream", "unixconn.OutputStream").OutputStream  # type: ignore[no-any-return]


class IOStream(Object):
    """
    A pair of streams that are closed together (Gio.IOStream).

    ``with`` and ``async with`` close it at their end.
    """

    __module__ = "unixconn"

    _uncalled: ClassVar[str] = "do_get_input_stream do_get_output_stream do_close_fn do_close_async do_close_finish"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("input-stream", _input_stream, "get_input_stream"),
        Property("output-stream", _output_stream, "get_output_stream"),
        Property("closed", bool, "is_closed", default=False),
    )

    _closed = False

    def __init__(self) -> None:
        if self.__class__ is IOStream:
            raise TypeError("IOStream is abstract: unixconn.connect() and UnixConnection.create_pair() make one")
        super(Object, self).__init__()
        self._pending: list[object] = []

    def get_input_stream(self) -> InputStream:
        """Return the stream of the bytes that come from the peer."""
        raise NotImplementedError

    def get_output_stream(self) -> OutputStream:
        """Return the stream of the bytes that go to the peer."""
        raise NotImplementedError

    @with_async(
        "g_io_stream_splice_async",
        returns="True",
        summary="Copy the bytes that come from each of two connections to the other, until one of them ends.",
        note="*flags* says whether to wait for the end of the other as well, and what to close then. The errors "
        "are those of reading and of writing. A *stream2* that is not an IOStream is a TypeError.",
        io_priority=True,
        static=True,
        start=_start_splice,
        result=bool,
    )
    def _splice_operation(self, stream2: IOStream, flags: IOStreamSpliceFlags = IOStreamSpliceFlags.NONE) -> _Splice:
        if not isinstance(stream2, IOStream):
            raise TypeError(f"stream2 must be an IOStream, not {stream2!r}")
        return _Splice(self, stream2, as_member(IOStreamSpliceFlags, flags))

    # --- closing, and the pending operation ---

    @with_async(
        "g_io_stream_close_async",
        returns="True",
        summary="Close both streams and the Socket, and return without waiting for the callback.",
        note="Until the callback is called, `is_closed` returns False and `has_pending` True. The result is the Error "
        "PENDING if an operation is pending, and then nothing is closed. It is CANCELLED if *cancellable* is "
        "cancelled, but everything is closed anyway. *io_priority* has no effect, as in Gio.",
        io_priority=True,
        start=start_close,
        heeds_priority=False,
    )
    def close(self, cancellable: Cancellable | None = None) -> bool:
        """
        Close both streams and the Socket, and return True; a second call does nothing. *cancellable* has no effect.

        An operation that waits for the Socket ends with the Error CLOSED. Bytes that were sent are still delivered.
        Raises the Error PENDING while an operation of `set_pending` or `close_async` is pending.
        """
        return close_stream(self, cancellable)

    def is_closed(self) -> bool:
        """Whether `close` was called, or the callback of `close_async`."""
        return self._closed

    def set_pending(self) -> bool:
        """
        Mark the object as having a pending operation, during which `close` raises PENDING; return True.

        `clear_pending` ends that. Raises the Error CLOSED on a closed object, PENDING if an operation is pending
        already.
        """
        take_turn(self, object())
        return True

    def clear_pending(self) -> None:
        """Mark the object as having no pending operation."""
        self._pending.clear()

    def has_pending(self) -> bool:
        """Whether an operation of `set_pending` or `close_async` is pending."""
        return bool(self._pending)

    def _close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def splice_async(self, stream2: IOStream, flags: IOStreamSpliceFlags = IOStreamSpliceFlags.NONE,
                     io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def splice_async(self, stream2: IOStream, flags: IOStreamSpliceFlags = ..., io_priority: int = ...,
                     cancellable: Cancellable | None = ..., callback: Callback = ..., user_data: object = ...,
                     *more: object) -> None: ...
    def splice_async(self, stream2: IOStream, flags: IOStreamSpliceFlags = IOStreamSpliceFlags.NONE,
                     io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                     callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[bool] | None:
        """
        Copy the bytes that come from each of two connections to the other, until one of them ends.

        At the end *callback* is called with (stream, result, user_data, *more); `splice_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. *flags* says whether to wait for the end of the other as well, and what to close then. The errors are
        those of reading and of writing. A *stream2* that is not an IOStream is a TypeError. Callbacks with a lower
        *io_priority* are called first.
        """
        return _start_splice(self, "g_io_stream_splice_async", self._splice_operation(stream2, flags), io_priority,
                             cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more)

    @staticmethod
    def splice_finish(result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `splice_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another operation, or if its value was returned already.
        """
        return finish(source_of(result), "g_io_stream_splice_async", result)

    @overload
    def close_async(self, io_priority: int = PRIORITY_DEFAULT,
                    cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def close_async(self, io_priority: int = ..., cancellable: Cancellable | None = ..., callback: Callback = ...,
                    user_data: object = ..., *more: object) -> None: ...
    def close_async(self, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                    callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[bool] | None:
        """
        Close both streams and the Socket, and return without waiting for the callback.

        At the end *callback* is called with (stream, result, user_data, *more); `close_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Until the callback is called, `is_closed` returns False and `has_pending` True. The result is the Error
        PENDING if an operation is pending, and then nothing is closed. It is CANCELLED if *cancellable* is cancelled,
        but everything is closed anyway. *io_priority* has no effect, as in Gio.
        """
        return start_close(self, "g_io_stream_close_async", io_priority, cancellable, callback,
                           (user_data, *more) if user_data is not NO_DATA else more, heeds_priority=False)

    def close_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `close_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_io_stream_close_async", result)

    # fmt: on
    # --- end of the generated part ---
