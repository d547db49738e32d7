"""Poller: looks after handles for operations that wait in the background."""

from __future__ import annotations

import os
import weakref
from abc import abstractmethod
from itertools import chain

from unixconn._base.errors import translated
from unixconn._base.lock import Lock
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.waiter import serve
from unixconn._kernel import epoll as watch
from unixconn._kernel.wakeup import LONGEST_POLL, Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unixconn._io.waiter import Pending
    from unixconn._kernel.epoll import Watch
    from unixconn._kernel.handle import Handle


class Poller:
    """
    One epoll, or what the system has in its place, and the operations that wait by it.

    A handle is armed for one event (EPOLLONESHOT), and again after it as long as somebody waits. So there is nothing to
    take back, neither when an operation ends otherwise, nor before a descriptor is closed, by whatever thread. An epoll
    that looked on would report a closed socket that another process still has for ever, and under a number which
    belongs to another file by then.
    """

    def __init__(self) -> None:
        self.is_ours = True
        """Whether this process made it, and not one that this was forked from."""
        self._epoll: Watch | None = None
        # Weak: what waits keeps its handle, and a number that is armed for nobody must not.
        self._armed: dict[int, weakref.ref[Handle]] = {}
        self._waiting: set[Pending[Any]] = set()
        self._ready: list[tuple[int, int]] = []
        self._alarms: dict[Pending[Any], Callable[[], object]] = {}
        _pollers.add(self)

    @property
    def is_closed(self) -> bool:
        """Whether it will never look again."""
        return not self.is_ours

    @abstractmethod
    def post(self, call: Callable[[], object]) -> None:
        """Have *call* called where this looks after things; from any thread."""

    def add(self, pending: Pending[Any]) -> None:
        """
        Look after *pending*, which has joined its line, until `remove`; its handle's lock is held.

        Raises the Error TOO_MANY_OPEN_FILES where there is no descriptor left to do so.
        """
        self._waiting.add(pending)
        try:
            self._start()
            self._set_alarm(pending)
            self._arm(pending.handle)
        except OSError as error:
            raise translated(error, "Starting to wait in the background: ") from None

    @abstractmethod
    def _start(self) -> None:
        """Have the epoll, and somebody who calls `_poll`."""

    @abstractmethod
    def _call_at(self, moment: float, pending: Pending[Any]) -> Callable[[], object]:
        """Call `_ring` with *pending* at *moment*, a time of `time.monotonic`; give what undoes this, in any thread."""

    def _set_alarm(self, pending: Pending[Any]) -> None:
        if pending.alarm is not None:
            self._alarms[pending] = self._call_at(pending.alarm, pending)

    def _ring(self, pending: Pending[Any]) -> None:
        pending.ring()
        # Also where the clock was a little too early.
        if not pending.has_ended:
            # Another thread may just end it, and has taken back the alarm then: this one would stay here for ever.
            with pending.handle.lock.entered:
                if not pending.has_ended:
                    self._set_alarm(pending)

    def remove(self, pending: Pending[Any]) -> None:
        """Look no longer after *pending*; may be called again."""
        self._waiting.discard(pending)
        if pending.alarm is not None and (undo := self._alarms.pop(pending, None)) is not None:
            undo()

    def _arm(self, handle: Handle) -> None:
        number, events = handle.number, watch.ONE_SHOT
        if number < 0 or self._epoll is None:
            return
        for condition in tuple(handle.waiting):
            events |= condition
        if events == watch.ONE_SHOT:
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

    def _poll(self, seconds: float) -> bool:
        """Wait for at most *seconds*, -1 for ever, and serve what is ready; tell whether anything was."""
        if self._epoll is None:
            return False
        try:
            # From the kernel to this list is one step of the interpreter: what was reported is armed no longer.
            self._ready.extend(chain.from_iterable(map(self._epoll.poll, (min(seconds, LONGEST_POLL),))))
            found = bool(self._ready)
            while self._ready:
                self._serve(*self._ready[-1])
                self._ready.pop()
        except BaseException:  # of a signal handler
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
            # After an exception out of a signal handler, too.
            if waiting:
                with handle.lock.entered:
                    self._arm(handle)

    def _stop(self) -> None:
        """Close the epoll."""
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            epoll.close()
            self._armed.clear()


class WakeablePoller(Poller):
    """A Poller whose thread waits in `_poll`, and which any thread can end that wait of."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._wakeup = Wakeup()
        self._can_wake = False

    def _listen(self, epoll: Watch) -> None:
        """
        Be woken in a wait for *epoll*.

        Raises the Error TOO_MANY_OPEN_FILES where there is no descriptor left for it.
        """
        with self._lock.entered:
            if not self._can_wake:
                try:  # noqa: SIM105 - contextlib would be imported for this alone
                    # By its edge, it need not be cleared.
                    epoll.register(self._wakeup.open(), watch.READABLE | watch.BY_EDGE)
                except FileExistsError:  # a signal handler had raised before the next line
                    pass
                self._can_wake = True

    def wake(self) -> None:
        """End the wait."""
        if self._can_wake:
            with self._lock.entered:
                self._wakeup.set()

    def _stop(self) -> None:
        # First: after an exception out of a signal handler the next epoll would be waited for without it.
        self._can_wake = False
        super()._stop()
        self._wakeup.close_unless([])


_pollers: weakref.WeakSet[Poller] = weakref.WeakSet()


def _stop_in_child() -> None:
    """Close a forked child's copies: to arm anything by them would change what the parent's epoll looks for."""
    for each in tuple(_pollers):
        each.is_ours = False
        each._stop()
    _pollers.clear()


os.register_at_fork(after_in_child=_stop_in_child)
