"""What a MainContext waits for itself: its operations, while it is iterated."""

from __future__ import annotations

from unixconn._base.errors import TooManyOpenFilesError
from unixconn._base.lock import this_process
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.main_context import MainContext, Source
from unixconn._io.reactor import WakeablePoller
from unixconn._kernel import epoll as watch
from unixconn._kernel.wakeup import NO_DESCRIPTOR_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unixconn._io.waiter import Pending


class ContextPoller(WakeablePoller):
    """
    Looks after operations in the thread that iterates *context*, which their callbacks have to wait for anyhow.

    To wake another thread for each result, and that one this, takes several times as long as all the rest.
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
                self._epoll = watch.new()
                # It may be waiting for less.
                self._context._ring()

    def _call_at(self, moment: float, pending: Pending[Any]) -> Callable[[], object]:
        source = Source()
        source.set_callback(self._ring, pending)
        self._context._arrive_at(moment, source)
        return source.destroy

    # --- in the thread that iterates ---

    def wait(self, seconds: float) -> bool:
        """Wait for at most *seconds*, -1 for ever, and serve what is ready; give False where there is nothing."""
        if self._epoll is None:
            return False
        if seconds:
            # Not before it is needed: what is there already is served without.
            try:
                self._listen(self._epoll)
            except TooManyOpenFilesError:
                seconds = NO_DESCRIPTOR_INTERVAL if seconds < 0 else min(seconds, NO_DESCRIPTOR_INTERVAL)
            if self._context._rang():
                seconds = 0.0
        self._poll(seconds)
        return True

    def rest(self) -> None:
        """Give back the descriptors if nothing is left to wait for."""
        if self._epoll is not None and not self._waiting:
            with self._lock.entered:
                if not self._waiting:
                    self._stop()


def poller_of(context: MainContext) -> ContextPoller:
    """Give what looks after the operations of *context*."""
    known = context._sockets
    if not isinstance(known, ContextPoller) or not known.is_ours:
        # In one step: what waits by one that another thread has replaced is looked after by nobody.
        known = context._lent.setdefault(this_process(), ContextPoller(context))
        context._sockets = known
    return known
