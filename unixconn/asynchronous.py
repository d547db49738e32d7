"""
The start and the end of asynchronous operations: what the methods named ``*_async`` and ``*_finish`` are made of.

The end is told to a callback, in the context or the event loop of the thread that has started the operation, or it is
the result of a `Future`.
"""

from __future__ import annotations

from unixconn._typing import TYPE_CHECKING, TypeVar
from unixconn.cancellable import Cancellable, check_cancellable
from unixconn.contexts import ContextPoller
from unixconn.errors import Error
from unixconn.future import Future
from unixconn.loops import running
from unixconn.mainloop import PRIORITY_DEFAULT
from unixconn.object import Object
from unixconn.operation import WRITABLE, Operation
from unixconn.pending import Pending
from unixconn.task import AsyncResult, Task
from unixconn.workers import shared

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from unixconn.poller import Poller

T = TypeVar("T")


class _Await:
    def __repr__(self) -> str:
        return "AWAIT"


AWAIT: Final = _Await()
"""In the place of a callback: give a Future. None is a callback too, one that nobody calls."""


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
