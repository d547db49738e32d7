"""
PollingReactor: a context's reactor while the context has sources that are asked in each iteration.

GLib asks each source whether it is ready, waits with poll(2), and asks again. So does a context that has such sources:
subclasses of `Source` with methods of their own, and watches of descriptors. Its poll(2) waits for the epoll of the
operations, too. All other contexts wait with the epoll alone.
"""

from __future__ import annotations

import math
from operator import attrgetter

from unixconn._base.errors import translated
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.delivery import ContextReactor, reactor_of
from unixconn._kernel import epoll
from unixconn._kernel.epoll import IOCondition
from unixconn._kernel.unpatched import new_poll
from unixconn._kernel.wakeup import LONGEST_POLL, NO_DESCRIPTOR_INTERVAL

if TYPE_CHECKING:
    from typing import Any

    from unixconn._io.main_context import MainContext

_NONE = IOCondition(0)
_UNASKED = IOCondition.ERR | IOCondition.HUP | IOCondition.NVAL
_priority = attrgetter("_priority")


class PollingReactor(ContextReactor):
    """The reactor of a context with sources in `_polled`. Only the reactor's class changes when the first one comes."""

    _asks = False
    """Whether the sources are being asked. One that iterates the context meanwhile must not come back here."""

    def wait(self, seconds: float) -> bool:
        """See `ContextReactor.wait`. The sources that are ready go to the context's arrivals."""
        polled = self.context._polled
        if polled and not self.is_ours:  # in a forked child, which has a reactor of its own from now on
            return poll_in(self.context).wait(seconds)
        if not polled:
            self.__class__ = ContextReactor  # type: ignore[assignment]
            if polled:  # another thread has attached a source just before
                self.__class__ = PollingReactor
        if not polled or self._asks:  # in this order, as a ContextReactor has no `_asks`
            return ContextReactor.wait(self, seconds)
        try:
            self._asks = True
            self._wait(seconds)
        finally:
            self._asks = False
        return True

    def _wait(self, seconds: float) -> None:
        # The most urgent one that is ready; the entry of one whose callback runs is in the list, too.
        most = min(
            (each[0] for each in self.context._ready if each[2]._due and not each[2]._destroyed), default=math.inf
        )
        asked = []
        for each in sorted(self.context._polled, key=_priority):
            # As in GLib, a source is not asked while a more urgent one is ready.
            if each._priority > most:
                break
            if not (each._due or each._destroyed or each._blocks()):
                asked.append(each)
                is_ready, left = each._ask()
                if is_ready:
                    most, left = self._arrive(each), 0.0
                if left >= 0 and not 0 <= seconds <= left:
                    seconds = left
        self._poll_for(asked, seconds)
        for each in asked:
            if each._priority > most:
                break
            if not (each._due or each._destroyed) and each._is_ready():
                most = self._arrive(each)

    def _arrive(self, source: Any) -> int:
        """Have the context call *source*, and return its priority."""
        # If an exception comes before the second step, the context skips the entry, and *source* is asked again.
        # Its number is that of the attachment: among sources of one priority, the one attached first is called first.
        self.context._arrivals.append((source._priority, source._attached, source))
        source._due = True
        return source._priority  # type: ignore[no-any-return]

    def _poll_for(self, asked: list[Any], seconds: float) -> None:
        """Wait for at most *seconds*, -1 for no limit, for the descriptors of *asked* and for the operations."""
        poll = new_poll()
        wanted: dict[int, int] = {}
        # A descriptor that is not open is reported once: it would end each wait at once.
        polls = [each for source in asked for each in source._polls if not each.revents & IOCondition.NVAL]
        for each in polls:
            if each._fd >= 0:
                wanted[each._fd] = wanted.get(each._fd, 0) | each._events
        if seconds:
            seconds = self._be_wakeable(seconds)
        watching = self._epoll
        if watching is not None:
            wanted[watching.fileno()] = wanted.get(watching.fileno(), 0) | epoll.READABLE
        for number, events in wanted.items():
            poll.register(number, events)
        most = min(seconds, LONGEST_POLL) if seconds >= 0 else LONGEST_POLL
        try:
            found = dict(poll.poll(math.ceil(most * 1000)))
        except OSError as error:
            raise translated(error, "Waiting for descriptors: ") from None
        if watching is not None and watching.fileno() in found:
            self._poll(watching, 0.0)
        for each in polls:
            events = found.get(each._fd, 0) & (each._events | _UNASKED)
            each.revents = IOCondition(events) if events else _NONE

    def _be_wakeable(self, seconds: float) -> float:
        """Make the descriptors that `wake` needs, and return how long to wait: not at all if it was called before."""
        try:
            with self._lock.entered:
                if self._epoll is None:
                    self._epoll = epoll.new()
            self._listen(self._epoll)
        except OSError:  # no descriptor is free, or the kernel has no memory to watch one
            seconds = NO_DESCRIPTOR_INTERVAL if seconds < 0 else min(seconds, NO_DESCRIPTOR_INTERVAL)
        return 0.0 if self.context._rang() else seconds


def poll_in(context: MainContext) -> ContextReactor:
    """Have *context* ask its sources in `_polled` from its next iteration on, and return its reactor."""
    reactor = reactor_of(context)
    reactor.__class__ = PollingReactor
    return reactor
