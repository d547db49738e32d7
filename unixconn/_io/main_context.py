"""
MainContext: functions to be called in a thread, and the sources that say when (GLib.MainContext, GLib.Source).

As much of GLib's main loop as asynchronous operations need: idle and timeout functions, priorities, contexts for
threads, nesting. A context has descriptors only while it waits for sockets: delivery.py provides them.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from heapq import heappop
from itertools import count

from unixconn._base.arguments import as_priority
from unixconn._base.clock import Clock, push_all
from unixconn._base.lock import Lock, this_process
from unixconn._base.object import run_handler
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Sockets(Protocol):
        """What a context waits for beside its sources; see delivery.py."""

        def wait(self, seconds: float) -> bool:
            """Wait for at most *seconds*, -1 without end, or until `wake`; return False if there is nothing to do."""

        def wake(self) -> None:
            """End a `wait`, from any thread."""

        def rest(self) -> None:
            """Close the descriptors if nothing is left to wait for."""


PRIORITY_HIGH = -100
PRIORITY_DEFAULT = 0
PRIORITY_HIGH_IDLE = 100
PRIORITY_DEFAULT_IDLE = 200
PRIORITY_LOW = 300

_numbers = count(1)


class _Stack(threading.local):
    """The contexts that this thread has pushed."""

    def __init__(self) -> None:
        self.entries: list[MainContext] = []


_pushed = _Stack()


class Source:
    """
    Something that becomes ready, and whose callback is called then in the context it is attached to (GLib.Source).

    Made by `Cancellable.source_new` and `Socket.create_source`; `idle_add` and `timeout_add` attach theirs at once.
    """

    __slots__ = ("__weakref__", "_call", "_context", "_destroyed", "_due", "_id", "_priority")

    def __init__(self, priority: int = PRIORITY_DEFAULT) -> None:
        self._priority = as_priority(priority, "priority")
        self._call: Callable[[], object] = bool
        self._context: MainContext | None = None
        self._destroyed = False
        self._due = False
        self._id = 0

    def set_callback(self, callback: Callable[..., object], *data: object) -> None:
        """Call *callback* with *data* each time the source is ready, until it returns a false value."""
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self._call = lambda: callback(*data)

    def get_priority(self) -> int:
        """Return the priority. Of several sources that are ready the one with the lowest number is called first."""
        return self._priority

    def set_priority(self, priority: int) -> None:
        """Set the priority."""
        self._priority = as_priority(priority, "priority")

    def attach(self, context: MainContext | None = None) -> int:
        """
        Add it to *context*, None for the default context, and return its number there.

        Raises ValueError if it was attached or destroyed before.
        """
        found = context_of(context)
        if self._destroyed or self._context is not None:
            raise ValueError(f"{self!r} was attached or destroyed before, and can not be attached")
        self._context = found
        self._id = next(_numbers)
        self._context._sources[self._id] = self
        self._prepare()
        return self._id

    def get_id(self) -> int:
        """Return the number that `attach` returned, 0 before that."""
        return self._id

    def get_context(self) -> MainContext | None:
        """Return the context that it is attached to; None before `attach` and after `destroy`."""
        return None if self._destroyed else self._context

    def destroy(self) -> None:
        """Remove it from its context. Its callback is not called again."""
        self._destroyed = True
        if self._context is not None:
            self._context._sources.pop(self._id, None)

    def is_destroyed(self) -> bool:
        """Return whether it was destroyed: by `destroy`, or because its callback returned a false value."""
        return self._destroyed

    def _prepare(self) -> None:
        """Make it ready, now or later."""
        self._make_ready()

    def _make_ready(self) -> None:
        if self._context is not None:
            self._due = True
            self._context._arrive(self)

    _was_missed = False
    """Whether an exception raised by a signal handler has broken off a call before its first step."""

    def _dispatch(self) -> None:
        if self._due and not self._destroyed:
            self._due = False
            again: object = False
            try:
                again = self._call()
                if isinstance(again, tuple):  # as in PyGObject, the first of several results counts
                    again = bool(again and again[0])
            finally:
                if not again:
                    self.destroy()
                elif not self._destroyed:
                    self._prepare()


class Timeout(Source):
    """Becomes ready after each *interval*, in seconds."""

    __slots__ = ("_interval",)

    def __init__(self, interval: float, priority: int = PRIORITY_DEFAULT) -> None:
        super().__init__(priority)
        self._interval = interval

    def _prepare(self) -> None:
        if self._context is not None:
            self._context._arrive_at(time.monotonic() + self._interval, self)


class _Call(Source):
    """Is called once, or again if an exception of a signal handler breaks that off. It has no number."""

    __slots__ = ()

    def __init__(self, call: Callable[[], object], priority: int) -> None:
        # Without the checks of arguments, as each result has one.
        self._priority = priority
        self._call = call
        self._context = None
        self._destroyed = False
        self._due = True

    @property
    def _was_missed(self) -> bool:  # type: ignore[override]
        return self._due

    def _dispatch(self) -> None:
        # An exception of a signal handler comes out while it is still due, and it is called again.
        if self._due:
            try:
                self._call()
            except Exception:
                # It may be a signal handler's, too. What is called does nothing twice.
                self._call()
                self._due = False
                raise
            self._due = False


class MainContext:
    """
    Functions to be called in one thread, which iterates this context (GLib.MainContext).

    Operations deliver their results to the context that was thread-default when they were started: the one that the
    thread has pushed last, else the global default.
    """

    def __init__(self) -> None:
        # Held by the thread that iterates.
        self._owner = Lock()
        self._sources: dict[int, Source] = {}
        # Sources become ready in any thread. The owner sorts them by priority, and within one by their arrival.
        self._arrivals: deque[tuple[int, int, Source]] = deque()
        self._ready: list[tuple[int, int, Source]] = []
        # Sources between their place in line and their callback: an exception of a signal handler loses none.
        self._taken: list[tuple[int, int, Source]] = []
        self._clock: Clock[Source] = Clock(Source.is_destroyed)
        self._late: list[Source] = []
        # Open while something may have arrived that the owner has not seen.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._woken = False
        self._owner_thread = 0
        # The same thread, but 0 while it waits.
        self._awake_thread = 0
        self._process = this_process()
        self._sockets: Sockets | None = None
        # By the process, as a forked child has its own.
        self._lent: dict[object, Any] = {}

    # --- which context ---

    @classmethod
    def new(cls) -> MainContext:
        """Return a new context."""
        return cls()

    @staticmethod
    def default() -> MainContext:
        """Return the global default context, which the main thread usually iterates."""
        return _default

    @staticmethod
    def get_thread_default() -> MainContext | None:
        """Return the context that this thread has pushed last; None for the global default."""
        context = _pushed.entries[-1] if _pushed.entries else None
        return None if context is _default else context

    @staticmethod
    def ref_thread_default() -> MainContext:
        """Return the context that this thread has pushed last, or the global default."""
        return _pushed.entries[-1] if _pushed.entries else _default

    def push_thread_default(self) -> None:
        """Make this the thread's default context."""
        _pushed.entries.append(self)

    def pop_thread_default(self) -> None:
        """Undo the latest `push_thread_default` of this thread. Raises ValueError if that was not of this context."""
        if not _pushed.entries or _pushed.entries[-1] is not self:
            raise ValueError(f"{self!r} is not the context that this thread has pushed last")
        _pushed.entries.pop()

    def _call_as_default(self, call: Callable[[], object]) -> None:
        """Call *call* with this as the thread's default context."""
        entries = _pushed.entries
        depth = len(entries)
        try:
            entries.append(self)
            call()
        finally:
            # Not by `pop_thread_default`, as an exception may have come before this was pushed.
            del entries[depth : depth + 1]

    # --- iterating ---

    def iteration(self, may_block: bool = True) -> bool:
        """
        Call the callbacks of the sources that are ready with the highest priority; return whether there were any.

        With *may_block* it waits until a source is ready, and until no other thread iterates. An exception in a
        callback goes to `sys.excepthook`; KeyboardInterrupt and SystemExit, also those of signal handlers, come out.
        """
        me = threading.get_ident()
        # Not acquire(blocking=False): an exception of a signal handler can come between that and a try block.
        if self._iterating_thread() not in (0, me) and not may_block:
            return False
        with self._owner.entered:
            outer = self._owner_thread, self._awake_thread
            self._owner_thread = self._awake_thread = me
            try:
                return self._iterate(may_block)
            finally:
                self._owner_thread, self._awake_thread = outer
                if self._sockets is not None:
                    self._sockets.rest()

    def _iterating_thread(self) -> int:
        """Return the thread that iterates this, 0 for none."""
        if self._process is not this_process():
            # A forked child has only the thread that has forked.
            self._process = this_process()
            if self._owner_thread != threading.get_ident():
                self._owner_thread = self._awake_thread = 0
        return self._owner_thread

    def _iterate(self, may_block: bool) -> bool:
        self._look(0.0)
        while not self._ready and may_block and not self._woken:
            self._look(self._pause())
        self._woken = False
        if not self._ready:
            return False
        # Sources that become ready meanwhile have their turn in the next iteration.
        priority, last = self._ready[0][0], next(_numbers)
        while self._ready and self._ready[0][0] == priority and self._ready[0][1] < last:
            self._taken.extend(map(heappop, (self._ready,)))
            taken = self._taken[-1]
            run_handler(taken[2]._dispatch)
            if taken in self._taken and not taken[2]._was_missed:
                self._taken.remove(taken)
        return True

    def _look(self, seconds: float) -> None:
        """Wait for at most *seconds*, -1 without end, for sources to arrive, and sort them."""
        thread, self._awake_thread = self._awake_thread, 0
        try:
            # From here on each arrival rings the bell, also one by a signal handler of this thread.
            if self._arrivals:
                seconds = 0.0
            if (self._sockets is None or not self._sockets.wait(seconds)) and seconds:
                self._bell.acquire(timeout=seconds)
        finally:
            self._awake_thread = thread
        while self._taken:
            self._arrivals.append(self._taken[-1])
            self._taken.pop()
        self._clock.move_due(self._late)
        while self._late:
            source = self._late[-1]
            source._due = True
            self._arrivals.append((source._priority, next(_numbers), source))
            self._late.pop()
        push_all(self._arrivals, self._ready)
        while self._ready and (self._ready[0][2]._destroyed or not self._ready[0][2]._due):
            heappop(self._ready)

    def _pause(self) -> float:
        """Return the seconds until the next timeout, -1 for none."""
        moment = self._clock.next()
        if moment == math.inf:
            return -1.0
        # At least the unit of poll(), to avoid a busy loop just before the moment.
        return min(max(0.001, moment - time.monotonic()), threading.TIMEOUT_MAX)

    def pending(self) -> bool:
        """Return whether a source is ready; False while another thread iterates."""
        if self._iterating_thread() not in (0, threading.get_ident()):
            return False
        with self._owner.entered:
            self._look(0.0)
            return bool(self._ready)

    def wakeup(self) -> None:
        """Let the `iteration` that waits, or else the next one, return without waiting."""
        self._woken = True
        self._ring()

    def invoke_full(self, priority: int, function: Callable[..., object], *data: object) -> None:
        """
        Call *function* with *data* in the thread of this context, again and again until it returns a false value.

        Called at once if that is this thread: it iterates this context, or no thread does and this context is its
        thread-default.
        """
        source = Source(priority)
        source.set_callback(function, *data)
        owner = self._iterating_thread()
        is_default_here = MainContext.ref_thread_default() is self and not owner
        if is_default_here or owner == threading.get_ident():
            with self._owner.entered:
                while source._call():
                    pass
        else:
            source.attach(self)

    def invoke(self, function: Callable[..., object], *data: object) -> None:
        """`invoke_full` with the default priority."""
        self.invoke_full(PRIORITY_DEFAULT, function, *data)

    # --- from any thread ---

    def _arrive(self, source: Source) -> None:
        self._arrivals.append((source._priority, next(_numbers), source))
        self._ring()

    def _arrive_at(self, moment: float, source: Source) -> None:
        self._clock.add(moment, source)
        self._ring()

    def _post(self, call: Callable[[], object], priority: int = PRIORITY_DEFAULT) -> None:
        self._arrive(_Call(call, priority))

    def _rang(self) -> bool:
        """Return whether something has arrived since this was last called, or since the last wait."""
        return self._bell.acquire(blocking=False)

    def _ring(self) -> None:
        if threading.get_ident() == self._awake_thread:
            return  # the thread looks again before it waits
        try:
            if self._bell.locked():
                self._bell.release()
        except RuntimeError:  # another thread was quicker
            pass
        if self._sockets is not None:
            self._sockets.wake()


_default = MainContext()


def context_of(context: MainContext | None) -> MainContext:
    """Return *context*, or the default one for None. Raises TypeError for anything else."""
    if context is not None and not isinstance(context, MainContext):
        raise TypeError(f"context must be a MainContext or None, not {context!r}")
    return context or _default
