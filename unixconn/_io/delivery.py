"""Delivery: where the callbacks of a thread run. ContextReactor: how a MainContext waits for sockets itself."""

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
    """
    The place where the callbacks run, for operations that the current thread starts now.

    It is the context that the thread has pushed. If there is none, it is the asyncio loop that runs in the thread. If
    no loop runs either, it is the global default context.
    """

    __slots__ = ("context", "loop")

    def __init__(self) -> None:
        pushed = MainContext.get_thread_default()
        self.loop: AsyncioLoop | None = running_asyncio() if pushed is None else None
        self.context: MainContext | None = None if self.loop is not None else pushed or MainContext.default()

    def post(self, call: Callable[[], object], priority: int = PRIORITY_DEFAULT) -> None:
        """Schedule *call* to run there. May be called in any thread. An event loop ignores *priority*."""
        if self.context is not None:
            self.context._post(call, priority)
        elif self.loop is not None:
            self.loop.post(call)

    def call_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Schedule *call* to run there after *seconds*. May be called in any thread."""
        if self.context is not None:
            source = Timeout(seconds)
            source.set_callback(self._call_in, self.context, call)
            source.attach(self.context)
        elif self.loop is not None:
            self.loop.post_later(seconds, call)

    @staticmethod
    def _call_in(context: MainContext, call: Callable[[], object]) -> None:
        # As in the callback of an operation, the context is the thread's default during the call. So the callbacks of
        # operations that *call* starts run there, too.
        context._call_as_default(call)


class ContextReactor(WakeableReactor):
    """
    A Reactor that runs in the thread that iterates *context*.

    The callbacks of the operations have to wait for that thread anyway. If another thread served the operations, each
    result would need two thread switches, which take several times as long as all the rest.
    """

    def __init__(self, context: MainContext) -> None:
        super().__init__()
        self._context = context

    # --- from any thread ---

    def post(self, call: Callable[[], object]) -> None:
        """Schedule *call* to run in the context."""
        self._context._post(call)

    def _start(self) -> None:
        with self._lock.entered:
            if self._epoll is None:
                self._epoll = epoll.new()
                # The context's thread may already be waiting without this epoll.
                self._context._ring()

    def _call_at(self, moment: float, waiter: Waiter[Any]) -> Callable[[], object]:
        source = Source()
        source.set_callback(self._ring, waiter)
        self._context._arrive_at(moment, source)
        return source.destroy

    # --- in the thread that iterates ---

    def wait(self, seconds: float) -> bool:
        """
        Wait for at most *seconds*, -1 for no limit, and serve the sockets that are ready.

        Returns False, without waiting, if no operation waits.
        """
        if self._epoll is None:
            return False
        if seconds:
            # The wakeup takes a descriptor. It is made only for a real wait, and not to serve sockets that are ready.
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
    """Return the reactor that serves the operations of *context*."""
    known = context._sockets
    if not isinstance(known, ContextReactor) or not known.is_ours:
        # setdefault() does this in one step. Otherwise two threads could each make a reactor. The context would serve
        # only one of them, and the operations of the other would never end.
        known = context._lent.setdefault(this_process(), ContextReactor(context))
        context._sockets = known
    return known
