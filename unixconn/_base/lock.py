"""
Changes of state that an exception raised by a signal handler may break off, or a fork.

Python runs signal handlers between two steps of the interpreter, and an exception that one raises comes out there.
Three things keep such an exception from losing a descriptor, or from leaving an operation that nobody ends: an `ending`
is called again, an `Owner` (see descriptors.py) closes what is left in it, and a try puts its result into a list that
its caller has already.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from functools import wraps

from unixconn._base.typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

EndingT = TypeVar("EndingT", bound="Callable[..., Any]")


def ending(function: EndingT) -> EndingT:
    """
    Make *function*, which ends something and may be called twice, call itself again if an exception breaks it off.

    All that it changes it has to change inside: a store before the call could be broken off from it.
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


def _start_in_child() -> None:
    global _process  # noqa: PLW0603 - what has it belongs to the process
    _process = object()


os.register_at_fork(after_in_child=_start_in_child)


def this_process() -> object:
    """Give an object that stands for this process, and for none that it was forked from."""
    return _process


_RLock = _thread.RLock

if sys.version_info[:2] == (3, 14):  # pragma: no cover - of one version

    class _RLock(_thread.RLock):  # type: ignore[no-redef,misc,unused-ignore]
        """
        Left by its ``with`` whatever a signal handler raises.

        In CPython 3.14 that can come between an `__enter__` in C and the block, and the lock stays with the thread
        (CPython's issue 148874).
        """

        __slots__ = ()

        def __enter__(self) -> bool:  # type: ignore[override,unused-ignore]
            # Not by a call: no handler runs from the step in which this takes it to the first one of the block.
            (taken,) = map(self.acquire, (True,))
            return taken


class Lock:
    """
    Where one object's state changes in more than one step.

    Use it as ``with lock.entered:``, for a few instructions. It is reentrant, as a signal handler may call any method
    while its thread is inside; so what it protects has to be right between any two steps. In a forked child, where
    another thread may have been inside, it is a new one.

    One for each object, and not for all: before CPython 3.11 an exception out of a signal handler can come between the
    end of a ``with`` block and its exit, and leave the lock to that thread.
    """

    __slots__ = ("_condition", "_lock", "_process")

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._lock = _RLock()
        self._condition: threading.Condition | None = None
        self._process = _process

    @property
    def entered(self) -> threading.RLock:
        """The lock itself. Its own methods are C: a Python one could be interrupted before it has returned."""
        if self._process is not _process:
            self._renew()
        return self._lock

    def wait(self) -> None:
        """Wait, from inside, until another thread calls `notify`."""
        if self._condition is None:
            self._condition = threading.Condition(self._lock)
        self._condition.wait()

    def notify(self) -> None:
        """Wake those who wait, from inside."""
        if self._condition is not None:
            self._condition.notify_all()
