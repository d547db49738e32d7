"""
The implementation of the methods named ``*_async`` and ``*_finish``.

Without a callback argument, a method named ``*_async`` returns a `Future`. With a callback, it makes a `Task`. At the
end of the operation, the callback is called with the Task, by the context or the event loop of the thread that started
the operation. The method named ``*_finish`` takes the result from the Task.
"""

from __future__ import annotations

import sys

from unixconn._base.errors import Error
from unixconn._base.object import Object
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.task import AsyncResult, Task, ignore
from unixconn._gio.triples import AWAIT
from unixconn._io.asyncio_loop import ANYIO
from unixconn._io.delivery import here
from unixconn._io.operation import READABLE, Operation
from unixconn._io.priorities import PRIORITY_DEFAULT
from unixconn._io.running_loop import running
from unixconn._io.steps import Both, Sequence
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unixconn._gio.socket import Socket
    from unixconn._gio.triples import Callback
    from unixconn._io.steps import Steps

T = TypeVar("T")


def start(
    source: Object | None,
    name: str,
    operation: Operation[T],
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
    socket: Socket,
) -> Future[T] | None:
    """
    Start *operation* of *source*, and return a Future if *callback* is `AWAIT`, else None.

    At the end, *callback* is called with *source*, the Task and *data*. *name* is the name of the C function, see
    `Task.get_name`. The operation has the timeout of *socket*, and waits only if *socket* is blocking. Raises TypeError
    if *cancellable* or *callback* has a wrong type. Any other error becomes the operation's result.
    """
    if socket._timeout:
        operation.timeout = socket._timeout
    if callback is AWAIT:
        if cancellable is not None:
            check_arguments(cancellable, callback)
        future: Future[T] = Future(source, name, cancellable, running())
        if future._is_held:
            return _hold(future, operation, cancellable, blocking=socket._blocking)
        future._perform(operation, cancellable, socket._blocking)
        return future
    # These are the lines of `make_task`: one more frame would take a twentieth of the call's time.
    if not callable(callback) or not (cancellable is None or isinstance(cancellable, Cancellable)):
        check_arguments(cancellable, callback)
        callback = ignore  # it is None
    task = Task(source, name, cancellable)
    task._callback = callback
    if data:
        task._data = data
    task._place = here()
    task._perform(operation, cancellable, socket._blocking)
    return None


def start_pending(
    source: Object,
    name: str,
    operation: Operation[T],
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
    *,
    priority: int,
    before: Callable[[], None],
) -> Future[T] | None:
    """
    Start *operation* of *source*, which is pending meanwhile, as `start` does.

    It has its own timeout, and waits even if the Socket is non-blocking. *before* ends the pending state, and is called
    before the callback.
    """
    task = make_task(source, name, cancellable, callback, data)
    task._before = before
    task._priority = priority
    future = task if isinstance(task, Future) else None
    over = False
    try:
        if task._is_held:
            _hold(task, operation, cancellable, blocking=True)
        else:
            task._perform(operation, cancellable, True)
        over = True
        return future
    finally:
        # A signal handler has raised. The callback may never be called, and nobody gets the Future.
        if not over:
            if future is not None:
                future._abandon()
            if not task._ended:
                before()


def start_sequence(
    source: Object,
    name: str,
    steps: Steps[T],
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
    *,
    priority: int = PRIORITY_DEFAULT,
    discard: Callable[[T], object] | None = None,
    before: Callable[[], None] | None = None,
    is_heard: bool = False,
) -> Future[T] | None:
    """
    Start an operation that consists of *steps*, as `start` does.

    *discard* closes a result that no caller has taken. *before* is called before the callback. *is_heard* says that the
    steps emit signals: then all of them run where the callback runs, and none of them in this call.
    """
    task = make_task(source, name, cancellable, callback, data)
    task._discard = discard
    task._before = before
    task._priority = priority
    sequence = Sequence(steps, cancellable, task._waker_for, task._end, post=task._post if is_heard else None)
    return _begun(task, sequence)


def start_both(
    source: Object,
    name: str,
    steps: tuple[Steps[Any], Steps[Any]],
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
    *,
    priority: int,
    wait_for_both: bool,
    at_end: Callable[[], Error | None],
) -> Future[bool] | None:
    """
    Start two sequences of steps at the same time, as `start_sequence` starts one.

    If *wait_for_both* is true, the operation ends when both sequences have ended, otherwise when the first one has.
    *at_end* is called then. The Error that it may return ends the operation if the steps have succeeded.
    """
    task = make_task(source, name, cancellable, callback, data)
    task._priority = priority

    def end(result: list[bool], error: Error | None) -> None:
        failure = at_end()
        task._end(result, error or failure)

    return _begun(task, Both(steps, cancellable, task._waker_for, end, wait_for_both=wait_for_both))


