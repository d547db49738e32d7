"""Waiting for descriptors: the conditions of poll(), and epoll where the system has it, else kqueue in its manner."""

from __future__ import annotations

import select
from enum import IntFlag

from unixconn._base.errors import IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Protocol

    class Watch(Protocol):
        """What a reactor needs of `select.epoll`."""

        def register(self, number: int, events: int) -> None:
            """Watch the descriptor *number* for *events*. Raises FileExistsError if it is watched already."""

        def modify(self, number: int, events: int) -> None:
            """Change what is watched for. Raises FileNotFoundError if the descriptor is not watched."""

        def poll(self, seconds: float) -> list[tuple[int, int]]:
            """Wait for at most *seconds*, -1 without end; return pairs of a descriptor and its events."""

        def fileno(self) -> int:
            """Return a descriptor that is readable when `poll` has something to return."""

        def close(self) -> None:
            """Close the descriptor."""


class IOCondition(IntFlag):
    """Conditions of a descriptor, with poll()'s numbers (GLib.IOCondition)."""

    IN = select.POLLIN
    PRI = select.POLLPRI
    OUT = select.POLLOUT
    ERR = select.POLLERR
    HUP = select.POLLHUP
    NVAL = select.POLLNVAL


class PollFD:
    """A descriptor and the conditions to wait for (GLib.PollFD)."""

    __slots__ = ("events", "fd", "revents")

    def __init__(self, fd: int = 0, events: int = 0) -> None:
        self.fd: int = fd
        self.events: IOCondition = IOCondition(events)
        self.revents: IOCondition = IOCondition(0)

    def __repr__(self) -> str:
        return f"PollFD(fd={self.fd}, events={self.events!r}, revents={self.revents!r})"


READABLE = 0x1
WRITABLE = 0x4
_HANGUP = 0x10
ONE_SHOT = 0x40000000
"""Report once, then not again before `modify`: EPOLLONESHOT."""
BY_EDGE = 0x80000000
"""Report only changes: EPOLLET."""


class _Kqueue:  # pragma: no cover - not on Linux
    """A kqueue with epoll's methods and numbers; see kqueue(2)."""

    def __init__(self) -> None:
        # The type is Any, as type checkers know the names of kqueue on some systems only.
        self._module: Any = select
        self._queue = self._module.kqueue()

    def register(self, number: int, events: int) -> None:
        module = self._module
        flags = module.KQ_EV_ADD
        if events & ONE_SHOT:
            flags |= module.KQ_EV_ONESHOT
        if events & BY_EDGE:
            flags |= module.KQ_EV_CLEAR
        filters = (READABLE, module.KQ_FILTER_READ), (WRITABLE, module.KQ_FILTER_WRITE)
        self._queue.control([module.kevent(number, kind, flags) for event, kind in filters if events & event], 0)

    # Adding a filter that is there changes it. A filter that is left out may report once more, to nobody.
    modify = register

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        found: dict[int, int] = {}
        for event in self._queue.control(None, 1024, None if seconds < 0 else seconds):
            events = READABLE if event.filter == self._module.KQ_FILTER_READ else WRITABLE
            if event.flags & self._module.KQ_EV_EOF:
                events |= _HANGUP
            found[event.ident] = found.get(event.ident, 0) | events
        return list(found.items())

    def fileno(self) -> int:
        return int(self._queue.fileno())

    def close(self) -> None:
        self._queue.close()


def new() -> Watch:
    """
    Return a new epoll, or a new kqueue.

    Raises OSError where the descriptor table is full, and the Error NOT_SUPPORTED on a system that has neither.
    """
    if hasattr(select, "epoll"):
        return select.epoll()
    if hasattr(select, "kqueue"):  # pragma: no cover - not on Linux
        return _Kqueue()
    raise io_error(
        IOErrorEnum.NOT_SUPPORTED, "Waiting in the background takes epoll or kqueue, and this system has neither"
    )
