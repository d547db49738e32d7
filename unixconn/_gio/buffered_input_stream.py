"""BufferedInputStream: reads ahead, so that a few bytes do not take a system call."""

from __future__ import annotations

import sys
from collections import deque
from functools import partial

from unixconn._base.arguments import UINT_MAX, as_int, as_integer, as_writable
from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar, overload
from unixconn._gio.asynchronous import finish, make_task
from unixconn._gio.filter_streams import FilterInputStream
from unixconn._gio.input_stream import InputStream, as_count
from unixconn._gio.streams import Bytes, check_turn, closed, give_back_turn, start_exclusively
from unixconn._gio.task import Task
from unixconn._gio.transfers import Stepwise
from unixconn._gio.triples import AWAIT, NO_DATA, with_async
from unixconn._io.delivery import here
from unixconn._io.priorities import PRIORITY_DEFAULT
from unixconn._io.steps import complete_all
from unixconn._io.waiter import serve
from unixconn._kernel.epoll import READABLE
from unixconn._kernel.receive_data import receive_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar, Optional

    from typing_extensions import Buffer, Self

    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.future import Future
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._io.steps import Steps

T = TypeVar("T")

if TYPE_CHECKING:
    Taking = Callable[[bool], Optional[T]]
    """
    Takes something from the buffer, and says in `BufferedInputStream._width` how many bytes that is.

    Returns None if there is not enough yet.

    The argument says whether the stream has ended, so that no more will come.
    """

_PIECE = 65536
"""The most bytes that `read_all` asks for at a time."""


