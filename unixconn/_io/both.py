"""Two sequences of operations at a time, as one."""

from __future__ import annotations

from functools import partial

from unixconn._base.errors import Error
from unixconn._base.lock import Lock
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.steps import Sequence

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unixconn._io.operation import Operation
    from unixconn._io.reactor import Poller
    from unixconn._io.steps import Steps
    from unixconn._kernel.trigger import Trigger


class Both:
    """Does two sequences of steps in the background, and tells *finish* when both have ended."""

    def __init__(
        self,
        steps: tuple[Steps[Any], Steps[Any]],
        trigger: Trigger | None,
        poller_for: Callable[[Operation[Any]], Poller],
        finish: Callable[[list[bool], Error | None], None],
        *,
        wait_for_both: bool,
    ) -> None:
        """Without *wait_for_both* the end of one ends the other; an Error does so in any case, and is the result."""
        self._lock = Lock()
        self._finish = finish
        self._wait_for_both = wait_for_both
        self._error: Error | None = None
        self._ended: list[int] = []
        self._sequences = [
            Sequence(each, trigger, poller_for, partial(self._end, index)) for index, each in enumerate(steps)
        ]

    def start(self) -> None:
        """Begin with both."""
        for each in self._sequences:
            each.start()

    def cancel(self) -> None:
        """End both as their Cancellable would."""
        for each in self._sequences:
            each.cancel()

    def look(self) -> None:
        """Have both look whether something has ended them."""
        for each in self._sequences:
            each.look()

    def attend(self, trigger: Trigger) -> None:
        """Let *trigger* end both, too: they were started without one."""
        for each in self._sequences:
            each.attend(trigger)

    def _end(self, index: int, _result: list[Any], error: Error | None) -> None:
        with self._lock.entered:
            # Called again if a signal handler has raised on the way.
            if index not in self._ended:
                self._ended.append(index)
                if self._error is None and (len(self._ended) == 1 or self._wait_for_both):
                    self._error = error
            is_first = self._ended[0] == index
        if not is_first:
            self._finish([True], self._error)
        elif error is not None or not self._wait_for_both:
            self._sequences[1 - index].cancel()
