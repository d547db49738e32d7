"""Waiting for descriptors: the conditions of poll(2), and epoll(7), or kqueue(2) with the interface of epoll."""

from __future__ import annotations

import select

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.enums import GFlags
from unixconn._base.errors import IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel import unpatched

if TYPE_CHECKING:
    from typing import Any, Protocol

    class Epoll(Protocol):
        """What a reactor needs of `select.epoll`."""

        def register(self, number: int, events: int) -> None:
            """Start to watch the descriptor *number* for *events*. Raises FileExistsError if it is watched already."""

        def modify(self, number: int, events: int) -> None:
            """Change the events that *number* is watched for. Raises FileNotFoundError if it is not watched."""

        def poll(self, seconds: float) -> list[tuple[int, int]]:
            """Wait for at most *seconds*, -1 for no limit; return pairs of a descriptor and its events."""

        def fileno(self) -> int:
            """Return the number of a descriptor that is readable when `poll` has something to return."""

        def close(self) -> None:
            """Close the descriptor."""


class IOCondition(GFlags, prefix="G_IO_"):
    """The conditions of a descriptor, with the numbers of poll(2) (GLib.IOCondition)."""

    __module__ = "unixconn"

    IN = select.POLLIN
    """There are data to read, or a connection to accept."""
    OUT = select.POLLOUT
    """Data can be written without blocking."""
    PRI = select.POLLPRI
    """There are urgent data to read."""
    ERR = select.POLLERR
    """There is an error. It is reported even if it was not asked for."""
    HUP = select.POLLHUP
    """The peer has closed the connection. It is reported even if it was not asked for."""
    NVAL = select.POLLNVAL
    """The descriptor is not open. It is reported even if it was not asked for."""


IO_IN, IO_PRI, IO_OUT = IOCondition.IN, IOCondition.PRI, IOCondition.OUT
IO_ERR, IO_HUP, IO_NVAL = IOCondition.ERR, IOCondition.HUP, IOCondition.NVAL


class PollFD:
    """
    A descriptor and the conditions to wait for (GLib.PollFD).

    *fd* is the number of the descriptor, *events* the `IOCondition` to wait for. Raises TypeError if one of them is not
    a number, and OverflowError if *fd* does not fit a C int, or *events* is not from 0 to 65535.
    """

    __module__ = "unixconn"

    # For help(), which does not see the docstring below.
    __slots__ = {"_events": "", "_fd": "", "revents": "The conditions that hold."}

    def __init__(self, fd: int = 0, events: int = 0) -> None:
        self.fd = fd
        self.events = events
        self.revents: IOCondition = IOCondition(0)
        """The conditions that hold."""

    # Checked here: poll(2) would refuse a wrong value in each iteration of a context.

    @property
    def fd(self) -> int:
        """The number of the descriptor."""
        return self._fd

    @fd.setter
    def fd(self, fd: int) -> None:
        self._fd = as_integer(fd, "fd", -INT_MAX - 1, INT_MAX)

    @property
    def events(self) -> IOCondition:
        """The conditions to wait for."""
        return self._events

    @events.setter
    def events(self, events: int) -> None:
        self._events = IOCondition(as_integer(events, "events", 0, 0xFFFF))

    def __repr__(self) -> str:
        return f"PollFD(fd={self.fd}, events={self.events!r}, revents={self.revents!r})"


READABLE = 0x1
WRITABLE = 0x4
_HANGUP = 0x10
ONE_SHOT = 0x40000000
"""Report a descriptor once, and not again until `Epoll.modify` is called (EPOLLONESHOT)."""
BY_EDGE = 0x80000000
"""Report only changes of a descriptor's state, such as each arrival of data (EPOLLET)."""


class _Kqueue:  # pragma: no cover - not on Linux
    """A kqueue with the methods and numbers of `select.epoll`; see kqueue(2)."""

    def __init__(self) -> None:
        # Typed as Any: type checkers know kqueue's names only for the systems that have it.
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

    # Adding a filter that exists changes it. A filter that is not in *events* stays, and may report once more. By then
    # no operation waits for that event, so the report has no effect.
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


def new() -> Epoll:
    """
    Return a new epoll or kqueue.

    Raises OSError (EMFILE or ENFILE) if the descriptor table is full, and the Error NOT_SUPPORTED on a system that has
    neither.
    """
    if hasattr(select, "epoll"):
        return select.epoll()
    if hasattr(select, "kqueue"):  # pragma: no cover - not on Linux
        return _Kqueue()
    if unpatched.function("epoll") is not None:
        return unpatched.GreenEpoll()
    raise io_error(
        IOErrorEnum.NOT_SUPPORTED,
        "Waiting in the background needs epoll or kqueue, and this system has neither: use the methods that block",
    )
