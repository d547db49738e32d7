"""
Steps: several operations, one after the other, that are one operation for the user.

Steps are written once, as a generator that yields operations and is sent their results. `complete_all` runs them in the
calling thread, `Sequence` runs them in the background, and `Both` runs two sequences at the same time.
"""

from __future__ import annotations

import threading
from functools import partial

from unixconn._base.errors import Error
from unixconn._base.lock import Lock
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._io.blocking import complete
from unixconn._io.operation import UserError
from unixconn._io.waiter import Waiter, cancelled

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
    """
    Run *steps* in this thread, and return their result. Each step has its own timeout.

    *trigger* and *blocking* are those of `complete`. Raises the Errors that *steps* do not catch.
    """
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
    except UserError as error:
        raise error.raised from None
    finally:
        steps.close()


_AT_A_TIME = 32
"""The most steps that run without a pause if none has to wait. After these, other operations have their turn."""


class Sequence(Generic[T]):
    """
    Runs *steps* in the background.

    Each step is an operation, and its `_Step` a Waiter. If it ends at once, the thread that has started it
    continues with the next step. Otherwise the step ends in another thread, or later in this one, and the sequence
    continues there (`_Step._tell`). A step may end in another thread before the call that starts it has returned: a
    `_Step` decides which of the two threads continues.

    A signal handler may raise an exception at any moment. `_recover` then ensures that the sequence still ends.
    """

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
        Prepare to run *steps*.

        *trigger* ends the current step, and the sequence with it. *reactor_for* returns the reactor that serves an
        operation while it waits. *finish* is called at the end, with a list that has the result, or with the Error.

        *post* schedules a function in a certain place, such as a context. If it is given, all of *steps* runs there,
        including the beginning.
        """
        self._steps = steps
        self._trigger = trigger
        self._reactor_for = reactor_for
        self._finish = finish
        self._post = post
        self._current: _Step | None = None
        self._cancelled = False
        self._over = False
        # The thread that is in `cancel`. If it ends a step there, it leaves the step in `_left`, and continues from it
        # when it has released the lock of the step's handle.
        self._cancelling_thread = 0
        self._left: list[_Step] = []
        # The result or the Error, until `finish` was called.
        self._outcome: tuple[list[T], Exception | None] | None = None

    def start(self) -> None:
        """Start the first step."""
        begin = partial(self._go_on, _Step(self, partial(next, self._steps)))
        if self._post is None:
            begin()
        else:
            self._post(begin)

    def cancel(self) -> None:
        """End the current step with CANCELLED, and the sequence with it, before this returns."""
        self._cancelled = True
        current = self._current  # read once, as another thread may be starting the next step
        if current is not None:
            self._cancelling_thread = threading.get_ident()
            try:
                current._abort()
            finally:
                self._cancelling_thread = 0
            try:
                left = self._left.pop()
            except IndexError:  # no step has ended, or another thread has gone on from it
                return
            self._go_on(left)

    def look(self) -> None:
        """Let the current step check whether something has ended it, see `Waiter._look`."""
        current = self._current
        if current is not None:
            current._look()

    def attend(self, trigger: Trigger) -> None:
        """Let *trigger* end the sequence, which was started without a trigger."""
        self._trigger = trigger
        current = self._current
        if current is not None and current._waits:
            current._attend(trigger)

    def _go_on(self, step: _Step) -> None:
        """Run the steps after *step*, until one has to wait."""
        claimed: list[bool] = []
        is_over = False
        try:
            for _ in range(_AT_A_TIME):
                following = self._do(step, claimed)
                if following is None:
                    is_over = True
                    return
                step = following
            # Continue later, after other operations have had their turn.
            self._post_step(step)
            is_over = True
        finally:
            if not is_over:  # a signal handler has raised
                self._recover(step, claimed)

    def _do(self, step: _Step, claimed: list[bool]) -> _Step | None:
        """
        Take the result of *step* and start the next one.

        Returns the next step if it has ended and this thread has claimed to continue from it; *claimed* records the
        claim.
        """
        # If a signal handler raises an exception, a context calls this again. The sequence may be further by then.
        if self._over or step.is_used or step.proceed is None:
            return None
        step.following = following = _Step(self)
        self._current = None
        step.is_used = True
        claimed.clear()
        try:
            operation = following.operation = step.proceed()
            if self._cancelled:  # between two steps, when there was none that `cancel` could end
                operation = following.operation = self._steps.throw(cancelled())
        except StopIteration as stop:
            self._outcome = [stop.value], None
        except UserError as error:
            self._outcome = [], error.prefixed("")
        except Error as error:
            # Without the traceback, whose frames would keep this object and the generator alive; as in waiter.py.
            error.__context__ = None
            self._outcome = [], error.with_traceback(None)
        if self._outcome is not None:
            self._end()
            return None
        self._begin(following, operation)
        return following if following.proceed is not None and following.claim(claimed) else None

    def _begin(self, step: _Step, operation: Operation[Any]) -> None:
        trigger = self._trigger
        self._current = step
        step._perform(operation, trigger, True)
        if step._waits:
            self._catch_up(step, trigger)
        step.has_started = True

    def _recover(self, step: _Step, claimed: list[bool]) -> None:
        """Ensure that the sequence will end, after an exception has interrupted `_do` for *step*."""
        following = step.following
        if self._outcome is not None:
            self._end()
        elif self._over:
            return
        elif not step.is_used or following is None:
            # The result of *step* was not taken: do that later. At the beginning of the sequence (no operation) the
            # exception propagates from `start`, and its caller knows that nothing was begun.
            if step.operation is not None:
                self._post_step(step)
        elif following.operation is not None and (
            following.proceed is not None or (following._waits and not following._is_told)
        ):
            # The next step has ended or waits: do the rest of its start.
            following.has_started = True
            if following.proceed is not None and (claimed or following.claim(claimed)):
                self._post_step(following)
        else:
            # The result of *step* was passed to the generator and is lost, or the result of the next step is lost. To
            # continue without it would be wrong.
            self._steps.close()
            self._outcome = [], cancelled()
            self._end()

    def _catch_up(self, step: _Step, trigger: Trigger | None) -> None:
        """Do what `attend` and `cancel` could not do while *step* was being started with *trigger*."""
        if self._trigger is not None and self._trigger is not trigger:
            step._attend(self._trigger)
        if self._cancelled:
            step._abort()

    def _post_step(self, step: _Step) -> None:
        assert step.operation is not None
        (self._post or self._reactor_for(step.operation).post)(partial(self._go_on, step))

    def _end(self) -> None:
        # `_recover` calls this again if an exception interrupts it.
        self._over = True
        self._current = None
        self._finish(*self._outcome)  # type: ignore[misc]  # the callers have set it
        self._outcome = None

    def _hand_on(self, step: _Step) -> None:
        # The next step is not started now: this thread holds the lock of the step's handle, and the next step may take
        # another handle's lock. So two threads could deadlock.
        if self._cancelling_thread == threading.get_ident() and self._post is None:
            self._left.append(step)
        else:
            self._post_step(step)


class _Step(Waiter):
    """
    A step of *sequence*, and the decision which thread continues from it.

    Thread A starts the step; thread B, perhaps another one, ends it, perhaps before thread A has returned from the
    start. The thread that comes second continues. Each thread first states that it has arrived: A sets `has_started`, B
    sets `proceed`. If it then finds that the other thread has arrived, it calls `claim`, which succeeds only once.
    """

    def __init__(self, sequence: Sequence[Any], proceed: Callable[[], Operation[Any]] | None = None) -> None:
        self._sequence = sequence
        self.operation: Operation[Any] | None = None
        """The operation of the step. None for the beginning of the sequence, and while it is not known yet."""
        self.has_started = False
        """Whether the start of the step is over."""
        self.proceed = proceed
        """Passes the result of the step to the generator, and returns the next operation. None before the end."""
        self.is_used = False
        """Whether `proceed` was called, or is about to be."""
        self.following: _Step | None = None
        """The next step, set just before `is_used`."""
        self.claimed: list[bool] = []
        """Not empty if the thread that has ended the step has claimed to continue from it."""
        self._claims = [True]

    def _waker_for(self, operation: Operation[Any]) -> Reactor:
        return self._sequence._reactor_for(operation)

    def _tell(self) -> None:
        # The caller calls this again if an exception interrupts it.
        if self.proceed is None:
            steps = self._sequence._steps
            if self._error is None:
                self.proceed = partial(steps.send, self._result[0])
            else:
                self.proceed = partial(steps.throw, self._error)
        # If this is called twice, it hands the step on twice. `Sequence._do` goes on from it only once.
        if self.has_started and self.claim(self.claimed):
            self._sequence._hand_on(self)

    def claim(self, claimed: list[bool]) -> bool:
        """Claim to continue from this step, and record that in *claimed*; return whether it has the only claim."""
        try:
            # In one step of the interpreter: the claim is always in one of the two lists, even after an exception.
            claimed.extend(map(self._claims.pop, (-1,)))
        except IndexError:
            return bool(claimed)
        return True


class Both:
    """Runs two sequences of steps in the background at the same time, and calls *finish* when both have ended."""

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
        Prepare to run both of *steps*.

        If *wait_for_both* is false, the end of one sequence cancels the other. If one ends with an Error, the other is
        cancelled in any case, and *finish* gets the first Error. The other arguments are those of `Sequence`.
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
        """Start both."""
        for each in self._sequences:
            each.start()

    def cancel(self) -> None:
        """End both with CANCELLED."""
        for each in self._sequences:
            each.cancel()

    def look(self) -> None:
        """Let both check whether something has ended them."""
        for each in self._sequences:
            each.look()

    def attend(self, trigger: Trigger) -> None:
        """Let *trigger* end both, which were started without a trigger."""
        for each in self._sequences:
            each.attend(trigger)

    def _end(self, index: int, _result: list[Any], error: Error | None) -> None:
        with self._lock.entered:
            # The outcome is there already if this is called again after a signal handler has raised an exception.
            if index not in self._ended:
                self._ended.append(index)
                if self._error is None and (len(self._ended) == 1 or self._wait_for_both):
                    self._error = error
            is_first = self._ended[0] == index
        if not is_first:
            self._finish([True], self._error)
        elif error is not None or not self._wait_for_both:
            self._sequences[1 - index].cancel()
