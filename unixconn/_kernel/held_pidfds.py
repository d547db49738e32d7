"""
The pidfds that Credentials hold, on an interpreter that does not count references.

Nobody can close the pidfd in a Credentials object: it goes with the object. CPython drops that at once, PyPy at its
next collection, which comes when there is enough garbage. By then a server that asks for pidfds may have filled its
descriptor table. So a collection runs when a part of the table is full of pidfds.
"""

from __future__ import annotations

import gc
import sys
from weakref import ref

from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.file_descriptor import FileDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable

_held: list[ref[FileDescriptor]] = []
"""The pidfds since the last collection, and those that it has left."""
_left = [0]
"""How many the last collection has left."""


def _hold(pidfd: object) -> None:
    """Have *pidfd*, which a Credentials object holds, closed by a collection; do nothing if it is no FileDescriptor."""
    if isinstance(pidfd, FileDescriptor):
        _held.append(ref(pidfd))
        # If the program keeps many of them, a collection comes when there are twice as many.
        if len(_held) > 2 * _left[0] + _part_of_the_table():
            _collect()


def _part_of_the_table() -> int:
    from resource import RLIMIT_NOFILE, getrlimit  # which costs time at the first pidfd, and not at the import

    limit = getrlimit(RLIMIT_NOFILE)[0]
    return min(limit // 8, 512) if limit > 0 else 512


def _collect() -> None:
    gc.collect()
    _held[:] = [each for each in _held if (pidfd := each()) is not None and not pidfd.closed]
    _left[0] = len(_held)


hold_pidfd: Callable[[object], None] | None = None if sys.implementation.name == "cpython" else _hold
"""Has a pidfd that a Credentials object holds closed soon after that was dropped; None where that needs no help."""
