"""Where the callbacks of a thread run, and ContextReactor: how a MainContext waits for sockets itself."""

from __future__ import annotations

import sys
import time
from itertools import chain
from threading import get_ident

from unixconn._base.clock import push
from unixconn._base.lock import ending, this_process
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.main_context import (
    BasicSource,
    MainContext,
    arrival_numbers,
    default_context,
    pushed_contexts,
)
from unixconn._io.reactor import WakeableReactor
from unixconn._io.running_loop import running_asyncio
from unixconn._kernel import epoll
from unixconn._kernel.wakeup import NO_DESCRIPTOR_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unixconn._io.asyncio_loop import AsyncioLoop
    from unixconn._io.main_context import Entry
    from unixconn._io.waiter import Waiter


_modules = sys.modules


class ContextReactor(WakeableReactor):
    """
    A Reactor that runs in the thread that iterates *context*.

    The callbacks of the operations have to wait for that thread anyway. If another thread served the operations, each
    result would need two thread switches, which take several times as long as all the rest.
    """

    def __init__(self, context: MainContext) -> None:
        super().__init__()
        self.context: MainContext = context

    # --- from any thread ---

    def post(self, call: Callable[[], object]) -> None:
        """Schedule *call* to run in the context."""
        self.context._post(call)

    def deliver(self, entry: Entry) -> None:
        """See `Reactor.deliver`."""
        context = self.context
        arrived = (entry._priority, next(arrival_numbers), entry)
        if context._owner_thread == get_ident() and not context._waits and push is not None:
            # Only the owner's thread changes this.
            push(context._ready, arrived)
        else:
            context._arrivals.append(arrived)
            if context._waits:
                context._ring()

    def call_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Schedule *call* to run in the context after *seconds*."""
        source = BasicSource()
        # As in the callback of an operation, the context is the thread's default during the call. So the callbacks of
        # operations that *call* starts run there, too.
        source._set(self.context._call_as_default, (call,))
        self.context._arrive_at(time.monotonic() + seconds, source)

    def _start(self) -> None:
        with self._lock.entered:
            if self._epoll is None:
                self._epoll = epoll.new()
                # The context's thread may already be waiting without this epoll.
                self.context._ring()

    def _call_at(self, moment: float, waiter: Waiter) -> Callable[[], object]:
        source = BasicSource()
        source._set(self._ring, (waiter,))
        self.context._arrive_at(moment, source)
        return source.destroy

    # --- in the thread that iterates ---

    def wait(self, seconds: float) -> bool:
        """
        Wait for at most *seconds*, -1 for no limit, or until `wake`; `serve` then serves the sockets that are ready.

        Return False at once if no operation waits. The descriptors are closed then, if the wait would have been a real
        one.
        """
        watching = self._epoll
        if watching is None:
            return False
        if not self._waiting:
            if seconds:
                self.rest()
            return False
        if seconds and not self._can_wake:
            # The wakeup takes a descriptor. It is made only for a real wait, and not to serve sockets that are ready.
            try:
                self._listen(watching)
            except OSError:  # no descriptor is free, or the kernel has no memory to watch one
                seconds = NO_DESCRIPTOR_INTERVAL if seconds < 0 else min(seconds, NO_DESCRIPTOR_INTERVAL)
            if self.context._rang():
                seconds = 0.0
        # The lines of `_poll`, without the call.
        try:
            self.ready.extend(chain.from_iterable(map(watching.poll, (seconds,))))
        except OSError as error:
            self._fail_to_poll(watching, error)
        return True

    @ending
    def rest(self) -> None:
        """Close the descriptors if nothing is left to wait for."""
        if self._epoll is not None and not self._waiting:
            with self._lock.entered:
                if not self._waiting:
                    self._stop()
        if self._waiting and self._epoll is None:
            # Another thread, or a signal handler, has added these just now, and has seen the epoll that was closed.
            self._start()
            for each in list(self._waiting):
                handle = each._operation.handle
                with handle.entered:
                    self.rearm(handle)


def here() -> ContextReactor | AsyncioLoop:
    """
    Return the reactor of the place where the callbacks run, for operations that the current thread starts now.

    The place is the context that the thread has pushed. If there is none, it is the asyncio loop that runs in the
    thread. If no loop runs either, it is the global default context.
    """
    pushed = pushed_contexts.entries
    context = pushed[-1] if pushed else default_context
    if context is default_context and "asyncio" in _modules:
        loop = running_asyncio()
        if loop is not None:
            return loop
    known = context._sockets
    return known if known is not None and known.is_ours else reactor_of(context)  # type: ignore[return-value]


def reactor_of(context: MainContext) -> ContextReactor:
    """Return the reactor that serves the operations of *context*."""
    known: Any = context._sockets
    if known is None or not known.is_ours:
        # setdefault() does this in one step. Otherwise two threads could each make a reactor. The context would serve
        # only one of them, and the operations of the other would never end.
        # In a forked child, the parent's sources in `_polled` are asked, too.
        kind = ContextReactor if known is None else type(known)
        known = context._lent.setdefault(this_process(), kind(context))
        context._sockets = known
    return known  # type: ignore[no-any-return]
