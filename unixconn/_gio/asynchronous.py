"""
The implementation of the methods named ``*_async`` and ``*_finish``.

Without a callback argument, a method named ``*_async`` returns a `Future`. With a callback, it makes a `Task`. At the
end of the operation, the callback is called with the Task, by the context or the event loop of the thread that started
the operation. The method named ``*_finish`` takes the result from the Task.
"""

from __future__ import annotations

from functools import partial

from unixconn._base.errors import Error
from unixconn._base.object import Object
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.task import AsyncResult, Task
from unixconn._io.event_loops import running
from unixconn._io.main_context import PRIORITY_DEFAULT
from unixconn._io.operation import Operation
from unixconn._io.steps import Both, Sequence
from unixconn._io.waiter import try_or_wait
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Optional

    from unixconn._gio.socket import Socket
    from unixconn._io.steps import Steps

    Callback = Optional[Callable[..., object]]
    """The type of the callback argument. None stands for a callback that does nothing."""

T = TypeVar("T")
FunctionT = TypeVar("FunctionT", bound="Callable[..., object]")


class _Await:
    def __repr__(self) -> str:
        return "AWAIT"


# Its type is Any, so that it can be the default of a parameter of the type Callback.
AWAIT: Final[Any] = _Await()
"""The default of the parameter *callback*, which makes the call return a Future."""


def with_async(
    name: str,
    *,
    returns: str,
    summary: str = "",
    note: str = "",
    io_priority: bool = False,
    start: Callable[..., object] | None = None,
    result: object = None,
    **passed_on: object,
) -> Callable[[FunctionT], FunctionT]:
    """
    Declare an operation, of which tools/generate_async.py writes the methods ``*_async`` and ``*_finish``.

    That script describes the arguments. At run time the decorator returns the function unchanged.
    """
    return _unchanged


def _unchanged(function: FunctionT) -> FunctionT:
    return function


def start(
    source: Object,
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
    operation.timeout = socket._timeout or None
    task = _task(source, name, operation.discard, cancellable, callback, data, PRIORITY_DEFAULT)
    waiter = try_or_wait(operation, cancellable, task._reactor_for, task._end, blocking=socket._blocking)
    if not isinstance(task, Future):
        return None
    # Future.cancel() cancels this.
    task._waiter = waiter
    return task


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
    task = _task(source, name, discard, cancellable, callback, data, priority)
    end = partial(task._end, before=before)
    post = task._post if is_heard else None
    sequence = Sequence(steps, cancellable, task._reactor_for, end, post=post)
    return _begun(task, sequence, sequence.start)


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
    task = _task(source, name, None, cancellable, callback, data, priority)

    def end(result: list[bool], error: Error | None) -> None:
        failure = at_end()
        task._end(result, error or failure)

    both = Both(steps, cancellable, task._reactor_for, end, wait_for_both=wait_for_both)
    return _begun(task, both, both.start)


def ended(
    source: Object,
    name: str,
    outcome: tuple[list[T], Error | None],
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
    *,
    before: Callable[[], None] | None,
) -> Future[T] | None:
    """
    Return a Future or call *callback*, as `start` does, for an operation that has already ended with *outcome*.

    *outcome* is a list with the result, and the Error or None. *before* is called before the callback.
    """
    task = _task(source, name, None, cancellable, callback, data, PRIORITY_DEFAULT)
    return _begun(task, None, partial(task._end, *outcome, before))


def _task(
    source: Object,
    name: str,
    discard: Callable[[Any], object] | None,
    cancellable: Cancellable | None,
    callback: Callback,
    data: tuple[object, ...],
    priority: int,
) -> Task:
    check_arguments(cancellable, callback)
    if callback is AWAIT:
        return Future(source, name, discard, cancellable, running())
    task = Task(source, name, discard, cancellable)
    task._set_callback(callback, data, priority)
    return task


def _begun(task: Task, waiter: Sequence[T] | Both | None, begin: Callable[[], None]) -> Future[T] | None:
    """Call *begin*. Return *task*, whose cancel() cancels *waiter*, if it is a Future."""
    if not isinstance(task, Future):
        begin()
        return None
    task._waiter = waiter
    begin()
    return task


def check_arguments(cancellable: object, callback: object) -> None:
    """Raise TypeError if the argument *cancellable* or *callback* of a method has a wrong type."""
    if cancellable is not None and not isinstance(cancellable, Cancellable):
        check_cancellable(cancellable)
    if callback is not None and callback is not AWAIT and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {callback!r}")


def finish(source: Object, name: str, result: object) -> T:  # type: ignore[type-var]  # of any type, the caller's
    """
    Return the value of *result*, of the operation *name* of *source*, or raise its Error.

    Raises TypeError if *result* is not an AsyncResult. Raises ValueError if it belongs to another object or another
    operation, in which case the value stays in it, or if the value was already taken.
    """
    if not isinstance(result, AsyncResult):
        raise TypeError(f"result must be an AsyncResult, not {result!r}")
    if not isinstance(result, Task) or result._source is not source:
        raise ValueError(f"{result!r} is not a result of {source!r}: pass it to the object that the callback got")
    if result._name != name:
        raise ValueError(f"{result!r} is the result of {result._name}, not of {name}")
    return result._take()  # type: ignore[no-any-return]
