"""Cancellable: ends operations from outside."""

from __future__ import annotations

import threading

from unixconn._typing import TYPE_CHECKING
from unixconn.errors import IOErrorEnum, TooManyOpenFilesError, io_error
from unixconn.lock import Lock, this_process
from unixconn.mainloop import MainContext, Source
from unixconn.object import Object, Signal, run_handler
from unixconn.poll import IOCondition, PollFD
from unixconn.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar, Protocol

    class Watcher(Protocol):
        """What a Cancellable tells when it is cancelled."""

        def look(self) -> None:
            """Look whether that ends something; called in any thread, also for nothing."""


class _Emission:
    """A cancel() that runs handlers: by which thread of which process."""

    __slots__ = ("process", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.process = this_process()


_USER = object()


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

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._cancelled = False
        self._emissions: list[_Emission] = []
        # One for good: a destructor at the end of each wait would swallow what a signal handler raises in it.
        self._wakeup = Wakeup()
        self._holders: list[object] = []
        """Who needs the descriptor: _USER for each get_fd(), and the waits."""
        # Only changed and copied in single steps of the interpreter. In order, each once.
        self._watchers: dict[Watcher, None] = {}

    @classmethod
    def new(cls) -> Cancellable:
        """Make one."""
        return cls()

    def cancel(self) -> None:
        """
        Set the flag, make the descriptor readable, and run the handlers in this thread.

        Does nothing while it is set already. An operation that has waited ends with CANCELLED and has consumed nothing.
        """
        emission = _Emission()
        try:
            with self._lock.entered:
                if self._cancelled:
                    return
                self._emissions.append(emission)
                self._cancelled = True
                self._show()
            for each in tuple(self._watchers):
                each.look()
            self.emit("cancelled")
            self._end(emission)
        except BaseException:  # of a signal handler
            self._end(emission)
            raise

    def _end(self, emission: _Emission) -> None:
        with self._lock.entered:
            if emission in self._emissions:
                self._emissions.remove(emission)
            self._show()
            self._lock.notify()

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
        with self._lock.entered:
            self._wait_for_handlers()
            self._cancelled = False
            self._show()

    def do_cancelled(self) -> None:
        """Run at cancel(), after the plain handlers. For subclasses."""

    _signals: ClassVar = {"cancelled": Signal(do_cancelled)}

    # --- handlers ---

    def connect(self, callback: Callable[[], object], *data: object) -> int:  # type: ignore[override]
        """
        Call *callback*, without arguments, at each `cancel`; give the handler's number (g_cancellable_connect).

        Called at once, with 0 as the number, if the flag is set already. *data* is accepted and not handed on, as in
        PyGObject. It hides `Object.connect`, which is reached as ``Object.connect(cancellable, "cancelled", ...)``.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        with self._lock.entered:
            if not self._cancelled:
                return self._connect("cancelled", callback, (), (), after=False)
        run_handler(callback)
        return 0

    def disconnect(self, handler_id: int) -> None:
        """
        Remove the handler with the number *handler_id*; 0 and a number that is gone are passed over.

        Waits for handlers that run in another thread. A handler may disconnect itself.
        """
        self._disconnect(handler_id)
        with self._lock.entered:
            self._wait_for_handlers()

    def _wait_for_handlers(self) -> None:
        while any(each.process is this_process() for each in self._emissions):
            if any(each.thread == threading.get_ident() for each in self._emissions):
                return
            self._lock.wait()

    # --- the descriptor ---

    def get_fd(self) -> int:
        """
        Give the number of a descriptor that is readable while the flag is set.

        It is made at the first call, and shared: each call needs a `release_fd` of its own. Raises the Error
        TOO_MANY_OPEN_FILES where there is no room for it.
        """
        return self._hold(_USER)

    def release_fd(self) -> None:
        """Undo one `get_fd`; the last one closes the descriptor. Raises ValueError where there was none."""
        if not self._let_go(_USER):
            raise ValueError("release_fd() without a get_fd() before it")

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

    def _hold(self, holder: object) -> int:
        """Have the descriptor for *holder*, and give its number."""
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
        """Undo one `_hold`; tell whether there was one. May be called again, to be sure."""
        with self._lock.entered:
            held = holder in self._holders
            if held:
                self._holders.remove(holder)
            self._wakeup.close_unless(self._holders)
        return held

    def _show(self) -> None:
        """
        Have the descriptor say what the flag says.

        Also for a wait that was woken and is not cancelled: a forked process shares the descriptor, not the flag.
        """
        with self._lock.entered:
            if self._cancelled:
                self._wakeup.set()
            else:
                self._wakeup.clear()

    # --- who need no descriptor to be told ---

    def source_new(self) -> Source:
        """
        Make a `Source` whose callback runs, in the context that it is attached to, after each `cancel`.

        Without arguments, until it returns a false value. Attached to a context while the flag is set, it runs as well.
        """
        return CancellableSource(self)

    def _watch(self, watcher: Watcher) -> None:
        """Have *watcher* told of each cancel() from now on; it has to look once itself, for one that has just been."""
        self._watchers[watcher] = None

    def _unwatch(self, watcher: Watcher) -> None:
        """Undo `_watch`; may be called again."""
        self._watchers.pop(watcher, None)

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


class CancellableSource(Source):
    """Becomes ready whenever *cancellable* is cancelled."""

    __slots__ = ("_cancellable",)

    def __init__(self, cancellable: Cancellable) -> None:
        super().__init__()
        self._cancellable = cancellable

    def attach(self, context: MainContext | None = None) -> int:
        """See `Source.attach`."""
        number = super().attach(context)
        self._cancellable._watch(self)
        self.look()
        return number

    def destroy(self) -> None:
        """See `Source.destroy`."""
        super().destroy()
        self._cancellable._unwatch(self)

    def _prepare(self) -> None:
        """Wait for the next time."""

    def look(self) -> None:
        """Become ready if it was cancelled."""
        if self._cancellable.is_cancelled():
            self._make_ready()


def check_cancellable(cancellable: object) -> None:
    """Raise TypeError for an argument *cancellable* that is neither a Cancellable nor None."""
    if cancellable is not None and not isinstance(cancellable, Cancellable):
        raise TypeError(f"cancellable must be a Cancellable or None, not {cancellable!r}")
