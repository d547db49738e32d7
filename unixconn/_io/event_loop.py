"""
Reactors in the event loops that the program runs: what those of asyncio_loop.py and trio_loop.py share.

Each loop watches one descriptor, the epoll of its reactor, in which the sockets of all operations are armed. The loop
itself never watches the user's descriptors. So the user may add readers for them, and may close them at any time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from itertools import chain
from threading import get_ident

from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.reactor import Reactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from unixconn._kernel.handle import Handle

    class Turn(Protocol):
        """The wait of a task for an `Awaited`."""

        def end(self) -> None:
            """Resume the task soon. May be called in any thread."""

        def take(self) -> None:
            """Resume the task now. Called in the loop's thread while no task runs. A second call has no effect."""

    class Awaited(Protocol):
        """What a task awaits: a Future."""

        _turn: Turn | None
        _ended: bool

        def _subscribe(self, wake: Callable[[], object]) -> None:
            """Call *wake* at the end, in any thread."""

        def _withdraw(self) -> bool:
            """
            Cancel the operation, as the task is cancelled. Return False if there is a result, which the task gets.

            This is not left to the task, which runs later: meanwhile the loop could still take a message.
            """


class Loop(Reactor):
    """The reactor of an event loop, which runs in the loop's thread."""

    def __init__(self) -> None:
        super().__init__()
        # The identifier of the loop's thread while it is in `_look_on`, 0 otherwise. Only inside `_look_on` may the
        # loop's quick methods be used, such as call_soon(). At other times the caller in that thread may be a signal
        # handler that has interrupted the loop's wait, and a quick method does not end that wait.
        self._looking_thread = 0
        self._turns: deque[Turn] = deque()
        """The tasks that resume at the end of `_look_on`, unless they are trio's: that resumes them itself."""

    def _look_on(self) -> None:
        """Serve the sockets that are ready, and resume tasks. The loop calls this when the epoll is readable."""
        turns = self._turns
        try:
            self._looking_thread = get_ident()
            try:
                watching = self._epoll
                if watching is not None:
                    # The lines of `_poll`, without the call.
                    try:
                        self.ready.extend(chain.from_iterable(map(watching.poll, (0.0,))))
                    except OSError as error:
                        self._fail_to_poll(watching, error)
            finally:
                # This serves what was found even if a signal handler raises an exception.
                if self.ready:
                    self.serve()
                self._looking_thread = 0
            # Tasks resume only now: they may do anything, and locks are held while operations are served.
            # Not "while turns": see "Signal handlers that raise" in CONTRIBUTING.md.
            while True:
                if not turns:
                    break
                turns[0].take()
                turns.popleft()
        finally:
            # Some tasks are left if a task or a signal handler has raised KeyboardInterrupt or SystemExit.
            while turns:
                self.post(turns[0].take)
                turns.popleft()

    def runs_here(self) -> bool:
        """Return True if a quick check shows that `running` would return this reactor; False if in doubt."""
        return False

    is_asyncio = False
    """Whether it is a loop with asyncio's interface."""
    left = 0
    """How many awaits may still return without a `checkpoint` before the loop has run other callbacks."""

    @abstractmethod
    def is_cancelled_here(self) -> bool:
        """Return whether the current task is in a scope that is cancelled, or whose deadline has passed."""

    @abstractmethod
    def call_after_deadlines(self, call: Callable[[], object]) -> None:
        """Schedule *call* for when the loop has looked which deadlines have passed. Called in the loop's thread."""

    def postpone(self, handle: Handle) -> None:
        """Have what is received from *handle* wait until other tasks have had their turn. The loop has `is_asyncio`."""

    @abstractmethod
    def wait(self, awaited: Awaited) -> Iterable[Any]:
        """Return what the current task has to yield until *awaited* has ended."""

    def _follow(self, awaited: Awaited, turn: Turn) -> None:
        """Call ``turn.end()`` when *awaited* has ended."""
        if awaited._turn is None:
            awaited._turn = turn
            if awaited._ended:  # another thread may not have seen the turn
                turn.end()
        else:
            awaited._subscribe(turn.end)

    @abstractmethod
    def checkpoint(self) -> Iterable[Any]:
        """Return what the current task has to yield so that other tasks run, after an await that did not wait."""

    @abstractmethod
    def not_done(self, text: str) -> Exception:
        """Return the error with *text* that the loop's futures raise if the result is not available yet."""

    @abstractmethod
    def report(self, error: BaseException, source: object) -> None:
        """Report that the *error* of *source* was never retrieved."""
