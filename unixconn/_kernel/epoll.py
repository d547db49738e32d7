"""Watching descriptors: epoll where there is one, else kqueue in its manner."""

from __future__ import annotations

import select

from unixconn._base.errors import IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Protocol

    class Watch(Protocol):
        """What a poller needs of `select.epoll`."""

        def register(self, number: int, events: int) -> None:
            """Look for *events* at the descriptor *number*; FileExistsError if it is known."""

        def modify(self, number: int, events: int) -> None:
            """Look for these from now on; FileNotFoundError if it is not known."""

        def poll(self, seconds: float) -> list[tuple[int, int]]:
            """Wait for at most *seconds*, -1 for ever, and give descriptors with what is so of them."""

        def fileno(self) -> int:
            """Give a descriptor that is readable when anything is to be had."""

        def close(self) -> None:
            """Give the descriptor back."""


READABLE = 0x1
WRITABLE = 0x4
_HANGUP = 0x10
ONE_SHOT = 0x40000000
"""Look once, then not before `modify`: EPOLLONESHOT."""
BY_EDGE = 0x80000000
"""Tell only what is new: EPOLLET."""


class _Kqueue:  # pragma: no cover - not on Linux
    """A kqueue with epoll's methods and numbers; see kqueue(2)."""

    def __init__(self) -> None:
        # By a name that type checkers take for what it is on some systems.
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

    # To add what is there changes it. A filter that is not asked for again may report once more, to nobody.
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
    Make one.

    Raises OSError where there is no descriptor left, and the Error NOT_SUPPORTED on a system that has neither.
    """
    if hasattr(select, "epoll"):
        return select.epoll()
    if hasattr(select, "kqueue"):  # pragma: no cover - not on Linux
        return _Kqueue()
    raise io_error(IOErrorEnum.NOT_SUPPORTED, "Waiting in the background takes epoll or kqueue, and there is neither")
