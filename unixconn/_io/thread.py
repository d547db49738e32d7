"""The thread that looks after what waits in the background, where no event loop does."""

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
from unixconn._io.reactor import WakeablePoller
from unixconn._kernel import epoll as watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from unixconn._io.waiter import Pending

    class Alarm(Protocol):
        """What is to be done at a time, by something that is not kept for it."""

        @property
        def moment(self) -> float:
            """When, a time of `time.monotonic`."""

        @property
        def has_ended(self) -> bool:
            """Whether there is nothing to be done any more."""

        def ring(self) -> None:
            """Do it, in the worker's thread; it has ended then."""


_LINGER = 0.25
"""Seconds without anything to wait for, after which the thread ends."""


class Worker(WakeablePoller):
    """
    A Poller with a thread of its own, which is there as long as something waits.

    One is enough: nothing that it does blocks, and it runs no code of the user's but the callbacks of `Future`s that
    belong to no event loop, and the handlers of Cancellables that were cancelled by their deadline.
    """

    def __init__(self) -> None:
        super().__init__()
        # The thread that looks, and whether one was launched that has not said so yet. Two of them do no harm: the
        # second finds the first. Not a threading.Thread, as a signal handler could leave half of one: its start takes
        # many steps.
        self._ident: int | None = None
        self._launched = False
        self._calls: deque[Callable[[], object]] = deque()
        # Of Pendings and Alarms.
        self._clock: Clock[Any] = Clock(attrgetter("has_ended"))
        self._late: deque[Any] = deque()
        self._has_to_end = self._looks_again = False
        self._until = -math.inf
        """When the thread will look at the clock by itself; at once, while it is awake."""

    # --- from any thread ---

    def remove(self, pending: Pending[Any]) -> None:
        """Look no longer after *pending*; may be called again."""
        super().remove(pending)
        if not self._waiting and threading.get_ident() != self._ident:
            # It would wait for ever, in place of coming to its end.
            self.wake()

    def post(self, call: Callable[[], object]) -> None:
        """Have *call* called in the thread; in this one where there is no descriptor left for it."""
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
                    self._epoll = watch.new()
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

    def _call_at(self, moment: float, pending: Pending[Any]) -> Callable[[], object]:
        self._set(moment, pending)
        return bool  # the clock passes over what has ended

    def look_after(self, alarm: Alarm) -> None:
        """
        Have *alarm* rung at its moment, unless it has ended by then.

        Raises the Error TOO_MANY_OPEN_FILES where there is no descriptor left to do so.
        """
        self._set(alarm.moment, alarm)
        self._start()

    def pass_over(self, moment: float, _gone: object = None) -> None:
        """Come to an end, if an Alarm that has ended before its *moment* was what the thread is there for."""
        if threading.get_ident() == self._ident:
            # It may have had the last reference, while it looked whether this has ended. Without the lock, which a
            # signal handler's thread may hold that waits for this one.
            self._looks_again = True
        elif moment <= self._until:
            self.wake()

    def _set(self, moment: float, item: Pending[Any] | Alarm) -> None:
        self._clock.add(moment, item)
        # Crowded also by what has ended, for which nobody else would wake it.
        if moment < self._until or self._clock.is_crowded():
            self.wake()

    def end(self) -> None:  # pragma: no cover - in other interpreters, which coverage does not see
        """Have the thread end, whatever waits, and wait until it has, or for a second at most."""
        if self._ident is None and not self._launched:
            return
        others = _thread._count() - 1
        self._has_to_end = True
        deadline = time.monotonic() + 1
        # It counts as one until all of it is gone.
        while _thread._count() > others and time.monotonic() < deadline:
            self.wake()
            time.sleep(0.001)

    # --- in its own thread, of which coverage does not see anything ---

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
        """Wait for something to do, and do it; tell whether there is or may be more."""
        needed = self._is_needed()
        ready = self._poll(self._pause())
        self._call()
        self._clock.move_due(self._late)
        while self._late:
            self._ring(self._late.popleft())
        return ready or needed or not self._retire()

    def _is_needed(self) -> bool:  # pragma: no cover
        return bool(self._waiting) or self._clock.next() != math.inf

    def _pause(self) -> float:  # pragma: no cover
        """Give the seconds until the thread has something to do, should nothing become ready."""
        self._until = -math.inf
        self._looks_again = False
        while self._until != self._clock.next() or self._clock.has_arrivals():
            # Who adds something from here on wakes this thread, if it is for an earlier moment.
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
    """Give this interpreter's worker."""
    try:
        # Not by get(), whose lock a forked child may find closed: see `loops.running`.
        return _shared["worker"]
    except KeyError:
        pass
    known = _shared.setdefault("worker", Worker())
    if not _IS_MAIN_INTERPRETER:
        # A process outlives the threads of its main interpreter. It dies of one that another interpreter leaves.
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


# Not when it is needed: a child that was forked while another thread imported would wait for that.
_IS_MAIN_INTERPRETER = _is_main_interpreter()


def _end() -> None:  # pragma: no cover - in other interpreters
    worker = _shared.get("worker")
    if worker is not None:
        worker.end()


# The thread stays behind in the parent, with what waits there.
os.register_at_fork(after_in_child=_shared.clear)
