"""
Connections that no handler of a service keeps, on an interpreter that does not count references.

CPython closes such a connection when the handlers have returned. PyPy closes it at its next collection, which comes
when there is enough garbage, and the descriptors may be used up before that. Only a collection tells which connections
are kept, so a service asks for one. It does not if its handlers have closed the connection themselves.
"""

from __future__ import annotations

import gc
import sys
import time
from functools import partial
from weakref import ref

from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Thread

    from unixconn._gio.connection import SocketConnection
    from unixconn._io.asyncio_loop import AsyncioLoop
    from unixconn._io.delivery import ContextReactor
    from unixconn._kernel.handle import Handle

COUNTS_REFERENCES = sys.implementation.name == "cpython"
_SHORTEST_PAUSE = 0.25
_LONGEST_PAUSE = 64
"""The shortest and the longest pause between two collections, in durations of a collection."""


class Dropped:
    """The connections of one service of which it is not known whether a handler keeps them."""

    __slots__ = ("_is_due", "_items", "_next", "_pause")

    def __init__(self) -> None:
        self._items: list[tuple[ref[Handle], Thread | None]] = []
        self._is_due = False
        # The earliest moment of the next collection.
        self._next = 0.0
        # In durations of a collection. It grows while collections find that all connections are kept.
        self._pause = _SHORTEST_PAUSE

    def add(
        self, connection: SocketConnection, place: ContextReactor | AsyncioLoop | None, thread: Thread | None = None
    ) -> None:
        """
        Have *place* collect soon if *connection*, whose handlers have returned, is open, and nothing waits on it.

        Not before *thread* has ended: until then it may have references of its own.
        """
        handle = connection._socket._handle
        if handle.number >= 0 and not handle.waiting and place is not None:
            self._items.append((ref(handle), thread))
            self._ask(place, self._next - time.monotonic())

    def _ask(self, place: ContextReactor | AsyncioLoop, seconds: float) -> None:
        if not self._is_due:
            self._is_due = True
            place.call_later(max(0.0, seconds), partial(self._collect, place))

    def _collect(self, place: ContextReactor | AsyncioLoop) -> None:
        self._is_due = False
        items, self._items = self._items, []
        handles = []
        for each in items:
            handle, thread = each
            if thread is None or not thread.is_alive():
                handles.append(handle)
            else:
                self._items.append(each)
        if any(_is_open(each) for each in handles):
            begun = time.monotonic()
            gc.collect()
            now = time.monotonic()
            is_kept = all(_is_open(each) for each in handles)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE) if is_kept else _SHORTEST_PAUSE
            self._next = now + self._pause * (now - begun)
        if self._items:
            self._ask(place, 0.001)


def _is_open(reference: ref[Handle]) -> bool:
    handle = reference()
    return handle is not None and handle.number >= 0
