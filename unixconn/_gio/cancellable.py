"""Cancellable: cancels operations from another thread, from a signal handler, or at a deadline."""

from __future__ import annotations

import math
import threading
import time
import warnings
import weakref
from functools import partial

from unixconn._base.arguments import as_seconds
from unixconn._base.deferred import defer
from unixconn._base.errors import IOErrorEnum, TooManyOpenFilesError, io_error
from unixconn._base.lock import this_process
from unixconn._base.object import Object, Signal, run_handler
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel.epoll import IOCondition, PollFD
from unixconn._kernel.trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import ClassVar

    from unixconn._gio.cancellable_source import CancellableSource
    from unixconn._io.source import Source
    from unixconn._io.thread import Worker, shared
    from unixconn._kernel.trigger import Watcher
else:
    defer(globals(), "_gio.cancellable_source", "CancellableSource")
    defer(globals(), "_io.thread", "shared")


CancellableT = TypeVar("CancellableT", bound="Cancellable")


class _Emission:
    """A call of `cancel` or `connect` that runs handlers, with its thread and process."""

    __slots__ = ("process", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.process = this_process()


class _Alarm:
    """
    The entry of the thread *worker* that cancels a Cancellable at *moment*.

    It has only a weak reference to the Cancellable, which may be dropped before.
    """

    __slots__ = ("_owner", "moment", "worker")

    def __init__(self, owner: Cancellable, moment: float, worker: Worker) -> None:
        self._owner = weakref.ref(owner, partial(worker.pass_over, moment))
        self.moment = moment
        self.worker = worker

    @property
    def _is_over(self) -> bool:
        """Whether the Cancellable is gone, or has been cancelled or reset."""
        owner = self._owner()
        return owner is None or not owner._has_time_left()

    def _ring(self) -> None:
        """Cancel the Cancellable."""
        owner = self._owner()
        if owner is not None:
            owner._cancel(None)


_USER = object()
"""The holder of the descriptor that `Cancellable.get_fd` returns."""


class _Stack(threading.local):
    """The Cancellables that the thread has pushed."""

    def __init__(self) -> None:
        self.entries: list[Cancellable] = []


_current = _Stack()


_TEXTS = {IOErrorEnum.CANCELLED: "Operation was cancelled", IOErrorEnum.TIMED_OUT: "Operation timed out"}


class Cancellable(Trigger, Object):
    """
    A flag that any thread or signal handler can set to cancel operations (Gio.Cancellable).

    Any number of operations can use the same Cancellable at the same time. `with_timeout` makes one that is cancelled
    at a deadline. Signal: ``cancelled``, which has no values.
    """

    __module__ = "unixconn"

    _deadline = math.inf
    """The time of `time.monotonic` from which on the flag counts as set."""
    _alarm: _Alarm | None = None

    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    else:
        # This class has its own constructor for help(), which adds no Python frame. The texts of TypeErrors have the
        # class that users know.
        __init__ = Trigger.__init__
        __init__.__qualname__ = "Cancellable.__init__"

    _code: IOErrorEnum | None = None
    """The reason why the flag is set. A single store sets the flag and the reason."""
    _emissions: Sequence[_Emission] = ()

    @classmethod
    def new(cls) -> Cancellable:
        """Return a new Cancellable."""
        return cls()

    @classmethod
    def with_timeout(cls: type[CancellableT], seconds: float) -> CancellableT:
        """
        Return a new Cancellable that is cancelled after *seconds*, which may be a fraction; infinity means never.

        From the deadline on, operations end with the Error TIMED_OUT, unless `cancel` was called before. `reset`
        removes the deadline.

        - A blocking method that waits looks at the clock itself. Handlers, asynchronous operations and the descriptor
          of `get_fd` need a thread. One thread serves all deadlines. It also runs the handlers, which should not block.
        - A Cancellable that is dropped before its deadline runs no handlers.
        - In a forked child, the copy has the same deadline. The child runs the parent's handlers only if it uses the
          copy itself, by `get_fd`, `connect` or an asynchronous operation.

        Raises TypeError if *seconds* is not a number, ValueError if it is negative or NaN, and, for a subclass with a
        `do_cancelled`, the Error TOO_MANY_OPEN_FILES if there is no descriptor left for the thread.
        """
        left = as_seconds(seconds, "seconds")
        made = cls()
        made._deadline = time.monotonic() + left
        if made._is_heard("cancelled"):
            made._set_alarm()
        return made

    def cancel(self) -> None:
        """
        Set the flag, end the operations, and run the handlers in this thread (g_cancellable_cancel).

        Operations that wait end with the Error CANCELLED, or TIMED_OUT after the deadline of `with_timeout`, and have
        consumed nothing. The descriptor of `get_fd` becomes readable. Does nothing if the flag is set already.
        """
        self._cancel(IOErrorEnum.CANCELLED)

    def _cancel(self, otherwise: IOErrorEnum | None) -> None:
        """Set the flag, with TIMED_OUT after the deadline, otherwise with *otherwise*. Do nothing if that is None."""
        emission = _Emission()
        is_over = False
        try:
            with self._lock.entered:
                reason = self._reason() or otherwise
                if self._code is not None or reason is None:
                    is_over = True
                    return
                self._emissions = [*self._emissions, emission]
                self._code = reason
                self._show()
            self._tell_watchers()
            self.emit("cancelled")
            self._end(emission)
            is_over = True
        finally:
            if not is_over:
                # A signal handler has raised. A second cancel() would find the flag set, and notify no watcher.
                self._end(emission)
                if self._code is not None:
                    self._tell_watchers()

    def _end(self, emission: _Emission) -> None:
        if self._code is not None:
            self._drop_alarm()
        with self._lock.entered:
            if emission in self._emissions:
                others = list(self._emissions)
                others.remove(emission)
                self._emissions = others
            self._show()
            self._lock.notify()

    def is_cancelled(self) -> bool:
        """Return whether the flag is set. ``Cancellable.is_cancelled(None)`` raises TypeError, as in PyGObject."""
        if not isinstance(self, Cancellable):
            raise TypeError(f"is_cancelled() needs a Cancellable, not {self!r}")
        return self._reason() is not None

    def _is_set(self) -> bool:
        # As `_reason` has it, without a call: each operation with a Cancellable asks this.
        return self._code is not None or (self._deadline != math.inf and time.monotonic() >= self._deadline)

    def _check(self) -> None:
        reason = self._reason()
        if reason is not None:
            raise io_error(reason, _TEXTS[reason])

    def set_error_if_cancelled(self) -> bool:
        """
        Return False, or raise the Error CANCELLED if the flag is set (g_cancellable_set_error_if_cancelled).

        If the deadline of `with_timeout` set the flag, the Error is TIMED_OUT.
        """
        reason = self._reason()
        if reason is not None:
            raise io_error(reason, _TEXTS[reason])
        return False

    def _reason(self) -> IOErrorEnum | None:
        """Return the code of the Error for cancelled operations, None while the flag is not set."""
        # The flag counts as set from the deadline on, whether or not the thread has already noticed.
        if self._code is None and self._deadline != math.inf and time.monotonic() >= self._deadline:
            return IOErrorEnum.TIMED_OUT
        return self._code

    def reset(self) -> None:
        """
        Clear the flag, and remove the deadline of `with_timeout` (g_cancellable_reset).

        Handlers stay connected. If handlers are running in another thread, this method waits for them.
        """
        with self._lock.entered:
            self._wait_for_handlers()
            self._deadline = math.inf
            self._code = None
            self._show()
        self._drop_alarm()

    def do_cancelled(self) -> None:
        """Handle the signal ``cancelled`` after the plain handlers. Subclasses override this method."""

    _signals: ClassVar = {"cancelled": Signal(do_cancelled)}

    # --- handlers ---

    def connect(self, callback: Callable[[], object], *data: object) -> int:  # type: ignore[override]
        """
        Call *callback* without arguments at each `cancel`, and return the handler's number (g_cancellable_connect).

        If the flag is set already, *callback* is called at once, and the number is 0. *data* is ignored, as in
        PyGObject. This method hides `Object.connect`, which can be called as ``Object.connect(cancellable, "cancelled",
        ...)``.

        Raises TypeError if *callback* is not callable. On a Cancellable with a deadline, this method and
        `Object.connect` raise the Error TOO_MANY_OPEN_FILES if there is no descriptor left for the thread.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        while True:
            with self._lock.entered:
                if not self.is_cancelled():
                    return self._connect("cancelled", callback, lambda _emitter: callback(), after=False)
            if self._run_if_cancelled(callback):
                return 0

    def _run_if_cancelled(self, callback: Callable[[], object]) -> bool:
        """Run *callback* if the flag is set; return whether it was. `reset` waits meanwhile."""
        emission = _Emission()
        try:
            try:
                with self._lock.entered:
                    if not self.is_cancelled():  # another thread has called `reset`
                        return False
                    self._emissions = [*self._emissions, emission]
                run_handler(callback)
                return True
            finally:
                self._end(emission)
        finally:  # a signal handler may raise in the other one
            self._end(emission)

    def _connect(self, name: str, callback: Callable[..., object], call: Callable[..., object], *, after: bool) -> int:
        self._set_alarm()
        return super()._connect(name, callback, call, after=after)

    def disconnect(self, handler_id: int) -> None:
        """
        Disconnect the handler with the number *handler_id* (g_cancellable_disconnect).

        0 stands for no handler. For another number, without a handler, a RuntimeWarning is issued. If handlers are
        running in another thread, this method waits for them. A handler may disconnect itself.
        """
        if not self._disconnect(handler_id) and handler_id:
            warnings.warn(f"{type(self).__name__} has no handler {handler_id!r}", RuntimeWarning, stacklevel=2)
        with self._lock.entered:
            self._wait_for_handlers()

    def _wait_for_handlers(self) -> None:
        while self._emissions and any(each.process is this_process() for each in self._emissions):
            if any(each.thread == threading.get_ident() for each in self._emissions):
                return
            self._lock.wait()

    # --- the descriptor ---

    def get_fd(self) -> int:
        """
        Return the number of a file descriptor that is readable while the flag is set (g_cancellable_get_fd).

        All callers get the same descriptor, which the first call opens. Each call needs a `release_fd` of its own.
        Raises the Error TOO_MANY_OPEN_FILES if the descriptor table is full.
        """
        self._set_alarm()
        return self._hold(_USER)

    def release_fd(self) -> None:
        """
        Undo one `get_fd`. Undoing the last one closes the descriptor (g_cancellable_release_fd).

        Raises ValueError without a `get_fd`.
        """
        if not self._let_go(_USER):
            raise ValueError("release_fd() without a get_fd() before it")

    def make_pollfd(self, pollfd: PollFD) -> bool:
        """
        Fill in *pollfd* with the descriptor of `get_fd`, and return True (g_cancellable_make_pollfd).

        Each call needs a `release_fd`. If the descriptor table is full, the result is False, *pollfd* is unchanged, and
        no `release_fd` is needed. Raises TypeError if *pollfd* is not a PollFD.
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

    # --- sources and operations in the background, which need no descriptor ---

    def source_new(self) -> Source:
        """
        Return a `Source` that is ready after each `cancel` (g_cancellable_source_new).

        It is also ready if the flag is set when it is attached to a context. Its callback is called without arguments,
        until it returns a false value.
        """
        return CancellableSource(self)

    def _watch(self, watcher: Watcher) -> None:
        if self._deadline != math.inf:
            self._set_alarm()
        self._watchers[watcher] = None

    # --- the deadline ---

    def _seconds_left(self) -> float:
        """Return the seconds until the deadline; infinity without one."""
        return max(0.0, self._deadline - time.monotonic())

    def _has_time_left(self) -> bool:
        """Return whether there is a deadline, and the flag has not been set."""
        return self._deadline != math.inf and self._code is None

    def _set_alarm(self) -> None:
        """Have the thread set the flag at the deadline. Blocking methods alone need no thread."""
        if self._has_time_left() and (self._alarm is None or not self._alarm.worker.is_ours):
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
        """
        Undo the latest `push_current` of this thread.

        Raises ValueError if this is not the thread's current Cancellable.
        """
        current = Cancellable.get_current()
        if self is not current:
            raise ValueError(f"{self!r} is not the current Cancellable of this thread: that is {current!r}")
        _current.entries.pop()

    @staticmethod
    def get_current() -> Cancellable | None:
        """Return the Cancellable that this thread has pushed last, or None."""
        return _current.entries[-1] if _current.entries else None

    def __repr__(self) -> str:
        left = self._seconds_left()
        state = "" if left == math.inf else f" {left:.3f} seconds left"
        # The attribute is missing if the constructor has failed.
        reason = self._reason()
        if reason is not None:
            state = " timed out" if reason is IOErrorEnum.TIMED_OUT else " cancelled"
        return f"<{type(self).__name__}{state}>"
