"""
MainContext: calls functions in the thread that iterates it, when their sources are ready.

It implements GLib.MainContext: priorities, contexts for threads, nesting. The sources that users know are in source.py.
A context itself has no descriptor. When it has to wait for sockets, delivery.py adds a reactor to it, which has
descriptors as long as operations wait.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from itertools import chain, count, repeat
from operator import attrgetter
from threading import get_ident

from unixconn._base.arguments import INT_MAX, UINT_MAX, as_int, as_integer
from unixconn._base.clock import Clock, popping, push_all
from unixconn._base.lock import Lock, this_process
from unixconn._base.object import refuse_copy, run_handler
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.priorities import PRIORITY_DEFAULT
from unixconn._kernel.wakeup import LONGEST_POLL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Entry(Protocol):
        """What a context calls: a source, or a Task whose operation has ended."""

        @property
        def _priority(self) -> int:
            """The priority of the call."""

        @property
        def _destroyed(self) -> bool:
            """Whether it is not to be called any more."""

        @property
        def _due(self) -> object:
            """Whether it still has to be called; not empty or True if so."""

        @property
        def _was_missed(self) -> object:
            """Whether an exception raised by a signal handler has interrupted the call before its first step."""

        def _dispatch(self) -> None:
            """Call it."""

    class Sockets(Protocol):
        """The reactor that a context waits with; see delivery.py."""

        @property
        def is_ours(self) -> bool:
            """Whether this process has made it, rather than a process that this one was forked from."""

        @property
        def ready(self) -> object:
            """What `wait` has found to be ready, until `serve`; not empty if there is something."""

        def wait(self, seconds: float) -> bool:
            """
            Wait for at most *seconds*, -1 for no limit, or until `wake`.

            Return False at once if no operation waits.
            """

        def serve(self) -> None:
            """Serve the sockets that `wait` has found to be ready."""

        def wake(self) -> None:
            """End a `wait`. May be called in any thread."""

        def rest(self) -> None:
            """Close the descriptors if no operation waits."""


arrival_numbers = count(1)
source_numbers = chain.from_iterable(repeat(range(1, UINT_MAX + 1)))
"""The numbers of sources, which fit a C unsigned int: after the largest one they begin again."""


class _Stack(threading.local):
    """The contexts that this thread has pushed, the latest one last."""

    def __init__(self) -> None:
        self.entries: list[MainContext] = []


pushed_contexts = _Stack()
_id_of = attrgetter("_id")


class BasicSource:
    """What a context calls when it is ready, without the parts of a `Source` that users know."""

    __slots__ = ("_call", "_context", "_destroyed", "_due", "_id", "_priority")

    def __init__(self, priority: int = PRIORITY_DEFAULT) -> None:
        self._priority = as_int(priority, "priority")
        self._call: Callable[[], object] = bool
        self._context: MainContext | None = None
        self._destroyed = False
        self._due = False
        self._id = 0

    def _set(self, callback: Callable[..., object], data: tuple[object, ...]) -> None:
        """Call *callback* with *data* each time the source is ready. Raises TypeError if it is not callable."""
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self._call = lambda: callback(*data)

    def destroy(self) -> None:
        """See `Source.destroy`."""
        self._destroyed = True
        if self._context is not None:
            self._context._sources.pop(self._id, None)

    def _prepare(self) -> None:
        """Arrange for the source to become ready, now or later. Called by `attach`, and after each callback."""
        if self._context is not None:
            self._due = True
            self._context._arrive(self)

    # For the subclasses that become ready later.
    _make_ready = _prepare

    _was_missed = False
    """Whether an exception raised by a signal handler has interrupted a call before its first step."""

    def _dispatch(self) -> None:
        if self._due and not self._destroyed:
            self._due = False
            is_settled = False
            try:
                again = self._call()
                # As in PyGObject, the first of several results counts.
                if again and (again is True or not isinstance(again, tuple) or again[0]):
                    if not self._destroyed:
                        self._prepare()
                else:
                    self.destroy()
                # Only now: a source that is broken off while it prepares would never be called again, and one that is
                # broken off while it ends would stay in the context.
                is_settled = True
            finally:
                if not is_settled:
                    try:
                        self.destroy()
                    finally:  # a signal handler may raise before its first step
                        self.destroy()


class _Call(BasicSource):
    """
    A source for one call of an internal function. It has no number.

    If an exception interrupts the call, the function is called again. So a second call must not repeat what the first
    one has done.
    """

    __slots__ = ("_was_missed",)

    def __init__(self, call: Callable[[], object], priority: int) -> None:
        # super().__init__(), which checks arguments, is not called: an object is made for each result of an operation.
        self._priority = priority
        self._call = call
        self._context = None
        self._destroyed = False
        self._due = True
        self._was_missed: bool = True

    def _dispatch(self) -> None:
        # KeyboardInterrupt and the like propagate while `_due` is still True, so the context calls this again.
        if self._was_missed:
            try:
                self._call()
            except Exception:
                # A signal handler may have raised the exception, so the work may be unfinished. A second call does only
                # the rest.
                self._call()
                self._was_missed = False
                raise
            self._was_missed = False


def _call_again_and_again(call: Callable[[], object]) -> None:
    # A function of its own: see "Signal handlers that raise" in CONTRIBUTING.md.
    again: Any = True
    while again:
        again = run_handler(call)
        if isinstance(again, tuple):  # as in `BasicSource._dispatch`
            again = again and again[0]


class MainContext:
    """
    A queue of functions that are called in one thread, the one that iterates the context (GLib.MainContext).

    An operation delivers its result to the context that was the thread's default when it was started: the one that the
    thread has pushed last, or without one the global default context.
    """

    __module__ = "unixconn"

    __reduce__ = refuse_copy

    def __init__(self) -> None:
        # Held by the thread that iterates, the owner.
        self._owner = Lock()
        self._sources: dict[int, BasicSource] = {}
        # Sources become ready in any thread, which appends them here. The owner moves them to `_ready`, a heap that is
        # ordered by priority, and by arrival within a priority.
        self._arrivals: deque[tuple[int, int, Entry]] = deque()
        self._ready: list[tuple[int, int, Entry]] = []
        self._first = popping(self._ready)
        # Sources that have left `_ready` and whose callback has not returned. If a signal handler raises an exception
        # in between, they go back to `_arrivals`.
        self._taken: list[tuple[int, int, Entry]] = []
        self._clock: Clock[BasicSource] = Clock(attrgetter("_destroyed"))
        self._late: list[BasicSource] = []
        # The bell is unlocked while something may have arrived that the owner has not seen. The owner waits by
        # acquiring it.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._woken = False
        self._owner_thread = 0
        # Whether the owner waits, or is about to. It then has to be woken by the bell, and by its reactor.
        self._waits = False
        self._process = this_process()
        self._sockets: Sockets | None = None
        # A token for each of those who will iterate the context again soon. While there is one, the reactor keeps its
        # descriptors from one operation to the next.
        self._keepers: list[object] = []
        # The reactor of each process: a forked child needs its own.
        self._lent: dict[object, Any] = {}
        # The sources that are asked in each iteration, see polling.py.
        self._polled: dict[Any, None] = {}

    # --- which context ---

    @classmethod
    def new(cls) -> MainContext:
        """Return a new context (g_main_context_new)."""
        return cls()

    @staticmethod
    def default() -> MainContext:
        """Return the global default context, which usually the main thread iterates (g_main_context_default)."""
        return default_context

    @staticmethod
    def get_thread_default() -> MainContext | None:
        """Return the context that this thread has pushed last; None if that is the global default, or there is none."""
        context = pushed_contexts.entries[-1] if pushed_contexts.entries else None
        return None if context is default_context else context

    @staticmethod
    def ref_thread_default() -> MainContext:
        """Return the context that this thread has pushed last; the global default context if there is none."""
        return pushed_contexts.entries[-1] if pushed_contexts.entries else default_context

    def push_thread_default(self) -> None:
        """Make this the default context of the current thread, until `pop_thread_default`."""
        pushed_contexts.entries.append(self)

    def pop_thread_default(self) -> None:
        """Undo the latest `push_thread_default` of this thread. Raises ValueError if that pushed another context."""
        if not pushed_contexts.entries or pushed_contexts.entries[-1] is not self:
            raise ValueError(f"{self!r} is not the context that this thread has pushed last: pop that one first")
        pushed_contexts.entries.pop()

    def _call_as_default(self, call: Callable[[], object]) -> None:
        """Call *call* with this as the thread's default context."""
        entries = pushed_contexts.entries
        depth: Any = len(entries)  # None once it is used
        try:
            try:
                entries.append(self)
                call()
            finally:
                # `pop_thread_default` is not used, as an exception may have come before this was pushed.
                del entries[depth : depth + 1]
                depth = None
        finally:
            # Before CPython 3.11, and on PyPy, an exception can come before the first step of a `finally`.
            if depth is not None:
                del entries[depth : depth + 1]

    # --- iterating ---

    def iteration(self, may_block: bool = True) -> bool:
        """
        Call the callbacks of the ready sources that have the highest priority; return whether there were any.

        With *may_block* this waits until no other thread iterates the context, and until a source is ready. Without it,
        it returns False at once. See g_main_context_iteration.

        An exception that a callback raises goes to `sys.excepthook`. KeyboardInterrupt and SystemExit propagate,
        including those that a signal handler raises.
        """
        me = get_ident()
        # Not by acquire(blocking=False): between that and a try block, a signal handler could raise, and the lock would
        # stay locked.
        if not may_block and self._iterating_thread() not in (0, me):
            return False
        with self._owner.entered:
            outer = self._owner_thread
            self._owner_thread = me
            try:
                ready = self._ready
                self._look(may_block)
                if not ready:
                    self._look_again(may_block)
                self._woken = False
                priority = None
                # Sources that become ready during a callback have to wait for the next iteration.
                last = next(arrival_numbers)
                # Not "while ready": see "Signal handlers that raise" in CONTRIBUTING.md.
                while True:
                    if not ready or (priority is not None and (ready[0][0] != priority or ready[0][1] >= last)):
                        break
                    first = ready[0]
                    self._taken.extend(map(*self._first))
                    # This is skipped if a signal handler has iterated just before. That iteration has called `first`,
                    # and the source that was taken instead stays among those that `_look` puts back.
                    try:
                        first[2]._dispatch()
                    except Exception:  # noqa: BLE001 - a callback that fails must not stop the others
                        sys.excepthook(*sys.exc_info())
                    if not first[2]._was_missed:
                        try:  # noqa: SIM105 - which costs more
                            self._taken.remove(first)
                        except ValueError:  # an iteration inside of the call has put it back
                            pass
                    priority = first[0]
                if priority is None:
                    self._rest()
            finally:
                self._owner_thread = outer
                if not self._keepers:
                    self._rest()
        return priority is not None

    def _look_again(self, may_block: bool) -> None:
        while not self._ready and may_block and not self._woken:
            self._look(may_block)

    def _iterating_thread(self) -> int:
        """Return the identifier of the thread that iterates this context; 0 for none."""
        if self._process is not this_process():
            # In a forked child only the thread exists that has called fork().
            self._process = this_process()
            if self._owner_thread != get_ident():
                self._owner_thread = 0
        return self._owner_thread

    def _look(self, may_block: bool) -> None:
        """
        Sort the sources that are ready into `_ready`.

        If there are none, and *may_block* is true, wait until something may have become ready.
        """
        ready = self._ready
        arrivals = self._arrivals
        clock = self._clock
        if self._taken:
            self._put_back()
        if arrivals:
            push_all(arrivals, ready)
        self._waits = True
        # Only now: a source that is attached in another thread may bring the reactor, and rings from here on.
        sockets = self._sockets
        try:
            # From here on each arrival rings the bell, even if a signal handler in this thread adds it. An arrival from
            # before has not rung it, so look for one.
            seconds = 0.0
            if may_block and not (ready or arrivals or self._woken):
                seconds = self._pause() if clock.is_in_use else -1.0
            if (sockets is None or not sockets.wait(seconds)) and seconds:
                self._bell.acquire(timeout=seconds)
        finally:
            self._waits = False
            if sockets is not None and sockets.ready:
                sockets.serve()
        if clock.is_in_use:
            self._take_due()
        if arrivals:
            push_all(arrivals, ready)
        # What need not be called goes from the top.
        while ready:
            first = ready[0][2]
            if first._due and not first._destroyed:
                return
            next(map(*self._first))

    def _take_due(self) -> None:
        """Move the sources whose moment has come to the arrivals, in the order in which they were attached."""
        late = self._late
        self._clock.move_due(late)
        if late:
            # The last one is taken first. Internal sources, whose numbers are 0, stay in the order of their moments.
            late.reverse()
            late.sort(key=_id_of, reverse=True)
        while late:
            source = late[-1]
            source._due = True
            self._arrivals.append((source._priority, next(arrival_numbers), source))
            late.pop()

    def _reorder(self, source: BasicSource) -> None:
        """Call *source*, whose priority has changed, in its new order if it is ready."""
        if self._iterating_thread() not in (0, get_ident()):
            self._post(lambda: self._reorder(source), -INT_MAX - 1)
            return
        with self._owner.entered:
            push_all(self._arrivals, self._ready)
            # Not in a comprehension with a condition: see "Signal handlers that raise" in CONTRIBUTING.md.
            stale = filter(lambda each: each[2] is source and each[0] != source._priority, self._ready)
            for each in tuple(stale):
                self._arrivals.append((source._priority, each[1], source))
                self._ready.remove(each)
            # A list without one of its items need not be a heap any more; a sorted one is a heap also on PyPy.
            self._ready.sort()

    def _rest(self) -> None:
        """Close the descriptors that the context keeps while it is in use, if no operation waits."""
        if self._sockets is not None:
            self._sockets.rest()

    def _put_back(self) -> None:
        """Put back the sources whose call an exception of a signal handler has prevented."""
        while self._taken:
            self._arrivals.append(self._taken[-1])
            self._taken.pop()

    def _pause(self) -> float:
        """Return the seconds until the next timeout; -1 if there is none."""
        moment = self._clock.next()
        if moment == math.inf:
            return -1.0
        # Wait at least a millisecond, the unit of poll(): less would be a busy loop just before the moment.
        return min(max(0.001, moment - time.monotonic()), LONGEST_POLL)

    def pending(self) -> bool:
        """Return whether a source is ready; False while another thread iterates the context."""
        if self._iterating_thread() not in (0, get_ident()):
            return False
        with self._owner.entered:
            self._look(may_block=False)
            return bool(self._ready)

    def wakeup(self) -> None:
        """Make the `iteration` that waits return, or the next one not wait. May be called in any thread."""
        self._woken = True
        if self._waits:
            self._ring()

    def is_owner(self) -> bool:
        """Return whether the current thread iterates the context, as in a callback (g_main_context_is_owner)."""
        return self._iterating_thread() == get_ident()

    def find_source_by_id(self, source_id: int) -> Any:
        """
        Return the `Source` that is attached to this context under the number *source_id*; None if there is none.

        Raises TypeError if *source_id* is not a number, and OverflowError if it is not from 0 to 2**32 - 1.
        """
        return self._sources.get(as_integer(source_id, "source_id", 0, UINT_MAX))

    def invoke_full(self, priority: int, function: Callable[..., object], *data: object) -> None:
        """
        Call *function* with *data* in the thread of this context, again and again until it returns a false value.

        The function is called now if the current thread is the context's: if it iterates the context, or if no thread
        does and the context is the current thread's default. Otherwise the context calls it later, with *priority*.
        An exception that it raises goes to `sys.excepthook`, and ends the calls. See g_main_context_invoke_full.

        Raises TypeError if *function* is not callable or *priority* is not a number, and OverflowError for a *priority*
        that does not fit a C int.
        """
        source = BasicSource(priority)
        source._set(function, data)
        owner = self._iterating_thread()
        is_default_here = MainContext.ref_thread_default() is self and not owner
        if is_default_here or owner == get_ident():
            with self._owner.entered:
                outer = self._owner_thread
                try:
                    self._owner_thread = get_ident()
                    _call_again_and_again(source._call)
                finally:
                    self._owner_thread = outer
        else:
            source._context = self
            source._prepare()

    def invoke(self, function: Callable[..., object], *data: object) -> None:
        """Do what `invoke_full` does, with the default priority."""
        self.invoke_full(PRIORITY_DEFAULT, function, *data)

    # --- from any thread ---

    def _arrive(self, source: Entry) -> None:
        self._arrivals.append((source._priority, next(arrival_numbers), source))
        if self._waits:
            self._ring()

    def _arrive_at(self, moment: float, source: BasicSource) -> None:
        self._clock.add(moment, source)
        if self._waits:
            self._ring()

    def _post(self, call: Callable[[], object], priority: int = PRIORITY_DEFAULT) -> None:
        self._arrive(_Call(call, priority))

    def _rang(self) -> bool:
        """Return whether `_ring` was called since the last call of this method or the last wait for the bell."""
        return self._bell.acquire(blocking=False)

    def _ring(self) -> None:
        """End the owner's wait, so that it looks for arrivals. May be called in any thread."""
        try:
            if self._bell.locked():
                self._bell.release()
        except RuntimeError:  # another thread has released it meanwhile
            pass
        if self._sockets is not None:
            self._sockets.wake()


default_context = MainContext()
# A program iterates this one again and again. Others may be made for a single operation.
default_context._keepers.append(default_context)


def context_of(context: MainContext | None) -> MainContext:
    """Return *context*, or the default one for None. Raises TypeError for anything else."""
    if context is not None and not isinstance(context, MainContext):
        raise TypeError(f"context must be a MainContext or None, not {context!r}")
    return context or default_context
