"""Cancellable: ends operations from outside."""

from __future__ import annotations

import math
import threading
import time
import weakref
from functools import partial

from unixconn._base.arguments import as_seconds
from unixconn._base.errors import IOErrorEnum, TooManyOpenFilesError, io_error
from unixconn._base.lock import this_process
from unixconn._base.object import Object, Signal, run_handler
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._io.main_context import MainContext, Source
from unixconn._kernel.epoll import IOCondition, PollFD
from unixconn._kernel.trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from unixconn._io.thread import Worker
    from unixconn._kernel.trigger import Watcher


CancellableT = TypeVar("CancellableT", bound="Cancellable")


class _Emission:
    """A cancel() that runs handlers: by which thread of which process."""

    __slots__ = ("process", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.process = this_process()


class _Alarm:
    """What *worker* has of a Cancellable until *moment*: not the Cancellable itself, which may be dropped before."""

    __slots__ = ("_owner", "moment", "worker")

    def __init__(self, owner: Cancellable, moment: float, worker: Worker) -> None:
        self._owner = weakref.ref(owner, partial(worker.pass_over, moment))
        self.moment = moment
        self.worker = worker

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing to be done any more."""
        owner = self._owner()
        return owner is None or not owner._has_time_left()

    def ring(self) -> None:
        """Do what is to be done."""
        owner = self._owner()
        if owner is not None:
            owner._cancel(None)


_USER = object()


class _Stack(threading.local):
    """The Cancellables that this thread has pushed."""

    def __init__(self) -> None:
        self.entries: list[Cancellable] = []


_current = _Stack()


_TEXTS = {IOErrorEnum.CANCELLED: "Operation was cancelled", IOErrorEnum.TIMED_OUT: "Operation timed out"}


class Cancellable(Trigger, Object):
    """
    A flag that any thread or signal handler can set to end the operations that were given it (Gio.Cancellable).

    One object serves any number of operations at a time. Signal: ``cancelled``. `with_timeout` makes one that is
    cancelled by itself.
    """

    _deadline = math.inf
    """When it is cancelled by itself, a time of `time.monotonic`."""
    _alarm: _Alarm | None = None

    def __init__(self) -> None:
        super().__init__()
        # One store says that it is cancelled, and why.
        self._code: IOErrorEnum | None = None
        self._emissions: list[_Emission] = []

    @classmethod
    def new(cls) -> Cancellable:
        """Make one."""
        return cls()

    @classmethod
    def with_timeout(cls: type[CancellableT], seconds: float) -> CancellableT:
        """
        Make one that is cancelled by itself after *seconds*; infinity is never.

        What it ends has the Error TIMED_OUT then, unless `cancel` was called before; `reset` takes the time back. Plain
        methods that wait look at the clock themselves. For the descriptor, handlers and what waits in the background
        there is one thread for all deadlines, which runs the handlers, too: they should not wait for anything. An
        object that is dropped before its time calls nobody. A forked child's copy has the same deadline; the handlers
        of the parent run there once it is watched there, by `get_fd`, `connect` or an operation in the background.

        Raises TypeError for what is no number, and ValueError for one that is negative or NaN; the Error
        TOO_MANY_OPEN_FILES for a subclass with a `do_cancelled`, where there is no descriptor left for the thread.
        """
        left = as_seconds(seconds, "seconds")
        made = cls()
        made._deadline = time.monotonic() + left
        if made._is_heard("cancelled"):
            made._set_alarm()
        return made

    def cancel(self) -> None:
        """
        Set the flag, make the descriptor readable, and run the handlers in this thread.

        Does nothing while it is set already. An operation that has waited ends with CANCELLED, or TIMED_OUT if the time
        of `with_timeout` has passed, and has consumed nothing.
        """
        self._cancel(IOErrorEnum.CANCELLED)

    def _cancel(self, otherwise: IOErrorEnum | None) -> None:
        """Do so at the deadline, and before that if there is a code for it: *otherwise*."""
        emission = _Emission()
        try:
            with self._lock.entered:
                reason = self._reason() or otherwise
                if self._code is not None or reason is None:
                    return
                self._emissions.append(emission)
                self._code = reason
                self._show()
            self._tell_watchers()
            self.emit("cancelled")
            self._end(emission)
        except BaseException:  # of a signal handler
            self._end(emission)
            # Another cancel() would not tell them, as the flag is set.
            if self._code is not None:
                self._tell_watchers()
            raise

    def _end(self, emission: _Emission) -> None:
        self._drop_alarm()
        with self._lock.entered:
            if emission in self._emissions:
                self._emissions.remove(emission)
            self._show()
            self._lock.notify()

    def is_cancelled(self) -> bool:
        """Tell whether the flag is set. ``Cancellable.is_cancelled(None)`` is a TypeError, as in PyGObject."""
        if not isinstance(self, Cancellable):
            raise TypeError(f"a Cancellable is needed, not {self!r}")
        return self._reason() is not None

    def _is_set(self) -> bool:
        return self._reason() is not None

    def _check(self) -> None:
        reason = self._reason()
        if reason is not None:
            raise io_error(reason, _TEXTS[reason])

    def set_error_if_cancelled(self) -> bool:
        """Raise the Error CANCELLED if the flag is set, TIMED_OUT if that was by `with_timeout`, else give False."""
        self._check()
        return False

    def _reason(self) -> IOErrorEnum | None:
        """Give the code of what it ends, None while it does not: by the clock, also before anybody was told."""
        if self._code is None and self._deadline != math.inf and time.monotonic() >= self._deadline:
            return IOErrorEnum.TIMED_OUT
        return self._code

    def reset(self) -> None:
        """
        Clear the flag, and take back the time of `with_timeout`. Handlers stay connected.

        Waits for handlers that run in another thread.
        """
        with self._lock.entered:
            self._wait_for_handlers()
            self._deadline = math.inf
            self._code = None
            self._show()
        self._drop_alarm()

    def do_cancelled(self) -> None:
        """Run at cancel(), after the plain handlers. For subclasses."""

    _signals: ClassVar = {"cancelled": Signal(do_cancelled)}

    # --- handlers ---

    def connect(self, callback: Callable[[], object], *data: object) -> int:  # type: ignore[override]
        """
        Call *callback*, without arguments, at each `cancel`; give the handler's number (g_cancellable_connect).

        Called at once, with 0 as the number, if the flag is set already. *data* is accepted and not handed on, as in
        PyGObject. It hides `Object.connect`, which is reached as ``Object.connect(cancellable, "cancelled", ...)``. For
        one with a deadline both raise the Error TOO_MANY_OPEN_FILES where there is no descriptor left to be called by.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        with self._lock.entered:
            if not self.is_cancelled():
                return self._connect("cancelled", callback, lambda _emitter: callback(), after=False)
        run_handler(callback)
        return 0

    def _connect(self, name: str, callback: Callable[..., object], call: Callable[..., object], *, after: bool) -> int:
        self._set_alarm()
        return super()._connect(name, callback, call, after=after)

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
        self._set_alarm()
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

    # --- who need no descriptor to be told ---

    def source_new(self) -> Source:
        """
        Make a `Source` whose callback runs, in the context that it is attached to, after each `cancel`.

        Without arguments, until it returns a false value. Attached to a context while the flag is set, it runs as well.
        """
        return CancellableSource(self)

    def _watch(self, watcher: Watcher) -> None:
        self._set_alarm()
        super()._watch(watcher)

    # --- the deadline ---

    def _seconds_left(self) -> float:
        """Give the seconds until it is cancelled by itself, infinity for never."""
        return max(0.0, self._deadline - time.monotonic())

    def _has_time_left(self) -> bool:
        """Tell whether it is yet to be cancelled by itself."""
        return self._deadline != math.inf and self._code is None

    def _set_alarm(self) -> None:
        """Have it cancelled at its deadline, for who has to be told. Before that, nobody needs a thread for it."""
        if self._has_time_left() and (self._alarm is None or not self._alarm.worker.is_ours):
            from unixconn._io.thread import shared

            alarm = _Alarm(self, self._deadline, shared())
            alarm.worker.look_after(alarm)
            self._alarm = alarm

    def _drop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.worker.pass_over(self._alarm.moment)

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
        # While nothing is done yet, as it may fail.
        self._cancellable._set_alarm()
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
