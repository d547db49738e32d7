"""InputStream: the bytes that come from the peer."""

from __future__ import annotations

import sys

from unixconn._base.arguments import INT_MAX, as_integer, as_writable
from unixconn._base.deferred import defer
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.streams import (
    Bytes,
    check_free,
    close_stream,
    closed,
    in_turn,
    shown,
    start_close,
    take_turn,
)
from unixconn._gio.transfers import Reading, first, start_transfer
from unixconn._gio.triples import AWAIT, NO_DATA, with_async
from unixconn._io.blocking import complete
from unixconn._io.priorities import PRIORITY_DEFAULT
from unixconn._io.receiving_data import ReceiveData, keep_bytes
from unixconn._kernel.control_messages import KEPT_DATA
from unixconn._kernel.epoll import IOCondition
from unixconn._kernel.receive_data import receive_data, receive_recorded
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from typing_extensions import Buffer, Self

    from unixconn._gio.asynchronous import finish
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.future import Future
    from unixconn._gio.socket import Socket
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.transfers import Reads
    from unixconn._gio.triples import Callback
    from unixconn._io.steps import Steps
else:
    defer(globals(), "_gio.asynchronous", "finish")

_new_bytes = Bytes.__new__


def _first_as_bytes(found: list[bytes]) -> Bytes:
    return Bytes._of(found[0])


def _size_of(found: list[bytes]) -> int:
    return sum(map(len, found))


def as_count(count: int) -> int:
    # The first check alone takes less than half of the other's steps.
    if count.__class__ is int and 0 <= count <= INT_MAX:
        return count
    return as_integer(count, "count", 0, INT_MAX)


