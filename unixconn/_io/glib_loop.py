"""GLib's own main loop, by PyGObject, which iterates a context of this library as well: for GTK programs."""

from __future__ import annotations

from unixconn._base.arguments import INT_MAX
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.epoll import IOCondition

if TYPE_CHECKING:
    from typing import Any

    from unixconn._io.main_context import MainContext


def attach(glib: Any, context: MainContext) -> Any:
    """Return a source of *glib*, PyGObject's module GLib, that iterates *context*. GLib's default context has it."""
    source = _source_class(glib)()
    source.guest, source.polled = context, {}
    # Instead of the wait that this would end, GLib's has to end. From any thread.
    vars(context)["_ring"] = glib.MainContext.default().wakeup
    source.set_can_recurse(True)
    source.attach(None)
    return source


def _source_class(glib: Any) -> Any:
    class Guest(glib.Source):  # type: ignore[misc]
        guest: MainContext
        polled: dict[tuple[int, int], Any]
        """What GLib polls for the context: descriptors and conditions, and PyGObject's objects for them."""

        def prepare(self) -> tuple[bool, int]:
            if self.guest.pending():
                return True, 0
            # From here on, each arrival calls `_ring`. One from before has not done so.
            self.guest._waits = True
            wanted: dict[int, int] = {}
            seconds = _ask(self.guest, wanted)
            self.poll(set(wanted.items()))
            if self.guest._arrivals:
                return True, 0
            return seconds == 0, -1 if seconds < 0 else min(round(seconds * 1000 + 0.5), INT_MAX)

        def poll(self, wanted: set[tuple[int, int]]) -> None:
            for each in self.polled.keys() - wanted:
                self.remove_poll(self.polled.pop(each))
            for number, condition in wanted - self.polled.keys():
                made = self.polled[number, condition] = glib.PollFD(number, glib.IOCondition(condition))
                self.add_poll(made)

        def check(self) -> bool:
            return self.guest.pending()

        def dispatch(self, _callback: Any, _data: Any) -> bool:
            self.guest.iteration(False)
            return True

    return Guest


def _ask(context: MainContext, wanted: dict[int, int]) -> float:
    """Return the seconds until *context* has to be iterated, -1 for no limit; add what to poll to *wanted*."""
    seconds = context._pause() if context._clock.is_in_use else -1.0
    for each in tuple(context._polled):
        if not each._blocks():
            is_ready, left = each._ask()
            if is_ready:
                return 0.0
            if left >= 0 and not 0 <= seconds <= left:
                seconds = left
            _add(each._polls, wanted)
    reactor: Any = context._sockets
    if reactor is not None and reactor._epoll is not None and reactor._waiting:
        wanted[reactor._epoll.fileno()] = IOCondition.IN
    return seconds


def _add(polls: list[Any], wanted: dict[int, int]) -> None:
    for each in polls:
        # One that is not open is reported once: it would end each wait at once.
        if each.fd >= 0 and not each.revents & IOCondition.NVAL:
            wanted[each.fd] = wanted.get(each.fd, 0) | each.events
