"""
Several operations one after the other, as one: a generator that yields them, and is sent their results.

The steps are written once, and done in either way: `complete_all` waits in the calling thread, a `Sequence` in the
background, and `Both` does two sequences at a time.
"""

from __future__ import annotations

import threading
from functools import partial

from unixconn._base.errors import Error
from unixconn._base.lock import Lock, ending
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._io.operation import complete
from unixconn._io.waiter import Waiter, cancelled, try_or_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from unixconn._io.operation import Operation
    from unixconn._io.reactor import Reactor
    from unixconn._kernel.trigger import Trigger

T = TypeVar("T")

if TYPE_CHECKING:
    Steps = Generator[Operation[Any], Any, T]


def complete_all(steps: Steps[T], trigger: Trigger | None, *, blocking: bool) -> T:
    """Do *steps* in this thread, each with its own timeout, and return their result."""
    try:
        operation = next(steps)
        while True:
            try:
                result = complete(operation, trigger, blocking=blocking)
            except Error as error:
                operation = steps.throw(error)
            else:
                operation = steps.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        steps.close()


_AT_A_TIME = 32
"""Steps that are done without a pause, while none has to wait."""


class Sequence(Generic[T]):
    """Does *steps* in the background, and tells *finish* their end."""

    def __init__(
        self,
        steps: Steps[T],
        trigger: Trigger | None,
        reactor_for: Callable[[Operation[Any]], Reactor],
        finish: Callable[[list[T], Error | None], None],
        *,
        post: Callable[[Callable[[], object]], None] | None = None,
    ) -> None:
        """
        Prepare to do *steps*.

        *reactor_for* returns the reactor that is to look after a step. With *post* nothing of the steps runs elsewhere
        than where that has functions called, not even their beginning.
        """
        self._steps = steps
        self._trigger = trigger
        self._reactor_for = reactor_for
        self._finish = finish
        self._post = post
        self._waiter: Waiter[Any] | None = None
        self._cancelled = False
        self._over = False
        # The thread that cancels goes on itself, when it has released the lock.
        self._cancelling_thread = 0
        self._left: list[_Step] = []
        # The end, until it was told.
        self._outcome: tuple[list[T], Error | None] | None = None

    def start(self) -> None:
        """Begin with the first step."""
        begin = partial(self._go_on, _Step(None, partial(next, self._steps)))
        if self._post is None:
            begin()
        else:
            self._post(begin)

    def cancel(self) -> None:
        """End the step under way as its trigger would, and the steps with it, before this returns."""
        self._cancelled = True
        waiter = self._waiter  # once, as another thread may be beginning the next step
        if waiter is not None:
            self._cancelling_thread = threading.get_ident()
            try:
                waiter.cancel()
            finally:
                self._cancelling_thread = 0
            try:
                left = self._left.pop()
            except IndexError:  # nothing, or another thread was quicker
                return
            self._go_on(left)

    def look(self) -> None:
        """Have the step under way look whether something has ended it."""
        waiter = self._waiter
        if waiter is not None:
            waiter.look()

    def attend(self, trigger: Trigger) -> None:
        """Let *trigger* end it, too, which was started without one."""
        self._trigger = trigger
        waiter = self._waiter
        if waiter is not None:
            waiter.attend(trigger)

    def _go_on(self, step: _Step) -> None:
        claimed: list[bool] = []
        try:
            for _ in range(_AT_A_TIME):
                following = self._do(step, claimed)
                if following is None:
                    return
                step = following
            # Other operations have their turn, too.
            self._post_step(step)
        except BaseException:  # raised by a signal handler
            self._recover(step, claimed)
            raise

    def _do(self, step: _Step, claimed: list[bool]) -> _Step | None:
        """Go on from *step*, and return the next one if that is done and *claimed*."""
        # A context calls this again after an exception of a signal handler, and the steps may be further by then.
        if self._over or step.is_used or step.proceed is None:
            return None
        step.following = following = _Step(None)
        self._waiter = None
        step.is_used = True
        claimed.clear()
        try:
            operation = following.operation = step.proceed()
            if self._cancelled:  # after the result of the last step was taken
                operation = following.operation = self._steps.throw(cancelled())
        except StopIteration as stop:
            self._outcome = [stop.value], None
        except Error as error:
            # Without the frames, which have this and its source, as waiter.py tells its own errors.
            error.__context__ = None
            self._outcome = [], error.with_traceback(None)
        if self._outcome is not None:
            self._end()
            return None
        self._begin(following, operation)
        return following if following.proceed is not None and following.claim(claimed) else None

    def _begin(self, step: _Step, operation: Operation[Any]) -> None:
        trigger = self._trigger
        begin = partial(
            try_or_wait,
            trigger=trigger,
            waker_for=self._reactor_for,
            finish=partial(self._end_step, step),
            blocking=True,
        )
        waiter: list[Waiter[Any] | None] = []
        try:
            # What waits from now on is known in the same step of the interpreter.
            waiter[:] = map(begin, (operation,))
        finally:
            self._waiter = waiter[0] if waiter else None
        if self._waiter is not None:
            self._catch_up(self._waiter, trigger)
        step.has_started = True

    def _recover(self, step: _Step, claimed: list[bool]) -> None:
        """Make sure that there will be an end, though an exception has broken off the way on from *step*."""
        following = step.following
        if self._over:
            return
        if self._outcome is not None:
            self._end()
        elif not step.is_used or following is None:
            # An exception at the beginning tells the caller that nothing has begun.
            if step.operation is not None:
                self._post_step(step)
        elif following.operation is not None and (following.proceed is not None or self._waiter is not None):
            following.has_started = True
            if following.proceed is not None and (claimed or following.claim(claimed)):
                self._post_step(following)
        else:
            # The result of a step is lost, and it would be wrong to go on without.
            self._steps.close()
            self._outcome = [], cancelled()
            self._end()

    def _catch_up(self, waiter: Waiter[Any], trigger: Trigger | None) -> None:
        """Tell *waiter*, which was started with *trigger*, what `attend` and `cancel` could not tell it meanwhile."""
        if self._trigger is not None and self._trigger is not trigger:
            waiter.attend(self._trigger)
        if self._cancelled:
            waiter.cancel()

    def _post_step(self, step: _Step) -> None:
        assert step.operation is not None
        (self._post or self._reactor_for(step.operation).post)(partial(self._go_on, step))

    @ending
    def _end(self) -> None:
        # What finish() does is done once.
        if self._outcome is not None:
            self._over = True
            self._finish(*self._outcome)
            self._outcome = None

    @ending
    def _end_step(self, step: _Step, result: list[Any], error: Error | None) -> None:
        if step.proceed is None:
            send = self._steps.send if error is None else self._steps.throw
            step.proceed = partial(send, result[0] if error is None else error)
        # A step that was claimed here and is handed on twice goes on once.
        if step.has_started and (step.claimed or step.claim(step.claimed)):
            self._hand_on(step)

    def _hand_on(self, step: _Step) -> None:
        # Later, as this has the lock of the step's handle, and the next step may need another's.
        if self._cancelling_thread == threading.get_ident() and self._post is None:
            self._left.append(step)
        else:
            self._post_step(step)


