"""Delivery: where the callbacks of a thread run, and what a MainContext waits for itself while it is iterated."""

from __future__ import annotations

from unixconn._base.errors import TooManyOpenFilesError
from unixconn._base.lock import this_process
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.event_loops import AsyncioLoop, running_asyncio
from unixconn._io.main_context import PRIORITY_DEFAULT, MainContext, Source, Timeout
from unixconn._io.reactor import WakeableReactor
from unixconn._kernel import epoll
from unixconn._kernel.wakeup import NO_DESCRIPTOR_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unixconn._io.waiter import Waiter


class Delivery:
    """The context that this thread has pushed, else the asyncio loop that runs in it, else the default context."""

    __slots__ = ("context", "loop")

    def __init__(self) -> None:
        pushed = MainContext.get_thread_default()
        self.loop: AsyncioLoop | None = running_asyncio() if pushed is None else None
        self.context: MainContext | None = None if self.loop is not None else pushed or MainContext.default()

    def post(self, call: Callable[[], object], priority: int = PRIORITY_DEFAULT) -> None:
        """Have *call* called there; from any thread. An event loop knows no *priority*."""
        if self.context is not None:
            self.context._post(call, priority)
        elif self.loop is not None:
            self.loop.post(call)

    def call_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Have *call* called there after *seconds*; from any thread."""
        if self.context is not None:
            source = Timeout(seconds)
            source.set_callback(self._call_in, self.context, call)
            source.attach(self.context)
        elif self.loop is not None:
            self.loop.post_later(seconds, call)

    @staticmethod
    def _call_in(context: MainContext, call: Callable[[], object]) -> None:
        # As in the callback of an operation: what is started in it is delivered there, too.
        context._call_as_default(call)


class ContextReactor(WakeableReactor):
    """
    Looks after operations in the thread that iterates *context*, for which their callbacks have to wait anyhow.

    To wake another thread for each result, and for that thread to wake this one, takes several times as long as all the
    rest.
    """

    def __init__(self, context: MainContext) -> None:
        super().__init__()
        self._context = context

    # --- from any thread ---

    def post(self, call: Callable[[], object]) -> None:
        """Have *call* called by the context."""
        self._context._post(call)

    def _start(self) -> None:
        with self._lock.entered:
            if self._epoll is None:
                self._epoll = epoll.new()
                # The context may be waiting without it.
                self._context._ring()

    def _call_at(self, moment: float, waiter: Waiter[Any]) -> Callable[[], object]:
        source = Source()
        source.set_callback(self._ring, waiter)
        self._context._arrive_at(moment, source)
        return source.destroy

    # --- in the thread that iterates ---

    def wait(self, seconds: float) -> bool:
        """Wait for at most *seconds*, -1 without end, and serve what is ready; return False if there is nothing."""
        if self._epoll is None:
            return False
        if seconds:
            # Not before it is needed: operations that are ready are served without.
            try:
                self._listen(self._epoll)
            except TooManyOpenFilesError:
                seconds = NO_DESCRIPTOR_INTERVAL if seconds < 0 else min(seconds, NO_DESCRIPTOR_INTERVAL)
            if self._context._rang():
                seconds = 0.0
        self._turn(seconds)
        return True

    def rest(self) -> None:
        """Close the descriptors if nothing is left to wait for."""
        if self._epoll is not None and not self._waiting:
            with self._lock.entered:
                if not self._waiting:
                    self._stop()


def reactor_of(context: MainContext) -> ContextReactor:
    """Return what looks after the operations of *context*."""
    known = context._sockets
    if not isinstance(known, ContextReactor) or not known.is_ours:
        # In one step: an operation that waits by one that another thread has replaced would be looked after by nothing.
        known = context._lent.setdefault(this_process(), ContextReactor(context))
        context._sockets = known
    return known
