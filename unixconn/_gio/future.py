"""Future: an asynchronous operation that can be awaited, or waited for in a thread."""

from __future__ import annotations

import math
import sys
import threading
import time
from functools import partial
from types import CoroutineType, GenericAlias

from unixconn._base.errors import CancelledError, Error
from unixconn._base.object import Object
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.task import Task
from unixconn._io import twisted_reactor
from unixconn._io.asyncio_loop import ANYIO, AsyncioLoop
from unixconn._io.operation import Operation
from unixconn._io.running_loop import running
from unixconn._io.thread import shared
from unixconn._io.waiter import cancelled

if TYPE_CHECKING:
    import _thread
    import asyncio
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context
    from types import FrameType
    from typing import Any

    from unixconn._io.event_loop import Loop
    from unixconn._io.reactor import Reactor
    from unixconn._io.steps import Both, Sequence
else:
    # At run time asyncio.wait() would refuse every Future because of this base class, see `Future.__class__`.
    Coroutine = Generic

ResultT_co = TypeVar("ResultT_co", covariant=True)

_LOOK_INTERVAL = 0.25
"""Seconds between two checks whether the event loop, which runs in another thread, was closed."""

_TAKE_FUTURES = ("<genexpr>", "ensure_future", "_ensure_future")
"""The functions of asyncio that ask asyncio.iscoroutine() about futures, too. The first is a part of asyncio.wait()."""


def _open(lock: _thread.LockType) -> None:
    try:
        lock.release()
    except RuntimeError:  # it is open already
        return


