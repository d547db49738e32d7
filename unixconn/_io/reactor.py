"""Reactor: an epoll, and the operations that wait in the background with it."""

from __future__ import annotations

import errno
import os
import weakref
from abc import abstractmethod
from functools import reduce
from itertools import chain
from operator import or_

from unixconn._base.errors import Error, system_error, translated
from unixconn._base.lock import Lock
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.waiter import serve
from unixconn._kernel import epoll
from unixconn._kernel.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable

    from unixconn._io.main_context import Entry, MainContext
    from unixconn._io.waiter import Waiter
    from unixconn._kernel.epoll import Epoll
    from unixconn._kernel.handle import Handle


_ONE_SHOT = epoll.ONE_SHOT
_CONTEXT = "Waiting in the background: "
_LOST = (errno.EBADF, errno.EINVAL)
"""What epoll_wait(2) says of a number that is not an epoll's any more."""


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
        self._waiting: set[Waiter] = set()
        self.ready: list[tuple[int, int]] = []
        """The descriptors that were reported, with their events, until they are served."""
        self._alarms: dict[Waiter, Callable[[], object]] = {}
        _reactors.add(self)

    context: MainContext | None = None
    """The context whose thread serves the operations; None if an event loop or another thread does."""

    has_thread = False
    """Whether the reactor has a thread of its own, which ends when it has nothing to do."""

    @property
    def is_closed(self) -> bool:
        """Whether the reactor will never serve an operation again."""
        return not self.is_ours

    @abstractmethod
    def post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the thread that serves the operations. May be called in any thread."""

    def deliver(self, entry: Entry) -> None:
        """Schedule the call of *entry* in the same way."""
        self.post(entry._dispatch)

    def add(self, waiter: Waiter) -> None:
        """
        Serve *waiter*, which has joined its queue, until `remove`. The caller holds the lock of its handle.

        Raises the Error TOO_MANY_OPEN_FILES if the descriptor table is full.
        """
        self._waiting.add(waiter)
        try:
            if self._epoll is None or self.has_thread:
                self._start()
            if waiter._alarm is not None:
                self._alarms[waiter] = self._call_at(waiter._alarm, waiter)
            self.arm(waiter._operation.handle)
        except OSError as error:
            self._recover()
            raise translated(error, "Starting to wait in the background: ") from None

    def _recover(self) -> None:
        """Wait with another epoll if other code has closed the one that a thread waits with."""

    @abstractmethod
    def _start(self) -> None:
        """Make the epoll if there is none, and make sure that `_poll` and `serve` will be called."""

    @abstractmethod
    def _call_at(self, moment: float, waiter: Waiter) -> Callable[[], object]:
        """
        Schedule a call of `_ring` with *waiter* at *moment*, a time of `time.monotonic`.

        Returns a function that undoes this.
        """

    def _ring(self, waiter: Waiter) -> None:
        waiter._ring()
        # This sets the next alarm, or the same one if the clock was a little too early.
        if not waiter._is_over:
            # Another thread may just have ended the waiter and undone its alarm. A new alarm would never be undone.
            with waiter._operation.handle.entered:
                if not waiter._is_over:
                    self._alarms[waiter] = self._call_at(waiter._alarm or 0.0, waiter)

    def remove(self, waiter: Waiter) -> None:
        """Stop serving *waiter*. May be called again."""
        self._waiting.discard(waiter)
        if waiter._alarm is not None and (undo := self._alarms.pop(waiter, None)) is not None:
            undo()

    def arm(self, handle: Handle) -> None:
        """Watch *handle* for what its operations wait for. The caller holds its lock."""
        number, watching = handle.number, self._epoll
        if number < 0 or watching is None:
            return
        # In one step, as a signal handler may add an operation.
        events = reduce(or_, handle.waiting, _ONE_SHOT)
        if events == _ONE_SHOT:
            return
        known = self._armed.get(number)
        if known is None or known() is not handle:
            self._armed[number] = weakref.ref(handle)
        try:
            if known is not None:
                try:
                    watching.modify(number, events)
                except FileNotFoundError:  # the socket was closed, and the number belongs to another one by now
                    watching.register(number, events)
            else:
                watching.register(number, events)
        except (OSError, ValueError):
            if self._epoll is watching:
                raise
            # Waiting has failed meanwhile, and the thread that waited is about to end the operation, see `_break`.

    def rearm(self, handle: Handle) -> None:
        """Watch *handle* again. If that fails, its operations end with the Error."""
        try:
            self.arm(handle)
        except OSError as error:
            if error.errno is None or isinstance(error, Error):  # raised by a signal handler
                raise
            self._fail(system_error(error.errno, _CONTEXT), handle)

    def _poll(self, watching: Epoll, seconds: float) -> bool:
        """
        Wait for at most *seconds*, -1 for no limit, and add what is ready to `ready`.

        The longest wait is LONGEST_POLL. Returns False if waiting has failed, which ends all operations.
        """
        try:
            # The events enter this list in one step of the interpreter, so that an exception cannot lose them: a socket
            # that was reported is not armed any more.
            self.ready.extend(chain.from_iterable(map(watching.poll, (seconds,))))
        except OSError as error:
            self._fail_to_poll(watching, error)
            return False
        return True

    def _fail_to_poll(self, watching: Epoll, error: OSError) -> None:
        """End all operations with *error*, which `_poll` has raised. Raise it if it is a signal handler's."""
        if error.errno is None or isinstance(error, Error):
            raise error
        if self._epoll is watching:
            self._break(error.errno)

    def serve(self) -> None:
        """Serve the sockets in `ready`."""
        ready = self.ready
        try:
            # Not "while ready": see "Signal handlers that raise" in CONTRIBUTING.md.
            while True:
                if not ready:
                    break
                # The lines of `_serve`, without the call.
                number, events = ready[-1]
                armed = self._armed.get(number)
                if armed is not None and (handle := armed()) is not None:
                    serve(handle, events, self)
                ready.pop()
        finally:
            # If a signal handler raises an exception, the events still have to be served.
            while ready:
                self._serve(*ready.pop())

    def _serve(self, number: int, events: int) -> None:
        armed = self._armed.get(number)
        if armed is not None and (handle := armed()) is not None:
            serve(handle, events, self)

    def _break(self, number: int) -> None:
        """
        End all operations that wait: waiting has failed with the errno *number*, and would fail again.

        A filter may forbid the system call, or the program may have closed descriptors that are not its own.
        """
        self._lose(number)
        self._fail(system_error(number, _CONTEXT))

    def _lose(self, number: int) -> None:
        """Close the epoll. By the errno *number*, it may be another file by now: then forget it instead."""
        if self._epoll is not None and number in _LOST:
            _lost.append(self._epoll)
            self._epoll = None
            self._armed.clear()
        self._stop()

    def _fail(self, failure: Error, handle: Handle | None = None) -> None:
        """End all operations that wait with *failure*, or only those of *handle*."""
        for each in list(self._waiting):  # copied in one step, also without the GIL: other threads may change it
            if handle is None or each._operation.handle is handle:
                each._break_off(failure)

    def _stop(self) -> None:
        """Close the epoll."""
        closing, self._epoll = self._epoll, None
        if closing is not None:
            closing.close()
            self._armed.clear()


class WakeableReactor(Reactor):
    """A Reactor whose thread waits in `_poll`. Any thread can end that wait."""

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
                try:
                    self._wakeup.set()
                except OSError:  # other code has closed the descriptor
                    self._recover()

    def _lose(self, number: int) -> None:
        with self._lock.entered:
            if number in _LOST:
                self._wakeup.forget()
            super()._lose(number)

    def _stop(self) -> None:
        # This is cleared first: if an exception came before, `_listen` would not add the wakeup to the next epoll.
        self._can_wake = False
        super()._stop()
        self._wakeup.close_unless([])


_reactors: weakref.WeakSet[Reactor] = weakref.WeakSet()
_lost: list[Epoll] = []
"""Epolls that other code has closed. They are kept, as their destructors would close the numbers once more."""


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
