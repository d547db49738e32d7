"""
The reactor in a run of trio.

trio is not imported here: if a run has begun, the program has imported it.
"""

from __future__ import annotations

import math
import sys
import time
from functools import partial
from threading import get_ident

from unixconn._base.object import run_handler
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.event_loop import Loop
from unixconn._kernel import epoll

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from unixconn._io.event_loop import Awaited
    from unixconn._io.waiter import Waiter


class _TrioTurn:
    """The wait of a task of trio."""

    __slots__ = ("_awaited", "_run", "_task", "_waits")

    def __init__(self, run: TrioRun, awaited: Awaited, task: Any) -> None:
        self._run = run
        self._awaited = awaited
        self._task = task
        self._waits = True

    def end(self) -> None:
        """Resume the task. May be called in any thread."""
        if self._run._looking_thread == get_ident():
            self.take()
        elif self._waits:
            self._run.post(self.take)

    def take(self) -> None:
        """Resume the task. Called in trio's thread. A second call has no effect."""
        if self._waits:
            self._waits = False
            self._run._lowlevel.reschedule(self._task)

    def abort(self, _raise: object) -> Any:
        """Return whether the task, which was cancelled, is resumed by trio. trio calls this."""
        self._waits = False
        if self._awaited._withdraw():
            return self._run._lowlevel.Abort.SUCCEEDED
        # The result has come, and is about to resume the task, which gets it instead of the cancellation.
        self._waits = True
        return self._run._lowlevel.Abort.FAILED


class TrioRun(Loop):
    """The reactor of a run of trio."""

    def __init__(self, token: Any) -> None:
        super().__init__()
        self._token = token
        self._lowlevel = _trio().lowlevel
        self._ended = False

    @property
    def is_closed(self) -> bool:
        """Whether it will never serve an operation again."""
        return self._ended or not self.is_ours

    def _start(self) -> None:
        if self._epoll is None:
            is_watched = False
            try:
                self._epoll = epoll.new()
                self._lowlevel.spawn_system_task(self._wait_on, self._epoll.fileno())
                is_watched = True
            finally:
                if not is_watched:  # otherwise all later operations would count on a task that does not look
                    self._stop()

    async def _wait_on(self, number: int) -> None:
        try:
            wait_readable = self._lowlevel.wait_readable
            # Not "while self._epoll": see "Signal handlers that raise" in CONTRIBUTING.md.
            while True:
                if self._epoll is None:  # `_look_on` closes it if waiting fails
                    break
                await wait_readable(number)
                self._look_on()
        finally:
            self._ended = True
            for each in list(self._waiting):  # copied in one step, also without the GIL: other threads may change it
                each._look()
            self._stop()

    def _call_at(self, moment: float, waiter: Waiter) -> Callable[[], object]:
        scope = _trio().CancelScope()
        self._lowlevel.spawn_system_task(self._ring_later, waiter, scope, moment)
        return partial(self.post, scope.cancel)

    async def _ring_later(self, waiter: Waiter, scope: Any, moment: float) -> None:
        with scope:
            await _trio().sleep(max(0.0, moment - time.monotonic()))
            self._ring(waiter)

    def post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the loop. May be called in any thread. Has no effect after the run has ended."""
        try:
            self._token.run_sync_soon(run_handler, call)
        except _trio().RunFinishedError:
            return

    def runs_here(self) -> bool:
        """See `Loop.runs_here`."""
        try:
            return self._token is self._lowlevel.current_trio_token() and self.is_ours and not self._ended
        except RuntimeError:  # trio does not run in this thread
            return False

    def is_cancelled_here(self) -> bool:
        """See `Loop.is_cancelled_here`."""
        trio = sys.modules["trio"]
        try:
            deadline: float = trio.current_effective_deadline()
        except RuntimeError:  # no task runs, but a callback of trio's
            return False
        # trio itself looks at the clock only between two tasks, and this call has no await.
        return deadline != math.inf and deadline <= trio.current_time()

    def call_after_deadlines(self, call: Callable[[], object]) -> None:
        """See `Loop.call_after_deadlines`."""
        # What is posted may be called before.
        self._lowlevel.spawn_system_task(_call_soon, call)

    def wait(self, awaited: Awaited) -> Iterable[Any]:
        """See `Loop.wait`."""
        lowlevel = self._lowlevel
        turn = _TrioTurn(self, awaited, lowlevel.current_task())
        self._follow(awaited, turn)
        return lowlevel.wait_task_rescheduled(turn.abort).__await__()  # type: ignore[no-any-return]

    def checkpoint(self) -> Iterable[Any]:
        """
        See `Loop.checkpoint`. In trio, each await lets other tasks run.

        The current task is not cancelled there: it has a result, which would be lost.
        """
        return self._lowlevel.cancel_shielded_checkpoint().__await__()  # type: ignore[no-any-return]

    def not_done(self, text: str) -> Exception:
        """See `Loop.not_done`."""
        return RuntimeError(text)

    def report(self, error: BaseException, source: object) -> None:
        """Do nothing, as trio has no place to report such an error."""


async def _call_soon(call: Callable[[], object]) -> None:
    run_handler(call)


def _trio() -> Any:
    return sys.modules["trio"]
