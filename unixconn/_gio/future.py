"""Future: an asynchronous operation that can be awaited, or waited for in a thread."""

from __future__ import annotations

import math
import threading
import time
from functools import partial
from types import GenericAlias

from unixconn._base.errors import CancelledError, Error
from unixconn._base.object import Object
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.task import Task
from unixconn._io.event_loops import AsyncioLoop, running
from unixconn._io.steps import Both, Sequence
from unixconn._io.thread import shared
from unixconn._io.waiter import Waiter, cancelled

if TYPE_CHECKING:
    import _thread
    import asyncio
    from collections.abc import Callable, Generator
    from contextvars import Context
    from typing import Any

    from unixconn._io.event_loops import Loop
    from unixconn._io.operation import Operation
    from unixconn._io.reactor import Reactor

ResultT_co = TypeVar("ResultT_co", covariant=True)

_LOOK_INTERVAL = 0.25
"""Seconds between two checks whether the event loop, which runs in another thread, was closed."""


def _open(lock: _thread.LockType) -> None:
    try:
        lock.release()
    except RuntimeError:  # it is open already
        return


class Future(Task, Generic[ResultT_co]):
    """
    A Task that can be awaited in asyncio, uvloop and trio, or waited for in a thread, by `result`.

    Methods named ``*_async`` return a Future if they are called without a callback argument. Cancelling the Future, or
    the task that awaits it, cancels the operation: data that have not arrived stay in the socket, and descriptors that
    have arrived are closed. A Future that was made while an asyncio loop ran in the thread is a future of that loop:
    asyncio.gather, asyncio.wait and asyncio.wait_for take it.
    """

    __module__ = "unixconn"

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(GenericAlias)

    def __init__(
        self,
        source: Object,
        name: str,
        discard: Callable[[Any], object] | None,
        cancellable: Cancellable | None,
        loop: Loop | None,
    ) -> None:
        super().__init__(source, name, discard, cancellable)
        self._loop = loop
        # asyncio recognises a future by this attribute.
        self._asyncio_future_blocking = False if isinstance(loop, AsyncioLoop) else None
        # Functions that are called at the end, in any thread, each once and in this order.
        self._wakers: dict[Callable[[], object], None] = {}
        self._done_callbacks: list[tuple[Callable[[Future[ResultT_co]], object], Context | None]] = []

    _asyncio_future_blocking: bool | None = None
    _waiter: Waiter[ResultT_co] | Sequence[ResultT_co] | Both | None = None
    """What waits for the operation's end in the background. None if nothing has to wait, and after the end."""
    _cancel_was_asked = False
    _cancel_message: object = None
    _seen = False
    """Whether a caller has got the result, and has to close what is in it."""

    @property
    def cancellable(self) -> Cancellable:
        """A Cancellable that ends the operation: the one that was passed to the method, or a new one."""
        if self._cancellable is None:
            # In one step of the interpreter: if another thread replaced it, the first one would cancel nothing.
            made: Cancellable = self.__dict__.setdefault("_own_cancellable", Cancellable())
            self._cancellable = made
            waiter = self._waiter
            if waiter is not None:
                waiter.attend(made)
        return self._cancellable

    def done(self) -> bool:
        """Return whether the operation has ended."""
        return self._ended

    def cancelled(self) -> bool:
        """
        Return whether the operation was cancelled.

        For a future of an asyncio loop, only `cancel` counts. If the operation's Cancellable is cancelled, the
        operation fails with an Error.
        """
        if self._asyncio_future_blocking is not None and not self._cancel_was_asked:
            return False
        return isinstance(self._error, CancelledError)

    def cancel(self, msg: object = None) -> bool:
        """
        Cancel the operation, and return True, or False if it has already ended.

        The operation ends with the Error CANCELLED, and in asyncio with asyncio.CancelledError, which gets *msg*. The
        operation's Cancellable is not cancelled, as other operations may use it.
        """
        waiter = self._waiter
        if self._ended or waiter is None:
            return False
        self._cancel_message = msg
        self._cancel_was_asked = True
        waiter.cancel()
        # An operation of several steps may end a little later.
        return not self._ended or isinstance(self._error, CancelledError)

    def _make_cancelled_error(self) -> BaseException | None:
        """Return the exception of a cancelled operation. asyncio.gather calls this."""
        if isinstance(self._loop, AsyncioLoop) and self.cancelled():
            return self._loop.cancelled_error(self._cancel_message)
        return self._error

    def get_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the asyncio loop that the Future belongs to. Raises RuntimeError if it belongs to none."""
        if not isinstance(self._loop, AsyncioLoop):
            raise RuntimeError(  # noqa: TRY004 - what asyncio's own raise without a loop
                f"{self!r} does not belong to an asyncio loop: none was running in the thread that made it"
            )
        return self._loop.get_loop()

    def result(self, timeout: float | None = None) -> ResultT_co:
        """
        Wait until the operation has ended, and return its result, or raise its Error.

        Waits for at most *timeout* seconds, and then raises TimeoutError; None means no limit. While an event loop runs
        in this thread the method does not wait: before the end it raises asyncio.InvalidStateError, and in trio
        RuntimeError. The result can be asked for any number of times, until a method named ``*_finish`` takes it: then
        this method raises ValueError.
        """
        self._wait(timeout)
        return self._outcome()

    def _outcome(self) -> ResultT_co:
        self._seen = True
        if self._error is not None:
            # No variable refers to the exception: the traceback of an asyncio.CancelledError would keep this frame, and
            # so this Future, alive.
            raise self._to_raise().with_traceback(None)
        if not self._result:
            raise ValueError(f"the result of {self._name} was already taken")
        return self._result[0]  # type: ignore[no-any-return]

    def _to_raise(self) -> BaseException:
        error = self._make_cancelled_error()
        assert error is not None
        return error

    def exception(self, timeout: float | None = None) -> Error | None:
        """
        Wait as `result` does, and return the operation's Error, or None if it has succeeded.

        Raises the same exceptions while it waits, and asyncio.CancelledError after `cancel` in asyncio.
        """
        self._wait(timeout)
        error = self._make_cancelled_error()
        if error is not None and error is not self._error:
            raise error
        if self._error is not None:
            self._seen = True
        return self._error

    def _wait(self, timeout: float | None) -> None:
        self._look_after_its_loop()
        if self._ended:
            return
        loop = running()
        if loop is not None:
            raise loop.not_done(f"{self._name} has not ended yet, and an event loop runs in this thread: await it")
        ended = threading.Lock()
        ended.acquire()
        wake = partial(_open, ended)
        deadline = math.inf if timeout is None else time.monotonic() + max(0.0, timeout)
        try:
            self._subscribe(wake)
            while not ended.acquire(timeout=self._pause(deadline)):
                self._look_after_its_loop()
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{self._name} has not ended within {timeout} seconds")
        finally:
            # Otherwise each call that times out would leave a callback behind.
            self._wakers.pop(wake, None)

    def _pause(self, deadline: float) -> float:
        """Return the seconds to wait before the next look at the clock and the loop; -1 for no limit."""
        left = max(0.0, deadline - time.monotonic())
        if self._loop is not None:
            return min(left, _LOOK_INTERVAL)
        return -1.0 if left == math.inf else min(left, threading.TIMEOUT_MAX)

    def _look_after_its_loop(self) -> None:
        # A loop that was closed no longer ends operations, and does not report that.
        waiter = self._waiter
        if not self._ended and self._loop is not None and self._loop.is_closed and waiter is not None:
            waiter.look()

    def _subscribe(self, wake: Callable[[], object]) -> None:
        self._wakers[wake] = None
        if self._ended:
            self._wake()

    def _wake(self) -> None:
        # Without the GIL, list() copies a dictionary in one step, and tuple() does not.
        for wake in list(self._wakers):
            # A second call does no harm. If the function were removed before its call, an exception raised by a signal
            # handler could lose it.
            wake()
            self._wakers.pop(wake, None)

    def __await__(self) -> Generator[Any, Any, ResultT_co]:
        loop = self._loop
        if loop is None or not loop.runs_here():
            loop = running()
        if loop is None:
            raise RuntimeError("await needs asyncio or trio, and neither runs in this thread: call result()")
        self._look_after_its_loop()
        resumed = False
        try:
            if self._ended:
                yield from loop.checkpoint()
            else:
                yield from loop.wait(self._subscribe)
            resumed = True
        finally:
            if not resumed:  # the task that awaits was cancelled
                self._abandon()
        return self._outcome()

    __iter__ = __await__

    def _abandon(self) -> None:
        self.cancel()
        if not self._seen and self._result:
            if self._discard is not None:
                self._discard(self._result.pop())
            self._error = cancelled()
        self._seen = True

    def add_done_callback(
        self, callback: Callable[[Future[ResultT_co]], object], *, context: Context | None = None
    ) -> None:
        """
        Call *callback* with this Future when the operation has ended, or soon if it has already ended.

        The event loop that ran in the thread when the Future was made calls it. If there was none, another thread does.
        If *context*, a contextvars.Context, is not None, the call runs in it. Raises TypeError if *callback* is not
        callable.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self._done_callbacks.append((callback, context))
        if self._ended:
            self._post_done_callbacks()

    def remove_done_callback(self, callback: Callable[[Future[ResultT_co]], object]) -> int:
        """Undo each `add_done_callback` of *callback*, and return their number."""
        found = [each for each in self._done_callbacks if each[0] == callback]
        for each in found:
            self._done_callbacks.remove(each)
        return len(found)

    def _post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the event loop, or in another thread if there is no loop."""
        self._reactor.post(call)

    def _reactor_for(self, operation: Operation[Any]) -> Reactor:
        """Return the Reactor that waits for *operation*."""
        return self._reactor

    @property
    def _reactor(self) -> Reactor:
        return self._loop or shared()

    def _tell(self, before: Callable[[], None] | None) -> None:
        if before is not None:
            before()
        self._completed = True
        # A Sequence refers to this Future. With this reference the two would form a cycle, and would stay alive, with
        # the connection, until a garbage collection.
        self._waiter = None
        self._wake()
        self._post_done_callbacks()

    def _post_done_callbacks(self) -> None:
        while self._done_callbacks:
            try:
                callback, context = self._done_callbacks.pop(0)
            except IndexError:  # another thread has taken the last one
                return
            self._post(partial(callback, self) if context is None else partial(context.run, callback, self))

    def __del__(self) -> None:
        if self._seen:
            return
        super().__del__()
        error = getattr(self, "_error", None)
        if error is not None and not isinstance(error, CancelledError) and self._loop is not None:
            self._loop.report(error, self)
