"""
Operations that wait in the calling thread, by poll(2).

A send that is made here while one of the background is half sent must not go into the middle of that message. It takes
its place in the queue, next after the one that is half sent: a `Standing`. It makes the attempts of that one itself,
which may belong to a context or an event loop of this very thread; the callback still comes from there. A send that is
half sent itself comes first in the queue.
"""

from __future__ import annotations

import math
import select
import time
from collections import deque

from unixconn._base.errors import Error, TooManyOpenFilesError, translated
from unixconn._base.lock import ending, this_process
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._io.operation import OVERDUE, WRITABLE, Operation, is_overdue, timed_out, would_block
from unixconn._io.waiter import Waiter
from unixconn._kernel.trigger import Trigger, check_cancellable
from unixconn._kernel.unpatched import Select
from unixconn._kernel.wakeup import LONGEST_POLL, NO_DESCRIPTOR_INTERVAL

if TYPE_CHECKING:
    from typing import Any

    from unixconn._kernel.handle import Handle

T = TypeVar("T")


def complete(  # noqa: C901 - one frame for each operation
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
    standing: list[Standing] = []
    held: list[Trigger] = []
    handle = operation.handle
    try:
        _begin(operation, trigger)
        if tried or (operation.condition == WRITABLE and WRITABLE in handle.waiting) or not operation.attempt(result):
            sends = operation.condition == WRITABLE
            # Half sent, it tries again at once: the others have to stand behind it.
            behind = sends and (WRITABLE in handle.waiting or operation.is_midway())
            if not blocking and not behind:
                raise would_block(handle)
            operation.hold()
            _wait_and_try(operation, trigger, result, standing if sends else None, held, behind, blocking)
        operation.end()
        return result[0]
    except BaseException as error:  # an Error, or an exception raised by a signal handler, perhaps in `end`
        try:
            if standing:
                standing[0].leave()
            operation.end()
            for closing in held:
                _let_go(operation, closing, trigger)
        except BaseException:  # raised by a signal handler after an Error
            _leave(operation, trigger, standing, held)
            raise
        if result:
            if standing and isinstance(error, Error):  # another thread has sent it meanwhile
                return result[0]
            operation.withdraw(result[0])
        if isinstance(error, Error):
            operation.explain(error)
        raise


def _leave(operation: Operation[Any], trigger: Trigger | None, standing: list[Standing], held: list[Trigger]) -> None:
    """Do once more what `complete` does after an exception, which another one has interrupted."""
    for each in standing:
        each.leave()
    operation.end()
    for closing in held:
        _let_go(operation, closing, trigger)


def _wait_and_try(
    operation: Operation[T],
    trigger: Trigger | None,
    result: list[T],
    standing: list[Standing] | None,
    held: list[Trigger],
    behind: bool,
    blocking: bool,
) -> None:
    """
    Wait and make attempts until *result* has an item. If *behind* is true, an attempt comes first.

    *standing* is None for an operation that does not send. *held* has what the caller lets go of if an exception comes.
    """
    handle = operation.handle
    deadline = None
    if operation.timeout is not None:
        deadline = time.monotonic() + (0 if OVERDUE and is_overdue(handle) else operation.timeout)
    while True:
        # This comes before the attempt of a send and the check of the leftovers: if another thread ends that, or adds
        # some leftovers, after them, it sets this Trigger.
        closing = handle.closing()
        held.append(closing)
        if behind and standing is not None and _attempt(operation, result, standing):
            return
        if not blocking:
            raise would_block(handle)
        if not (operation.takes_leftovers and handle.leftovers):
            _wait(operation, closing, trigger, deadline)
        behind = True
        if standing is None and operation.attempt(result):
            return
        # poll() may report the condition again and again, and an attempt find nothing.
        if deadline is not None and time.monotonic() >= deadline and standing is None:
            raise timed_out()


def _begin(operation: Operation[T], trigger: Trigger | None) -> None:
    """
    Prepare *operation* for its first attempt.

    Raises the first Error in Gio's order: that of the arguments, of the socket, of *trigger*.
    """
    try:
        operation.begin()
        if operation.handle.number < 0:
            operation.handle.check()
        if trigger is not None:
            trigger._check()
    except Error:
        operation.check()
        raise


def _attempt(operation: Operation[T], result: list[T], standing: list[Standing]) -> bool:
    """Make an attempt to send, or if a send of the background is half sent, that one's attempt before."""
    handle = operation.handle
    # The lock keeps those of the background from an attempt in between.
    with handle.entered:
        if not standing and WRITABLE in handle.waiting:
            _stand(operation, result, standing)
        over = standing[0].drive() if standing else operation.attempt(result)
        if not (over or standing) and operation.is_midway():
            # Now the others have to stand behind this one.
            line = handle.waiting.setdefault(WRITABLE, {})
            _put(operation, result, standing, line, list(line))
    return over


def _stand(operation: Operation[Any], result: list[Any], standing: list[Standing]) -> None:
    """Stand behind the first send in the queue if that is half sent; *standing* has the place. The lock is held."""
    line = operation.handle.waiting[WRITABLE]
    first = next(iter(line))
    if first._waker.is_closed:
        first._look()
    # Where a signal handler sends in the middle of an attempt, there is nobody who could go on with that.
    elif first._operation.is_midway() and not first._trying:
        _put(operation, result, standing, line, list(line)[1:])


def _put(
    operation: Operation[Any],
    result: list[Any],
    standing: list[Standing],
    line: dict[Any, None],
    others: list[Any],
) -> None:
    """Take the place in *line* before *others*, the rest of it."""
    standing.append(Standing(operation, result))
    line[standing[0]] = None
    # The others move behind it, in one step of the interpreter.
    deque(map(line.__setitem__, others, map(line.pop, others)), 0)


class _Here:
    """The reactor of a Standing: the thread that waits in poll()."""

    __slots__ = ("_process",)

    def __init__(self) -> None:
        self._process = this_process()

    @property
    def is_ours(self) -> bool:
        """See `Waker`."""
        return self._process is this_process()

    @property
    def is_closed(self) -> bool:
        """See `Waker`."""
        return not self.is_ours

    def add(self, waiter: Waiter) -> None:
        """Do nothing: the thread looks at the queue itself."""

    remove = add

    def rearm(self, handle: Handle) -> None:
        """Do nothing, as `add`."""


class Standing(Waiter):
    """
    A send that waits in the calling thread, in its place in the queue.

    Whoever serves the queue may make its attempts, as those of each Waiter.
    """

    def __init__(self, operation: Operation[Any], result: list[Any]) -> None:
        self._operation = operation
        self._result = result
        self._waker = self._waker_for(operation)
        self._waits = True
        self._raised: Error | None = None

    def _waker_for(self, operation: Operation[Any]) -> _Here:
        return _Here()

    def _tell(self) -> None:
        self._raised = self._failure
        self._operation.handle.wake()

    def drive(self) -> bool:
        """Make attempts of what is before this, and of this; return whether it has ended, or raise its Error."""
        line = self._operation.handle.waiting.get(WRITABLE, {})
        for each in list(line):
            if each._waker.is_closed:
                each._look()
            if self._is_over or (each in line and not each._advance()):
                break
        if self._raised is not None:
            raise self._raised
        return self._is_over

    @ending
    def leave(self) -> None:
        """Leave the queue."""
        with self._operation.handle.entered:
            self._is_told = True
            self._end_wait()


def _wait(operation: Operation[T], closing: Trigger, trigger: Trigger | None, deadline: float | None) -> None:
    """
    Wait until *operation* should be tried again.

    That is when the socket has the operation's condition, when the operation's interval has passed, or when *closing*
    is set, see `Handle.closing`. *deadline* is a time of `time.monotonic`, None for no limit.

    Python runs signal handlers meanwhile. If a handler raises an exception, it propagates, and the caller has to call
    `_let_go`.

    Raises the Error CLOSED, TIMED_OUT, or that of *trigger*.
    """
    try:
        poller: select.poll | Select = select.poll()
    except AttributeError:  # eventlet has removed it. As `new_poll` does, without the call
        poller = Select()
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


def _poll(  # noqa: C901 - one frame for each wait
    poller: select.poll | Select,
    longest: float,
    operation: Operation[T],
    closing: Trigger,
    trigger: Trigger | None,
    deadline: float | None,
) -> None:
    handle, interval = operation.handle, operation.interval
    number = handle.number
    if number < 0:
        handle.check()
    if operation.condition:
        poller.register(number, operation.condition)
    while True:
        left = math.inf if deadline is None else max(0.0, deadline - time.monotonic())
        pause = longest if trigger is None else min(longest, trigger._seconds_left())
        # Rounded up to milliseconds. Rounded down, the last fraction would be a busy loop of polls that do not wait.
        try:
            ready = dict(poller.poll(math.ceil(min(left, pause, interval) * 1000)))
        except OSError as error:
            raise translated(error, "Waiting for the socket: ") from None
        if handle.number < 0:
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
