"""
Results of asynchronous operations: AsyncResult, Task (Gio), and Future, which can be awaited.

`start` begins an operation and decides who is told its end: a callback, by the context or the event loop of the thread
that has started it, or a Future.
"""

from __future__ import annotations

import threading
from functools import partial

from unixconn._typing import TYPE_CHECKING, Generic, TypeVar
from unixconn.cancellable import Cancellable, check_cancellable
from unixconn.contexts import ContextPoller, poller_of
from unixconn.errors import CancelledError, Error, IOErrorEnum, io_error
from unixconn.loops import running, running_asyncio
from unixconn.mainloop import PRIORITY_DEFAULT, MainContext
from unixconn.object import Object, Property
from unixconn.operation import WRITABLE
from unixconn.pending import Pending
from unixconn.workers import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, ClassVar, Final

    from unixconn.loops import Loop
    from unixconn.operation import Operation
    from unixconn.poller import Poller

T = TypeVar("T")


class _Await:
    def __repr__(self) -> str:
        return "AWAIT"


AWAIT: Final = _Await()
"""In the place of a callback: give a Future. None is a callback too, one that nobody calls."""


class AsyncResult(Object):
    """What an asynchronous operation came to (Gio.AsyncResult); its method for that is the one named ``*_finish``."""

    _source: Object

    def get_source_object(self) -> Object:
        """Give the object whose method started the operation."""
        return self._source

    def get_user_data(self) -> None:
        """Give None: the data go to the callback."""

    def is_tagged(self, source_tag: object) -> bool:
        """Give False: Gio's tags are addresses of functions in C."""
        return False

    def legacy_propagate_error(self) -> bool:
        """Give False, as for every `Task`."""
        return False


class Task(AsyncResult):
    """
    An operation under way, and its result (Gio.Task).

    The result is handed out once, and what nobody has taken when the Task goes, a descriptor, is closed. An Error is
    raised as often as it is asked for.
    """

    _properties: ClassVar[tuple[Property, ...]] = (Property("completed", "get_completed"),)

    def __init__(
        self, source: Object, name: str, discard: Callable[[Any], None] | None, cancellable: Cancellable | None
    ) -> None:
        """Take *discard*, which closes a result that nobody takes."""
        self._source = source
        self._name = name
        self._discard = discard
        self._cancellable = cancellable
        # The list owns the result until it is handed out.
        self._result: list[Any] = []
        self._error: Error | None = None

    _ended = False
    """The result is known, though nobody may have been told yet."""
    _completed = False
    _callback: Callable[[], object] | None = None
    _context: MainContext | None = None
    _post: Callable[[Callable[[], object]], None]
    _priority = PRIORITY_DEFAULT

    # --- what Gio tells of it ---

    def get_cancellable(self) -> Cancellable | None:
        """Give the Cancellable that the operation was given."""
        return self._cancellable

    def get_name(self) -> str:
        """Give the name of the C function that would have started it."""
        return self._name

    def get_context(self) -> MainContext | None:
        """Give the context that its callback is called in; None where an event loop calls it."""
        return self._context

    def get_priority(self) -> int:
        """Give the priority of its callback among others."""
        return self._priority

    def get_check_cancellable(self) -> bool:
        """Give True: its cancellable ends it. A result that is there already stays, unlike in Gio."""
        return True

    def get_return_on_cancel(self) -> bool:
        """Give False."""
        return False

    def get_completed(self) -> bool:
        """Tell whether the callback was called, and has come back."""
        return self._completed

    def had_error(self) -> bool:
        """Tell whether the operation has failed."""
        return self._error is not None

    @staticmethod
    def is_valid(result: object, source_object: object) -> bool:
        """Tell whether *result* is a Task that a method of *source_object* has started."""
        return isinstance(result, Task) and result._source is source_object

    # --- the result ---

    def propagate_boolean(self) -> bool:
        """Give the result of an operation that gives a bool; see `propagate_value`."""
        return self._propagate(bool)  # type: ignore[no-any-return]

    def propagate_int(self) -> int:
        """Give the result of an operation that gives an integer, a descriptor's number; see `propagate_value`."""
        return self._propagate(int)  # type: ignore[no-any-return]

    def propagate_pointer(self) -> Any:
        """Give the result of an operation that gives an object; see `propagate_value`."""
        return self._propagate(object)

    def propagate_value(self) -> tuple[bool, Any]:
        """
        Give (True, result), or raise the operation's Error.

        Raises ValueError before the operation has ended, and if the result was handed out already, or is of a type that
        the method is not for.
        """
        return True, self._propagate(None)

    def _propagate(self, kind: type | None) -> Any:
        if self._ended and self._result and kind is not None:
            found = self._result[0]
            if (type(found) if isinstance(found, int) else object) is not kind:
                raise ValueError(f"the result of {self._name} is {found!r}: another method of Task is for that")
        return self._take()

    def _take(self) -> Any:
        if not self._ended:
            raise ValueError(f"{self._name} has not ended yet")
        if self._error is not None:
            raise self._error
        try:
            return self._result.pop()
        except IndexError:
            raise ValueError(f"the result of {self._name} was handed out already") from None

    # --- its way ---

    def call_back(self, callback: Callable[..., object] | None, data: tuple[object, ...], priority: int) -> Poller:
        """Have *callback* told, where this thread has its callbacks called; give who is to look after the operation."""
        if callback is not None:
            self._callback = partial(callback, self._source, self, *data)
        self._priority = priority
        context = MainContext.get_thread_default()
        loop = running_asyncio() if context is None else None
        if loop is not None:
            self._post = loop.post
            return loop
        self._context = context = context or MainContext.default()
        self._post = partial(context._post, priority=priority)
        return poller_of(context)

    def end(self, result: list[Any], error: Error | None, before: Callable[[], None] | None = None) -> None:
        """Take *result*, a list with the result that belongs to this from now on, or *error*; call *before* first."""
        if error is None:
            self._result = result
        self._error = error
        self._ended = True
        self._tell(before)

    def _tell(self, before: Callable[[], None] | None) -> None:
        if before is not None:
            self._post(before)
        self._post(self._deliver)

    def _deliver(self) -> None:
        callback, self._callback = self._callback, None
        if self._context is not None:
            self._context.push_thread_default()
        try:
            if callback is not None:
                callback()
        finally:
            if self._context is not None:
                self._context.pop_thread_default()
            self._completed = True
            self.notify("completed")

    def __del__(self) -> None:
        # Also where a signal handler has raised before the constructor's end.
        result = self.__dict__.get("_result")
        if result and self._discard is not None:
            self._discard(result.pop())


