"""
Reactors in the event loops that the program runs: asyncio's, uvloop's and trio's.

None of these is imported here: if one runs, the program has imported it. Each loop watches one descriptor, the epoll of
its reactor, in which the sockets of all operations are armed. The loop itself never watches the user's descriptors. So
the user may add readers for them, and may close them at any time.
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
    """The reactor of an event loop, which runs in the loop's thread."""

    def __init__(self) -> None:
        super().__init__()
        # The identifier of the loop's thread while it is in `_look_on`, 0 otherwise. Only inside `_look_on` may the
        # loop's quick methods be used, such as call_soon(). At other times the caller in that thread may be a signal
        # handler that has interrupted the loop's wait, and a quick method does not end that wait.
        self._looking_thread = 0

    def _look_on(self) -> None:
        """Serve the sockets that are ready. The loop calls this when the epoll is readable."""
        self._looking_thread = threading.get_ident()
        try:
            self._turn(0.0)
        finally:
            self._looking_thread = 0

    @property
    def _is_looking(self) -> bool:
        return self._looking_thread == threading.get_ident()

    def _call_or_post(self, call: Callable[[], object]) -> None:
        """
        Call *call* now if this thread is in `_look_on`; otherwise schedule it in the loop.

        May be called in any thread.
        """
        if self._is_looking:
            call()
        else:
            self.post(call)

    def runs_here(self) -> bool:
        """Return True if a quick check shows that `running` would return this reactor; False if in doubt."""
        return False

    @abstractmethod
    def wait(self, subscribe: Callable[[Callable[[], object]], object]) -> Generator[Any, Any, None]:
        """
        Suspend the current task.

        *subscribe* is called with a function. When that function is called, in any thread, the task resumes.
        """

    @abstractmethod
    def checkpoint(self) -> Generator[Any, Any, None]:
        """Let other tasks run, if the loop's convention is that each await does so even if it does not wait."""

    @abstractmethod
    def not_done(self, text: str) -> Exception:
        """Return the error with *text* that the loop's futures raise if the result is not available yet."""

    @abstractmethod
    def report(self, error: BaseException, source: object) -> None:
        """Report that the *error* of *source* was never retrieved."""


class _Turn:
    """
    A future that a task of asyncio can wait for, with only the methods that the task calls.

    asyncio's own futures resume the task one iteration of the loop later, which takes as long as all the work here.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_errors", "_is_over", "_loop", "_reactor")

    def __init__(self, reactor: AsyncioLoop, loop: asyncio.AbstractEventLoop) -> None:
        # The attribute tells the task that this object was yielded by an await, and is a future.
        self._asyncio_future_blocking = True
        self._reactor = reactor
        self._loop = loop
        self._callback: Callable[[_Turn], object] | None = None
        self._context: Any = None
        self._errors: list[BaseException] = []
        self._is_over = False

    def end(self) -> None:
        """Resume the task soon. May be called in any thread."""
        if self._reactor._is_looking:
            self._reactor._turns.append(self)
        else:
            self._reactor.post(self.take)

    def take(self) -> None:
        """Resume the task now. Called in the loop's thread while no task runs. A second call has no effect."""
        if not self._is_over:
            self._is_over = True
            if self._callback is not None:
                self._context.run(self._callback, self)

    # --- what the task calls ---

    def get_loop(self) -> object:
        """Return asyncio's loop."""
        return self._loop

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
        self._errors.append(self._reactor.cancelled_error(msg))
        assert self._callback is not None
        self._loop.call_soon(self._callback, self, context=self._context)
        # This breaks a cycle of references: before CPython 3.11 the task keeps the error, whose frames refer to this.
        self._callback = None
        return True

    def result(self) -> None:
        """Return None, or raise asyncio.CancelledError."""
        if self._errors:
            # The error is taken out of the list, and no variable refers to it: the error's frames refer to this object
            # and to the operation, and a reference to the error would keep both alive.
            raise self._errors.pop()


class AsyncioLoop(Loop):
    """The reactor of a loop with asyncio's interface, such as uvloop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._turns: deque[_Turn] = deque()
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
        loop = self._loop()
        if self._epoll is None and loop is not None:
            self._epoll = epoll.new()
            loop.add_reader(self._epoll.fileno(), self._look_on)

    def _look_on(self) -> None:
        try:
            super()._look_on()
            # Tasks resume only now: they may do anything, and locks are held while operations are served.
            while self._turns:
                self._turns[0].take()
                self._turns.popleft()
        finally:
            # Some tasks are left if a task or a signal handler has raised KeyboardInterrupt or SystemExit.
            while self._turns:
                self.post(self._turns[0].take)
                self._turns.popleft()

    def _call_at(self, moment: float, waiter: Waiter[Any]) -> Callable[[], object]:
        loop = self._loop()
        assert loop is not None
        timer = loop.call_later(moment - time.monotonic(), self._ring, waiter)
        return partial(self.post, timer.cancel)

    def post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the loop. May be called in any thread. Has no effect after the loop was closed."""
        loop = self._loop()
        try:
            if loop is not None:
                (loop.call_soon if self._is_looking else loop.call_soon_threadsafe)(call)
        except RuntimeError:  # the loop was closed
            return

    def post_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Schedule *call* in the loop after *seconds*. May be called in any thread."""
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


class TrioRun(Loop):
    """The reactor of a run of trio."""

    def __init__(self, token: Any) -> None:
        super().__init__()
        self._token = token
        self._ended = False

    @property
    def is_closed(self) -> bool:
        """Whether it will never serve an operation again."""
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
            for each in list(self._waiting):  # copied in one step, also without the GIL: other threads may change it
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
        """Schedule *call* in the loop. May be called in any thread. Has no effect after the run has ended."""
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
        """Do nothing, as trio has no place to report such an error."""


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
    """Return the reactor of the event loop that runs in this thread; None if none does."""
    # trio is asked first, as it may run as a guest of asyncio.
    #
    # Here and below, sys.modules.get() is avoided, because of a deadlock in CPython 3.13 without the GIL (CPython issue
    # 133130). get() takes the dictionary's lock. Thread A holds the lock, and thread B waits for it. While A hands the
    # lock over to B, thread C forks. In the child, B does not exist, and the lock is never released.
    if "trio" in sys.modules:
        try:
            token = sys.modules["trio"].lowlevel.current_trio_token()
        except (AttributeError, KeyError, RuntimeError):  # trio is just being imported, or does not run in this thread
            pass
        else:
            run = _trio_runs.get(token)
            if run is None or run.is_closed:
                run = _trio_runs[token] = TrioRun(token)
            return run
    return running_asyncio()


def running_asyncio() -> AsyncioLoop | None:
    """Return the reactor of the loop with asyncio's interface that runs in this thread; None if none does."""
    global _latest  # noqa: PLW0603 - a cache: nearly always there is one loop
    if "asyncio" not in sys.modules:
        return None
    try:
        loop = sys.modules["asyncio"]._get_running_loop()
    except (AttributeError, KeyError):  # asyncio is just being imported
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
