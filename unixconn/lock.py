"""A lock that neither a signal handler nor a forked child finds closed."""

from __future__ import annotations

import os
import threading

_process = object()


def _start_in_child() -> None:
    global _process  # noqa: PLW0603 - what has it belongs to the process
    _process = object()


os.register_at_fork(after_in_child=_start_in_child)


def this_process() -> object:
    """Give an object that stands for this process, and for none that it was forked from."""
    return _process


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
        self._lock = threading.RLock()
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
