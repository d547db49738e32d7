"""Wakeup: a descriptor that can be made readable, to end a wait in poll(2) or epoll_wait(2)."""

from __future__ import annotations

import os
import sys
from itertools import chain, starmap

from unixconn._base.errors import system_error, translated
from unixconn._kernel.descriptors import adopt, close_all, move_all
from unixconn._kernel.native import ffi, lib

# EFD_CLOEXEC and EFD_NONBLOCK: on every machine, Linux defines them as these flags.
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_ONE = (1).to_bytes(8, sys.byteorder)
_PIPE_BUFFER = 65_536
_CONTEXT = "Creating a descriptor to wake a waiting operation: "


NO_DESCRIPTOR_INTERVAL = 0.05
"""Seconds between two checks in a wait that no descriptor can end, as the descriptor table is full."""
LONGEST_POLL = 1_000_000.0
"""The longest wait in one system call, in seconds. poll(2) and epoll_wait(2) take at most 2**31 - 1 milliseconds."""


class Wakeup:
    """
    An eventfd(2), or a pipe(2) on systems without it, to wake a waiting thread.

    It is not open at first, and can be opened and closed again and again. The destructor closes it.
    """

    __slots__ = ("_owned", "_retired")

    def __init__(self) -> None:
        self._owned: list[int] = []
        self._retired: list[int] = []

    def open(self) -> int:
        """
        Open it if it is not open, and return the number of the descriptor to wait for.

        Raises the Error for the errno of eventfd(2) or pipe(2): TOO_MANY_OPEN_FILES if the descriptor table is full.
        """
        if not self._owned:
            if hasattr(lib, "eventfd"):
                self._make_eventfd()
            else:
                self._make_pipe()
        if len(self._owned) > 1 and os.get_blocking(self._owned[-1]):
            for fd in self._owned:
                os.set_blocking(fd, False)
        return self._owned[0]

    def _make_eventfd(self) -> None:
        if adopt(self._owned, lib.eventfd, 0, _FLAGS) < 0:
            self._owned.clear()
            raise system_error(ffi.errno, _CONTEXT)

    def _make_pipe(self) -> None:
        try:
            # Both ends enter the list in one step of the interpreter, see descriptors.py. The end to read comes first.
            self._owned.extend(chain.from_iterable(starmap(os.pipe, ((),))))
        except OSError as error:
            raise translated(error, _CONTEXT) from None

    def close_unless(self, needed: list[object]) -> None:
        """
        Close it if it is open and the list *needed* is empty.

        A signal handler may add to *needed* in the middle: the descriptors then stay open.
        """
        if not needed:
            move_all(self._owned, self._retired)
            if needed and not self._owned:
                move_all(self._retired, self._owned)
            close_all(self._retired)

    def set(self) -> None:
        """Make it readable if it is open. An epoll that watches it with EPOLLET reports each call."""
        if not self._write():
            # A pipe that is never read fills up. A write that fails is not an event for EPOLLET, so make room.
            self.clear()
            self._write()

    def _write(self) -> bool:
        try:
            for fd in self._owned[-1:]:
                os.write(fd, _ONE)
        except BlockingIOError:
            return False
        return True

    def clear(self) -> None:
        """Make it not readable if it is open."""
        try:
            for fd in self._owned[:1]:
                os.read(fd, _PIPE_BUFFER)
        except BlockingIOError:
            return

    def __del__(self) -> None:
        # An attribute is missing if an exception interrupted the constructor.
        for name in self.__slots__:
            close_all(getattr(self, name, []))
