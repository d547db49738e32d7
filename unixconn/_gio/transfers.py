"""Reading from a stream and writing to it in the background."""

from __future__ import annotations

from abc import abstractmethod
from operator import itemgetter

from unixconn._base.arguments import INT_MAX, as_int
from unixconn._base.deferred import defer
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._gio.streams import give_back_turn, start_exclusively, take_turn
from unixconn._io.operation import READABLE, WRITABLE, Operation
from unixconn._io.receiving_data import ReceiveData, keep_bytes
from unixconn._io.sending_data import SendData
from unixconn._io.waiter import serve
from unixconn._kernel.receive_data import receive_data
from unixconn._kernel.send import send_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from unixconn._gio.asynchronous import start_pending
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.future import Future
    from unixconn._gio.input_stream import InputStream
    from unixconn._gio.output_stream import OutputStream
    from unixconn._gio.triples import Callback
    from unixconn._io.steps import Steps
else:
    defer(globals(), "_gio.asynchronous", "start_pending")

T = TypeVar("T")

if TYPE_CHECKING:
    Reads = Union["Reading[T]", "Stepwise[T]"]

_AT_A_TIME = 16
"""The most pieces that one attempt transfers. After these, other operations have their turn."""


class Transfer(Operation[T]):
    """
    Read or write in the background. The stream is pending from `begin` to `give_back`.

    It goes on until *least* bytes have been transferred, and does not end before it has transferred any.
    """

    __slots__ = ("_argument", "_least", "_make", "_moved", "_stream")

    _argument: Any
    _moved: list[Any]
    """What each attempt has transferred, including an attempt that an exception has interrupted."""
    end_turn = staticmethod(give_back_turn)
    """Ends the stream's turn after `steps`, see `start_exclusively`."""

    def __init__(self, stream: InputStream | OutputStream, argument: Any, least: int, make: Callable[[Any], T]) -> None:
        """
        Prepare to transfer.

        *argument* is the number of bytes to read, or the bytes to write. *make* makes the result of what was
        transferred.
        """
        socket = stream._socket
        # These two lines are those of Operation's constructor.
        self.handle = socket._handle
        self.timeout = socket._timeout or None
        self._stream = stream
        self._argument = argument
        self._least = least
        self._make = make
        self._moved = []

    @property
    def is_stepwise(self) -> bool:
        """
        Whether this is run by `steps`.

        No bytes are transferred without a look at the socket, as in Gio. Each of several pieces has its own timeout.
        """
        return not self._argument or (self.timeout is not None and self._least > 1)

    @abstractmethod
    def steps(self) -> Steps[T]:
        """Yield the operations that transfer one piece each."""

    def begin(self) -> None:
        """Take the stream's turn. Raises the Error CLOSED or PENDING."""
        take_turn(self._stream, self)

    def give_back(self) -> None:
        """End the stream's turn. May be called again."""
        give_back_turn(self._stream, self)


class Reading(Transfer[T]):
    """Read at most so many bytes. *make* gets a list of the pieces, of which the last one is empty at the end."""

    __slots__ = ("_result",)

    _result: list[T]
    """The list for the result, from the first attempt on."""

    condition = READABLE

    def attempt(self, result: list[T]) -> bool:
        """See `Operation.attempt`."""
        found = self._moved
        self._result = result
        size = sum(map(len, found))
        pieces = 0
        while not found or (size < self._least and found[-1]):
            if pieces == _AT_A_TIME:
                return False  # and the socket is still readable, or will be
            count = receive_data(self.handle, self._argument - size, found)
            if count < 0:
                return False
            size += count
            pieces += 1
        result.append(self._make(found))
        return True

    def end(self) -> None:
        """Keep what has come if there is no result, and let an operation that waits for descriptors have its own."""
        if self._moved and not self._result:
            keep_bytes(self.handle, self._moved)
        if self.handle.leftovers:
            serve(self.handle, READABLE)

    def withdraw(self, result: T) -> None:
        """Keep the bytes for the next operation that receives data."""
        keep_bytes(self.handle, self._moved)

    def steps(self) -> Steps[T]:
        """See `Transfer.steps`."""
        found = self._moved
        size = 0
        is_over = False
        try:
            while True:
                if not self._argument or (found and not (size < self._least and found[-1])):
                    break
                operation = ReceiveData(self.handle, self._argument - size, found)
                operation.timeout = self.timeout
                size += yield operation
            is_over = True
            return self._make(found or [b""])
        finally:
            if not is_over:
                keep_bytes(self.handle, found)


class Stepwise(Generic[T]):
    """What takes the place of a Transfer in a stream that reads in steps of its own."""

    is_stepwise = True

    def __init__(
        self, steps: Steps[T], discard: Callable[[T], object], give_back: Callable[[Any, object], None]
    ) -> None:
        """Prepare to run *steps*. *discard* and *give_back* are as for `start_exclusively`."""
        self._steps = steps
        self.discard = discard
        self.end_turn = give_back

    def steps(self) -> Steps[T]:
        """Return the steps, once."""
        return self._steps


first: Callable[[list[Any]], Any] = itemgetter(0)
"""Makes the result of what one attempt has transferred."""


class Writing(Transfer[T]):
    """Write bytes, or the beginning of them. *make* gets the number of bytes that were written."""

    __slots__ = ()

    condition = WRITABLE

    def is_midway(self) -> bool:
        """See `Operation.is_midway`."""
        return bool(self._moved)

    def attempt(self, result: list[T]) -> bool:
        """See `Operation.attempt`."""
        data, sent = self._argument, self._moved
        size = sum(sent)
        pieces = 0
        while size < self._least:
            if pieces == _AT_A_TIME:
                return False
            # A view, as a slice of bytes would be a copy.
            count = send_data(self.handle, memoryview(data)[size:] if size else data, sent)
            if count < 0:
                return False
            size += count
            pieces += 1
        result.append(self._make(size))
        return True

    def steps(self) -> Steps[T]:
        """See `Transfer.steps`."""
        data, size = self._argument, 0
        while data and size < self._least:
            # As in OutputStream._go_on().
            operation = SendData(self.handle, data, self._moved, self._least if self.timeout is None else size + 1)
            operation.timeout = self.timeout
            size = yield operation
        return self._make(size)


def start_transfer(
    stream: InputStream | OutputStream,
    name: str,
    operation: Transfer[T] | Stepwise[T],
    io_priority: int,
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
) -> Future[T] | None:
    """Start *operation*, during which *stream* is pending; see `start`. It waits even if the Socket is non-blocking."""
    if operation.is_stepwise:
        steps, discard, end_turn = operation.steps(), operation.discard, operation.end_turn
        return start_exclusively(stream, name, steps, io_priority, cancellable, callback, data, discard, end_turn)
    if io_priority.__class__ is not int or not -INT_MAX <= io_priority <= INT_MAX:
        io_priority = as_int(io_priority, "io_priority")
    # It is a Transfer, as a Stepwise is stepwise.
    return start_pending(
        stream,
        name,
        operation,  # type: ignore[arg-type]
        cancellable,
        callback,
        data,
        priority=io_priority,
        before=operation.give_back,  # type: ignore[union-attr]
    )
