"""Which event loop runs in this thread, and its reactor."""

from __future__ import annotations

import os
import sys
import weakref

from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.asyncio_loop import AsyncioLoop, LoopUnderTwisted
from unixconn._io.trio_loop import TrioRun

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

    from unixconn._io.event_loop import Loop

_asyncio_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncioLoop] = weakref.WeakKeyDictionary()
_of_this_run: list[Any] = []
"""trio's RunVar for the reactor of a run, which goes with the run."""


def _none() -> None:
    """Be a weak reference to nothing."""


_latest: Callable[[], Loop | None] = _none
"""A weak reference to the reactor that was found last: nearly always there is one."""


def _forget_in_child() -> None:
    global _latest  # noqa: PLW0603 - the cache, too
    _latest = _none
    _asyncio_loops.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def running() -> Loop | None:
    """Return the reactor of the event loop that runs in this thread; None if none does."""
    global _latest  # noqa: PLW0603 - a cache
    latest = _latest()
    if latest is not None and latest.runs_here():
        return latest
    # trio is asked first, as it may run as a guest of asyncio.
    #
    # Here and below, sys.modules.get() is avoided, because of a deadlock in CPython 3.13 without the GIL (CPython issue
    # 133130). get() takes the dictionary's lock. Thread A holds the lock, and thread B waits for it. While A hands the
    # lock over to B, thread C forks. In the child, B does not exist, and the lock is never released.
    if "trio" in sys.modules:
        try:
            token = sys.modules["trio"].lowlevel.current_trio_token()
        except (AttributeError, KeyError, RuntimeError):  # trio is just being imported, or does not run in this thread
            pass
        else:
            if not _of_this_run:
                _of_this_run.append(sys.modules["trio"].lowlevel.RunVar("unixconn", None))
            run: TrioRun | None = _of_this_run[0].get()
            if run is None or run.is_closed:
                run = TrioRun(token)
                _of_this_run[0].set(run)
            _latest = weakref.ref(run)
            return run
    return running_asyncio()


def running_asyncio() -> AsyncioLoop | None:
    """Return the reactor of the loop with asyncio's interface that runs in this thread; None if none does."""
    global _latest  # noqa: PLW0603 - a cache
    if "asyncio" not in sys.modules:
        return None
    try:
        loop = sys.modules["asyncio"]._get_running_loop()
    except (AttributeError, KeyError):  # asyncio is just being imported
        return None
    if loop is None:
        return None
    latest = _latest()
    if isinstance(latest, AsyncioLoop) and latest._loop() is loop:
        return latest
    known = _asyncio_loops.get(loop)
    if known is None:
        # The dictionary keeps the operations that still wait in a closed loop, and these may keep the loop alive.
        for reference in _asyncio_loops.keyrefs():
            before = reference()
            if before is not None and before.is_closed():
                _asyncio_loops.pop(before, None)
        kind = LoopUnderTwisted if "twisted.internet.reactor" in sys.modules else AsyncioLoop
        known = _asyncio_loops[loop] = kind(loop)
    _latest = weakref.ref(known)
    return known
