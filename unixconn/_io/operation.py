"""
Operations, and the wait for them in the calling thread.

An `Operation` is one thing to do with a socket, such as to receive a descriptor. Its method `attempt` makes one
attempt, which does not wait. All ways of calling an operation make the same attempts, and differ only in the wait
between them: `complete` waits in the calling thread with poll(2); waiter.py waits in the background.
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
    """
    Something to do with a socket that may have to wait.

    The order of calls: `begin`; `attempt`, again and again until it returns True; `hold` once before the first wait;
    finally `end`, whatever has happened before. `discard` is called for a result that no caller takes.
    """

    __slots__ = ("handle", "timeout")

    condition: ClassVar[int]
    """The condition of the socket that the operation waits for: READABLE or WRITABLE; 0 if the kernel reports none."""
    interval: ClassVar[float] = math.inf
    """Seconds after which the next attempt is made even if the kernel has not reported the condition."""
    takes_leftovers: ClassVar[bool] = False
    """Whether the operation takes descriptors from `Handle.leftovers`. The kernel does not report these."""
    prefix: ClassVar[str] = ""
    """The prefix of the text of each Error that ends the operation."""

    def __init__(self, handle: Handle) -> None:
        self.handle: Handle = handle
        self.timeout: float | None = None
        """The most seconds to wait, None for no limit: the Socket's setting."""

    @abstractmethod
    def attempt(self, result: list[T]) -> bool:
        """
        Make one attempt, which does not wait; append the result to *result* and return True, or return False.

        False means that the operation would block. After an exception raised by a signal handler the method may be
        called again, and goes on from there: what was received or sent before is recorded here or in *result*.
        """

    def check(self) -> None:
        """Raise the Error for wrong arguments. Gio reports it before an Error of the socket or the cancellable."""

    def explain(self, error: Error) -> None:
        """Add a note to *error*, which has ended the operation, that says how far the operation had come."""

    def begin(self) -> None:
        """Prepare the first attempt. `end` is called in any case, even if this raises an exception."""

    def hold(self) -> None:
        """Prepare to wait. During the wait the caller may do other things, and close descriptors that it passed."""

    def end(self) -> None:
        """Release what `begin`, `hold` and the attempts have acquired. May be called again."""

    def discard(self, result: T) -> None:
        """Close the descriptors of a result that no caller takes."""


def complete(
    operation: Operation[T],
    trigger: Trigger | None,
    *,
    blocking: bool = True,
    tried: bool = False,
) -> T:
    """
    Perform *operation* in this thread, and return its result.

    While the operation would block, this waits and tries again. The operation's timeout limits all waits together.
    *trigger* ends the wait when it is set; closing the socket and an exception raised by a signal handler end it, too.
    A descriptor that arrives at that very moment is closed. *tried* says that the caller has made the first attempt
    already.

    Raises the Error of the attempt; the Error of *trigger* (CANCELLED or TIMED_OUT); CLOSED if the socket is closed;
    TIMED_OUT after the operation's timeout; WOULD_BLOCK if it would block and *blocking* is false; and
    TOO_MANY_OPEN_FILES if there is no descriptor left for *trigger*.
    """
    if trigger is not None and not isinstance(trigger, Trigger):
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
                # This comes before the check of the leftovers: if another thread adds some after the check, it sets
                # this Trigger.
                closing = operation.handle.closing()
                if not (operation.takes_leftovers and operation.handle.leftovers):
                    _wait(operation, closing, trigger, deadline)
                if operation.attempt(result):
                    break
        operation.end()
        return result[0]
    except BaseException as error:  # an Error, or an exception raised by a signal handler, perhaps in `end`
        _give_up(operation, result)
        if closing is not None:
            _let_go(operation, closing, trigger)
        if isinstance(error, Error):
            operation.explain(error)
        raise


def _give_up(operation: Operation[T], result: list[T]) -> None:
    operation.end()
    for each in result:
        operation.discard(each)


def begin(operation: Operation[T], trigger: Trigger | None) -> None:
    """
    Prepare *operation* for its first attempt.

    Raises the first Error in Gio's order: that of the arguments, of the socket, of *trigger*.
    """
    try:
        operation.begin()
        operation.handle.check()
        if trigger is not None:
            trigger._check()
    except Error:
        operation.check()
        raise


def would_block() -> Error:
    """Return the Error WOULD_BLOCK, for an operation that would block and is not allowed to."""
    return system_error(errno.EAGAIN, "")


def timed_out() -> Error:
    """Return the Error TIMED_OUT, for an operation that has waited for all of its timeout."""
    return io_error(IOErrorEnum.TIMED_OUT, "Socket I/O timed out")


def _wait(operation: Operation[T], closing: Trigger, trigger: Trigger | None, deadline: float | None) -> None:
    """
    Wait until *operation* should be tried again.

    That is when the socket has the operation's condition, when the operation's interval has passed, or when *closing*
    is set, see `Handle.closing`. *deadline* is a time of `time.monotonic`, None for no limit.

    Python runs signal handlers meanwhile. If a handler raises an exception, it propagates, and the caller has to call
    `_let_go`.

    Raises the Error CLOSED, TIMED_OUT, or that of *trigger*.
    """
    poller = select.poll()
    longest = LONGEST_POLL
    try:
        poller.register(closing._hold(operation), select.POLLIN)
    except TooManyOpenFilesError:
        # Without this descriptor, another thread that closes the socket cannot wake this one. So the wait is cut into
        # short ones.
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
        # Rounded up to milliseconds. Rounded down, the last fraction would be a busy loop of polls that do not wait.
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
