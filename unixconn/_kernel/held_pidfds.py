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
_most = [0]
"""How many there may be before the next one."""


def _hold(pidfd: object) -> None:
    """Have *pidfd*, which a Credentials object holds, closed by a collection; do nothing if it is no FileDescriptor."""
    if isinstance(pidfd, FileDescriptor):
        _held.append(ref(pidfd))
        if len(_held) > _most[0]:
            _collect()


def _collect() -> None:
    from resource import RLIMIT_NOFILE, getrlimit  # which costs time at the first pidfd, and not at the import

    limit = getrlimit(RLIMIT_NOFILE)[0]
    gc.collect()
    _held[:] = [each for each in _held if (pidfd := each()) is not None and not pidfd.closed]
    # A part of the table. If the program keeps many of them, a collection comes when there are twice as many.
    _most[0] = 2 * len(_held) + (min(limit // 8, 512) if limit > 0 else 512)


hold_pidfd: Callable[[object], None] | None = None if sys.implementation.name == "cpython" else _hold
"""Has a pidfd that a Credentials object holds closed soon after that was dropped; None where that needs no help."""
