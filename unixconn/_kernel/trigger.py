"""Trigger: a flag that ends the operations that wait with it."""

from __future__ import annotations

import math

from unixconn._base.lock import Lock
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.wakeup import Wakeup

if TYPE_CHECKING:
    from typing import Protocol

    class Watcher(Protocol):
        """An operation or a source that is notified when a Trigger is set."""

        def _look(self) -> None:
            """Check whether the Trigger is set, and end if so. It may be called in any thread, and without reason."""


class Trigger:
    """
    A flag that any thread or signal handler can set, to end the operations that wait with it.

    There are two ways to wait. A thread that waits in poll() holds the Trigger's descriptor, which is readable while
    the flag is set. An operation that waits in the background registers as a watcher, whose method is called when the
    flag is set. Gio's Cancellable is a Trigger, so all names here begin with an underscore.
    """

    __slots__ = ("_flag", "_holders", "_lock", "_wakeup", "_watchers")

    def __init__(self) -> None:
        self._lock = Lock()
        self._flag = False
        # The wakeup lives as long as the Trigger. If each wait made one, its destructor would run at the end of the
        # wait, and would swallow an exception that a signal handler raises in it.
        self._wakeup = Wakeup()
        self._holders: list[object] = []
        """The waits that need the descriptor. It is open while there is at least one."""
        # Used as an ordered set. It is changed and copied only in single steps of the interpreter.
        self._watchers: dict[Watcher, None] = {}

    # --- the flag ---

    def _is_set(self) -> bool:
        """Whether the flag is set."""
        return self._flag

    def _check(self) -> None:
        """Raise the Error that ends an operation, if the flag is set and stands for one. A subclass decides which."""

    def _seconds_left(self) -> float:
        """Return the seconds until the flag sets itself at a deadline; infinity if there is none."""
        return math.inf

    def _set(self) -> None:
        """Set the flag, make the descriptor readable, and notify the watchers. May be called again."""
        with self._lock.entered:
            self._flag = True
            self._show()
        self._tell_watchers()

    # --- waits in poll() ---

    def _hold(self, holder: object) -> int:
        """
        Open the descriptor unless it is open, keep it open for *holder*, and return its number.

        Raises the Error TOO_MANY_OPEN_FILES if the descriptor table is full.
        """
        with self._lock.entered:
            was_open = self._wakeup.is_open
            self._holders.append(holder)
            fd = -1
            try:
                fd = self._wakeup.open()
                # A new descriptor is not readable.
                if was_open or self._is_set():
                    self._show()
            finally:
                if fd < 0:
                    self._let_go(holder)
            return fd

    def _let_go(self, holder: object) -> bool:
        """Undo one `_hold` of *holder*, and return whether there was one. May be called without a `_hold`."""
        with self._lock.entered:
            held = holder in self._holders
            if held:
                self._holders.remove(holder)
            self._wakeup.close_unless(self._holders)
        return held

    def _show(self) -> None:
        """
        Make the descriptor readable if the flag is set, and not readable otherwise.

        A wait that was woken calls this, too, if the flag is not set. After a fork, parent and child share the
        descriptor, but not the flag: when one of them sets its flag, the other is woken.
        """
        with self._lock.entered:
            if self._is_set():
                self._wakeup.set()
            else:
                self._wakeup.clear()

    # --- waits in the background ---

    def _watch(self, watcher: Watcher) -> None:
        """
        Call ``watcher._look()`` each time the flag is set, until `_unwatch`.

        After this, the caller has to call ``watcher._look()`` once itself, as the flag may have been set just before.

        Raises the Error TOO_MANY_OPEN_FILES if the flag has a deadline, and the descriptor table is too full to wait
        for it.
        """
        self._watchers[watcher] = None

    def _unwatch(self, watcher: Watcher) -> None:
        """Undo `_watch`. May be called again."""
        self._watchers.pop(watcher, None)

    def _tell_watchers(self) -> None:
        # list() and not tuple(): without the GIL, only list() copies a dictionary's keys in one step.
        for each in list(self._watchers):
            each._look()


def check_cancellable(cancellable: object) -> None:
    """Raise TypeError for an argument *cancellable* that is neither a Cancellable nor None."""
    if cancellable is not None and not isinstance(cancellable, Trigger):
        hint = ""
        if isinstance(cancellable, (int, float)):
            hint = ": a deadline is Cancellable.with_timeout(seconds)"
        elif callable(cancellable):
            hint = ": the callback is the next argument"
        raise TypeError(f"cancellable must be a Cancellable or None, not {cancellable!r}{hint}")
