"""Future: an asynchronous operation to be awaited, or to be waited for in another thread."""

from __future__ import annotations

import math
import threading
import time
from functools import partial

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
    from collections.abc import Callable, Generator
    from typing import Any

    from unixconn._io.event_loops import Loop
    from unixconn._io.operation import Operation
    from unixconn._io.reactor import Reactor

T = TypeVar("T")

_LOOK_INTERVAL = 0.25
"""Seconds between two looks whether the loop, of another thread, was closed."""


def _open(lock: _thread.LockType) -> None:
    try:
        lock.release()
    except RuntimeError:  # it is open
        return


class Future(Task, Generic[T]):
    """
    A Task that can be awaited, in asyncio, uvloop and trio, or waited for by `result`.

    Cancelling it, or the task that awaits it, ends the operation: what has not come yet stays in the socket, what has
    is closed. Made where an asyncio loop runs it is a future of that loop, for asyncio.gather, asyncio.wait_for, ...
    """

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
        # What asyncio knows its futures by.
        self._asyncio_future_blocking = False if isinstance(loop, AsyncioLoop) else None
        # Called in any thread, as soon as there is an end. In order, each once.
        self._wakers: dict[Callable[[], object], None] = {}
        self._done_callbacks: list[tuple[Callable[[Future[T]], object], Any]] = []

    _asyncio_future_blocking: bool | None = None
    _pending: Waiter[T] | Sequence[T] | Both | None = None
    _cancel_was_asked = False
    _cancel_message: object = None
    _seen = False
    """The result was looked at, and is its reader's to close."""

    @property
    def cancellable(self) -> Cancellable:
        """A Cancellable that ends it: the one that the operation was given, or one of its own."""
        if self._cancellable is None:
            # In one step: one that another thread has replaced would end nothing.
            made: Cancellable = self.__dict__.setdefault("_own_cancellable", Cancellable())
            self._cancellable = made
            pending = self._pending
            if pending is not None:
                pending.attend(made)
        return self._cancellable

    def done(self) -> bool:
        """Tell whether it has ended."""
        return self._ended

    def cancelled(self) -> bool:
        """Tell whether it was cancelled; in asyncio only whether `cancel` has done so, not its Cancellable."""
        if self._asyncio_future_blocking is not None and not self._cancel_was_asked:
            return False
        return isinstance(self._error, CancelledError)

    def cancel(self, msg: object = None) -> bool:
        """
        End the operation; give False if it has ended already. *msg* is for asyncio's sake.

        Its result is the Error CANCELLED then, in asyncio asyncio.CancelledError. Its Cancellable is not touched, which
        others may have been given, too.
        """
        pending = self._pending
        if self._ended or pending is None:
            return False
        self._cancel_message = msg
        self._cancel_was_asked = True
        pending.cancel()
        # One of several steps ends a little later.
        return not self._ended or isinstance(self._error, CancelledError)

    def _make_cancelled_error(self) -> BaseException | None:
        """Make what a cancelled one raises; asyncio.gather asks for it."""
        if isinstance(self._loop, AsyncioLoop) and self.cancelled():
            return self._loop.cancelled_error(self._cancel_message)
        return self._error

    def get_loop(self) -> object:
        """Give the asyncio loop that it belongs to. Raises RuntimeError where there is none."""
        if not isinstance(self._loop, AsyncioLoop):
            raise RuntimeError(  # noqa: TRY004 - what asyncio's own raise without a loop
                f"{self!r} belongs to no asyncio loop"
            )
        return self._loop.get_loop()

    def result(self, timeout: float | None = None) -> T:
        """
        Give the result, as often as it is asked for, or raise the Error.

        Waits for the end, for at most *timeout* seconds, TimeoutError. Where an event loop runs in this thread it does
        not wait: asyncio.InvalidStateError, in trio RuntimeError.
        """
        self._wait(timeout)
        return self._outcome()

    def _outcome(self) -> T:
        self._seen = True
        if self._error is not None:
            # Not under a name: asyncio's would keep this frame then, and so this.
            raise self._to_raise().with_traceback(None)
        if not self._result:
            raise ValueError(f"the result of {self._name} was handed out already")
        return self._result[0]  # type: ignore[no-any-return]

    def _to_raise(self) -> BaseException:
        error = self._make_cancelled_error()
        assert error is not None
        return error

    def exception(self, timeout: float | None = None) -> Error | None:
        """Give the Error, or None if there is none; waits, and raises asyncio.CancelledError, as `result` does."""
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
            raise loop.not_done(f"{self._name} has not ended yet: await it")
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
            # Who asks again and again would leave one each time.
            self._wakers.pop(wake, None)

    def _pause(self, deadline: float) -> float:
        """Give the seconds to wait for the end, before a look at the clock and the loop; -1 for ever."""
        left = max(0.0, deadline - time.monotonic())
        if self._loop is not None:
            return min(left, _LOOK_INTERVAL)
        return -1.0 if left == math.inf else min(left, threading.TIMEOUT_MAX)

    def _look_after_its_loop(self) -> None:
        # A loop that was closed ends nothing any more, and tells nobody that it was.
        pending = self._pending
        if not self._ended and self._loop is not None and self._loop.is_closed and pending is not None:
            pending.look()

    def _subscribe(self, wake: Callable[[], object]) -> None:
        self._wakers[wake] = None
        if self._ended:
            self._wake()

    def _wake(self) -> None:
        # Copied as a list, for the reason that Cancellable has.
        for wake in list(self._wakers):
            # Called twice does no harm. Taken out first, it would be lost if a signal handler raised then.
            wake()
            self._wakers.pop(wake, None)

    def __await__(self) -> Generator[Any, Any, T]:
        loop = self._loop
        if loop is None or not loop.runs_here():
            loop = running()
        if loop is None:
            raise RuntimeError("await needs asyncio or trio: where neither runs, result() waits")
        self._look_after_its_loop()
        try:
            if self._ended:
                yield from loop.checkpoint()
            else:
                yield from loop.wait(self._subscribe)
        except BaseException:  # the task was cancelled
            self._abandon()
            raise
        return self._outcome()

    __iter__ = __await__

    def _abandon(self) -> None:
        self.cancel()
        if not self._seen and self._result:
            if self._discard is not None:
                self._discard(self._result.pop())
            self._error = cancelled()
        self._seen = True

    def add_done_callback(self, callback: Callable[[Future[T]], object], *, context: Any = None) -> None:
        """
        Have *callback* called with this object when it has ended, or soon if it has: by the event loop it was made in.

        Where there is none, in another thread. *context* is a contextvars.Context to call it in.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self._done_callbacks.append((callback, context))
        if self._ended:
            self._call_back()

    def remove_done_callback(self, callback: Callable[[Future[T]], object]) -> int:
        """Undo each `add_done_callback` of *callback*, and give how many there were."""
        found = [each for each in self._done_callbacks if each[0] == callback]
        for each in found:
            self._done_callbacks.remove(each)
        return len(found)

    def post(self, call: Callable[[], object]) -> None:
        """Have *call* called by the loop, or where there is none in another thread."""
        self._reactor.post(call)

    def reactor_for(self, operation: Operation[Any]) -> Reactor:
        """Give who is to look after *operation*."""
        return self._reactor

    @property
    def _reactor(self) -> Reactor:
        return self._loop or shared()

    def _tell(self, before: Callable[[], None] | None) -> None:
        if before is not None:
            before()
        self._completed = True
        # Several steps have this: nothing would free the two at once, nor what it is an operation of.
        self._pending = None
        self._wake()
        self._call_back()

    def _call_back(self) -> None:
        while self._done_callbacks:
            try:
                callback, context = self._done_callbacks.pop(0)
            except IndexError:  # another thread was quicker
                return
            self.post(partial(callback, self) if context is None else partial(context.run, callback, self))

    def __del__(self) -> None:
        if self._seen:
            return
        super().__del__()
        error = getattr(self, "_error", None)
        if error is not None and not isinstance(error, CancelledError) and self._loop is not None:
            self._loop.report(error, self)
