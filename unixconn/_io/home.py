"""Home: where a thread has its callbacks called."""

from __future__ import annotations

from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.event_loops import AsyncioLoop, running_asyncio
from unixconn._io.main_context import PRIORITY_DEFAULT, MainContext, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable


class Home:
    """The context that this thread has pushed, else the asyncio loop that runs in it, else the default context."""

    __slots__ = ("context", "loop")

    def __init__(self) -> None:
        pushed = MainContext.get_thread_default()
        self.loop: AsyncioLoop | None = running_asyncio() if pushed is None else None
        self.context: MainContext | None = None if self.loop is not None else pushed or MainContext.default()

    def post(self, call: Callable[[], object], priority: int = PRIORITY_DEFAULT) -> None:
        """Have *call* called there; from any thread. An event loop knows no *priority*."""
        if self.context is not None:
            self.context._post(call, priority)
        elif self.loop is not None:
            self.loop.post(call)

    def call_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Have *call* called there after *seconds*; from any thread."""
        if self.context is not None:
            source = Timeout(seconds)
            source.set_callback(self._call_in, self.context, call)
            source.attach(self.context)
        elif self.loop is not None:
            self.loop.post_later(seconds, call)

    @staticmethod
    def _call_in(context: MainContext, call: Callable[[], object]) -> None:
        # As in an operation's callback, what is started belongs there, too.
        context._call_as_default(call)
