"""
Event loops that the program runs: asyncio's, uvloop's and trio's.

None of them is imported here: where one runs, the program has imported it. Each watches one descriptor of ours, an
epoll in which the sockets of all operations are armed. So the user's descriptors may have readers in the loop, too, and
may be closed at any time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from abc import abstractmethod
from collections import deque
from functools import partial

from unixconn._base.object import run_handler
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.reactor import Reactor
from unixconn._kernel import epoll

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Generator
    from typing import Any

    from unixconn._io.waiter import Waiter


class Loop(Reactor):
    """A running event loop."""

    def __init__(self) -> None:
        super().__init__()
        # While this serves, its thread may use the loop's quick methods. Otherwise the caller may be a signal handler,
        # and the loop asleep.
        self._looking_thread = 0

    def _look_on(self) -> None:
        """Serve what is ready; the loop calls it."""
        self._looking_thread = threading.get_ident()
        try:
            self._turn(0.0)
        finally:
            self._looking_thread = 0

    @property
    def _is_looking(self) -> bool:
        return self._looking_thread == threading.get_ident()

    def _call_or_post(self, call: Callable[[], object]) -> None:
        """Have *call* called by the loop, at once if the loop is just calling this; from any thread."""
        if self._is_looking:
            call()
        else:
            self.post(call)

    def runs_here(self) -> bool:
        """Return whether this is certainly what `running` returns, as far as that is quick to find out."""
        return False

    @abstractmethod
    def wait(self, subscribe: Callable[[Callable[[], object]], object]) -> Generator[Any, Any, None]:
        """Suspend the current task until the function passed to *subscribe* is called, in any thread."""

    @abstractmethod
    def checkpoint(self) -> Generator[Any, Any, None]:
        """Let other tasks run, if the loop does so also where nothing has to be waited for."""

    @abstractmethod
    def not_done(self, text: str) -> Exception:
        """Return the error for asking for a result that is not there yet."""

    @abstractmethod
    def report(self, error: BaseException, source: object) -> None:
        """Report that nobody has looked at the *error* of *source*."""


class _Turn:
    """
    A future that a task of asyncio waits for, with as few methods as that takes.

    asyncio's own futures resume the task one round of the loop later, which takes as long as all that is done here.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_errors", "_is_over", "_loop", "_reactor")

    def __init__(self, reactor: AsyncioLoop, loop: asyncio.AbstractEventLoop) -> None:
        # Tells the task that this was yielded to be waited for.
        self._asyncio_future_blocking = True
        self._reactor = reactor
        self._loop = loop
        self._callback: Callable[[_Turn], object] | None = None
        self._context: Any = None
        self._errors: list[BaseException] = []
        self._is_over = False

    def end(self) -> None:
        """Let the task go on soon; from any thread."""
        if self._reactor._is_looking:
            self._reactor._turns.append(self)
        else:
            self._reactor.post(self.take)

    def take(self) -> None:
        """Let the task go on at once: in the loop's thread, and while no task runs. A second call does nothing."""
        if not self._is_over:
            self._is_over = True
            if self._callback is not None:
                self._context.run(self._callback, self)

    # --- what the task calls ---

    def get_loop(self) -> object:
        """Return asyncio's loop."""
        return self._loop

    def add_done_callback(self, callback: Callable[[_Turn], object], *, context: Any) -> None:
        """Set the function that lets the task go on."""
        self._callback, self._context = callback, context

    def cancel(self, msg: object = None) -> bool:
        """Let the task go on with asyncio.CancelledError in the loop's next round, unless it has gone on."""
        if self._is_over:
            return False
        self._is_over = True
        self._errors.append(self._reactor.cancelled_error(msg))
        assert self._callback is not None
        self._loop.call_soon(self._callback, self, context=self._context)
        # The frames of the error refer to this, and before CPython 3.11 the task keeps the error.
        self._callback = None
        return True

    def result(self) -> None:
        """Return None, or raise asyncio.CancelledError."""
        if self._errors:
            # Kept here, or under a name, its frames would keep this alive, and the operation.
            raise self._errors.pop()