class Future(Task, Generic[T]):
    """
    A Task that can be awaited, in asyncio, uvloop and trio, or waited for by `result`.

    Cancelling it, or the task that awaits it, ends the operation: what has not come yet stays in the socket, what has
    is closed.
    """

    def __init__(
        self,
        source: Object,
        name: str,
        discard: Callable[[Any], None] | None,
        cancellable: Cancellable | None,
        loop: Loop | None,
    ) -> None:
        super().__init__(source, name, discard, cancellable)
        self._loop = loop
        # Called in any thread, as soon as there is an end.
        self._wakers: list[Callable[[], object]] = []
        self._done_callbacks: list[tuple[Callable[[Future[T]], object], Any]] = []

    _pending: Pending[T] | None = None
    _seen = False
    """The result was looked at, and is its reader's to close."""

    @property
    def cancellable(self) -> Cancellable:
        """A Cancellable that ends it: the one that the operation was given, or one of its own."""
        if self._cancellable is None:
            made = self._cancellable = Cancellable()
            if self._pending is not None:
                self._pending.attend(made)
        return self._cancellable

    def done(self) -> bool:
        """Tell whether it has ended."""
        return self._ended

    def cancelled(self) -> bool:
        """Tell whether it was cancelled."""
        return isinstance(self._error, CancelledError)

    def cancel(self, msg: object = None) -> bool:
        """
        End the operation, with the Error CANCELLED; give False if it has ended already. *msg* is for asyncio's sake.

        Its Cancellable is not touched: others may have been given the same.
        """
        if self._ended or self._pending is None:
            return False
        self._pending.cancel()
        return self.cancelled()

    def result(self, timeout: float | None = None) -> T:
        """
        Give the result, as often as it is asked for, or raise the Error.

        Waits for the end, for at most *timeout* seconds, TimeoutError. Where an event loop runs in this thread it does
        not wait: asyncio.InvalidStateError, in trio RuntimeError.
        """
        self._wait(timeout)
        if self._error is not None:
            self._seen = True
            raise self._error
        if not self._result:
            raise ValueError(f"the result of {self._name} was handed out already")
        self._seen = True
        return self._result[0]  # type: ignore[no-any-return]

    def exception(self, timeout: float | None = None) -> Error | None:
        """Give the Error, or None if there is none; waits as `result` does."""
        self._wait(timeout)
        if self._error is not None:
            self._seen = True
        return self._error

    def _wait(self, timeout: float | None) -> None:
        if self._ended:
            return
        loop = running()
        if loop is not None:
            raise loop.not_done(f"{self._name} has not ended yet: await it")
        ended = threading.Lock()
        ended.acquire()
        self._subscribe(ended.release)
        if not ended.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError(f"{self._name} has not ended within {timeout} seconds")

    def _subscribe(self, wake: Callable[[], object]) -> None:
        self._wakers.append(wake)
        if self._ended:
            self._wake()

    def _wake(self) -> None:
        while self._wakers:
            try:
                wake = self._wakers.pop()
            except IndexError:  # another thread was quicker
                return
            wake()

    def __await__(self) -> Generator[Any, Any, T]:
        loop = running()
        if loop is None:
            raise RuntimeError("await needs asyncio or trio: where neither runs, result() waits")
        try:
            if self._ended:
                yield from loop.checkpoint()
            else:
                yield from loop.wait(self._subscribe)
        except BaseException:  # the task was cancelled
            self._abandon()
            raise
        return self.result()

    def _abandon(self) -> None:
        self.cancel()
        if not self._seen and self._result:
            if self._discard is not None:
                self._discard(self._result.pop())
            self._error = io_error(IOErrorEnum.CANCELLED, "Operation was cancelled")
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

    def _tell(self, before: Callable[[], None] | None) -> None:
        if before is not None:
            before()
        self._completed = True
        self._wake()
        self._call_back()

    def _call_back(self) -> None:
        while self._done_callbacks:
            try:
                callback, context = self._done_callbacks.pop(0)
            except IndexError:  # another thread was quicker
                return
            call = partial(callback, self) if context is None else partial(context.run, callback, self)
            (self._loop or shared()).post(call)

    def __del__(self) -> None:
        if self.__dict__.get("_seen") and not self._error:
            return
        super().__del__()
        error = self.__dict__.get("_error")
        if error is not None and not self._seen and not self.cancelled() and self._loop is not None:
            self._loop.report(error, self)


