"""Trigger: a flag that ends waits."""

from __future__ import annotations

import math

from unixconn._base.lock import Lock
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.wakeup import Wakeup

if TYPE_CHECKING:
    from typing import Protocol

    class Watcher(Protocol):
        """An operation or a source that a Trigger tells when it is set."""

        def look(self) -> None:
            """Look whether the Trigger ends something. Called in any thread, and sometimes for nothing."""


class Trigger:
    """
    A flag that any thread or signal handler can set, to end the operations that wait with it.

    A wait in poll() holds the descriptor, which is readable while the flag is set. A wait in the background watches the
    Trigger, and is told by a call. Gio's Cancellable is a Trigger, so all names here begin with an underscore.
    """

    __slots__ = ("_flag", "_holders", "_lock", "_wakeup", "_watchers")

    def __init__(self) -> None:
        self._lock = Lock()
        self._flag = False
        # One for good: a destructor at the end of each wait would swallow an exception raised by a signal handler.
        self._wakeup = Wakeup()
        self._holders: list[object] = []
        """One entry for each reason to have the descriptor."""
        # Changed and copied only in single steps of the interpreter. A dictionary, for its order.
        self._watchers: dict[Watcher, None] = {}

    # --- the flag ---

    def _is_set(self) -> bool:
        """Whether the flag is set."""
        return self._flag

    def _check(self) -> None:
        """Raise the Error that the flag stands for, if it is set."""

    def _seconds_left(self) -> float:
        """Return the seconds until the flag is set by the clock; infinity for never."""
        return math.inf

    def _set(self) -> None:
        """Set the flag, make the descriptor readable, and tell the watchers. May be called again."""
        with self._lock.entered:
            self._flag = True
            self._show()
        self._tell_watchers()

    # --- waits in poll() ---

    def _hold(self, holder: object) -> int:
        """
        Open the descriptor for *holder*, unless it is open, and return its number.

        Raises the Error TOO_MANY_OPEN_FILES where the descriptor table is full.
        """
        with self._lock.entered:
            self._holders.append(holder)
            try:
                fd = self._wakeup.open()
                self._show()
            except BaseException:
                self._let_go(holder)
                raise
            return fd

    def _let_go(self, holder: object) -> bool:
        """Undo one `_hold`; return whether there was one. May be called again, to be sure."""
        with self._lock.entered:
            held = holder in self._holders
            if held:
                self._holders.remove(holder)
            self._wakeup.close_unless(self._holders)
        return held

    def _show(self) -> None:
        """
        Make the descriptor readable if the flag is set, else not readable.

        A wait that was woken without reason calls this, too: a forked process shares the descriptor, but not the flag.
        """
        with self._lock.entered:
            if self._is_set():
                self._wakeup.set()
            else:
                self._wakeup.clear()

    # --- waits in the background ---

    def _watch(self, watcher: Watcher) -> None:
        """
        Tell *watcher* each time the flag is set. It has to look once itself, as the flag may have been set just before.

        Raises the Error TOO_MANY_OPEN_FILES where there is no descriptor left for a deadline.
        """
        self._watchers[watcher] = None

    def _unwatch(self, watcher: Watcher) -> None:
        """Undo `_watch`. May be called again."""
        self._watchers.pop(watcher, None)

    def _tell_watchers(self) -> None:
        # Without the GIL a list of a dictionary is copied in one step, a tuple is not.
        for each in list(self._watchers):
            each.look()


def check_cancellable(cancellable: object) -> None:
    """Raise TypeError for an argument *cancellable* that is neither a Cancellable nor None."""
    if cancellable is not None and not isinstance(cancellable, Trigger):
        raise TypeError(f"cancellable must be a Cancellable or None, not {cancellable!r}")
