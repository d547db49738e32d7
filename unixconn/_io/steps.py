"""
Several operations one after the other, as one: a generator that yields them, and is sent their results.

What is to be done is written once, and done in either way: `complete_all` waits in the calling thread, a `Sequence` in
the background.
"""

from __future__ import annotations

import threading
from functools import partial

from unixconn._base.errors import Error
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._io.operation import complete
from unixconn._io.waiter import Pending, cancelled, try_or_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from unixconn._io.operation import Operation
    from unixconn._io.reactor import Poller
    from unixconn._kernel.trigger import Trigger

T = TypeVar("T")

if TYPE_CHECKING:
    Steps = Generator[Operation[Any], Any, T]


def complete_all(steps: Steps[T], trigger: Trigger | None, *, blocking: bool) -> T:
    """Do *steps* in this thread, each with its own timeout, and give their result."""
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
        poller_for: Callable[[Operation[Any]], Poller],
        finish: Callable[[list[T], Error | None], None],
        *,
        post: Callable[[Callable[[], object]], None] | None = None,
    ) -> None:
        """
        Take *poller_for*, which gives who is to look after a step.

        With *post* nothing of the steps runs elsewhere than where that has things called, not even their beginning.
        """
        self._steps = steps
        self._trigger = trigger
        self._poller_for = poller_for
        self._finish = finish
        self._post = post
        self._pending: Pending[Any] | None = None
        self._cancelled = False
        self._over = False
        # Who cancels goes on itself, when it has let go of the lock.
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
        """End the step under way as its Cancellable would, and the steps with it, before this comes back."""
        self._cancelled = True
        pending = self._pending  # once: another thread may be beginning the next step
        if pending is not None:
            self._cancelling_thread = threading.get_ident()
            try:
                pending.cancel()
            finally:
                self._cancelling_thread = 0
            try:
                left = self._left.pop()
            except IndexError:  # nothing, or another thread was quicker
                return
            self._go_on(left)

    def look(self) -> None:
        """Have the step under way look whether something has ended it."""
        pending = self._pending
        if pending is not None:
            pending.look()

    def attend(self, trigger: Trigger) -> None:
        """Let *trigger* end it, too: it was started without one."""
        self._trigger = trigger
        pending = self._pending
        if pending is not None:
            pending.attend(trigger)

    def _go_on(self, step: _Step) -> None:
        claimed: list[bool] = []
        try:
            for _ in range(_AT_A_TIME):
                following = self._do(step, claimed)
                if following is None:
                    return
                step = following
            # Others have their turn, too.
            self._post_step(step)
        except BaseException:  # of a signal handler
            self._recover(step, claimed)
            raise

    def _do(self, step: _Step, claimed: list[bool]) -> _Step | None:
        """Go on from *step*, and give the next one if that is done and *claimed*."""
        # A context calls this again if a signal handler has raised, and the steps are further by then.
        if self._over or step.is_used or step.proceed is None:
            return None
        step.following = following = _Step(None)
        self._pending = None
        step.is_used = True
        claimed.clear()
        try:
            operation = following.operation = step.proceed()
            if self._cancelled:  # after what the last step has brought was taken
                operation = following.operation = self._steps.throw(cancelled())
        except StopIteration as stop:
            self._outcome = [stop.value], None
        except Error as error:
            # Without the frames, which have this and what it is an operation of, as pending.py tells of its own.
            error.__context__ = None
            self._outcome = [], error.with_traceback(None)
        if self._outcome is not None:
            self._end(self._outcome)
            return None
        self._begin(following, operation)
        return following if following.proceed is not None and following.claim(claimed) else None

    def _begin(self, step: _Step, operation: Operation[Any]) -> None:
        trigger = self._trigger
        begin = partial(
            try_or_wait,
            trigger=trigger,
            waker_for=self._poller_for,
            finish=partial(self._end_step, step),
            blocking=True,
        )
        pending: list[Pending[Any] | None] = []
        try:
            # What waits from now on is known in the same step of the interpreter.
            pending[:] = map(begin, (operation,))
        finally:
            self._pending = pending[0] if pending else None
        if self._pending is not None:
            self._catch_up(self._pending, trigger)
        step.has_started = True

    def _recover(self, step: _Step, claimed: list[bool]) -> None:
        """See to it that there will be an end, though a signal handler has raised on the way on from *step*."""
        following = step.following
        if self._over:
            return
        if self._outcome is not None:
            self._end(self._outcome)
        elif not step.is_used or following is None:
            # Of the beginning the caller knows that it was none.
            if step.operation is not None:
                self._post_step(step)
        elif following.operation is not None and (following.proceed is not None or self._pending is not None):
            following.has_started = True
            if following.proceed is not None and (claimed or following.claim(claimed)):
                self._post_step(following)
        else:
            # What the steps, or a try, have brought is lost, and it would be wrong to go on without.
            self._steps.close()
            self._end(([], cancelled()))

    def _catch_up(self, pending: Pending[Any], trigger: Trigger | None) -> None:
        """Tell *pending*, which was started with *trigger*, what has come meanwhile and found nothing to tell."""
        if self._trigger is not None and self._trigger is not trigger:
            pending.attend(self._trigger)
        if self._cancelled:
            pending.cancel()

    def _post_surely(self, step: _Step) -> None:
        try:
            self._post_step(step)
        except BaseException:  # of a signal handler: once more, as a step goes on once
            self._post_step(step)
            raise

    def _post_step(self, step: _Step) -> None:
        assert step.operation is not None
        (self._post or self._poller_for(step.operation).post)(partial(self._go_on, step))

    def _end(self, outcome: tuple[list[T], Error | None]) -> None:
        self._over = True
        try:
            self._finish(*outcome)
        except BaseException:  # of a signal handler: once more, which does nothing twice
            self._finish(*outcome)
            raise
        finally:
            self._outcome = None

    def _end_step(self, step: _Step, result: list[Any], error: Error | None) -> None:
        if step.proceed is None:
            send = self._steps.send if error is None else self._steps.throw
            step.proceed = partial(send, result[0] if error is None else error)
        try:
            if step.has_started and step.claim([]):
                self._hand_on(step)
        except BaseException:  # of a signal handler, and it may just have been claimed
            if step.has_started:
                self._hand_on(step)
            raise

    def _hand_on(self, step: _Step) -> None:
        # Later: this has the lock of the step's handle, and the next one may need another's.
        if self._cancelling_thread == threading.get_ident() and self._post is None:
            self._left.append(step)
        else:
            self._post_surely(step)


class _Step:
    """
    Where the start of a step and its end meet, in two threads perhaps: who comes second goes on.

    Each says first that it is there, and claims the going on if the other one is.
    """

    __slots__ = ("_claims", "following", "has_started", "is_used", "operation", "proceed")

    def __init__(self, operation: Operation[Any] | None, proceed: Callable[[], Operation[Any]] | None = None) -> None:
        self.operation = operation
        """None for the beginning, which *proceed* is, and before it is known."""
        self.has_started = False
        self.proceed = proceed
        self.is_used = False
        """Whether the steps have gone on from here."""
        self.following: _Step | None = None
        """The next one, from just before that."""
        self._claims = [True]

    def claim(self, claimed: list[bool]) -> bool:
        """Tell whether nobody else has asked this, and put that into the list *claimed*."""
        try:
            # In one step of the interpreter: a signal handler that raises finds it in one of the two.
            claimed.extend(map(self._claims.pop, (-1,)))
        except IndexError:
            return False
        return True
