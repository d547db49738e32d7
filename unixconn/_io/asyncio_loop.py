"""
The reactor in a loop with asyncio's interface, such as uvloop.

asyncio is not imported here: if a loop runs, the program has imported it.
"""

from __future__ import annotations

import math
import sys
import time
import weakref
from functools import partial
from threading import get_ident

from unixconn._base.typing import TYPE_CHECKING
from unixconn._io import twisted_reactor
from unixconn._io.event_loop import Loop
from unixconn._io.operation import READABLE, Operation
from unixconn._io.waiter import Waiter
from unixconn._kernel import epoll

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from typing import Any

    from unixconn._io.event_loop import Awaited
    from unixconn._io.reactor import Reactor
    from unixconn._kernel.handle import Handle

_modules = sys.modules

ANYIO = "anyio._backends._asyncio"
"""The module of anyio that is loaded where its scopes are used in asyncio."""

AT_ONCE = 32
"""The most awaits in a row that return without a pause, in all tasks of a loop of asyncio together."""


class _Turn:
    """
    A future that a task of asyncio can wait for, with only the methods that the task calls.

    asyncio's own futures resume the task one iteration of the loop later, which takes as long as all the work here.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_awaited",
        "_callback",
        "_context",
        "_errors",
        "_is_over",
        "_reactor",
    )

    def __init__(self, reactor: AsyncioLoop, awaited: Awaited) -> None:
        # The attribute tells the task that this object was yielded by an await, and is a future.
        self._asyncio_future_blocking = True
        self._reactor = reactor
        self._awaited = awaited
        self._callback: Callable[[_Turn], object] | None = None
        self._errors: Any = ()
        self._is_over = False

    def end(self) -> None:
        """Resume the task soon. May be called in any thread."""
        reactor = self._reactor
        if reactor._looking_thread == get_ident():
            reactor._turns.append(self)
        elif not self._is_over:
            reactor.post(self.take)

    def take(self) -> None:
        """Resume the task now. Called in the loop's thread while no task runs. A second call has no effect."""
        if not self._is_over:
            self._is_over = True
            if self._callback is not None:
                self._context.run(self._callback, self)

    # --- what the task calls ---

    def get_loop(self) -> object:
        """Return asyncio's loop."""
        return self._reactor._loop()

    def add_done_callback(self, callback: Callable[[_Turn], object], *, context: Any) -> None:
        """Set the function that resumes the task."""
        self._callback, self._context = callback, context

    def cancel(self, msg: object = None) -> bool:
        """
        Resume the task with asyncio.CancelledError in the loop's next iteration.

        Return False if it has resumed already.
        """
        if self._is_over:
            return False
        self._is_over = True
        self._errors = [self._reactor.cancelled_error(msg)]
        loop = self._reactor._loop()
        assert loop is not None
        assert self._callback is not None
        loop.call_soon(self._callback, self, context=self._context)
        # This breaks a cycle of references: before CPython 3.11 the task keeps the error, whose frames refer to this.
        self._callback = None
        self._awaited._withdraw()
        return True

    def result(self) -> None:
        """Return None, or raise asyncio.CancelledError."""
        if self._errors:
            # The error is taken out of the list, and no variable refers to it: the error's frames refer to this object
            # and to the operation, and a reference to the error would keep both alive.
            raise self._errors.pop()


class _Pause(Operation[None]):
    """What others wait behind in the queue of a handle until the loop comes back to it."""

    __slots__ = ("_is_first",)

    condition = READABLE

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        self._is_first = True

    def attempt(self, result: list[None]) -> bool:
        """Return False the first time."""
        if self._is_first:
            self._is_first = False
            return False
        result.append(None)
        return True


class _Pausing(Waiter):
    def __init__(self, loop: AsyncioLoop) -> None:
        self._loop = loop

    def _waker_for(self, operation: Operation[Any]) -> Reactor:
        return self._loop

    def _tell(self) -> None:
        """Do nothing: whoever waits behind it goes on."""