class AsyncioLoop(Loop):
    """A loop with asyncio's interface."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._turns: deque[_Turn] = deque()
        self._running_loop = sys.modules["asyncio"]._get_running_loop
        # The epoll is closed with the loop, though operations that waited in it may still be in a line.
        stop = weakref.WeakMethod(self._stop)
        self._loop = weakref.ref(loop, lambda _gone: _call(stop))

    @property
    def is_closed(self) -> bool:
        """Whether it will never look again."""
        loop = self._loop()
        return loop is None or loop.is_closed() or not self.is_ours

    def _start(self) -> None:
        loop = self._loop()
        if self._epoll is None and loop is not None:
            self._epoll = epoll.new()
            loop.add_reader(self._epoll.fileno(), self._look_on)

    def _look_on(self) -> None:
        try:
            super()._look_on()
            # Not before: the tasks may do anything, and serving holds locks.
            while self._turns:
                self._turns[0].take()
                self._turns.popleft()
        finally:
            # After KeyboardInterrupt or SystemExit, raised in a task or by a signal handler.
            while self._turns:
                self.post(self._turns[0].take)
                self._turns.popleft()

    def _call_at(self, moment: float, waiter: Waiter[Any]) -> Callable[[], object]:
        loop = self._loop()
        assert loop is not None
        timer = loop.call_later(moment - time.monotonic(), self._ring, waiter)
        return partial(self.post, timer.cancel)

    def post(self, call: Callable[[], object]) -> None:
        """Have *call* called by the loop; from any thread. Dropped after the loop's end."""
        loop = self._loop()
        try:
            if loop is not None:
                (loop.call_soon if self._is_looking else loop.call_soon_threadsafe)(call)
        except RuntimeError:  # it was closed
            return

    def post_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Have *call* called by the loop after *seconds*; from any thread."""
        loop = self._loop()
        if loop is not None:
            self.post(partial(loop.call_later, seconds, call))

    def runs_here(self) -> bool:
        """See `Loop.runs_here`."""
        return self._running_loop() is self._loop() and "trio" not in sys.modules

    def wait(self, subscribe: Callable[[Callable[[], object]], object]) -> Generator[Any, Any, None]:
        """See `Loop.wait`."""
        loop = self._loop()
        assert loop is not None
        turn = _Turn(self, loop)
        subscribe(turn.end)
        yield turn

    def checkpoint(self) -> Generator[Any, Any, None]:
        """See `Loop.checkpoint`."""
        yield from ()

    def not_done(self, text: str) -> Exception:
        """See `Loop.not_done`."""
        return sys.modules["asyncio"].InvalidStateError(text)  # type: ignore[no-any-return]

    def get_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop itself, None if it is gone."""
        return self._loop()

    def cancelled_error(self, message: object) -> BaseException:
        """Return what a future raises that was cancelled with *message*."""
        arguments = () if message is None else (message,)
        return sys.modules["asyncio"].CancelledError(*arguments)  # type: ignore[no-any-return]

    def report(self, error: BaseException, source: object) -> None:
        """See `Loop.report`."""
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            message = "the error of an operation was never looked at"
            loop.call_exception_handler({"message": message, "exception": error, "future": source})


