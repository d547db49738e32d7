"""
Operations, and the wait in the calling thread.

An `Operation` is one thing to do with a socket. `attempt` makes one try, which does not wait. The ways of calling
differ only in what waits between the tries: `complete` waits in the calling thread, by poll(), and waiter.py in the
background.
"""

from __future__ import annotations

import errno
import math
import select
import time
from abc import abstractmethod

from unixconn._base.errors import Error, IOErrorEnum, TooManyOpenFilesError, io_error, system_error
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._kernel.epoll import READABLE, WRITABLE
from unixconn._kernel.handle import Handle
from unixconn._kernel.trigger import Trigger, check_cancellable
from unixconn._kernel.wakeup import LONGEST_POLL, NO_DESCRIPTOR_INTERVAL

if TYPE_CHECKING:
    from typing import ClassVar

__all__ = ["READABLE", "WRITABLE", "Operation", "begin", "complete", "timed_out", "would_block"]

T = TypeVar("T")


class Operation(Generic[T]):
    """Something to do with a socket that may have to wait."""

    __slots__ = ("handle", "timeout")

    condition: ClassVar[int]
    """What it waits for: READABLE or WRITABLE; 0 where the kernel reports nothing."""
    interval: ClassVar[float] = math.inf
    """Seconds after which it is tried again, whatever the kernel reports."""
    takes_leftovers: ClassVar[bool] = False
    """Whether it takes what `Handle.leftovers` has, of which the kernel reports nothing."""
    prefix: ClassVar[str] = ""
    """Stands in front of the text of every Error."""

    def __init__(self, handle: Handle) -> None:
        self.handle: Handle = handle
        self.timeout: float | None = None
        """Seconds to wait at most, None for no limit: the Socket's setting."""

    @abstractmethod
    def attempt(self, result: list[T]) -> bool:
        """
        Make one try, without waiting; append the result to *result*, and return whether there is one.

        A try that an exception has broken off may be made again, and goes on from there: what it has received or sent
        before that is kept, here or in *result*.
        """

    def check(self) -> None:
        """Raise the Error for wrong arguments, which Gio reports before those of the socket and the cancellable."""

    def explain(self, error: Error) -> None:
        """Add to *error*, which has ended the operation, how far it had come."""

    def begin(self) -> None:
        """Get ready for the first try. `end` follows in any case."""

    def hold(self) -> None:
        """Get ready to wait, while the caller may go on with other things."""

    def end(self) -> None:
        """Release what `begin`, `hold` and the tries have taken. May be called again."""

    def discard(self, result: T) -> None:
        """Close a result that nobody takes."""


def complete(
    operation: Operation[T],
    trigger: Trigger | None,
    *,
    blocking: bool = True,
    tried: bool = False,
) -> T:
    """
    Do *operation* in this thread, and return its result.

    Waits as long as it would block, unless *blocking* is false: at most for its timeout in all, until *trigger* is set,
    or until the socket is closed. An exception raised by a signal handler ends the wait, too, and loses nothing: a
    descriptor that has come just then is closed. With *tried* the caller has made the first try.

    Raises the Error of the try; CLOSED, CANCELLED, TIMED_OUT, WOULD_BLOCK; TOO_MANY_OPEN_FILES if there is no
    descriptor left for *trigger*.
    """
    check_cancellable(trigger)
    result: list[T] = []
    closing: Trigger | None = None
    try:
        begin(operation, trigger)
        if tried or not operation.attempt(result):
            if not blocking:
                raise would_block()
            operation.hold()
            deadline = None if operation.timeout is None else time.monotonic() + operation.timeout
            while True:
                # First, as what another thread keeps for this one from here on sets it.
                closing = operation.handle.closing()
                if not (operation.takes_leftovers and operation.handle.leftovers):
                    _wait(operation, closing, trigger, deadline)
                if operation.attempt(result):
                    break
        operation.end()
        return result[0]
    except BaseException as error:  # an Error, or raised by a signal handler, in the end as well
        operation.end()
        for each in result:
            operation.discard(each)
        if closing is not None:
            _let_go(operation, closing, trigger)
        if isinstance(error, Error):
            operation.explain(error)
        raise


def begin(operation: Operation[T], trigger: Trigger | None) -> None:
    """Get *operation* ready for its first try, or raise the Error that Gio raises in place of that."""
    try:
        operation.begin()
        operation.handle.check()
        if trigger is not None:
            trigger._check()
    except Error:
        operation.check()
        raise


def would_block() -> Error:
    """Return the Error of an operation that may not wait."""
    return system_error(errno.EAGAIN, "")


def timed_out() -> Error:
    """Return the Error of an operation that has waited for its whole time."""
    return io_error(IOErrorEnum.TIMED_OUT, "Socket I/O timed out")


def _wait(operation: Operation[T], closing: Trigger, trigger: Trigger | None, deadline: float | None) -> None:
    """
    Wait until *operation* should be tried again: for its condition or its interval, or because *closing* is set.

    `Handle.closing` is set also by descriptors that were kept. *deadline* is a time of `time.monotonic`. Python runs
    signal handlers meanwhile, and their exceptions come out; the caller has to call `_let_go` then.
    """
    poller = select.poll()
    longest = LONGEST_POLL
    try:
        poller.register(closing._hold(operation), select.POLLIN)
    except TooManyOpenFilesError:
        # A socket that no thread closes meanwhile can be waited for all the same.
        longest = NO_DESCRIPTOR_INTERVAL
    if trigger is not None:
        poller.register(trigger._hold(operation), select.POLLIN)
    _poll(poller, longest, operation, closing, trigger, deadline)
    _let_go(operation, closing, trigger)


def _let_go(operation: Operation[T], closing: Trigger, trigger: Trigger | None) -> None:
    closing._let_go(operation)
    if trigger is not None:
        trigger._let_go(operation)


def _poll(
    poller: select.poll,
    longest: float,
    operation: Operation[T],
    closing: Trigger,
    trigger: Trigger | None,
    deadline: float | None,
) -> None:
    handle, interval = operation.handle, operation.interval
    number = handle.number
    handle.check()
    if operation.condition:
        poller.register(number, operation.condition)
    while True:
        left = math.inf if deadline is None else max(0.0, deadline - time.monotonic())
        pause = longest if trigger is None else min(longest, trigger._seconds_left())
        # Rounded up, or the last millisecond would be spent in a loop of polls that do not wait.
        ready = dict(poller.poll(math.ceil(min(left, pause, interval) * 1000)))
        handle.check()
        if not ready and left <= min(pause, interval):
            raise timed_out()
        if trigger is not None:
            trigger._check()
        if number in ready or (not ready and interval <= pause) or closing._is_set():
            return
        for each in (closing, trigger):
            if each is not None:
                each._show()
