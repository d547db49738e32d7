"""Start: the start of a thread, from which no exception raised by a signal handler takes a step away."""

from __future__ import annotations

import _thread
import time
import weakref
from functools import partial

from unixconn._base.lock import ending
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_START = 1.0
"""Seconds to wait until a thread that was started begins. It never does if the interpreter is shutting down."""


class Start:
    """
    The start of a thread, until the thread begins to run.

    It is not a threading.Thread, whose start takes many steps of the interpreter: an exception raised by a signal
    handler could leave it half started. It also waits forever if the thread cannot get memory.
    """

    __slots__ = ("_bell", "_function", "_idents", "_refused", "_run", "has_begun")

    def __init__(self, run: Callable[[Start], None]) -> None:
        """Prepare a thread that will call *run* with this object. Its first step has to be `begin`."""
        self._run = run
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self.has_begun = False
        # The identifier of the thread, which enters the list in the same step of the interpreter that starts it.
        self._idents: list[int] = []
        # Only the thread itself refers to the function that it runs. So this shows that the thread has ended: at once
        # on CPython, and on PyPy after a garbage collection.
        self._function: Callable[[], object | None] = bool
        self._refused: Exception | None = None

    @ending
    def wait(self) -> None:
        """
        Start the thread if that was not done yet, and wait until it has begun.

        Before CPython 3.12, the process may crash if the interpreter shuts down between the start and the first step of
        the thread.
        """
        if not self._idents and self._refused is None:
            try:
                self._launch()
            except (RuntimeError, MemoryError) as error:
                self._refused = error
        latest = time.monotonic() + _LONGEST_START
        while not self.has_begun and self.is_coming() and time.monotonic() < latest:
            self._bell.acquire(timeout=0.01)

    def _launch(self) -> None:
        function = partial(self._run, self)
        self._function = weakref.ref(function)
        self._idents.extend(map(_thread.start_new_thread, (function,), ((),)))

    def is_coming(self) -> bool:
        """Return whether the thread was started and has not ended."""
        return bool(self._idents) and self._function() is not None

    def check(self) -> None:
        """Raise an exception if the thread was not started, or has ended already."""
        if self._refused is not None:
            raise self._refused
        if not self.is_coming():
            raise MemoryError("the new thread has ended at once: it could not get memory")

    def begin(self) -> None:
        """Record that the thread has begun, and wake who waits for that. Called in the thread."""
        self.has_begun = True
        self._bell.release()
