"""
The start and the end of asynchronous operations: what the methods named ``*_async`` and ``*_finish`` are made of.

The end is told to a callback, in the context or the event loop of the thread that has started the operation, or it is
the result of a `Future`.
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
    from typing import Any, Final

    Callback = Callable[..., object] | None
    """What the methods named ``*_async`` take in the place of `AWAIT`."""

    from unixconn._gio.socket import Socket
    from unixconn._io.steps import Steps

T = TypeVar("T")
FunctionT = TypeVar("FunctionT", bound="Callable[..., object]")


class _Await:
    def __repr__(self) -> str:
        return "AWAIT"


# Of any type for type checkers, as it is the default of a parameter of the type Callback.
AWAIT: Final[Any] = _Await()
"""In place of a callback: the call returns a Future. None, in contrast, stands for a callback that does nothing."""


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

    That script describes the arguments. At run time the decorated function stays as it is.
    """
    return _unchanged


def _unchanged(function: FunctionT) -> FunctionT:
    return function


def start(
    source: Object,
    name: str,
    operation: Operation[T],
    cancellable: Cancellable | None,
    callback: Any,
    data: tuple[object, ...],
    socket: Socket,
) -> Future[T] | None:
    """
    Start *operation* of *source*, whose end *callback* is told; return a Future if that is `AWAIT`, else None.

    It waits as *socket* says: for at most its timeout, and only if it blocks. Raises TypeError for a cancellable or a
    callback of another type; any other error is the operation's result.
    """
    operation.timeout = socket._timeout or None
    task = _task(source, name, operation.discard, cancellable, callback, data, PRIORITY_DEFAULT)
    pending = try_or_wait(operation, cancellable, task.reactor_for, task.end, blocking=socket._blocking)
    if not isinstance(task, Future):
        return None
    # What cancelling it ends.
    task._pending = pending
    return task


def start_sequence(
    source: Object,
    name: str,
    steps: Steps[T],
    cancellable: Cancellable | None,
    callback: Any,
    data: tuple[object, ...],
    *,
    priority: int = PRIORITY_DEFAULT,
    discard: Callable[[T], object] | None = None,
    before: Callable[[], None] | None = None,
    is_heard: bool = False,
) -> Future[T] | None:
    """
    Do as `start` for an operation that consists of *steps*.

    *discard* closes what nobody takes; *before* is called before the callback is. *is_heard* says that the steps emit
    signals, which come where the callback does, and not in this call.
    """
    task = _task(source, name, discard, cancellable, callback, data, priority)
    end = partial(task.end, before=before)
    post = task.post if is_heard else None
    sequence = Sequence(steps, cancellable, task.reactor_for, end, post=post)
    return _begun(task, sequence, sequence.start)


def start_both(
    source: Object,
    name: str,
    steps: tuple[Steps[Any], Steps[Any]],
    cancellable: Cancellable | None,
    callback: Any,
    data: tuple[object, ...],
    *,
    priority: int,
    wait_for_both: bool,
    at_end: Callable[[], Error | None],
) -> Future[bool] | None:
    """Do as `start_sequence` for two at a time; *wait_for_both* says when they end, and *at_end* is called then."""
    task = _task(source, name, None, cancellable, callback, data, priority)

    def end(result: list[bool], error: Error | None) -> None:
        failure = at_end()
        task.end(result, error or failure)

    both = Both(steps, cancellable, task.reactor_for, end, wait_for_both=wait_for_both)
    return _begun(task, both, both.start)


def ended(
    source: Object,
    name: str,
    outcome: tuple[list[T], Error | None],
    cancellable: Cancellable | None,
    callback: Any,
    data: tuple[object, ...],
    *,
    before: Callable[[], None] | None,
) -> Future[T] | None:
    """
    Do as `start` for an operation that has come to its *outcome* already, without having to wait.

    *before* is called before the callback is.
    """
    task = _task(source, name, None, cancellable, callback, data, PRIORITY_DEFAULT)
    return _begun(task, None, partial(task.end, *outcome, before))


def _task(
    source: Object,
    name: str,
    discard: Callable[[Any], object] | None,
    cancellable: Cancellable | None,
    callback: Any,
    data: tuple[object, ...],
    priority: int,
) -> Task:
    check_arguments(cancellable, callback)
    if callback is AWAIT:
        return Future(source, name, discard, cancellable, running())
    task = Task(source, name, discard, cancellable)
    task.call_back(callback, data, priority)
    return task


def _begun(task: Task, pending: Sequence[T] | Both | None, begin: Callable[[], None]) -> Future[T] | None:
    """Call *begin*, and give *task* if that is what the caller gets; *pending* is what cancelling it ends."""
    if not isinstance(task, Future):
        begin()
        return None
    task._pending = pending
    begin()
    return task


def check_arguments(cancellable: object, callback: object) -> None:
    """Raise TypeError for a *cancellable* or a *callback* that is none."""
    check_cancellable(cancellable)
    if callback is not None and callback is not AWAIT and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {callback!r}")


def finish(source: Object, name: str, result: object) -> T:  # type: ignore[type-var]  # of any type, the caller's
    """
    Return the value of *result*, of the operation *name* of *source*, or raise its Error.

    Raises TypeError for what is no AsyncResult, and ValueError for one of another object or another operation, which
    stays usable, and for one whose value was handed out already.
    """
    if not isinstance(result, AsyncResult):
        raise TypeError(f"result must be an AsyncResult, not {result!r}")
    if not isinstance(result, Task) or result._source is not source:
        raise ValueError(f"{result!r} is no result of {source!r}")
    if result._name != name:
        raise ValueError(f"{result!r} is the result of {result._name}, not of {name}")
    return result._take()  # type: ignore[no-any-return]
