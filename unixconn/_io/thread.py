"""The thread that looks after operations in the background, where no event loop and no MainContext does."""

from __future__ import annotations

import _thread
import atexit
import math
import os
import sys
import threading
import time
from collections import deque
from operator import attrgetter

from unixconn._base.clock import Clock
from unixconn._base.errors import Error, IOErrorEnum, io_error, translated
from unixconn._base.object import run_handler
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.reactor import WakeableReactor
from unixconn._kernel import epoll

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from unixconn._io.waiter import Waiter

    class Alarm(Protocol):
        """Something to be done at a time, by an object that is not kept alive for it."""

        @property
        def moment(self) -> float:
            """When, a time of `time.monotonic`."""

        @property
        def has_ended(self) -> bool:
            """Whether there is nothing to be done any more."""

        def ring(self) -> None:
            """Do it, in the thread of the Worker; it has ended then."""


_LINGER = 0.25
"""Seconds after which the thread ends, if nothing waits."""


class Worker(WakeableReactor):
    """
    A Reactor with a thread of its own, which runs as long as an operation waits.

    One is enough, as it does nothing that blocks. Of the user's code it runs only the callbacks of Futures that belong
    to no event loop, and the handlers of Cancellables that their deadline has cancelled.
    """

    def __init__(self) -> None:
        super().__init__()
        # The thread that runs, and whether one was started that does not run yet. Two of them do no harm, as the second
        # finds the first and ends. Not a threading.Thread, whose start takes many steps: an exception of a signal
        # handler could leave half of one.
        self._ident: int | None = None
        self._launched = False
        self._calls: deque[Callable[[], object]] = deque()
        # Has Waiters and Alarms.
        self._clock: Clock[Any] = Clock(attrgetter("has_ended"))
        self._late: deque[Any] = deque()
        self._has_to_end = self._looks_again = False
        self._until = -math.inf
        """When the thread will look at the clock by itself: -inf while it is awake."""

    # --- from any thread ---

    def remove(self, waiter: Waiter[Any]) -> None:
        """Look no longer after *waiter*; may be called again."""
        super().remove(waiter)
        if not self._waiting and threading.get_ident() != self._ident:
            # It would wait without end, in place of ending.
            self.wake()

    def post(self, call: Callable[[], object]) -> None:
        """Have *call* called in the thread; in the calling thread where there is no descriptor left for it."""
        self._calls.append(call)
        try:
            self._start()
        except Error:
            self._call()
        self.wake()

    def _call(self) -> None:  # pragma: no cover - in its own thread
        while self._calls:
            try:
                call = self._calls.popleft()
            except IndexError:  # another thread was quicker
                return
            run_handler(call)

    def _start(self) -> None:
        with self._lock.entered:
            if self._ident is not None or self._launched:
                return
            try:
                if self._epoll is None:
                    self._epoll = epoll.new()
                self._listen(self._epoll)
                _thread.start_new_thread(self._run, ())
                self._launched = True
            except Error:
                self._stop()
                raise
            except OSError as error:
                self._stop()
                raise translated(error, "Starting to wait in the background: ") from None
            except RuntimeError as error:
                self._stop()
                raise io_error(IOErrorEnum.FAILED, f"Starting to wait in the background: {error}") from None

    def _call_at(self, moment: float, waiter: Waiter[Any]) -> Callable[[], object]:
        self._set(moment, waiter)
        return bool  # nothing to undo: the clock passes over what has ended

    def look_after(self, alarm: Alarm) -> None:
        """
        Ring *alarm* at its moment, unless it has ended by then.

        Raises the Error TOO_MANY_OPEN_FILES where the descriptor table is full.
        """
        self._set(alarm.moment, alarm)
        self._start()

    def pass_over(self, moment: float, _gone: object = None) -> None:
        """Let the thread end, if it waits only for an Alarm that has ended before its *moment*."""
        if threading.get_ident() == self._ident:
            # The thread itself may have dropped the last reference, while it looked whether the Alarm has ended.
            # Without the lock, which a thread that waits for this one may hold.
            self._looks_again = True
        elif moment <= self._until:
            self.wake()

    def _set(self, moment: float, item: Waiter[Any] | Alarm) -> None:
        self._clock.add(moment, item)
        # Items that have ended make it crowded, too, and nothing else wakes the thread for them.
        if moment < self._until or self._clock.is_crowded():
            self.wake()

    def end(self) -> None:  # pragma: no cover - in other interpreters, which coverage does not see
        """End the thread, whatever waits, and wait until it has ended, for a second at most."""
        if self._ident is None and not self._launched:
            return
        others = _thread._count() - 1
        self._has_to_end = True
        deadline = time.monotonic() + 1
        # It is counted until all of it is gone.
        while _thread._count() > others and time.monotonic() < deadline:
            self.wake()
            time.sleep(0.001)

    # --- in its own thread, of which coverage sees nothing ---

    def _run(self) -> None:  # pragma: no cover
        with self._lock.entered:
            self._launched = False
            if self._ident is not None:
                return
            self._ident = threading.get_ident()
        try:
            while self._goes_on():
                if self._has_to_end:
                    self._leave()
                    return
        except BaseException:  # SystemExit, of the user's code: that ends this thread, and another one goes on
            self._ident = None
            self._start()
            raise

    def _goes_on(self) -> bool:  # pragma: no cover
        """Wait for something to do, and do it; return whether there is or may be more."""
        needed = self._is_needed()
        ready = self._turn(self._pause())
        self._call()
        self._clock.move_due(self._late)
        while self._late:
            self._ring(self._late.popleft())
        return ready or needed or not self._retire()

    def _is_needed(self) -> bool:  # pragma: no cover
        return bool(self._waiting) or self._clock.next() != math.inf

    def _pause(self) -> float:  # pragma: no cover
        """Return the seconds until the thread has something to do, if nothing becomes ready."""
        self._until = -math.inf
        self._looks_again = False
        while self._until != self._clock.next() or self._clock.has_arrivals():
            # A thread that adds something for an earlier moment from here on wakes this one.
            self._until = self._clock.next()
        if self._calls or self._late:
            return 0.0
        is_needed = self._is_needed()
        if self._looks_again:
            return 0.0
        if not is_needed:
            self._until = time.monotonic() + _LINGER
            return _LINGER
        return -1.0 if self._until == math.inf else max(0.0, self._until - time.monotonic())

    def _retire(self) -> bool:  # pragma: no cover
        with self._lock.entered:
            is_over = not self._is_needed() and not self._calls
            if is_over:
                self._leave()
        return is_over

    def _leave(self) -> None:  # pragma: no cover
        with self._lock.entered:
            self._ident = None
            self._stop()


_shared: dict[str, Worker] = {}


def shared() -> Worker:
    """Return the Worker of this interpreter."""
    try:
        # Not by get(), whose lock a forked child may find closed: see `event_loops.running`.
        return _shared["worker"]
    except KeyError:
        pass
    known = _shared.setdefault("worker", Worker())
    if not _IS_MAIN_INTERPRETER:
        # A process outlives the threads of its main interpreter, but not one that another interpreter leaves behind.
        atexit.register(_end)
    return known


def _is_main_interpreter() -> bool:
    try:
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
        else:
            import _xxsubinterpreters as interpreters  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # PyPy has no others
        return True
    return bool(interpreters.get_current() == interpreters.get_main())


# Not later: a child that was forked while another thread imported would wait for the lock of that import.
_IS_MAIN_INTERPRETER = _is_main_interpreter()


def _end() -> None:  # pragma: no cover - in other interpreters
    worker = _shared.get("worker")
    if worker is not None:
        worker.end()


# The thread stays behind in the parent, with the operations that wait there.
os.register_at_fork(after_in_child=_shared.clear)
