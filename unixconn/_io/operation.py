"""
Operations, and the blocking wait.

An `Operation` is one thing to do with a socket: `attempt` makes one non-blocking try. Whoever runs it decides how to
wait between the tries; `complete` waits in the calling thread, by poll(), and pending.py in the background.
"""

from __future__ import annotations

import errno
import math
import select
import time
from abc import abstractmethod

from unixconn._base.errors import Error, IOErrorEnum, TooManyOpenFilesError, io_error, system_error
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._kernel.attempt import WOULD_BLOCK
from unixconn._kernel.handle import Handle
from unixconn._kernel.poll import IOCondition
from unixconn._kernel.trigger import Trigger, check_cancellable
from unixconn._kernel.wakeup import LONGEST_POLL, NO_DESCRIPTOR_INTERVAL

if TYPE_CHECKING:
    from typing import ClassVar

    from unixconn._kernel.attempt import WouldBlock

T = TypeVar("T")

# As plain numbers: IntFlags are slow to work with.
READABLE = int(IOCondition.IN)
WRITABLE = int(IOCondition.OUT)


class Operation(Generic[T]):
    """Something to do with a socket that may have to wait."""

    __slots__ = ("handle", "kept", "timeout")

    condition: ClassVar[int]
    """What it waits for: READABLE or WRITABLE; 0 where the kernel has nothing to tell."""
    interval: ClassVar[float] = math.inf
    """Seconds after which it is tried again, whatever the kernel tells."""
    takes_strays: ClassVar = False
    """Whether it takes what `Handle.strays` has, of which the kernel has nothing to tell."""
    prefix: ClassVar = ""
    """Comes before the text of every Error."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.kept: list[T] | None = None
        """
        Where it waits in the background, what a try has brought before a signal handler raised in it; else None.

        In the calling thread the exception tells that something was lost. In the background nobody would be told.
        """
        self.timeout: float | None = None
        """How many seconds it waits at most: what its Socket says."""

    @abstractmethod
    def attempt(self) -> T | WouldBlock:
        """Make one try, without waiting; give the result, or WOULD_BLOCK."""

    def check(self) -> None:
        """Raise for what is wrong with the arguments, which Gio looks at before the socket and the trigger."""

    def explain(self, error: Error) -> None:
        """Add to *error*, which has ended it, how far it had come."""

    def begin(self) -> None:
        """Get ready for the first try. Whatever comes of it, `end` follows."""

    def hold(self) -> None:
        """Get ready to wait, in which time the caller may go on with other things."""

    def end(self) -> None:
        """Let go of what `begin` and `hold` took; may be called again."""

    def discard(self, result: T) -> None:
        """Close what nobody will get."""


def complete(
    operation: Operation[T],
    trigger: Trigger | None,
    *,
    blocking: bool = True,
    tried: bool = False,
) -> T:
    """
    Do *operation* in this thread, and give its result.

    Waits as long as it would block, unless *blocking* is false: at most for its timeout in all, until *trigger* is
    cancelled, or until the socket is closed. What ends the wait otherwise, be it an exception out of a signal handler,
    loses nothing: a descriptor that has arrived just then is closed. *tried* says that the caller has made the first
    try.
    """
    check_cancellable(trigger)
    attempt = type(operation).attempt
    # Owns what arrives: from the try to this list is one step of the interpreter.
    result: list[T | WouldBlock] = []
    try:
        try:
            begin(operation, trigger)
            result[:] = (WOULD_BLOCK,) if tried else map(attempt, (operation,))
            if result[0] is WOULD_BLOCK:
                if not blocking:
                    raise would_block()
                operation.hold()
                deadline = None if operation.timeout is None else time.monotonic() + operation.timeout
                while result[0] is WOULD_BLOCK:
                    # First, as what is kept from here on cancels it.
                    closing = operation.handle.closing()
                    if not (operation.takes_strays and operation.handle.strays):
                        wait(operation.handle, closing, operation.condition, trigger, deadline, operation.interval)
                    result[:] = map(attempt, (operation,))
            return result[0]
        finally:
            operation.end()
    except BaseException as error:
        # Once more: a signal handler may have raised before the first one had any effect.
        give_up(operation, result)
        if isinstance(error, Error):
            operation.explain(error)
        raise


def give_up(operation: Operation[T], result: list[T | WouldBlock]) -> None:
    """End *operation*, and discard the *result* of its tries, if there is any."""
    operation.end()
    for each in result:
        if each is not WOULD_BLOCK:
            operation.discard(each)


def begin(operation: Operation[T], trigger: Trigger | None) -> None:
    """Get *operation* ready for its first try, or raise the Error that Gio gives in place of that."""
    try:
        operation.begin()
        operation.handle.check()
        if trigger is not None:
            trigger._check()
    except Error:
        operation.check()
        raise


def would_block() -> Error:
    """Make the Error of an operation that may not wait."""
    return system_error(errno.EAGAIN, "")


def timed_out() -> Error:
    """Make the Error of an operation that has waited for its whole time."""
    return io_error(IOErrorEnum.TIMED_OUT, "Socket I/O timed out")


def wait(
    handle: Handle,
    closing: Trigger,
    condition: int,
    trigger: Trigger | None,
    deadline: float | None,
    interval: float = math.inf,
) -> IOCondition:
    """
    Wait for *condition*, or for *interval* seconds, and give what poll() said of the socket.

    That is nothing also if *closing*, of `Handle.closing`, tells of a descriptor that was kept, in place of the end.
    *deadline* is a time of `time.monotonic`. Python runs signal handlers meanwhile, and their exceptions come out.
    Raises the Error CLOSED, TIMED_OUT or CANCELLED; TOO_MANY_OPEN_FILES if there is no descriptor left for
    *trigger*.
    """
    watcher = object()
    try:
        try:
            poller, longest = _poller(closing, trigger, watcher)
            return _poll(poller, longest, handle, closing, condition, trigger, deadline, interval)
        finally:
            closing._let_go(watcher)
            if trigger is not None:
                trigger._let_go(watcher)
    except BaseException:
        # Once more: a signal handler may have raised before the first one had any effect.
        closing._let_go(watcher)
        if trigger is not None:
            trigger._let_go(watcher)
        raise


def _poller(closing: Trigger, trigger: Trigger | None, watcher: object) -> tuple[select.poll, float]:
    """Give a poll object that knows what may end the wait, and after how many seconds to look for it all the same."""
    poller = select.poll()
    interval = LONGEST_POLL
    try:
        poller.register(closing._hold(watcher), select.POLLIN)
    except TooManyOpenFilesError:
        # A socket that nobody closes meanwhile can be waited for all the same.
        interval = NO_DESCRIPTOR_INTERVAL
    if trigger is not None:
        poller.register(trigger._hold(watcher), select.POLLIN)
    return poller, interval


def _poll(
    poller: select.poll,
    longest: float,
    handle: Handle,
    closing: Trigger,
    condition: int,
    trigger: Trigger | None,
    deadline: float | None,
    interval: float,
) -> IOCondition:
    number = handle.number
    handle.check()
    if condition:
        poller.register(number, condition)
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
        if number in ready or (not ready and interval <= pause):
            return IOCondition(ready.get(number, 0))
        if closing._is_set():
            return IOCondition(0)
        for each in (closing, trigger):
            if each is not None:
                each._show()