class _Step:
    """
    Where the start of a step and its end meet, in two threads perhaps: the second of the two goes on.

    Each states first that it is there, and claims the going on if the other one is.
    """

    __slots__ = ("_claims", "claimed", "following", "has_started", "is_used", "operation", "proceed")

    def __init__(self, operation: Operation[Any] | None, proceed: Callable[[], Operation[Any]] | None = None) -> None:
        self.operation = operation
        """The operation of the step; None for the beginning, which *proceed* is, and before it is known."""
        self.has_started = False
        self.proceed = proceed
        self.is_used = False
        """Whether the steps have gone on from here."""
        self.following: _Step | None = None
        """The next step, from just before that."""
        self.claimed: list[bool] = []
        """Not empty if the end of the step has claimed the going on."""
        self._claims = [True]

    def claim(self, claimed: list[bool]) -> bool:
        """Return whether nobody else has claimed this, and note the claim in the list *claimed*."""
        try:
            # In one step of the interpreter: an exception of a signal handler finds it in one of the two lists.
            claimed.extend(map(self._claims.pop, (-1,)))
        except IndexError:
            return False
        return True


class Both:
    """Does two sequences of steps in the background, and tells *finish* when both have ended."""

    def __init__(
        self,
        steps: tuple[Steps[Any], Steps[Any]],
        trigger: Trigger | None,
        reactor_for: Callable[[Operation[Any]], Reactor],
        finish: Callable[[list[bool], Error | None], None],
        *,
        wait_for_both: bool,
    ) -> None:
        """
        Prepare to do both of *steps*.

        Without *wait_for_both* the end of one ends the other. An Error does so in any case, and is the result.
        """
        self._lock = Lock()
        self._finish = finish
        self._wait_for_both = wait_for_both
        self._error: Error | None = None
        self._ended: list[int] = []
        self._sequences = [
            Sequence(each, trigger, reactor_for, partial(self._end, index)) for index, each in enumerate(steps)
        ]

    def start(self) -> None:
        """Begin with both."""
        for each in self._sequences:
            each.start()

    def cancel(self) -> None:
        """End both as their trigger would."""
        for each in self._sequences:
            each.cancel()

    def look(self) -> None:
        """Have both look whether something has ended them."""
        for each in self._sequences:
            each.look()

    def attend(self, trigger: Trigger) -> None:
        """Let *trigger* end both, too, which were started without one."""
        for each in self._sequences:
            each.attend(trigger)

    def _end(self, index: int, _result: list[Any], error: Error | None) -> None:
        with self._lock.entered:
            # Called again after an exception of a signal handler.
            if index not in self._ended:
                self._ended.append(index)
                if self._error is None and (len(self._ended) == 1 or self._wait_for_both):
                    self._error = error
            is_first = self._ended[0] == index
        if not is_first:
            self._finish([True], self._error)
        elif error is not None or not self._wait_for_both:
            self._sequences[1 - index].cancel()
