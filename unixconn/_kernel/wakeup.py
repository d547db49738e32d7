"""Wakeup: a descriptor that can be made readable, to end a wait in poll(2) or epoll_wait(2)."""

from __future__ import annotations

import os
import posix
import sys

from unixconn._base.errors import system_error, translated
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.descriptors import Owner, adopt, close_all, make_pipe, move_all
from unixconn._kernel.native import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable

# EFD_CLOEXEC and EFD_NONBLOCK: on every machine, Linux defines them as these flags.
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_ONE = (1).to_bytes(8, sys.byteorder)
_PIPE_BUFFER = 65_536
# eventlet replaces these two in the module os: the one that reads waits there until there is something.
_read, _write = posix.read, posix.write
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
        # An Owner closes them if a signal handler raises at the first step of `__del__`.
        self._owned: Owner = Owner()
        self._retired: list[int] = []

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return bool(self._owned)

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
            make_pipe(self._owned)
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

    def forget(self) -> None:
        """Forget the descriptors, which other code has closed: their numbers may belong to other files."""
        self._owned.clear()

    def set(self) -> None:
        """
        Make it readable if it is open. An epoll that watches it with EPOLLET reports each call.

        Raises OSError if other code has closed the descriptor.
        """
        if not self._write():
            # A pipe that is never read fills up. A write that fails is not an event for EPOLLET, so make room.
            self.clear()
            self._write()

    def _write(self) -> bool:
        try:
            for fd in self._owned[-1:]:
                _write(fd, _ONE)
        except BlockingIOError:
            return False
        return True

    def clear(self) -> None:
        """Make it not readable if it is open."""
        try:
            for fd in self._owned[:1]:
                _read(fd, _PIPE_BUFFER)
        except BlockingIOError:
            return

    # At the interpreter's end, when the names of modules are cleared already, an event loop may still have one.
    def __del__(self, _close_all: Callable[[list[int]], None] = close_all) -> None:
        # An attribute is missing if an exception interrupted the constructor.
        for name in self.__slots__:
            _close_all(getattr(self, name, []))
