"""
Bytes, and the functions that a connection and its two streams share.

A connection or a stream is closed once. It is *pending* during an operation; there is only one at a time. An operation
takes its turn with its own token. It makes the token before it takes the turn, so that it can always give the turn
back.
"""

from __future__ import annotations

from functools import partial

from unixconn._base.arguments import INT_MAX, as_copy, as_int, as_integer
from unixconn._base.deferred import defer
from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._io.priorities import PRIORITY_DEFAULT
from unixconn._io.waiter import serve
from unixconn._kernel.epoll import READABLE
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from unixconn._gio.asynchronous import check_arguments, ended, start_sequence
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.control_messages import BytesLike
    from unixconn._gio.future import Future
    from unixconn._gio.input_stream import InputStream
    from unixconn._gio.io_stream import IOStream
    from unixconn._gio.output_stream import OutputStream
    from unixconn._gio.triples import Callback
    from unixconn._io.steps import Steps
    from unixconn._kernel.handle import Handle

    Stream = Union[IOStream, InputStream, OutputStream]
    """
    An argument of the functions here. Each of these classes has the attributes:

    - ``_closed``: whether it is closed.
    - ``_pending``: the tokens of the operations that want a turn. The first one has the turn, the others give up.
    - ``_close()``: closes what belongs to it. May be called again.
    """
else:
    defer(globals(), "_gio.asynchronous", "check_arguments", "ended", "start_sequence")

T = TypeVar("T")


class Bytes:
    """Immutable bytes (GLib.Bytes)."""

    __module__ = "unixconn"

    __slots__ = ("_data",)

    def __init__(self, data: BytesLike | None = None) -> None:
        self._data = b"" if data is None else as_copy(data)

    @staticmethod
    def _of(data: bytes) -> Bytes:
        made = Bytes.__new__(Bytes)
        made._data = data
        return made

    @classmethod
    def new(cls, data: BytesLike | None = None) -> Bytes:
        """
        Make Bytes from a copy of *data*, a bytes-like object; None stands for no bytes.

        Raises TypeError for anything else, such as a str.
        """
        return cls(data)

    @classmethod
    def new_take(cls, data: BytesLike | None = None) -> Bytes:
        """Make Bytes as `new` does. In C, the memory of *data* would belong to them from now on."""
        return cls(data)

    def new_from_bytes(self, offset: int, length: int) -> Bytes:
        """
        Make Bytes from the *length* bytes that begin at *offset*.

        Raises ValueError if there are fewer, TypeError and OverflowError for an argument that is no number of bytes.
        """
        start = as_integer(offset, "offset", 0, INT_MAX)
        end = start + as_integer(length, "length", 0, INT_MAX)
        if end > len(self._data):
            raise ValueError(f"there are {len(self._data)} bytes, and not {length} from {offset} on")
        return Bytes._of(self._data[start:end])

    def equal(self, bytes2: Bytes) -> bool:
        """Return whether *bytes2* has the same content."""
        return self == bytes2

    def compare(self, bytes2: Bytes) -> int:
        """
        Return a negative number, 0 or a positive one: which of the two comes first in the order of their bytes.

        Raises TypeError if *bytes2* is not Bytes.
        """
        if not isinstance(bytes2, Bytes):
            raise TypeError(f"bytes2 must be Bytes, not {bytes2!r}")
        return (self._data > bytes2._data) - (self._data < bytes2._data)

    def hash(self) -> int:
        """Return a number that is the same for the same content."""
        return hash(self._data)

    def get_data(self) -> bytes:
        """Return the content."""
        return self._data

    def get_size(self) -> int:
        """Return the number of bytes."""
        return len(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bytes) and self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        return f"Bytes({self._data!r})"


# --- one operation at a time ---


def take_turn(stream: Stream, token: object) -> None:
    """Make *stream* pending. Raises the Error CLOSED if it is closed, PENDING if an operation is pending already."""
    if stream._closed:
        raise closed()
    # The lines of take_turn_to_close().
    pending = stream._pending
    pending.append(token)
    if pending != [token]:
        _check_first(stream, token)


def take_turn_to_close(stream: Stream, token: object) -> None:
    """Make *stream* pending. Raises the Error PENDING if an operation is pending already."""
    pending = stream._pending
    pending.append(token)
    if pending != [token]:
        _check_first(stream, token)


def _check_first(stream: Stream, token: object) -> None:
    # There is no first token if clear_pending() was called just now.
    if next(iter(stream._pending), None) is not token:
        give_back_turn(stream, token)
        raise has_pending()


def give_back_turn(stream: Stream, token: object) -> None:
    """End the turn that *token* has, if it has one. May be called again."""
    try:
        stream._pending.remove(token)
    except ValueError:  # the user has called clear_pending()
        return


def exclusively(stream: Stream, steps: Steps[T], give_back: Callable[[Any, object], None] = give_back_turn) -> Steps[T]:
    """Run the *steps* of an operation, during which *stream* is pending; *give_back* is as for `start_exclusively`."""
    token = object()
    try:
        take_turn(stream, token)
        result = yield from steps
        give_back(stream, token)
        return result
    finally:  # once more, as a signal handler may have raised before or at the end
        give_back_turn(stream, token)