class BufferedInputStream(FilterInputStream):
    """
    A stream that reads ahead from its base stream (Gio.BufferedInputStream).

    What has arrived stays in the buffer until a read returns it, whatever ends an operation: an Error, a cancellation,
    an exception raised by a signal handler. Descriptors that come with bytes that are read ahead are kept in their
    order for `receive_fd` of the connection, see `InputStream`.

    The methods that wait have the errors of the base stream, and PENDING and CLOSED for this one.
    """

    __module__ = "unixconn"

    _uncalled: ClassVar[str] = f"{FilterInputStream._uncalled} do_fill do_fill_async do_fill_finish"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("buffer-size", int, "get_buffer_size", "set_buffer_size", default=4096),
    )

    def __init__(self, base_stream: InputStream, *, close_base_stream: bool = True, buffer_size: int = 4096) -> None:
        super().__init__(base_stream, close_base_stream=close_base_stream)
        self._size = as_integer(buffer_size, "buffer_size", 1, UINT_MAX)
        self._buffer = bytearray()
        self._came: list[bytes] = []
        """What the base stream has read, and the buffer does not have yet: for one moment, or after an exception."""
        self._checked = 0
        """How many bytes at the beginning of the buffer the operation has looked at in vain."""
        self._width = 0
        """How many bytes of the buffer the operation has taken: they leave it when the caller has what was taken."""

    @classmethod
    def new_sized(cls, base_stream: InputStream, size: int) -> Self:
        """Make a stream that reads at most *size* bytes ahead. Raises OverflowError for a *size* of less than 1."""
        return cls(base_stream, buffer_size=size)

    # --- the buffer ---

    def get_available(self) -> int:
        """Return the number of bytes in the buffer."""
        return len(self._buffer)

    def get_buffer_size(self) -> int:
        """Return the most bytes that the buffer takes."""
        return self._size

    def set_buffer_size(self, size: int) -> None:
        """
        Set the most bytes that the buffer takes; not less than it has now.

        Raises TypeError for a *size* that is not a number, and OverflowError for one below 1 or above 2**32 - 1.
        """
        size = max(as_integer(size, "size", 1, UINT_MAX), len(self._buffer))
        if size != self._size:
            self._size = size
            self._notify("buffer-size")

    def peek(self, buffer: Buffer, offset: int) -> int:
        """
        Copy bytes of the buffer, from *offset* on, into *buffer*, and leave them there; return their number.

        Raises TypeError if *buffer* is not a writable bytes-like object, and OverflowError for an *offset* below 0.
        """
        target = as_writable(buffer)
        found = self._buffer[as_integer(offset, "offset", 0, sys.maxsize) :][: len(target)]
        target[: len(found)] = found
        return len(found)

    def peek_buffer(self) -> bytes:
        """Return a copy of the buffer, which stays as it is."""
        return bytes(self._buffer)

    # --- reading ---

    def fill(self, count: int, cancellable: Cancellable | None = None) -> int:
        """
        Read at most *count* bytes into the buffer; return their number, 0 at the end of the stream.

        If *count* is -1, read as many as there is room for. If there is no room, return 0 at once. Raises the Error
        INVALID_ARGUMENT for a *count* below -1.
        """
        return self._run(self._fill(_as_fill_count(count)), cancellable)

    @with_async(
        "g_buffered_input_stream_fill_async", returns="the number of bytes", io_priority=True, start=start_exclusively
    )
    def _fill_steps(self, count: int) -> Steps[int]:
        return self._fill(_as_fill_count(count), "g_buffered_input_stream_fill_async")

    def read_byte(self, cancellable: Cancellable | None = None) -> int:
        """Read a byte and return its value; -1 at the end of the stream."""
        return self._take_now(self._take_byte, cancellable)

    def read(self, count: int | None = None, cancellable: Cancellable | None = None) -> bytes:
        """
        Read at most *count* bytes; return b"" at the end of the stream.

        If the buffer has fewer, this waits once for more, as in Gio, and returns what it has after an Error. Without
        *count*, read all bytes until the end of the stream.
        """
        if count is None:
            return self._take_now(partial(self._take, sys.maxsize), cancellable, steps=self._fill_up_to(sys.maxsize))
        return self._read(self._take, as_count(count), cancellable)

    def _read_operation(self, count: int) -> Stepwise[bytes]:
        return self._reading(self._take, as_count(count))

    def read_bytes(self, count: int, cancellable: Cancellable | None = None) -> Bytes:
        """Read as `read` does, and return the bytes as a `Bytes`."""
        return self._read(self._take_as_bytes, as_count(count), cancellable)

    def _read_bytes_operation(self, count: int) -> Stepwise[Bytes]:
        return self._reading(self._take_as_bytes, as_count(count))

    def read_all(self, count: int, cancellable: Cancellable | None = None) -> bytes:
        """Read *count* bytes, fewer only if the stream ends. After an Error, those that came are in the buffer."""
        size = as_count(count)
        if not size:
            return self._nothing(cancellable)
        return self._take_now(partial(self._take, size), cancellable, steps=self._fill_up_to(size))

    def _read_all_operation(self, count: int) -> Stepwise[bytes]:
        size = as_count(count)
        return Taken(self, partial(self._take, size)).after(self._fill_up_to(size))

    def skip(self, count: int, cancellable: Cancellable | None = None) -> int:
        """Read as `read` does, and drop the bytes; return their number."""
        return self._read(self._take_size, as_count(count), cancellable)

    def _skip_operation(self, count: int) -> Stepwise[int]:
        return self._reading(self._take_size, as_count(count))

    def _read(self, take: Callable[..., T], size: int, cancellable: Cancellable | None) -> T:
        if not size:
            self._nothing(cancellable)
            self._width = 0
            return take(0)
        return self._take_now(partial(take, size), cancellable, steps=self._fill_once(size))

    def _reading(self, take: Callable[..., T], size: int) -> Stepwise[T]:
        return Taken(self, partial(take, size)).after(self._fill_once(size))

    def is_readable(self) -> bool:
        """Whether a read would find a byte, or the end of the stream, without waiting."""
        return bool(self._buffer) or super().is_readable()

    def readinto(self, buffer: Buffer) -> int:
        """
        Read into *buffer*, a writable bytes-like object; return the number of bytes, 0 at the end of the stream.

        It does not wait if there are bytes in the stream's own buffer.
        """
        target = as_writable(buffer)
        if not target:
            return 0
        return self._take_now(partial(self._take_into, target), None, steps=self._fill_empty())

    # --- the steps ---

    def _fill(self, count: int, caller: str = "g_buffered_input_stream_fill") -> Steps[int]:
        if count < -1:
            raise io_error(IOErrorEnum.INVALID_ARGUMENT, f"Too large count value passed to {caller}")
        room = max(self._size - len(self._buffer), 0)
        return (yield from self._fetch(room if count < 0 else min(count, room)))

    def _fetch(self, count: int) -> Steps[int]:
        """Add at most *count* bytes to the buffer; return their number."""
        came = self._came
        if count and not came:
            yield from self._base_stream._pull(count, came)
        size = sum(map(len, came))
        # In one step of the interpreter, so that an exception neither loses the bytes nor doubles them.
        deque(map(self._buffer.extend, map(came.pop, (0,) * len(came))), 0)
        return size

    def _pull(self, count: int, found: list[bytes]) -> Steps[int]:
        if self._closed:
            raise closed()
        yield from self._fill_empty()
        data = bytes(self._buffer[:count])
        # No call comes between these, in which a signal handler could raise.
        del self._buffer[:count]
        found += (data,)
        return len(data)

    def _fill_empty(self) -> Steps[None]:
        """Read once, if the buffer is empty."""
        if not self._buffer:
            yield from self._fill(-1)

    def _fill_once(self, count: int) -> Steps[None]:
        """Read once, if the buffer has fewer than *count* bytes."""
        missing = count - len(self._buffer)
        if missing > 0:
            try:
                yield from self._fetch(max(missing, self._size))
            except Error:
                if not self._buffer:
                    raise

    def _fill_up_to(self, count: int) -> Steps[None]:
        """Read until the buffer has *count* bytes, or the stream ends."""
        while (missing := count - len(self._buffer)) > 0:
            if not (yield from self._fetch(max(min(missing, _PIECE), self._size))):
                break

    # --- what can be taken from the buffer ---

    def _take(self, count: int, _at_end: bool = True) -> bytes:
        self._width = count
        return bytes(self._buffer[:count])

    def _take_as_bytes(self, count: int, _at_end: bool = True) -> Bytes:
        return Bytes._of(self._take(count))

    def _take_size(self, count: int, _at_end: bool = True) -> int:
        return len(self._take(count))

    def _take_into(self, target: memoryview, _at_end: bool) -> int:
        self._width = size = min(len(target), len(self._buffer))
        target[:size] = self._buffer[:size]
        return size

    def _take_byte(self, at_end: bool) -> int | None:
        return self._take(1)[0] if self._buffer else -1 if at_end else None

    def _take_steps(self, take: Taking[T], least: int = 0) -> Steps[T]:
        """Take something, with as many reads as it needs. They fill the buffer, or read up to *least* bytes of it."""
        self._checked = self._width = 0
        while (found := take(False)) is None:
            if len(self._buffer) >= self._size:
                self.set_buffer_size(min(2 * self._size, UINT_MAX))
            if not (yield from self._fill(least - len(self._buffer) if least else -1)):
                found = take(True)
                assert found is not None
                return found
        return found

    def _take_what_came(self, take: Taking[T], least: int = 0) -> T | None:
        """Read once what has arrived, and take something; return None if that has to wait, or needs more."""
        base, came = self._base_stream, self._came
        handle, buffer = self._socket._handle, self._buffer
        room = (least or self._size) - len(buffer)
        # What waits in the background comes first.
        if room <= 0 or came or handle.waiting or base._closed or type(base)._pull is not InputStream._pull:
            return None
        if receive_data(handle, room, came) < 0:
            return None
        size = len(came[0])
        deque(map(buffer.extend, map(came.pop, (0,))), 0)  # as in `_fetch`
        if handle.leftovers:
            serve(handle, READABLE)  # an operation may be waiting for a descriptor that came with bytes
        return take(not size)

    def _take_now(
        self, take: Taking[T], cancellable: Cancellable | None, least: int = 0, steps: Steps[object] | None = None
    ) -> T:
        """Do what `_take_steps` does in the calling thread, in turn; with *steps*, take what is there after them."""
        pending, token = self._pending, object()
        buffer, size = self._buffer, 0
        try:
            pending.append(token)
            if pending != [token] or self._closed or cancellable is not None:
                check_turn(self, token, self._socket._handle, cancellable)
            self._checked = self._width = 0
            if steps is not None:
                complete_all(steps, cancellable, blocking=True)
                found = take(True)
            else:
                found = take(False)
                if found is None:
                    found = self._take_what_came(take, least)
                if found is None:
                    found = complete_all(self._take_steps(take, least), cancellable, blocking=True)
            gone = buffer[: self._width]
            size = len(buffer)
            # As `give_back_turn` does. No call comes after this, in which a signal handler could raise.
            if pending and pending[0] is token:
                del pending[0]
            del buffer[: self._width]
            return found  # type: ignore[return-value]
        except BaseException:  # an Error, or an exception raised by a signal handler at any step
            if len(buffer) < size:
                buffer[:0] = gone
            if pending and pending[0] is token:
                del pending[0]
            elif pending:
                give_back_turn(self, token)
            raise

    def _run(self, steps: Steps[T], cancellable: Cancellable | None) -> T:
        """Run *steps* in the calling thread, in turn."""
        pending, token = self._pending, object()
        try:
            pending.append(token)
            check_turn(self, token, self._socket._handle, cancellable)
            result = complete_all(steps, cancellable, blocking=True)
            if pending and pending[0] is token:  # as in `_take_now`
                del pending[0]
            return result
        finally:
            if pending and pending[0] is token:
                del pending[0]
            elif pending:
                give_back_turn(self, token)

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def fill_async(self, count: int, io_priority: int = PRIORITY_DEFAULT,
                   cancellable: Cancellable | None = None) -> Future[int]: ...
    @overload
    def fill_async(self, count: int, io_priority: int = ..., cancellable: Cancellable | None = ...,
                   callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def fill_async(self, count: int, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None,
                   callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[int] | None:
        """
        Start what `fill` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (stream, result, user_data, *more); `fill_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Callbacks with a lower *io_priority* are called first.
        """
        return start_exclusively(self, "g_buffered_input_stream_fill_async", self._fill_steps(count), io_priority,
                                 cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more)

    def fill_finish(self, result: AsyncResult) -> int:
        """
        Return the number of bytes, for the *result* of `fill_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another stream or another operation, or if its value was returned already.
        """
        return finish(self, "g_buffered_input_stream_fill_async", result)

    # fmt: on
    # --- end of the generated part ---


def _as_fill_count(count: int) -> int:
    return as_integer(count, "count", -sys.maxsize - 1, sys.maxsize)


class Taken(Generic[T]):
    """
    What is taken from the buffer of *stream* in the background.

    It leaves the buffer when the result has its place, and comes back if no caller gets that.
    """

    __slots__ = ("_size", "_stream", "_take", "_taken")

    def __init__(self, stream: BufferedInputStream, take: Taking[T]) -> None:
        self._stream = stream
        self._take = take
        self._taken = bytearray()
        self._size = -1
        """How many bytes the buffer has until they leave it, and -1 afterwards."""

    def after(self, steps: Steps[object]) -> Stepwise[T]:
        """Return what takes it after *steps*."""
        return Stepwise(self.steps(steps), self.discard, self.give_back)

    def steps(self, steps: Steps[object]) -> Steps[T]:
        """Take it after *steps*, or return their result."""
        self._stream._width = 0
        came = yield from steps
        found = self._take(True) if came is None else came
        self.note()
        return found  # type: ignore[return-value]

    def note(self) -> None:
        """Note what was taken just now. It stays in the buffer."""
        buffer = self._stream._buffer
        self._size = len(buffer)
        self._taken = buffer[: self._stream._width]

    def leave(self) -> None:
        """Have it leave the buffer. May be called again."""
        buffer = self._stream._buffer
        # While the stream is pending, nothing else changes the buffer.
        if len(buffer) == self._size:
            del buffer[: len(self._taken)]
        self._size = -1

    def give_back(self, stream: BufferedInputStream, token: object) -> None:
        """End the turn of *stream*, and `leave`."""
        self.leave()
        give_back_turn(stream, token)

    def discard(self, result: T) -> None:
        """Do nothing: there is nothing to close."""

    def withdraw(self, result: T) -> None:
        """Put it back, see `Operation.withdraw`."""
        if len(self._stream._buffer) != self._size:
            self._stream._buffer[:0] = self._taken
        self._taken = bytearray()
        self._size = -1


def start_taking(  # noqa: C901, PLR0912, PLR0915 - one frame for each line
    stream: BufferedInputStream,
    name: str,
    take: Taking[T],
    io_priority: int,
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
) -> Future[T] | None:
    """Start to take something from the buffer of *stream*, which is pending meanwhile; see `start_exclusively`."""
    # The short door, for what is in the buffer or in the socket already.
    if cancellable is None and not stream._closed:
        if io_priority is not PRIORITY_DEFAULT:
            io_priority = as_int(io_priority, "io_priority")
        if callable(callback):  # the lines of `make_task`, for the most usual arguments
            task = Task(stream, name, None)
            task._callback = callback
            if data:
                task._data = data
            task._place = here()
        else:
            task = make_task(stream, name, None, callback, data)
        pending, token, is_over, is_due = stream._pending, object(), False, False
        taken: Taken[T] | None = None
        try:
            pending.append(token)
            if pending == [token] and not task._is_held:
                stream._checked = stream._width = 0
                try:
                    found = take(False)
                    if found is None:
                        found = stream._take_what_came(take)
                except Error as caught:
                    found, task._error = None, caught.with_traceback(None)
                if found is not None or task._error is not None:
                    # The lines of `Task._end` and `_tell`.
                    if found is not None:
                        taken = Taken(stream, take)
                        taken.note()
                        task._discard = taken.discard
                        task._result = [found]
                    if callback is AWAIT:
                        # No call comes after this, in which a signal handler could raise.
                        if taken is not None:
                            taken.leave()
                        del pending[:]
                        task._ended = task._completed = is_over = True
                        return task  # type: ignore[return-value]
                    is_due = True
                    # As in Gio, where it is a flag. `give_back_turn` would take a frame.
                    task._before = pending.clear if taken is None else partial(taken.give_back, stream, token)
                    if io_priority:
                        task._priority = io_priority
                    task._due = task._was_missed = [(stream, task) + data]  # noqa: RUF005
                    task._ended = True
                    task._place.deliver(task)
                    is_over = True
                    return None
            if pending and pending[0] is token:  # as in `_take_now`
                del pending[0]
        finally:
            if is_over:
                pass
            elif is_due:
                task._tell()  # once more: the callback will be called
            else:
                if taken is not None:
                    taken.withdraw(found)  # type: ignore[arg-type]
                give_back_turn(stream, token)
    taken = Taken(stream, take)
    steps = taken.steps(stream._take_steps(take))
    return start_exclusively(
        stream, name, steps, io_priority, cancellable, callback, data, taken.discard, taken.give_back
    )
