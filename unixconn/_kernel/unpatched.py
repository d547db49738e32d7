"""
The functions of `select`, also where gevent or eventlet has replaced or removed them (``monkey.patch_all()``).

These libraries run many greenlets in one thread. A call that blocks the thread stops all of them, so what may wait has
to wait by their version of poll(2) or select(2), which switches to another greenlet. What returns at once is taken from
the system.
"""

from __future__ import annotations

import select
import sys

from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


def function(name: str) -> Any:
    """Return the system's own function *name* of `select`, None if this system has none."""
    # They are looked up, and not imported: whoever has not loaded them has not patched anything.
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None:
        try:
            return gevent.get_original("select", name)
        except AttributeError:
            return None
    module = select if eventlet is None else eventlet.original("select")
    return getattr(module, name, None)


class Select:
    """What `select.poll` returns, by select(2): eventlet has replaced that, and removed poll(2)."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def register(self, fd: int, events: int = select.POLLIN | select.POLLOUT) -> None:
        """Watch the descriptor *fd* for *events*."""
        self._wanted[fd] = events

    modify = register

    def unregister(self, fd: int) -> None:
        """Stop watching *fd*."""
        del self._wanted[fd]

    def poll(self, milliseconds: float | None = None) -> list[tuple[int, int]]:
        """Wait for at most *milliseconds*, None or less than 0 for no limit, and return what poll(2) reports then."""
        reading = [fd for fd, events in self._wanted.items() if events & (select.POLLIN | select.POLLPRI)]
        writing = [fd for fd, events in self._wanted.items() if events & select.POLLOUT]
        seconds = None if milliseconds is None or milliseconds < 0 else milliseconds / 1000
        if seconds != 0:
            select.select(reading, writing, [], seconds)
        poller = function("poll")()
        for fd, events in self._wanted.items():
            poller.register(fd, events)
        return poller.poll(0)  # type: ignore[no-any-return]


def new_poll() -> Any:
    """Return an object as `select.poll` makes it. While it waits, other greenlets run."""
    return select.poll() if hasattr(select, "poll") else Select()


class GreenEpoll:
    """An epoll whose `poll` lets other greenlets run while it waits."""

    def __init__(self) -> None:
        self._epoll = function("epoll")()
        self.register, self.modify, self.fileno = self._epoll.register, self._epoll.modify, self._epoll.fileno
        self.close = self._epoll.close

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """See `select.epoll`."""
        found = self._epoll.poll(0)
        if not found and seconds:
            poller = new_poll()
            poller.register(self.fileno(), select.POLLIN)
            poller.poll(-1 if seconds < 0 else seconds * 1000)
            found = self._epoll.poll(0)
        return found  # type: ignore[no-any-return]