def in_turn(
    stream: Any,
    attempt: Callable[[Handle, Any, list[Any]], int],
    argument: Any,
    make: Callable[[list[Any]], T],
    least: int,
    cancellable: Cancellable | None,
) -> T:
    """
    Read or write in the calling thread, waiting even if the Socket is non-blocking, while *stream* is pending.

    Returns what *make* makes of the list of what each attempt has transferred. The caller has to return that in its
    next step: whatever ends this call, the stream's ``_keep`` keeps what has come.

    This is the short door of all methods that read or write: it makes the first *attempt* itself, and calls the
    stream's ``_go_on`` only if that has transferred fewer than *least* bytes, or would block. The attempt is
    `receive_data`, `receive_recorded` or `send_data`, which get *argument* and the list.
    """
    pending = stream._pending
    token = object()
    found: list[Any] = []
    try:
        pending.append(token)
        handle = stream._socket._handle
        if pending != [token] or stream._closed or cancellable is not None:
            check_turn(stream, token, handle, cancellable)
        # A plain call that sends stands behind an operation of the background that is half sent.
        if (handle.waiting and stream._queue in handle.waiting) or attempt(handle, argument, found) < least:
            stream._go_on(argument, found, least, cancellable)
        if handle.leftovers:
            serve(handle, READABLE)  # an operation may be waiting for a descriptor that came with bytes
        # Tokens behind this one are of operations that find at their next step that they have no turn.
        pending.clear()
        return make(found)
    except BaseException:  # an Error, or an exception raised by a signal handler at any step
        try:
            if found:
                stream._keep(argument, found)
        finally:
            if pending and pending[0] is token:
                del pending[0]  # without a call, in which a second exception could keep the turn
            else:
                give_back_turn(stream, token)
        raise


def check_turn(stream: Stream, token: object, handle: Handle, cancellable: Cancellable | None) -> None:
    """Raise the first Error that keeps an operation from its first attempt, in Gio's order."""
    check_cancellable(cancellable)
    if stream._closed:
        raise closed()
    _check_first(stream, token)
    if cancellable is not None:
        handle.check()
        cancellable._check()


def shown(stream: InputStream | OutputStream) -> str:
    """Return the representation of *stream*: its class, and the number of its descriptor."""
    if "_socket" not in stream.__dict__:  # the constructor has failed
        return f"<{type(stream).__name__}>"
    number = -1 if stream._closed else stream.get_fd()
    return f"<{type(stream).__name__} {'closed' if number < 0 else number}>"


def closed(what: str = "Stream") -> Error:
    """Return the Error for an operation of a stream that is closed."""
    return io_error(IOErrorEnum.CLOSED, f"{what} is already closed")


def has_pending() -> Error:
    """Return the Error for an operation of a stream that has another one pending."""
    return io_error(IOErrorEnum.PENDING, "Stream has outstanding operation")


def check_free(stream: Stream) -> None:
    """Raise the Error CLOSED if *stream* is closed, PENDING if an operation is pending."""
    if stream._closed:
        raise closed()
    if stream._pending:
        raise has_pending()


def start_exclusively(
    stream: Stream,
    name: str,
    steps: Steps[T],
    io_priority: int,
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
    discard: Callable[[T], object] | None = None,
    give_back: Callable[[Any, object], None] = give_back_turn,
) -> Future[T] | None:
    """
    Start the *steps* of an operation, during which *stream* is pending; see `start_sequence`.

    *give_back* is called with *stream* and its token when the result has its place, and ends the turn.
    """
    priority, token = as_int(io_priority, "io_priority"), object()
    return start_sequence(
        stream,
        name,
        # The stream is pending from the first step on, so that whatever ends the steps ends that state, too.
        _with_turn(stream, token, steps, cancellable),
        cancellable,
        callback,
        data,
        priority=priority,
        discard=discard,
        before=partial(give_back, stream, token),
    )


def _with_turn(stream: Stream, token: object, steps: Steps[T], cancellable: Cancellable | None) -> Steps[T]:
    take_turn(stream, token)
    if cancellable is not None:
        cancellable._check()
    return (yield from steps)


# --- closing ---


def close_stream(stream: Stream, cancellable: Cancellable | None) -> bool:
    """
    Close *stream*, unless it is closed, and return True.

    Raises the Error PENDING while an operation is pending.
    """
    if cancellable is not None:
        check_cancellable(cancellable)
    if not stream._closed:
        token = object()
        pending = stream._pending
        try:
            # The lines of take_turn_to_close().
            pending.append(token)
            if pending != [token]:
                _check_first(stream, token)
            stream._closed = True
            stream._close()
            pending.clear()
        finally:
            if pending:
                # An exception raised by a signal handler may have come before these calls had any effect, and another
                # close() does nothing.
                give_back_turn(stream, token)
                if stream._closed:
                    stream._close()
    return True


def start_close(
    stream: Stream,
    name: str,
    io_priority: int,
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
    *,
    heeds_priority: bool = True,
) -> Future[bool] | None:
    """Close *stream* in this call. It is pending, and `is_closed` is False, until *callback* is called."""
    if io_priority is not PRIORITY_DEFAULT:
        priority = as_int(io_priority, "io_priority")
        io_priority = priority if heeds_priority else PRIORITY_DEFAULT
    check_arguments(cancellable, callback)
    error, before, token = None, None, object()
    try:
        try:
            if not stream._closed:
                take_turn_to_close(stream, token)
                before = partial(_say_closed, stream)
                stream._close()
            if cancellable is not None:
                cancellable.set_error_if_cancelled()
        except Error as caught:
            error = caught
        return ended(stream, name, ([True], error), cancellable, callback, data, io_priority, before)
    except BaseException:
        # After an exception raised by a signal handler, the callback, which would end the turn, may never be called.
        if before is None:
            give_back_turn(stream, token)
        else:
            stream._close()
            before()
        raise


def _say_closed(stream: Stream) -> None:
    stream._closed = True
    stream._pending.clear()
