"""Home: where a thread has its callbacks called."""

from __future__ import annotations

from unixconn._typing import TYPE_CHECKING
from unixconn.loops import running_asyncio
from unixconn.mainloop import MainContext, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable


class Home:
    """The context that this thread has pushed, else the asyncio loop that runs in it, else the default context."""

    def __init__(self) -> None:
        context = MainContext.get_thread_default()
        self._loop = running_asyncio() if context is None else None
        self._context = context or MainContext.default()

    def call_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Have *call* called there after *seconds*; from any thread."""
        if self._loop is not None:
            self._loop.post_later(seconds, call)
            return
        source = Timeout(seconds)
        source.set_callback(self._once, call)
        source.attach(self._context)

    def _once(self, call: Callable[[], object]) -> None:
        # As in an operation's callback, what is started belongs there, too.
        self._context.push_thread_default()
        try:
            call()
        finally:
            self._context.pop_thread_default()
