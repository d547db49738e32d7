"""A descriptor that poll() finds readable on demand."""

from __future__ import annotations

import os
import sys

from unixconn._native import ffi, lib
from unixconn.descriptors import adopt, close_all
from unixconn.errors import system_error

# The kernel defines EFD_CLOEXEC and EFD_NONBLOCK as these, on every machine.
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_ONE = (1).to_bytes(8, sys.byteorder)


class Wakeup:
    """An eventfd, closed with the object."""

    __slots__ = ("_owned",)

    def __init__(self) -> None:
        """Open it. Raises the Error for the errno, TOO_MANY_OPEN_FILES where the descriptor table is full."""
        self._owned: list[int] = []
        if adopt(self._owned, lib.eventfd, 0, _FLAGS) < 0:
            self._owned.clear()
            raise system_error(ffi.errno, "Creating a descriptor to wake a waiting operation: ")

    @property
    def fd(self) -> int:
        """The descriptor's number."""
        return self._owned[0]

    def set(self) -> None:
        """Make it readable."""
        os.write(self.fd, _ONE)

    def clear(self) -> None:
        """Make it not readable."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close it."""
        close_all(self._owned)

    def __del__(self) -> None:
        # Also where a signal handler has raised before the constructor's first line.
        close_all(getattr(self, "_owned", []))
