"""
Several operations one after the other, as one: a generator that yields them, and is sent their results.

What is to be done is written once, and done in either way: `complete_all` waits in the calling thread, a `Sequence` in
the background.
"""

from __future__ import annotations

import threading
from functools import partial

from unixconn._typing import TYPE_CHECKING, Generic, TypeVar
from unixconn.errors import Error
from unixconn.operation import complete
from unixconn.pending import Pending, cancelled, try_or_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from unixconn.cancellable import Cancellable
    from unixconn.operation import Operation
    from unixconn.poller import Poller

T = TypeVar("T")

if TYPE_CHECKING:
    Steps = Generator[Operation[Any], Any, T]


def complete_all(steps: Steps[T], cancellable: Cancellable | None, *, blocking: bool, timeout: float | None) -> T:
    """Do *steps* in this thread, each with the *timeout* in seconds, and give their result."""
    try:
        operation = next(steps)
        while True:
            try:
                result = complete(operation, cancellable, blocking=blocking, timeout=timeout)
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
        cancellable: Cancellable | None,
        poller_for: Callable[[Operation[Any]], Poller],
        finish: Callable[[list[T], Error | None], None],
        *,
        timeout: float | None,
        post: Callable[[Callable[[], object]], None] | None = None,
    ) -> None:
        """
        Take *poller_for*, which gives who is to look after a step, and *timeout*, in seconds, for each of them.

        With *post* nothing of the steps runs elsewhere than where that has things called, not even their beginning.
        """
        self._steps = steps
        self._cancellable = cancellable
        self._poller_for = poller_for
        self._finish = finish
        self._timeout = timeout
        self._post = post
        self._pending: Pending[Any] | None = None
        self._cancelled = False
        self._over = False
        # Who cancels goes on itself, when it has let go of the lock.
        self._cancelling_thread = 0
        self._left: list[_Step] = []

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

    def attend(self, cancellable: Cancellable) -> None:
        """Let *cancellable* end it, too: it was started without one."""
        self._cancellable = cancellable
        pending = self._pending
        if pending is not None:
            pending.attend(cancellable)

    def _go_on(self, step: _Step) -> None:
        for _ in range(_AT_A_TIME):
            # A context calls this again if a signal handler has raised, and the steps are further by then.
            if self._over or step.is_used or step.proceed is None:
                return None
            step.is_used = True
            try:
                operation = step.proceed()
                if self._cancelled:  # after what the last step has brought was taken
                    operation = self._steps.throw(cancelled())
            except StopIteration as stop:
                return self._end([stop.value], None)
            except Error as error:
                # Without the frames, which have this and what it is an operation of, as pending.py tells of its own.
                error.__context__ = None
                return self._end([], error.with_traceback(None))
            except BaseException:  # of a signal handler, and the steps are over
                self._steps.close()
                self._end([], cancelled())
                raise
            step = _Step(operation)
            try:
                self._begin(step, operation)
            except BaseException:  # of a signal handler
                self._recover(step)
                raise
            if step.proceed is None or not step.claim():
                return None
        # Others have their turn, too.
        self._post_surely(step)
        return None

    def _begin(self, step: _Step, operation: Operation[Any]) -> None:
        cancellable = self._cancellable
        end = partial(self._end_step, step)
        self._pending = None
        self._pending = try_or_wait(operation, cancellable, self._poller_for, end, blocking=True, timeout=self._timeout)
        if self._pending is not None:
            self._catch_up(self._pending, cancellable)
        step.has_started = True

    def _recover(self, step: _Step) -> None:
        """See to it that there will be an end, though a signal handler has raised while *step* was started."""
        step.has_started = True
        if step.proceed is not None:
            if step.claim():
                self._post_surely(step)
        elif self._pending is None:
            # What the try has brought is lost, and it would be wrong to go on without.
            self._steps.close()
            self._end([], cancelled())

    def _catch_up(self, pending: Pending[Any], cancellable: Cancellable | None) -> None:
        """Tell *pending*, which was started with *cancellable*, what has come meanwhile and found nothing to tell."""
        if self._cancellable is not None and self._cancellable is not cancellable:
            pending.attend(self._cancellable)
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

    def _end(self, result: list[T], error: Error | None) -> None:
        self._over = True
        try:
            self._finish(result, error)
        except BaseException:  # of a signal handler: once more, which does nothing twice
            self._finish(result, error)
            raise

    def _end_step(self, step: _Step, result: list[Any], error: Error | None) -> None:
        if step.proceed is None:
            send = self._steps.send if error is None else self._steps.throw
            step.proceed = partial(send, result[0] if error is None else error)
        try:
            if step.has_started and step.claim():
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

    __slots__ = ("_claims", "has_started", "is_used", "operation", "proceed")

    def __init__(self, operation: Operation[Any] | None, proceed: Callable[[], Operation[Any]] | None = None) -> None:
        self.operation = operation
        """None for the beginning, which *proceed* is."""
        self.has_started = False
        self.proceed = proceed
        self.is_used = False
        """Whether the steps have gone on from here."""
        self._claims = [True]

    def claim(self) -> bool:
        """Tell whether nobody else has asked this."""
        try:
            return self._claims.pop()
        except IndexError:
            return False
