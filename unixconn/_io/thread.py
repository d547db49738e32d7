"""The thread that serves operations in the background if neither an event loop nor a MainContext does."""

from __future__ import annotations

import _thread
import atexit
import errno
import math
import os
import sys
import threading
import time
from collections import deque
from operator import attrgetter

from unixconn._base.clock import Clock
from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error, translated
from unixconn._base.object import run_handler
from unixconn._base.start import Start
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.reactor import WakeableReactor
from unixconn._kernel import epoll
from unixconn._kernel.wakeup import LONGEST_POLL, NO_DESCRIPTOR_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from unixconn._io.waiter import Waiter

    class Alarm(Protocol):
        """A task for a moment, such as cancelling a Cancellable, that does not keep its object alive."""

        @property
        def moment(self) -> float:
            """The moment at which it is due, a time of `time.monotonic`."""

        @property
        def _is_over(self) -> bool:
            """Whether there is nothing left to do."""

        def _ring(self) -> None:
            """Perform the task. Called in the thread of the Worker; `_is_over` is true afterwards."""


_LINGER = 0.25
"""Seconds for which the thread keeps running when nothing waits any more."""


class Worker(WakeableReactor):
    """
    A Reactor with a thread of its own, which runs as long as an operation or an Alarm waits.

    One Worker for each interpreter is enough, as its thread does nothing that blocks. The only user code that it runs
    are callbacks of Futures that belong to no event loop, and handlers of Cancellables that a deadline has cancelled.
    """

    has_thread = True

    def __init__(self) -> None:
        super().__init__()
        # The identifier of the running thread, and the latest start of a thread that does not run yet. If an exception
        # leads to the start of a second thread, the second one finds the first and ends.
        self._ident: int | None = None
        self._starting: Start | None = None
        # The operations that waited with an epoll that other code has closed.
        self._stranded: list[Waiter] = []
        self._calls: deque[Callable[[], object]] = deque()
        # The items are Waiters and Alarms.
        self._clock: Clock[Any] = Clock(attrgetter("_is_over"))
        self._late: deque[Any] = deque()
        self._has_to_end = self._looks_again = False
        self._until = -math.inf
        """The moment at which the thread's wait ends by itself; -inf while it does not wait."""

    # --- from any thread ---

    def remove(self, waiter: Waiter) -> None:
        """Stop serving *waiter*. May be called again."""
        super().remove(waiter)
        if not self._waiting and threading.get_ident() != self._ident:
            # The thread may be in a wait without a limit. It has to notice that it can end.
            self.wake()

    def post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the thread; if the thread cannot be started, call it in the current thread."""
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
            except IndexError:  # another thread has taken the last one
                return
            run_handler(call)

    def _start(self) -> None:
        with self._lock.entered:
            if self._ident is not None and self._epoll is not None:
                return
            try:
                if self._epoll is None:
                    self._epoll = epoll.new()
                self._listen(self._epoll)
                if self._ident is None:
                    self._start_thread()
            except Error:
                self._stop()
                raise
            except OSError as error:
                self._stop()
                raise translated(error, "Starting to wait in the background: ") from None
            except (RuntimeError, MemoryError) as error:
                self._stop()
                raise io_error(IOErrorEnum.FAILED, f"Starting to wait in the background: {error}") from None

    def _recover(self) -> None:
        with self._lock.entered:
            if self._epoll is None or self._ident is None:
                return
            try:
                self._epoll.modify(self._wakeup.open(), epoll.READABLE | epoll.BY_EDGE)
            except OSError:
                # The thread may be in a wait that nothing ends. Another one takes its place. It also ends what waits:
                # the caller of this method holds the lock of a handle, and must not take those of others.
                self._stranded.extend(self._waiting)
                self._ident = None
                self._lose(errno.EBADF)
                self._start()

    def _start_thread(self) -> None:
        starting = self._starting
        if starting is None or not starting.is_coming():
            self._starting = starting = Start(self._run)
        starting.wait()
        starting.check()

    def _call_at(self, moment: float, waiter: Waiter) -> Callable[[], object]:
        self._set(moment, waiter)
        return bool  # a function without effect: the clock passes over a Waiter that has ended

    def look_after(self, alarm: Alarm) -> None:
        """
        Call ``alarm._ring()`` at its moment, unless the alarm has ended by then.

        Raises the Error TOO_MANY_OPEN_FILES if the descriptor table is full.
        """
        self._set(alarm.moment, alarm)
        self._start()

    def pass_over(self, moment: float, _gone: object = None) -> None:
        """
        Wake the thread if it waits for an Alarm that has ended before its *moment*, so that the thread can end.

        This is also the callback of a weak reference to the object that the Alarm is for.
        """
        if threading.get_ident() == self._ident:
            # This is the thread itself: while it looked at the Alarm, it dropped the last reference to the Alarm's
            # object. It must not take the lock here: a thread that waits for this one may hold it.
            self._looks_again = True
        elif moment <= self._until:
            self.wake()

    def _set(self, moment: float, item: Waiter | Alarm) -> None:
        self._clock.add(moment, item)
        # The clock may also be crowded with items that have ended. Nothing else wakes the thread to remove them.
        if moment < self._until or self._clock.is_crowded():
            self.wake()

    def end(self) -> None:  # pragma: no cover - in other interpreters, which coverage does not see
        """End the thread even if operations wait, and wait until it has ended, for at most a second."""
        if self._ident is None and self._starting is None:
            return
        others = _thread._count() - 1
        self._has_to_end = True
        deadline = time.monotonic() + 1
        # _thread._count() includes the thread until it has really ended.
        while _thread._count() > others and time.monotonic() < deadline:
            self.wake()
            time.sleep(0.001)

    # --- in its own thread, which coverage does not see ---

    def _run(self, start: Start) -> None:  # pragma: no cover
        start.begin()
        with self._lock.entered:
            self._starting = None
            if self._ident is not None:
                return
            self._ident = threading.get_ident()
        is_over = False
        try:
            self._end_stranded()
            self._work()
            is_over = True
        finally:
            if not is_over:  # SystemExit from the user's code: it ends this thread, and a new one goes on
                self._ident = None
                try:
                    self._start()
                except Error as error:
                    self._fail(error)

    def _work(self) -> None:  # pragma: no cover
        # A function of its own: see "Signal handlers that raise" in CONTRIBUTING.md.
        while self._goes_on():
            if self._has_to_end:
                self._leave()
                break

    def _end_stranded(self) -> None:  # pragma: no cover
        failure = system_error(errno.EBADF, "Waiting in the background: ")
        while self._stranded:
            self._stranded.pop()._break_off(failure)

    def _goes_on(self) -> bool:  # pragma: no cover
        """Wait for something to do, and do it; return whether the thread has to keep running."""
        try:
            needed = self._is_needed()
            ready = self._turn(self._pause())
            if self._ident != threading.get_ident():  # another thread has taken the place of this one, see `_recover`
                return False
            self._call()
            self._clock.move_due(self._late)
            while self._late:
                self._ring(self._late.popleft())
        except MemoryError:
            self._fail(io_error(IOErrorEnum.FAILED, "Waiting in the background: there is no memory"))
            return True
        return ready or needed or not self._retire()

    def _turn(self, seconds: float) -> bool:  # pragma: no cover
        """Wait for at most *seconds*, -1 for no limit, and serve the sockets that are ready; return whether any was."""
        watching = self._epoll
        if watching is None:
            # Waiting has failed, so no operation waits. Alarms and posted calls are still looked after.
            time.sleep(NO_DESCRIPTOR_INTERVAL if seconds < 0 else min(seconds, NO_DESCRIPTOR_INTERVAL))
            return False
        try:
            if not self._poll(watching, seconds):
                return True
            found = bool(self.ready)
        finally:
            # This serves what was found even if a signal handler raises an exception.
            self.serve()
        return found

    def _is_needed(self) -> bool:  # pragma: no cover
        return bool(self._waiting) or self._clock.next() != math.inf

    def _pause(self) -> float:  # pragma: no cover
        """Return the seconds until the thread has something to do, if nothing becomes ready."""
        self._until = -math.inf
        self._looks_again = False
        while self._until != self._clock.next() or self._clock.has_arrivals():
            # From here on, another thread that adds an item for an earlier moment wakes this one. The loop is for items
            # that were added just before.
            self._until = self._clock.next()
        if self._calls or self._late:
            return 0.0
        is_needed = self._is_needed()
        if self._looks_again:
            return 0.0
        if not is_needed:
            self._until = time.monotonic() + _LINGER
            return _LINGER
        return -1.0 if self._until == math.inf else min(max(0.0, self._until - time.monotonic()), LONGEST_POLL)

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
        # get() is not used: its lock may stay locked in a forked child, see `running_loop.running`.
        return _shared["worker"]
    except KeyError:
        pass
    known = _shared.setdefault("worker", Worker())
    if not _IS_MAIN_INTERPRETER:
        # A thread that is left behind is harmless at the end of the main interpreter, but CPython aborts the process if
        # another interpreter ends with a thread left.
        atexit.register(_end)
    return known


def _is_main_interpreter() -> bool:
    try:
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
        else:
            import _xxsubinterpreters as interpreters  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # PyPy has only one interpreter
        return True
    return bool(interpreters.get_current() == interpreters.get_main())


# This is determined when this module is imported, and not later: the function imports a module, and the lock of that
# import would stay locked in a child that another thread forks meanwhile.
_IS_MAIN_INTERPRETER = _is_main_interpreter()


def _end() -> None:  # pragma: no cover - in other interpreters
    worker = _shared.get("worker")
    if worker is not None:
        worker.end()


# A forked child has no copy of the thread, and none of the operations that wait in the parent.
os.register_at_fork(after_in_child=_shared.clear)