def ended(
    source: Object,
    name: str,
    outcome: tuple[list[T], Error | None],
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
    priority: int,
    before: Callable[[], None] | None,
) -> Future[T] | None:
    """
    Return a Future or call *callback*, as `start` does, for an operation that has already ended with *outcome*.

    *outcome* is a list with the result, and the Error or None. *before* is called before the callback.
    """
    task = make_task(source, name, cancellable, callback, data)
    task._before = before
    task._priority = priority
    task._end(*outcome)
    return task if isinstance(task, Future) else None


def make_task(
    source: Object, name: str, cancellable: Cancellable | None, callback: Callback, data: tuple[object, ...]
) -> Task:
    """Return the Future or the Task of an operation that begins now, see `start`."""
    if callback is AWAIT:
        if cancellable is not None:
            check_arguments(cancellable, callback)
        return Future(source, name, cancellable, running())
    if not callable(callback) or not (cancellable is None or isinstance(cancellable, Cancellable)):
        check_arguments(cancellable, callback)
        callback = ignore  # it is None
    task = Task(source, name, cancellable)
    task._callback = callback
    if data:
        task._data = data
    task._place = here()
    return task


def _begun(task: Task, steps: Sequence[T] | Both) -> Future[T] | None:
    """Start *steps*, or have the loop start them if *task* is held. Return *task* if it is a Future."""
    if not isinstance(task, Future):
        steps.start()
        return None
    # Future.cancel() cancels these.
    task._steps = steps
    over = False
    try:
        if task._is_held and task._loop is not None:
            task._loop.call_after_deadlines(task._release)
        else:
            steps.start()
        over = True
        return task
    finally:
        if not over:  # a signal handler has raised, and nobody gets the Future
            task._abandon()
            if task._before is not None:
                task._before()


def _hold(task: Task, operation: Operation[T], cancellable: Cancellable | None, *, blocking: bool) -> Future[T] | None:
    """Have the loop start *operation*, see `Task._is_held`."""
    loop = task._loop if isinstance(task, Future) else None
    if loop is not None and loop.is_asyncio and not (ANYIO in sys.modules and loop.is_cancelled_here()):
        task._is_held = False
        # A send needs no pause before it: nothing is lost in the one that comes after it. To wait, it would have to
        # duplicate its descriptors.
        if blocking and operation.condition == READABLE:
            loop.postpone(operation.handle)
        task._perform(operation, cancellable, blocking)
        return task  # type: ignore[return-value]
    task._discard = operation.discard
    return _begun(task, Sequence(_alone(operation), cancellable, task._waker_for, task._end))


def _alone(operation: Operation[T]) -> Steps[T]:
    return (yield operation)  # type: ignore[no-any-return]


def check_arguments(cancellable: object, callback: object) -> None:
    """Raise TypeError if the argument *cancellable* or *callback* of a method has a wrong type."""
    if cancellable is not None and not isinstance(cancellable, Cancellable):
        check_cancellable(cancellable)
    if callback is not None and callback is not AWAIT and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {callback!r}")


def finish(source: Object | None, name: str, result: object) -> T:  # type: ignore[type-var]  # of any type, the caller's
    """
    Return the value of *result*, of the operation *name* of *source*, or raise its Error.

    Raises TypeError if *result* is not an AsyncResult. Raises ValueError if it belongs to another object or another
    operation, in which case the value stays in it, or if the value was already taken.
    """
    if isinstance(result, Task) and result._source is source and result._name == name:
        return result._take()  # type: ignore[no-any-return]
    if not isinstance(result, AsyncResult):
        raise TypeError(f"result must be an AsyncResult, not {result!r}")
    if not isinstance(result, Task) or result._source is not source:
        raise ValueError(f"{result!r} is not a result of {source!r}: pass it to the object that the callback got")
    raise ValueError(f"{result!r} is the result of {result._name}, not of {name}")


def source_of(result: object) -> Any:
    """Return the object whose operation has the *result*, for a finish method that is static; None if there is none."""
    return result._source if isinstance(result, Task) else None
