"""What poll() is asked and what it answers (GLib.IOCondition, GLib.PollFD)."""

from __future__ import annotations

import select
from enum import IntFlag


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
        self.fd = fd
        self.events = IOCondition(events)
        self.revents = IOCondition(0)

    def __repr__(self) -> str:
        return f"PollFD(fd={self.fd}, events={self.events!r}, revents={self.revents!r})"
