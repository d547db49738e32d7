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
from unixconn.contexts import poller_of
from unixconn.errors import CancelledError, Error, IOErrorEnum, io_error
from unixconn.loops import running, running_asyncio
from unixconn.mainloop import MainContext
from unixconn.object import Object, Property
from unixconn.pending import Pending
from unixconn.poll import IOCondition
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

    def __init__(self, source: Object) -> None:
        super().__init__()
        self._source = source

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
        self,
        source: Object,
        name: str,
        operation: Operation[Any],
        cancellable: Cancellable | None,
        post: Callable[[Callable[[], object]], None],
        callback: Callable[..., object] | None = None,
        data: tuple[object, ...] = (),
        context: MainContext | None = None,
    ) -> None:
        super().__init__(source)
        self._name = name
        self._operation = operation
        self._cancellable = cancellable
        self._post = post
        self._callback = callback
        self._data = data
        self._context = context
        self._completed = False
        # Known, though nobody may have been told yet. The list owns the result until it is handed out.
        self._ended = False
        self._result: list[Any] = []
        self._error: Error | None = None

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
        """Give the priority of its callback among others: 0, the default."""
        return 0

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

    def _finish(self, result: list[Any], error: Error | None) -> None:
        self._result, self._error = result if error is None else [], error
        self._ended = True
        self._post(self._deliver)

    def _deliver(self) -> None:
        callback, self._callback = self._callback, None
        data, self._data = self._data, ()
        if self._context is not None:
            self._context.push_thread_default()
        try:
            if callback is not None:
                callback(self._source, self, *data)
        finally:
            if self._context is not None:
                self._context.pop_thread_default()
            self._completed = True
            self.notify("completed")

    def __del__(self) -> None:
        # Also where a signal handler has raised before the constructor's end.
        result = self.__dict__.get("_result")
        if result:
            self._operation.discard(result.pop())


class Future(Task, Generic[T]):
    """
    A Task that can be awaited, in asyncio, uvloop and trio, or waited for by `result`.

    Cancelling it, or the task that awaits it, ends the operation: what has not come yet stays in the socket, what has
    is closed.
    """

    def __init__(
        self, source: Object, name: str, operation: Operation[T], cancellable: Cancellable | None, loop: Loop | None
    ) -> None:
        super().__init__(source, name, operation, cancellable, (loop or shared()).post)
        self._loop = loop
        self._pending: Pending[T] | None = None
        # Called in any thread, as soon as there is an end.
        self._wakers: list[Callable[[], object]] = []
        self._done_callbacks: list[tuple[Callable[[Future[T]], object], Any]] = []
        # The result was seen, and is its reader's to close.
        self._seen = False

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
            self._operation.discard(self._result.pop())
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

    def _finish(self, result: list[Any], error: Error | None) -> None:
        self._result, self._error = result if error is None else [], error
        self._ended = self._completed = True
        self._wake()
        self._call_back()

    def _call_back(self) -> None:
        while self._done_callbacks:
            try:
                callback, context = self._done_callbacks.pop(0)
            except IndexError:  # another thread was quicker
                return
            self._post(partial(callback, self) if context is None else partial(context.run, callback, self))

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
    callback: Callable[..., object] | _Await | None,
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
    check_cancellable(cancellable)
    if isinstance(callback, _Await):
        loop = running()
        future: Future[T] = Future(source, name, operation, cancellable, loop)
        future._pending = Pending(operation, cancellable, loop or shared(), future._finish)
        future._pending.start(blocking=blocking, timeout=timeout)
        return future
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {callback!r}")
    context = MainContext.get_thread_default()
    loop = running_asyncio() if context is None else None
    waker: Poller
    if loop is not None:
        waker = loop
        task = Task(source, name, operation, cancellable, loop.post, callback, data)
    else:
        context = context or MainContext.default()
        # What the peer waits for, or nobody, does not have to wait until the context is iterated.
        waits_here = callback is not None and operation.condition == IOCondition.IN
        waker = poller_of(context) if waits_here else shared()
        task = Task(source, name, operation, cancellable, context._post, callback, data, context)
    Pending(operation, cancellable, waker, task._finish).start(blocking=blocking, timeout=timeout)
    return None


def finish(source: Object, name: str, result: object) -> Any:
    """
    Give the value of *result*, which the operation *name* of *source* has come to, or raise its Error.

    Raises TypeError for what is no AsyncResult, and ValueError for one of another object or another operation, which
    stays usable, and for one whose value was handed out already.
    """
    if not isinstance(result, AsyncResult):
        raise TypeError(f"result must be an AsyncResult, not {result!r}")
    if not Task.is_valid(result, source):
        raise ValueError(f"{result!r} is no result of {source!r}")
    assert isinstance(result, Task)
    if result._name != name:
        raise ValueError(f"{result!r} is the result of {result._name}, not of {name}")
    return result._take()
