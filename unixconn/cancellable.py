"""Cancellable: ends operations from outside."""

from __future__ import annotations

import threading

from unixconn._typing import TYPE_CHECKING
from unixconn.errors import IOErrorEnum, TooManyOpenFilesError, io_error
from unixconn.object import Object, run_handler
from unixconn.poll import IOCondition, PollFD
from unixconn.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar


class _Stack(threading.local):
    """The Cancellables that this thread has pushed."""

    def __init__(self) -> None:
        self.entries: list[Cancellable] = []


_current = _Stack()


class Cancellable(Object):
    """
    A flag that any thread or signal handler can set to end the operations that were given it (Gio.Cancellable).

    One object serves any number of operations at a time. Signal: ``cancelled``.
    """

    _signals: ClassVar = {"cancelled": "do_cancelled"}

    def __init__(self) -> None:
        super().__init__()
        self._cancelled = False
        # Reentrant: a signal handler may call cancel() while its thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._running: list[int] = []
        self._wakeup: Wakeup | None = None
        self._fd_count = 0
        self._watchers: set[object] = set()

    @classmethod
    def new(cls) -> Cancellable:
        """Make one."""
        return cls()

    def cancel(self) -> None:
        """
        Set the flag, make the descriptor readable, and run the handlers in this thread.

        Does nothing while it is set already. An operation that has waited ends with CANCELLED and has consumed nothing.
        """
        with self._changed:
            if self._cancelled:
                return
            self._cancelled = True
            self._running.append(threading.get_ident())
            if self._wakeup is not None:
                self._wakeup.set()
        try:
            self.emit("cancelled")
        finally:
            with self._changed:
                self._running.remove(threading.get_ident())
                self._changed.notify_all()

    def is_cancelled(self) -> bool:
        """Tell whether the flag is set. ``Cancellable.is_cancelled(None)`` is a TypeError, as in PyGObject."""
        if not isinstance(self, Cancellable):
            raise TypeError(f"a Cancellable is needed, not {self!r}")
        return self._cancelled

    def set_error_if_cancelled(self) -> bool:
        """Raise the Error CANCELLED if the flag is set, else give False."""
        if self._cancelled:
            raise io_error(IOErrorEnum.CANCELLED, "Operation was cancelled")
        return False

    def reset(self) -> None:
        """
        Clear the flag. Handlers stay connected.

        Waits for handlers that run in another thread.
        """
        with self._changed:
            self._wait_for_handlers()
            self._cancelled = False
            if self._wakeup is not None:
                self._wakeup.clear()

    def do_cancelled(self) -> None:
        """Run at cancel(), after the plain handlers. For subclasses."""

    # --- handlers ---

    def connect(self, callback: Callable[[], object], *data: object) -> int:  # type: ignore[override]
        """
        Call *callback*, without arguments, at each `cancel`; give the handler's number (g_cancellable_connect).

        Called at once, with 0 as the number, if the flag is set already. *data* is accepted and not handed on, as in
        PyGObject. It hides `Object.connect`, which is reached as ``Object.connect(cancellable, "cancelled", ...)``.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        with self._changed:
            if not self._cancelled:
                return self._connect("cancelled", callback, (), after=False)
        run_handler(callback)
        return 0

    def disconnect(self, handler_id: int) -> None:
        """
        Remove the handler with the number *handler_id*; 0 and a number that is gone are passed over.

        Waits for handlers that run in another thread. A handler may disconnect itself.
        """
        self._disconnect(handler_id)
        with self._changed:
            self._wait_for_handlers()

    def _wait_for_handlers(self) -> None:
        me = threading.get_ident()
        while self._running and me not in self._running:
            self._changed.wait()

    # --- the descriptor ---

    def get_fd(self) -> int:
        """
        Give the number of a descriptor that is readable while the flag is set.

        It is made at the first call, and shared: each call needs a `release_fd` of its own. Raises the Error
        TOO_MANY_OPEN_FILES where there is no room for it.
        """
        with self._changed:
            fd = self._open_wakeup()
            self._fd_count += 1
        return fd

    def release_fd(self) -> None:
        """Undo one `get_fd`; the last one closes the descriptor. Raises ValueError where there was none."""
        with self._changed:
            if not self._fd_count:
                raise ValueError("release_fd() without a get_fd() before it")
            self._fd_count -= 1
            self._close_wakeup()

    def make_pollfd(self, pollfd: PollFD) -> bool:
        """
        Fill in *pollfd* by `get_fd`, to be undone by `release_fd`.

        Gives False, and leaves *pollfd* alone, where there is no room for a descriptor.
        """
        if not isinstance(pollfd, PollFD):
            raise TypeError(f"pollfd must be a PollFD, not {pollfd!r}")
        try:
            pollfd.fd = self.get_fd()
        except TooManyOpenFilesError:
            return False
        pollfd.events = IOCondition.IN
        pollfd.revents = IOCondition(0)
        return True

    def _watch(self, watcher: object) -> int:
        """Like get_fd() for a wait, which _unwatch() ends however often, and in whatever state, it is called."""
        with self._changed:
            self._watchers.add(watcher)
            return self._open_wakeup()

    def _unwatch(self, watcher: object) -> None:
        with self._changed:
            self._watchers.discard(watcher)
            self._close_wakeup()

    def _open_wakeup(self) -> int:
        if self._wakeup is None:
            self._wakeup = Wakeup()
            if self._cancelled:
                self._wakeup.set()
        return self._wakeup.fd

    def _close_wakeup(self) -> None:
        if self._wakeup is not None and not self._fd_count and not self._watchers:
            self._wakeup.close()
            self._wakeup = None

    def _calm(self) -> None:
        """Take back a wake-up that was no cancellation: a forked process shares the descriptor, not the flag."""
        with self._changed:
            if self._wakeup is not None and not self._cancelled:
                self._wakeup.clear()

    # --- the current one of a thread ---

    def push_current(self) -> None:
        """Make this the thread's current Cancellable."""
        _current.entries.append(self)

    def pop_current(self) -> None:
        """Undo the latest `push_current` of this thread. Raises ValueError if that was not of this object."""
        if self is not Cancellable.get_current():
            raise ValueError(f"{self!r} is not the current Cancellable of this thread")
        _current.entries.pop()

    @staticmethod
    def get_current() -> Cancellable | None:
        """Give the Cancellable that this thread has pushed last, or None."""
        return _current.entries[-1] if _current.entries else None


def check_cancellable(cancellable: object) -> None:
    """Raise TypeError for an argument *cancellable* that is neither a Cancellable nor None."""
    if cancellable is not None and not isinstance(cancellable, Cancellable):
        raise TypeError(f"cancellable must be a Cancellable or None, not {cancellable!r}")
