"""
Descriptors that multiprocessing passes to another process.

An object that owns a descriptor can be pickled by multiprocessing, which sends the descriptor along, and by nothing
else: the number alone means nothing in another process.
"""

from __future__ import annotations

import sys

from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Passed(Protocol):
        """A descriptor on its way to another process."""

        def detach(self) -> int:
            """Return the number of a duplicate, which the caller owns, in the process that calls this."""


def passer() -> Callable[[int], Passed] | None:
    """Return the function by which multiprocessing passes a descriptor, None if something else calls ``__reduce__``."""
    frame = sys._getframe(1)
    # pickle is Python code on PyPy.
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("unixconn", "pickle"):
        frame = frame.f_back
    # Looked up there, as this package does not import multiprocessing.
    caller = frame.f_globals
    return caller["DupFd"] if caller.get("__name__") == "multiprocessing.reduction" else None