class Future(Task, Coroutine[object, object, ResultT_co]):
    """
    A Task that can be awaited in asyncio, uvloop, trio, tornado and Twisted. In a thread, `result` waits for it.

    Methods named ``*_async`` return a Future if they are called without a callback argument. Cancelling the Future, or
    the task that awaits it, cancels the operation: data that have not arrived stay in the socket, and descriptors that
    have arrived are closed. A Future that was made while an asyncio loop ran in the thread is a future of that loop:
    asyncio.gather, asyncio.wait and asyncio.wait_for take it.

    A Future is also a coroutine that awaits itself: asyncio.create_task and TaskGroup.create_task take it, and
    start_soon of trio and anyio takes the method that returns it.
    """

    __module__ = "unixconn"

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, source: Object | None, name: str, cancellable: Cancellable | None, loop: Loop | None) -> None:
        # As in Task.
        self._source = source
        self._name = name
        self._cancellable = cancellable
        if loop is not None:
            self._loop = loop
            if loop.is_asyncio:
                # asyncio recognises a future by this attribute.
                self._asyncio_future_blocking = False
                if not loop.left or (ANYIO in sys.modules and loop.is_cancelled_here()):
                    self._is_held = True
            elif loop.is_cancelled_here():
                self._is_held = True

    _loop: Loop | None = None
    _steps: Sequence[Any] | Both | None = None
    """What runs the steps if there are several. They have an operation each, and the Future has none."""
    _wakers: dict[Callable[[], object], None] | None = None
    """Functions that are called at the end, in any thread, each once and in this order."""
    _turn: Any = None
    """What resumes the first task of asyncio that awaits this: most often there is no other one."""
    _done_callbacks: Any = ()
    _asyncio_future_blocking: bool | None = None
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
            steps = self._steps
            if steps is not None:
                steps.attend(made)
            elif self._waits:
                self._attend(made)
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
        if self._ended:
            return False
        if msg is not None:
            self._cancel_message = msg
        self._cancel_was_asked = True
        steps = self._steps
        if steps is not None:
            steps.cancel()
            if self._is_held:  # they end in their first step
                self._release()
        elif self._waits:
            self._abort()
        else:
            return False
        # An operation of several steps may end a little later.
        return not self._ended or isinstance(self._error, CancelledError)

    def _release(self) -> None:
        """Start the steps of an operation that was held, unless another call has."""
        steps = self._steps
        if self.__dict__.pop("_is_held", False) and steps is not None:
            steps.start()

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
        if self._error is not None:
            self._seen = True
            # No variable refers to the exception: the traceback of an asyncio.CancelledError would keep this frame, and
            # so this Future, alive.
            raise self._to_raise().with_traceback(None)
        if not self._result:
            raise ValueError(f"the result of {self._name} was already taken")
        result = self._result[0]
        # In the last step, as nobody closes what is in the result if a signal handler raises after it.
        self._seen = True
        return result  # type: ignore[no-any-return]

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
        # An exception of another type comes only from the constructor of a user's class of connections.
        return self._error  # type: ignore[return-value]

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
            # Not "while not": see "Signal handlers that raise" in CONTRIBUTING.md.
            while True:
                if ended.acquire(timeout=self._pause(deadline)):
                    break
                self._look_again(deadline, timeout)
        finally:
            # Otherwise each call that times out would leave a callback behind.
            self.__dict__["_wakers"].pop(wake, None)

    def _look_again(self, deadline: float, timeout: float | None) -> None:
        self._look_after_its_loop()
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{self._name} has not ended within {timeout} seconds")

    def _pause(self, deadline: float) -> float:
        """Return the seconds to wait before the next look at the clock and the loop; -1 for no limit."""
        left = max(0.0, deadline - time.monotonic())
        if self._loop is not None:
            return min(left, _LOOK_INTERVAL)
        return -1.0 if left == math.inf else min(left, threading.TIMEOUT_MAX)

    def _look_after_its_loop(self) -> None:
        # A loop that was closed no longer ends operations, and does not report that.
        if not self._ended and self._loop is not None and self._loop.is_closed:
            steps = self._steps
            if steps is not None:
                steps.look()
            else:
                self._look()

    def _subscribe(self, wake: Callable[[], object]) -> None:
        # In one step of the interpreter, as several threads may wait.
        self.__dict__.setdefault("_wakers", {})[wake] = None
        if self._ended:
            self._wake()

    def _wake(self) -> None:
        wakers = self.__dict__["_wakers"]
        # Without the GIL, list() copies a dictionary in one step, and tuple() does not.
        for wake in list(wakers):
            # A second call does no harm. If the function were removed before its call, an exception raised by a signal
            # handler could lose it.
            wake()
            wakers.pop(wake, None)

    def __await__(self) -> Generator[Any, Any, ResultT_co]:
        loop: Any = self._loop
        is_misused = False
        try:
            if loop is None or not loop.runs_here():
                loop = running()
                if loop is None:
                    if not twisted_reactor.runs_here():
                        is_misused = True
                        raise RuntimeError(
                            "await needs asyncio, trio or Twisted, and none of them runs in this thread: call result()"
                        )
                    loop = twisted_reactor
                self._look_after_its_loop()
            if not self._ended:
                yield from loop.wait(self)
            elif loop.left:
                loop.left -= 1
            else:
                yield from loop.checkpoint()
            if self._error is None and self._result:
                result = self._result[0]
                self._seen = True
                return result  # type: ignore[no-any-return]
            return self._outcome()
        finally:
            # The task that awaits was cancelled, or a signal handler has raised.
            if not (self._seen or is_misused):
                self._abandon()

    __iter__ = __await__

    def _withdraw(self) -> bool:
        """Cancel the operation for a task that is cancelled; return False if there is a result, which the task gets."""
        self.cancel()
        return not self._result

    def _abandon(self) -> None:
        self.cancel()
        if not self._seen and self._result:
            self._withdraw_result(self._result.pop())
            self._error = cancelled()
        self._seen = True

    def _withdraw_result(self, result: object) -> None:
        # An operation that was held, see `Task._is_held`, is that of a step.
        operation = self._operation if self._discard is None else getattr(self._discard, "__self__", None)
        withdraw = getattr(operation, "withdraw", self._drop)
        withdraw(result)

    # --- what makes it a coroutine that awaits itself ---

    _awaiting: Any = None
    """The generator of that await, from its first step on."""

    def send(self, value: object) -> object:
        """Run until the next moment at which the task has to wait. Event loops call this."""
        if self._awaiting is None:
            self._awaiting = self.__await__()
        return self._awaiting.send(value)

    def close(self) -> None:
        """
        Cancel the operation, and close the descriptors of a result that no caller has got.

        Also ends the await that `send` has begun.
        """
        if self._awaiting is not None:
            self._awaiting.close()
        self._abandon()

    @property
    def cr_running(self) -> bool:
        """Whether the await that `send` has begun is running just now (inspect.getcoroutinestate)."""
        return self._awaiting is not None and bool(self._awaiting.gi_running)

    @property
    def cr_suspended(self) -> bool:
        """Whether the await that `send` has begun waits (inspect.getcoroutinestate)."""
        return self.cr_frame is not None and not self.cr_running

    @property
    def cr_frame(self) -> FrameType | None:
        """The frame of the await that `send` has begun; None before its begin and after its end."""
        return self._awaiting.gi_frame if self._awaiting is not None else None

    if TYPE_CHECKING:

        def throw(self, *error: Any) -> object:
            """Raise *error* where the task waits. Event loops call this."""

    else:

        @property
        def __name__(self) -> str:
            """The name of the coroutine in the texts of asyncio."""
            return self._name

        @property
        def __class__(self) -> type:
            """
            The type that isinstance() finds: a coroutine's, except where a function of asyncio also takes futures.

            asyncio.create_task() and start_soon of trio and anyio take only coroutines. Most of them ask isinstance()
            about collections.abc.Coroutine, which is any type with the methods `send`, `throw` and `close`. anyio
            before 4.14 asks inspect.iscoroutine(), which finds only Python's own type. But asyncio.wait() refuses
            coroutines, even if they are futures as well, and tornado takes nothing but asyncio's own type for a future.
            So the type Future has no `throw`, and the answer depends on who asks.
            """
            frame = sys._getframe(1)
            while frame.f_globals.get("__name__") == "abc":
                frame = frame.f_back
            if frame.f_code.co_name == "iscoroutine":
                module = frame.f_globals.get("__name__")
                if module == "inspect":
                    return CoroutineType
                if module == "asyncio.coroutines":
                    if frame.f_back.f_code.co_name in _TAKE_FUTURES:
                        return Future
                    # asyncio remembers the types of coroutines, so this one must not have the type of all others.
                    object.__dict__["__class__"].__set__(self, _Coroutine)
            if frame.f_code.co_name == "is_future" and frame.f_globals.get("__name__") == "tornado.concurrent":
                return sys.modules["asyncio"].Future
            return _Coroutine

    def add_done_callback(
        self, callback: Callable[[Future[ResultT_co]], object], *, context: Context | None = None
    ) -> None:
        """
        Call *callback* with this Future when the operation has ended, or soon if it has already ended.

        The event loop that ran in the thread when the Future was made calls it. If there was none, Twisted's reactor
        does if it runs, and otherwise another thread.
        If *context*, a contextvars.Context, is not None, the call runs in it. Raises TypeError if *callback* is not
        callable.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self.__dict__.setdefault("_done_callbacks", []).append((callback, context))
        if self._ended:
            self._post_done_callbacks()

    def remove_done_callback(self, callback: Callable[[Future[ResultT_co]], object]) -> int:
        """Undo each `add_done_callback` of *callback*, and return their number."""
        found = [each for each in self._done_callbacks if each[0] == callback]
        for each in found:
            self._done_callbacks.remove(each)
        return len(found)

    def _post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the event loop, in Twisted's reactor, or in another thread if there is neither."""
        if self._loop is not None or not twisted_reactor.post(call):
            (self._loop or shared()).post(call)

    def _waker_for(self, operation: Operation[Any]) -> Reactor:
        return self._loop or shared()

    def _tell(self) -> None:
        if self._before is not None:
            self._before()
        self._ended = self._completed = True
        # A Sequence refers to this Future. With this reference the two would form a cycle, and would stay alive, with
        # the connection, until a garbage collection.
        self._steps = None
        if self._turn is not None:
            self._turn.end()
            self._turn = None
        if self._wakers:
            self._wake()
        if self._done_callbacks:
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
        error = self._error
        if error is not None and not isinstance(error, CancelledError) and self._loop is not None:
            self._loop.report(error, self)


if not TYPE_CHECKING:

    class _Coroutine(Future):
        """A Future that was given to asyncio as a coroutine."""

        __slots__ = ()

        def throw(self, *error: Any) -> object:
            """Raise *error* where the task waits. Event loops call this."""
            if self._awaiting is None:
                self._abandon()
                self._awaiting = self.__await__()
            return self._awaiting.throw(*error)

    _Coroutine.__name__ = _Coroutine.__qualname__ = "Future"