class InputStream(Object):
    """
    The stream of the bytes that come from the peer (Gio.InputStream). A connection's `get_input_stream` returns it.

    - A read waits even if the Socket is non-blocking. Each of its steps waits for at most the Socket's timeout.
    - If an Error, a cancellation, or an exception raised by a signal handler ends a read, the next read gets the bytes
      that have come.
    - Closing the stream leaves the connection and its Socket open.
    - The stream is also a file object, as far as io.BufferedReader needs.

    If a byte that is read carries a descriptor, the next `receive_fd` of the connection returns that, or raises the
    Error if this process had no free number for it. Otherwise the descriptor is closed with the connection. A program
    that expects no descriptors calls `UnixConnection.refuse_fds`.

    The methods that read raise TypeError for a *count* that is not a number, OverflowError for one that is negative or
    above 2**31 - 1, and these Errors:

    - CLOSED if the stream or its Socket is closed
    - PENDING if another operation is pending
    - CANCELLED if *cancellable* was cancelled, TIMED_OUT after its deadline or the Socket's timeout
    - BROKEN_PIPE if the peer has reset the connection
    - TOO_MANY_OPEN_FILES while more than 253 descriptors are kept for `receive_fd`; nothing is read then
    """

    __module__ = "unixconn"

    _uncalled: ClassVar[str] = (
        "do_read_fn do_read_async do_read_finish do_skip do_skip_async do_skip_finish do_close_fn "
        "do_close_async do_close_finish"
    )

    _closed = False
    _socket: Socket

    def __init__(self) -> None:
        if self.__class__ is InputStream:
            raise TypeError("InputStream is abstract: get_input_stream() of a connection returns one")
        super(Object, self).__init__()
        self._pending: list[object] = []

    def get_fd(self) -> int:
        """Return the number of the Socket's descriptor; -1 once it is closed."""
        return self._socket.get_fd()

    # --- reading ---

    def read(self, count: int | None = None, cancellable: Cancellable | None = None) -> bytes:
        """
        Read at most *count* bytes, and at least one; return b"" at the end of the stream.

        Without *count*, read all bytes until the end of the stream.
        """
        if count is None:
            return self._read_until_end(cancellable)
        if count.__class__ is not int or not 0 < count <= INT_MAX:
            count = as_count(count)
            if not count:
                return self._nothing(cancellable)
        return in_turn(self, receive_data, count, first, 0, cancellable)  # type: ignore[no-any-return]

    @with_async("g_input_stream_read_async", returns="the bytes", io_priority=True, start=start_transfer, result=bytes)
    def _read_operation(self, count: int) -> Reads[bytes]:
        return Reading(self, as_count(count), 0, first)

    def read_bytes(self, count: int, cancellable: Cancellable | None = None) -> Bytes:
        """Read as `read` does, and return the bytes as a `Bytes`."""
        if count.__class__ is not int or not 0 < count <= INT_MAX:
            count = as_count(count)
            if not count:
                return Bytes(self._nothing(cancellable))
        made = _new_bytes(Bytes)
        # No call comes after this one, in which a signal handler could raise.
        made._data = in_turn(self, receive_data, count, first, 0, cancellable)
        return made

    @with_async(
        "g_input_stream_read_bytes_async", returns="the `Bytes`", io_priority=True, start=start_transfer, result=Bytes
    )
    def _read_bytes_operation(self, count: int) -> Reads[Bytes]:
        return Reading(self, as_count(count), 0, _first_as_bytes)

    def read_all(self, count: int, cancellable: Cancellable | None = None) -> bytes:
        """Read *count* bytes, fewer only if the stream ends. After an Error, the next read gets those that came."""
        if count.__class__ is not int or not 0 < count <= INT_MAX:
            count = as_count(count)
            if not count:
                return self._nothing(cancellable)
        return in_turn(self, receive_data, count, b"".join, count, cancellable)

    @with_async(
        "g_input_stream_read_all_async", returns="the bytes", io_priority=True, start=start_transfer, result=bytes
    )
    def _read_all_operation(self, count: int) -> Reads[bytes]:
        size = as_count(count)
        return Reading(self, size, size, b"".join)

    def skip(self, count: int, cancellable: Cancellable | None = None) -> int:
        """
        Read *count* bytes and drop them, fewer only if the stream ends; return their number.

        After an Error, the next read gets those that came.
        """
        if count.__class__ is not int or not 0 < count <= INT_MAX:
            count = as_count(count)
            if not count:
                return len(self._nothing(cancellable))
        return in_turn(self, receive_data, count, _size_of, count, cancellable)

    @with_async(
        "g_input_stream_skip_async", returns="the number of bytes", io_priority=True, start=start_transfer, result=int
    )
    def _skip_operation(self, count: int) -> Reads[int]:
        size = as_count(count)
        return Reading(self, size, size, _size_of)

    def is_readable(self) -> bool:
        """Whether a read would find a byte, or the end of the stream, without waiting."""
        handle = self._socket._handle
        return bool((handle.is_aside and handle.kept) or self._socket.condition_check(IOCondition.IN))

    # The parts of `in_turn` that are particular to reading.

    _queue = None

    def _go_on(self, target: int | memoryview, found: list[Any], least: int, cancellable: Cancellable | None) -> None:
        """
        Wait and read, in as many steps as it takes to fill *found*.

        If *target* is a buffer, or *least* is 0, that is one step. Otherwise *found* has to have *least* bytes, fewer
        only if the stream ends.
        """
        size = sum(map(len, found)) if least else 0
        while not found or (size < least and found[-1]):
            rest = target if not size else target - size  # type: ignore[operator]
            operation = ReceiveData(self._socket._handle, rest, found)
            operation.timeout = self._socket._timeout or None
            size += complete(operation, cancellable, tried=not found)

    def _keep(self, target: int | memoryview, found: list[Any]) -> None:
        """Keep what was read and no caller gets for the next read: the bytes in *found*, or those in *target*."""
        if found and found[0].__class__ is int:
            found[:] = [bytes(target[: found[0]])]  # type: ignore[index]
        keep_bytes(self._socket._handle, found)

    def _read_until_end(self, cancellable: Cancellable | None) -> bytes:
        return in_turn(self, receive_data, sys.maxsize, b"".join, sys.maxsize, cancellable)

    def _pull(self, count: int, found: list[bytes]) -> Steps[int]:
        """Read at most *count* bytes onto *found*, an empty list, for a stream that has its turn already."""
        if self._closed:
            raise closed()
        operation = ReceiveData(self._socket._handle, count, found)
        operation.timeout = self._socket._timeout or None
        return (yield operation)  # type: ignore[no-any-return]

    def _nothing(self, cancellable: Cancellable | None) -> bytes:
        """Read no bytes, which succeeds, as in Gio, even if the stream is closed or has a pending operation."""
        check_cancellable(cancellable)
        return b""

    # --- closing, and the pending operation ---

    @with_async(
        "g_input_stream_close_async",
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

    def readinto(self, buffer: Buffer) -> int:
        """Read into *buffer*, a writable bytes-like object; return the number of bytes, 0 at the end of the stream."""
        target = as_writable(buffer)
        if not target:
            check_free(self)
            return 0
        if len(target) > KEPT_DATA:
            return in_turn(self, receive_recorded, target, first, 0, None)  # type: ignore[no-any-return]
        # To copy a few bytes takes less time than to have them received without a copy.
        data: bytes = in_turn(self, receive_data, len(target), first, 0, None)
        try:
            size = len(data)
            target[:size] = data
            return size
        except BaseException:  # raised by a signal handler
            self._keep(0, [data])
            raise

    def readall(self) -> bytes:
        """Read all bytes until the end of the stream. io.BufferedReader calls this method, or on PyPy `read`."""
        return self.read()

    def flush(self) -> None:
        """Do nothing. io.BufferedReader calls this method."""

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
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return False."""
        return False

    def seekable(self) -> bool:
        """Return False."""
        return False

    def isatty(self) -> bool:
        """Return False."""
        return False

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def read_async(self, count: int, io_priority: int = PRIORITY_DEFAULT,
                   cancellable: Cancellable | None = None) -> Future[bytes]: ...
    @overload
    def read_async(self, count: int, io_priority: int = ..., cancellable: Cancellable | None = ...,
                   callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def read_async(self, count: int, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                   callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[bytes] | None:
        """
        Start what `read` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `read_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_transfer(self, "g_input_stream_read_async", self._read_operation(count), io_priority, cancellable,
                              callback, (user_data, *more) if user_data is not NO_DATA else more)

    def read_finish(self, result: AsyncResult) -> bytes:
        """
        Return the bytes, for the *result* of `read_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_input_stream_read_async", result)

    @overload
    def read_bytes_async(self, count: int, io_priority: int = PRIORITY_DEFAULT,
                         cancellable: Cancellable | None = None) -> Future[Bytes]: ...
    @overload
    def read_bytes_async(self, count: int, io_priority: int = ..., cancellable: Cancellable | None = ...,
                         callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def read_bytes_async(self, count: int, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                         callback: Callback = AWAIT, user_data: object = NO_DATA,
                         *more: object) -> Future[Bytes] | None:
        """
        Start what `read_bytes` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `read_bytes_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_transfer(self, "g_input_stream_read_bytes_async", self._read_bytes_operation(count), io_priority,
                              cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more)

    def read_bytes_finish(self, result: AsyncResult) -> Bytes:
        """
        Return the `Bytes`, for the *result* of `read_bytes_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_input_stream_read_bytes_async", result)

    @overload
    def read_all_async(self, count: int, io_priority: int = PRIORITY_DEFAULT,
                       cancellable: Cancellable | None = None) -> Future[bytes]: ...
    @overload
    def read_all_async(self, count: int, io_priority: int = ..., cancellable: Cancellable | None = ...,
                       callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def read_all_async(self, count: int, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                       callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[bytes] | None:
        """
        Start what `read_all` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `read_all_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_transfer(self, "g_input_stream_read_all_async", self._read_all_operation(count), io_priority,
                              cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more)

    def read_all_finish(self, result: AsyncResult) -> bytes:
        """
        Return the bytes, for the *result* of `read_all_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_input_stream_read_all_async", result)

    @overload
    def skip_async(self, count: int, io_priority: int = PRIORITY_DEFAULT,
                   cancellable: Cancellable | None = None) -> Future[int]: ...
    @overload
    def skip_async(self, count: int, io_priority: int = ..., cancellable: Cancellable | None = ...,
                   callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def skip_async(self, count: int, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                   callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[int] | None:
        """
        Start what `skip` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `skip_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_transfer(self, "g_input_stream_skip_async", self._skip_operation(count), io_priority, cancellable,
                              callback, (user_data, *more) if user_data is not NO_DATA else more)

    def skip_finish(self, result: AsyncResult) -> int:
        """
        Return the number of bytes, for the *result* of `skip_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_input_stream_skip_async", result)

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
        return start_close(self, "g_input_stream_close_async", io_priority, cancellable, callback,
                           (user_data, *more) if user_data is not NO_DATA else more)

    def close_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `close_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_input_stream_close_async", result)

    # fmt: on
    # --- end of the generated part ---


class SocketInputStream(InputStream):
    """The InputStream of a connection. Gio's class for it is not public, either."""

    _properties: ClassVar[tuple[Property, ...]] = (Property("socket", Object, "_get_socket", construct_only=True),)

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self._socket = socket

    def _get_socket(self) -> Socket:
        return self._socket
