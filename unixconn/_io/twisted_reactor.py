"""
Awaiting in coroutines of Twisted (`ensureDeferred`), whichever reactor runs.

A coroutine waits there by yielding a Deferred. The functions are those of a `Loop`.
"""

from __future__ import annotations

import sys

from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any

    from unixconn._io.event_loop import Awaited

left = 0


def runs_here() -> bool:
    """Return whether this thread runs Twisted's reactor."""
    # Looked up, and not imported: who has not loaded it does not run it.
    return "twisted.internet.reactor" in sys.modules and bool(sys.modules["twisted.python.threadable"].isInIOThread())


def post(call: Callable[[], object]) -> bool:
    """Have the reactor call *call* soon; return False if none runs. Any thread may call this."""
    if "twisted.internet.reactor" not in sys.modules:  # not by get(), see running_loop.py
        return False
    reactor: Any = sys.modules["twisted.internet.reactor"]
    if not getattr(reactor, "running", False):
        return False
    reactor.callFromThread(call)
    return True


def wait(awaited: Awaited) -> Iterable[Any]:
    """See `Loop.wait`."""
    reactor: Any = sys.modules["twisted.internet.reactor"]
    deferred = sys.modules["twisted.internet.defer"].Deferred()

    def resume() -> None:
        if not deferred.called:  # or cancelled meanwhile
            deferred.callback(None)

    # From whichever thread the operation ends in.
    awaited._subscribe(lambda: reactor.callFromThread(resume))
    return deferred.__await__()  # type: ignore[no-any-return]


def checkpoint() -> Iterable[Any]:
    """See `Loop.checkpoint`. Twisted's own Deferreds that are ready do not let others have a turn, either."""
    return ()


def sleep(seconds: float) -> Awaitable[None]:
    """Return a Deferred that the reactor fires after *seconds*."""
    reactor: Any = sys.modules["twisted.internet.reactor"]
    # With a function that cancels the timer, so that none is left.
    deferred = sys.modules["twisted.internet.defer"].Deferred(lambda _: timer.cancel())
    timer: Any = reactor.callLater(seconds, deferred.callback, None)
    return deferred  # type: ignore[no-any-return]
