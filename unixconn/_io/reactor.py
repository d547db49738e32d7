"""Reactor: an epoll, and the operations that wait in the background with it."""

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
    from unixconn._kernel.epoll import Epoll
    from unixconn._kernel.handle import Handle


class Reactor:
    """
    One epoll (or kqueue), and the operations that wait with it.

    A socket is armed in the epoll for one event (EPOLLONESHOT). After the event it is armed again if an operation still
    waits for it. So nothing has to be undone when an operation ends for another reason, or when a thread closes the
    descriptor.

    The trap that this avoids: the kernel removes a socket from an epoll only when the last descriptor for it is closed.
    If this process closed its descriptor while another process still has one, an armed socket would be reported again
    and again, under a number that may belong to another file by then.
    """

    def __init__(self) -> None:
        self.is_ours = True
        """Whether this process has made the reactor, rather than a process that this one was forked from."""
        self._epoll: Epoll | None = None
        # The Handles of the descriptors in the epoll, by their numbers. The references are weak: an operation that
        # waits keeps its Handle alive, and this dictionary must not keep alive a Handle for which no operation waits.
        self._armed: dict[int, weakref.ref[Handle]] = {}
        self._waiting: set[Waiter[Any]] = set()
        self._ready: list[tuple[int, int]] = []
        self._alarms: dict[Waiter[Any], Callable[[], object]] = {}
        _reactors.add(self)

    @property
    def is_closed(self) -> bool:
        """Whether the reactor will never serve an operation again."""
        return not self.is_ours

    @abstractmethod
    def post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the thread that serves the operations. May be called in any thread."""

    def add(self, waiter: Waiter[Any]) -> None:
        """
        Serve *waiter*, which has joined its queue, until `remove`. The caller holds the lock of its handle.

        Raises the Error TOO_MANY_OPEN_FILES if the descriptor table is full.
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
        """Make the epoll if there is none, and make sure that `_turn` will be called."""

    @abstractmethod
    def _call_at(self, moment: float, waiter: Waiter[Any]) -> Callable[[], object]:
        """
        Schedule a call of `_ring` with *waiter* at *moment*, a time of `time.monotonic`.

        Returns a function that undoes this.
        """

    def _set_alarm(self, waiter: Waiter[Any]) -> None:
        if waiter.alarm is not None:
            self._alarms[waiter] = self._call_at(waiter.alarm, waiter)

    def _ring(self, waiter: Waiter[Any]) -> None:
        waiter.ring()
        # This sets the next alarm, or the same one if the clock was a little too early.
        if not waiter.has_ended:
            # Another thread may just have ended the waiter and undone its alarm. A new alarm would never be undone.
            with waiter.handle.lock.entered:
                if not waiter.has_ended:
                    self._set_alarm(waiter)

    def remove(self, waiter: Waiter[Any]) -> None:
        """Stop serving *waiter*. May be called again."""
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
            except FileNotFoundError:  # the socket was closed, and the number belongs to another one by now
                known = False
        if not known:
            self._epoll.register(number, events)

    def _turn(self, seconds: float) -> bool:
        """Wait for at most *seconds*, -1 for no limit, and serve the sockets that are ready; return whether any was."""
        if self._epoll is None:
            return False
        try:
            # The events enter this list in one step of the interpreter, so that an exception cannot lose them: a socket
            # that was reported is not armed any more.
            self._ready.extend(chain.from_iterable(map(self._epoll.poll, (min(seconds, LONGEST_POLL),))))
            found = bool(self._ready)
            while self._ready:
                self._serve(*self._ready[-1])
                self._ready.pop()
        finally:
            # If a signal handler raises an exception, the other events still have to be served.
            while self._ready:
                self._serve(*self._ready.pop())
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
            # This runs even if a signal handler raises an exception.
            if waiting:
                with handle.lock.entered:
                    self._arm(handle)

    def _stop(self) -> None:
        """Close the epoll."""
        closing, self._epoll = self._epoll, None
        if closing is not None:
            closing.close()
            self._armed.clear()


class WakeableReactor(Reactor):
    """A Reactor whose thread waits in `_turn`. Any thread can end that wait."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._wakeup = Wakeup()
        self._can_wake = False

    def _listen(self, made: Epoll) -> None:
        """
        Add the wakeup to *made*, so that `wake` ends a wait for it.

        Raises the Error TOO_MANY_OPEN_FILES if the descriptor table is full.
        """
        with self._lock.entered:
            if not self._can_wake:
                try:  # noqa: SIM105 - contextlib would be imported for this alone
                    # With EPOLLET each `set` is reported once, so the wakeup need not be cleared.
                    made.register(self._wakeup.open(), epoll.READABLE | epoll.BY_EDGE)
                except FileExistsError:  # an earlier call was interrupted before `_can_wake` was set
                    pass
                self._can_wake = True

    def wake(self) -> None:
        """End the wait of the reactor's thread, or its next one. May be called in any thread."""
        if self._can_wake:
            with self._lock.entered:
                self._wakeup.set()

    def _stop(self) -> None:
        # This is cleared first: if an exception came before, `_listen` would not add the wakeup to the next epoll.
        self._can_wake = False
        super()._stop()
        self._wakeup.close_unless([])


_reactors: weakref.WeakSet[Reactor] = weakref.WeakSet()


def _stop_in_child() -> None:
    """
    Close the epolls that a forked child has inherited.

    Parent and child share an epoll. If the child armed a socket in it, it would change what the parent watches.
    """
    for each in tuple(_reactors):
        each.is_ours = False
        each._stop()
    _reactors.clear()


os.register_at_fork(after_in_child=_stop_in_child)
