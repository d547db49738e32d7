"""
Locks and guards for changes of state that an exception raised by a signal handler, or a fork, may interrupt.

Python runs signal handlers between two steps of the interpreter. An exception that a handler raises propagates from
there, in the middle of whatever the thread is doing. Three means keep such an exception from losing a descriptor, and
from leaving an operation that never ends:

- a function that ends something is decorated with `ending`, which calls it again if an exception has interrupted it;
- an `Owner` (see descriptors.py) closes the descriptors that are left in it;
- a function that makes an attempt puts its result into a list that the caller has already, so no return value can be
  lost.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from functools import wraps
from weakref import ref

from unixconn._base.typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

EndingT = TypeVar("EndingT", bound="Callable[..., Any]")


def ending(function: EndingT) -> EndingT:
    """
    Decorate *function* so that it is called again if an exception interrupts it, before the exception propagates.

    *function* ends something, such as an operation, and has to be correct when it is called twice. It has to make all
    its changes itself: an exception could be raised between a change that its caller makes and the call.
    """

    @wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except BaseException:
            function(*arguments)
            raise

    return call  # type: ignore[return-value]


_process = object()
_locks: set[ref[Lock]] = set()
"""All Locks, for the child of a fork. A look at each use, whether the process is another one, costs more."""
# These are names of this module, as each Handle has a lock.
register, forget = _locks.add, _locks.discard


def _start_in_child() -> None:
    global _process  # noqa: PLW0603 - objects made before the fork keep the old one
    _process = object()
    for each in tuple(_locks):
        lock = each()
        if lock is not None:
            lock._renew()


os.register_at_fork(after_in_child=_start_in_child)


def this_process() -> object:
    """Return an object that stands for this process. In a forked child it is a different object than in its parent."""
    return _process


RecursiveLock = _thread.RLock

if sys.version_info[:2] == (3, 14):  # pragma: no cover - of one version

    class RecursiveLock(_thread.RLock):  # type: ignore[no-redef,misc,unused-ignore]
        """
        An RLock that a ``with`` block always releases, even if a signal handler raises an exception.

        In CPython 3.14 a signal handler can run after an `__enter__` written in C has returned and before the block has
        begun. If it raises then, `__exit__` is not called, and the thread keeps the lock (CPython issue 148874).
        """

        __slots__ = ()

        def __enter__(self) -> bool:  # type: ignore[override,unused-ignore]
            # This is not a plain call, after which the interpreter looks for signals. So no handler runs between the
            # step that takes the lock and the first step of the block.
            (taken,) = map(self.acquire, (True,))
            return taken


class Lock:
    """
    A lock for one object whose state changes in more than one step.

    Use it as ``with lock.entered:``, around a few instructions. The lock is reentrant, as a signal handler may call any
    method of the object while its thread holds the lock. So the protected state has to be valid between any two steps.
    In a forked child it is a new lock, as another thread of the parent may have held the old one at the fork.

    Each object has its own lock: before CPython 3.11, an exception raised by a signal handler can come between the end
    of a ``with`` block and its `__exit__`, and the thread then keeps the lock for good. If all objects shared one lock,
    that would stop all other threads.
    """

    __slots__ = ("__weakref__", "_condition", "entered")

    entered: threading.RLock
    """
    The lock itself, for a ``with`` statement.

    A method of this class, written in Python, could be interrupted between taking the lock and returning. The methods
    of the lock itself are C.
    """

    def __init__(self) -> None:
        self.entered = RecursiveLock()
        self._condition: threading.Condition | None = None
        register(ref(self, forget))

    def _renew(self) -> None:
        self.entered = RecursiveLock()
        self._condition = None

    def wait(self) -> None:
        """Release the lock, wait until another thread calls `notify`, and take it again. The caller holds the lock."""
        if self._condition is None:
            self._condition = threading.Condition(self.entered)
        self._condition.wait()

    def notify(self) -> None:
        """Wake all threads that wait. The caller holds the lock."""
        if self._condition is not None:
            self._condition.notify_all()