class TrioRun(Loop):
    """A run of trio."""

    def __init__(self, token: Any) -> None:
        super().__init__()
        self._token = token
        self._ended = False

    @property
    def is_closed(self) -> bool:
        """Whether it will never look again."""
        return self._ended or not self.is_ours

    def _start(self) -> None:
        if self._epoll is None:
            self._epoll = epoll.new()
            _trio().lowlevel.spawn_system_task(self._wait_on, self._epoll.fileno())

    async def _wait_on(self, number: int) -> None:
        try:
            while True:
                await _trio().lowlevel.wait_readable(number)
                self._look_on()
        finally:
            self._ended = True
            for each in list(self._waiting):  # in one step, also without the GIL
                each.look()
            self._stop()

    def _call_at(self, moment: float, waiter: Waiter[Any]) -> Callable[[], object]:
        scope = _trio().CancelScope()
        _trio().lowlevel.spawn_system_task(self._ring_later, waiter, scope, moment)
        return partial(self.post, scope.cancel)

    async def _ring_later(self, waiter: Waiter[Any], scope: Any, moment: float) -> None:
        with scope:
            await _trio().sleep(max(0.0, moment - time.monotonic()))
            self._ring(waiter)

    def post(self, call: Callable[[], object]) -> None:
        """Have *call* called by the loop; from any thread. Dropped after the loop's end."""
        try:
            self._token.run_sync_soon(run_handler, call)
        except _trio().RunFinishedError:
            return

    def wait(self, subscribe: Callable[[Callable[[], object]], object]) -> Generator[Any, Any, None]:
        """See `Loop.wait`."""
        lowlevel = _trio().lowlevel
        task = lowlevel.current_task()
        waits = True

        def reschedule() -> None:
            nonlocal waits
            if waits:
                waits = False
                lowlevel.reschedule(task)

        def abort(_raise: object) -> Any:
            nonlocal waits
            waits = False
            return lowlevel.Abort.SUCCEEDED

        subscribe(partial(self._call_or_post, reschedule))
        yield from _steps(lowlevel.wait_task_rescheduled(abort))

    def checkpoint(self) -> Generator[Any, Any, None]:
        """See `Loop.checkpoint`."""
        yield from _steps(_trio().lowlevel.checkpoint())

    def not_done(self, text: str) -> Exception:
        """See `Loop.not_done`."""
        return RuntimeError(text)

    def report(self, error: BaseException, source: object) -> None:
        """Do nothing: trio has no such report."""


def _call(weak: weakref.WeakMethod[Callable[[], None]]) -> None:
    method = weak()
    if method is not None:
        method()


def _trio() -> Any:
    return sys.modules["trio"]


def _steps(awaitable: Awaitable[object]) -> Generator[Any, Any, object]:
    return awaitable.__await__()


_asyncio_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncioLoop] = weakref.WeakKeyDictionary()
_trio_runs: weakref.WeakKeyDictionary[Any, TrioRun] = weakref.WeakKeyDictionary()


_latest: weakref.ref[AsyncioLoop] | None = None


def _forget_in_child() -> None:
    global _latest  # noqa: PLW0603 - the cache, too
    _latest = None
    _asyncio_loops.clear()
    _trio_runs.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def running() -> Loop | None:
    """Return the event loop that runs in this thread, None if none does."""
    # trio first, as it may run as a guest of asyncio. Not by sys.modules.get(), here and below: in CPython 3.13 without
    # the GIL that takes the dictionary's lock. While the lock is handed over to a thread that waits for it, another
    # thread may fork, and in the child it never opens (CPython's issue 133130).
    if "trio" in sys.modules:
        try:
            token = sys.modules["trio"].lowlevel.current_trio_token()
        except (AttributeError, KeyError, RuntimeError):  # it is just being imported, or does not run here
            pass
        else:
            run = _trio_runs.get(token)
            if run is None or run.is_closed:
                run = _trio_runs[token] = TrioRun(token)
            return run
    return running_asyncio()


def running_asyncio() -> AsyncioLoop | None:
    """Return the loop with asyncio's interface that runs in this thread, None if none does."""
    global _latest  # noqa: PLW0603 - a cache: nearly always there is one loop
    if "asyncio" not in sys.modules:
        return None
    try:
        loop = sys.modules["asyncio"]._get_running_loop()
    except (AttributeError, KeyError):  # it is just being imported
        return None
    if loop is None:
        return None
    latest = _latest() if _latest is not None else None
    if latest is not None and latest._loop() is loop:
        return latest
    known = _asyncio_loops.get(loop)
    if known is None:
        known = _asyncio_loops[loop] = AsyncioLoop(loop)
    _latest = weakref.ref(known)
    return known