class AsyncioLoop(Loop):
    """The reactor of a loop with asyncio's interface, such as uvloop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._running_loop = sys.modules["asyncio"]._get_running_loop
        # When the loop is garbage-collected, the epoll is closed, even if operations that wait with it are still queued
        # and keep this reactor alive.
        stop = weakref.WeakMethod(self._stop)
        self._loop = weakref.ref(loop, lambda _gone: _call(stop))

    @property
    def is_closed(self) -> bool:
        """Whether it will never serve an operation again."""
        loop = self._loop()
        return loop is None or loop.is_closed() or not self.is_ours

    def _start(self) -> None:
        if self._epoll is not None:
            return
        loop = self._loop()
        if loop is None:
            return
        is_watched = False
        try:
            self._epoll = epoll.new()
            loop.add_reader(self._epoll.fileno(), self._look_on)
            is_watched = True
        finally:
            if not is_watched:  # otherwise all later operations would count on a loop that does not look
                self._lose(0)

    def _lose(self, number: int) -> None:
        loop = self._loop()
        try:
            if self._epoll is not None and loop is not None:
                loop.remove_reader(self._epoll.fileno())
        finally:
            super()._lose(number)

    def _call_at(self, moment: float, waiter: Waiter) -> Callable[[], object]:
        loop = self._loop()
        assert loop is not None
        timer = loop.call_later(moment - time.monotonic(), self._ring, waiter)
        return partial(self.post, timer.cancel)

    def post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the loop. May be called in any thread. Has no effect after the loop was closed."""
        loop = self._loop()
        try:
            if loop is not None:
                (loop.call_soon if self._looking_thread == get_ident() else loop.call_soon_threadsafe)(call)
        except RuntimeError:  # the loop was closed
            return

    def call_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Schedule *call* in the loop after *seconds*. May be called in any thread."""
        loop = self._loop()
        if loop is not None:
            self.post(partial(loop.call_later, seconds, call))

    def runs_here(self) -> bool:
        """See `Loop.runs_here`."""
        loop = self._running_loop()
        return loop is not None and loop is self._loop() and "trio" not in _modules

    is_asyncio = True

    def is_cancelled_here(self) -> bool:
        """See `Loop.is_cancelled_here`. Only anyio has scopes in asyncio."""
        anyio = sys.modules[ANYIO]
        if not getattr(anyio, "_task_states", None):  # no task is in a scope, or anyio is just being imported
            return False
        deadline: float = anyio.AsyncIOBackend.current_effective_deadline()
        return deadline != math.inf and deadline <= anyio.AsyncIOBackend.current_time()

    def call_after_deadlines(self, call: Callable[[], object]) -> None:
        """See `Loop.call_after_deadlines`."""
        if not self.left:
            self._ask_for_turn()
        # The timers that are due come behind what is scheduled already.
        self.post(partial(self.post, call))

    # One peer that is always ready would otherwise stop all the rest of the loop.
    left = AT_ONCE
    _is_turn_asked = False

    def postpone(self, handle: Handle) -> None:
        """See `Loop.postpone`. Has no effect if the loop cannot watch *handle*, as no descriptor is free."""
        _Pausing(self)._perform(_Pause(handle), None, True)
        # The loop does not rely on the kernel to report the handle: descriptors may be left over in it.
        self.ready.append((handle.number, READABLE))
        self._ask_for_turn()

    def checkpoint(self) -> Iterable[Any]:
        """See `Loop.checkpoint`."""
        self._ask_for_turn()
        return (None,)

    def _ask_for_turn(self) -> None:
        if not self._is_turn_asked:
            # Not by call_soon(): the caller may be a signal handler that has interrupted the loop's wait. And in this
            # order, as an exception in between may ask twice, but never loses the turn.
            self.post(self._take_turn)
            self._is_turn_asked = True

    def _take_turn(self) -> None:
        self._is_turn_asked = False
        self.left = AT_ONCE
        if self.ready:
            self._look_on()

    def wait(self, awaited: Awaited) -> Iterable[Any]:
        """See `Loop.wait`."""
        turn = _Turn(self, awaited)
        if awaited._turn is None:  # as in `_follow`
            awaited._turn = turn
            if awaited._ended:
                turn.end()
        else:
            awaited._subscribe(turn.end)
        return (turn,)

    def not_done(self, text: str) -> Exception:
        """See `Loop.not_done`."""
        return sys.modules["asyncio"].InvalidStateError(text)  # type: ignore[no-any-return]

    def get_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return asyncio's loop; None if it was garbage-collected."""
        return self._loop()

    def cancelled_error(self, message: object) -> BaseException:
        """Return the asyncio.CancelledError of a future that was cancelled with *message*, None for no message."""
        arguments = () if message is None else (message,)
        return sys.modules["asyncio"].CancelledError(*arguments)  # type: ignore[no-any-return]

    def report(self, error: BaseException, source: object) -> None:
        """See `Loop.report`."""
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            message = "the error of an operation was never retrieved"
            loop.call_exception_handler({"message": message, "exception": error, "future": source})


def _call(weak: weakref.WeakMethod[Callable[[], None]]) -> None:
    method = weak()
    if method is not None:
        method()


class LoopUnderTwisted(AsyncioLoop):
    """A loop of asyncio that Twisted's reactor runs. Twisted resumes coroutines that are no tasks of asyncio."""

    __slots__ = ()

    def wait(self, awaited: Awaited) -> Iterable[Any]:
        """See `Loop.wait`."""
        return super().wait(awaited) if self.runs_a_task() else twisted_reactor.wait(awaited)

    def runs_a_task(self) -> bool:
        """Return whether a task of asyncio runs, and not a coroutine of Twisted."""
        return sys.modules["asyncio"].current_task() is not None
