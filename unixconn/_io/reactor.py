"""Reactor: an epoll, and the operations that wait in the background by it."""

from __future__ import annotations

import os
import weakref
from abc import abstractmethod
from itertools import chain

from unixconn._base.errors import translated
from unixconn._base.lock import Lock
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.waiter import serve
from unixconn._kernel import epoll
from unixconn._kernel.wakeup import LONGEST_POLL, Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unixconn._io.waiter import Waiter
    from unixconn._kernel.epoll import Watch
    from unixconn._kernel.handle import Handle


class Reactor:
    """
    One epoll, or what the system has in its place, and the operations that wait by it.

    A handle is armed for one event (EPOLLONESHOT), and armed again after it as long as an operation waits. So there is
    nothing to undo, neither when an operation ends otherwise, nor before any thread closes the descriptor. An epoll
    that stays armed would report a closed socket that another process still has without end, under a number that
    belongs to another file by then.
    """

    def __init__(self) -> None:
        self.is_ours = True
        """Whether this process made it, and not one that this was forked from."""
        self._epoll: Watch | None = None
        # Weak: an operation that waits keeps its handle, and a number that is armed for none must not.
        self._armed: dict[int, weakref.ref[Handle]] = {}
        self._waiting: set[Waiter[Any]] = set()
        self._ready: list[tuple[int, int]] = []
        self._alarms: dict[Waiter[Any], Callable[[], object]] = {}
        _reactors.add(self)

    @property
    def is_closed(self) -> bool:
        """Whether it will never look again."""
        return not self.is_ours

    @abstractmethod
    def post(self, call: Callable[[], object]) -> None:
        """Have *call* called in the thread that looks after the operations; from any thread."""

    def add(self, waiter: Waiter[Any]) -> None:
        """
        Look after *waiter*, which has joined its line, until `remove`; its handle's lock is held.

        Raises the Error TOO_MANY_OPEN_FILES where the descriptor table is full.
        """
        self._waiting.add(waiter)
        try:
            self._start()
            self._set_alarm(waiter)
            self._arm(waiter.handle)
        except OSError as error:
            raise translated(error, "Starting to wait in the background: ") from None

    @abstractmethod
    def _start(self) -> None:
        """Make sure that there are the epoll, and a thread that calls `_turn`."""

    @abstractmethod
    def _call_at(self, moment: float, waiter: Waiter[Any]) -> Callable[[], object]:
        """Call `_ring` with *waiter* at *moment*, a time of `time.monotonic`; return a function that undoes this."""

    def _set_alarm(self, waiter: Waiter[Any]) -> None:
        if waiter.alarm is not None:
            self._alarms[waiter] = self._call_at(waiter.alarm, waiter)

    def _ring(self, waiter: Waiter[Any]) -> None:
        waiter.ring()
        # Also where the clock was a little too early.
        if not waiter.has_ended:
            # Another thread may just have ended it and undone its alarm: a new one would stay for good.
            with waiter.handle.lock.entered:
                if not waiter.has_ended:
                    self._set_alarm(waiter)

    def remove(self, waiter: Waiter[Any]) -> None:
        """Look no longer after *waiter*; may be called again."""
        self._waiting.discard(waiter)
        if waiter.alarm is not None and (undo := self._alarms.pop(waiter, None)) is not None:
            undo()

    def _arm(self, handle: Handle) -> None:
        number, events = handle.number, epoll.ONE_SHOT
        if number < 0 or self._epoll is None:
            return
        for condition in tuple(handle.waiting):
            events |= condition
        if events == epoll.ONE_SHOT:
            return
        known = number in self._armed
        self._armed[number] = weakref.ref(handle)
        if known:
            try:
                self._epoll.modify(number, events)
            except FileNotFoundError:  # the number is another file's by now
                known = False
        if not known:
            self._epoll.register(number, events)

    def _turn(self, seconds: float) -> bool:
        """Wait for at most *seconds*, -1 without end, and serve what is ready; return whether anything was."""
        if self._epoll is None:
            return False
        try:
            # From the kernel to this list it is one step of the interpreter: what was reported is not armed any more.
            self._ready.extend(chain.from_iterable(map(self._epoll.poll, (min(seconds, LONGEST_POLL),))))
            found = bool(self._ready)
            while self._ready:
                self._serve(*self._ready[-1])
                self._ready.pop()
        except BaseException:  # raised by a signal handler: what was reported is not armed any more
            while self._ready:
                self._serve(*self._ready.pop())
            raise
        return found

    def _serve(self, number: int, events: int) -> None:
        armed = self._armed.get(number)
        handle = armed() if armed is not None else None
        if handle is None:
            return
        waiting = True
        try:
            waiting = serve(handle, events, self)
        finally:
            # Also after an exception raised by a signal handler.
            if waiting:
                with handle.lock.entered:
                    self._arm(handle)

    def _stop(self) -> None:
        """Close the epoll."""
        watch, self._epoll = self._epoll, None
        if watch is not None:
            watch.close()
            self._armed.clear()


class WakeableReactor(Reactor):
    """A Reactor whose thread waits in `_turn`, and which any thread can wake there."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._wakeup = Wakeup()
        self._can_wake = False

    def _listen(self, watch: Watch) -> None:
        """
        Let `wake` end a wait for *watch*.

        Raises the Error TOO_MANY_OPEN_FILES where the descriptor table is full.
        """
        with self._lock.entered:
            if not self._can_wake:
                try:  # noqa: SIM105 - contextlib would be imported for this alone
                    # Reported at each change, so that nobody has to clear it.
                    watch.register(self._wakeup.open(), epoll.READABLE | epoll.BY_EDGE)
                except FileExistsError:  # an exception came before the next line
                    pass
                self._can_wake = True

    def wake(self) -> None:
        """End the wait."""
        if self._can_wake:
            with self._lock.entered:
                self._wakeup.set()

    def _stop(self) -> None:
        # First: after an exception here the next epoll would be waited for without the wakeup.
        self._can_wake = False
        super()._stop()
        self._wakeup.close_unless([])


_reactors: weakref.WeakSet[Reactor] = weakref.WeakSet()


def _stop_in_child() -> None:
    """Close the copies of a forked child: arming anything by them would change what the parent's epoll watches."""
    for each in tuple(_reactors):
        each.is_ours = False
        each._stop()
    _reactors.clear()


os.register_at_fork(after_in_child=_stop_in_child)