def start(
    source: Object,
    name: str,
    operation: Operation[T],
    cancellable: Cancellable | None,
    callback: Any,
    data: tuple[object, ...],
    *,
    blocking: bool,
    timeout: float | None,
) -> Future[T] | None:
    """
    Start *operation* of *source*, whose end *callback* is told; give a Future if that is `AWAIT`, else None.

    *blocking* and *timeout*, in seconds, are the Socket's. Raises TypeError for a cancellable or a callback that is
    none; whatever else is wrong is the operation's result.
    """
    check_arguments(cancellable, callback)
    waker: Poller
    if callback is AWAIT:
        loop = running()
        waker = loop or shared()
        future: Future[T] = Future(source, name, operation.discard, cancellable, loop)
        future._pending = pending = Pending(operation, cancellable, waker, future.end)
        pending.start(blocking=blocking, timeout=timeout)
        return future
    task = Task(source, name, operation.discard, cancellable)
    waker = task.call_back(callback, data, PRIORITY_DEFAULT)
    if isinstance(waker, ContextPoller) and (callback is None or operation.condition == WRITABLE):
        # What nobody, or the peer, waits for does not wait until the context is iterated.
        waker = shared()
    Pending(operation, cancellable, waker, task.end).start(blocking=blocking, timeout=timeout)
    return None


def ended(
    source: Object,
    name: str,
    outcome: tuple[list[T], Error | None],
    cancellable: Cancellable | None,
    callback: Any,
    data: tuple[object, ...],
    *,
    priority: int,
    before: Callable[[], None] | None,
) -> Future[T] | None:
    """
    Do as `start` for an operation that has come to its *outcome* already, without having to wait.

    *before* is called before the callback is. The arguments were checked, by `check_arguments`.
    """
    if callback is AWAIT:
        future: Future[T] = Future(source, name, None, cancellable, running())
        future.end(*outcome, before)
        return future
    task = Task(source, name, None, cancellable)
    task.call_back(callback, data, priority)
    task.end(*outcome, before)
    return None


def check_arguments(cancellable: object, callback: object) -> None:
    """Raise TypeError for a *cancellable* or a *callback* that is none."""
    check_cancellable(cancellable)
    if callback is not None and callback is not AWAIT and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {callback!r}")


def finish(source: Object, name: str, result: object) -> Any:
    """
    Give the value of *result*, which the operation *name* of *source* has come to, or raise its Error.

    Raises TypeError for what is no AsyncResult, and ValueError for one of another object or another operation, which
    stays usable, and for one whose value was handed out already.
    """
    if not isinstance(result, AsyncResult):
        raise TypeError(f"result must be an AsyncResult, not {result!r}")
    if not isinstance(result, Task) or result._source is not source:
        raise ValueError(f"{result!r} is no result of {source!r}")
    if result._name != name:
        raise ValueError(f"{result!r} is the result of {result._name}, not of {name}")
    return result._take()
