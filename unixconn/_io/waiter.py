"""
Operations that wait in the background.

`try_or_wait` makes the first try in the caller's thread. What would block joins its handle's line as a `Pending`, and a
poller calls `serve` when there is something to try again: those in one line, for one handle and one direction, end in
the order of their starts. Who is first in line is tried by any of the pollers that look after the line, and passed over
when its own is closed, as is an event loop's with the loop, and the parent's in a forked child. Whatever ends a
`Pending` holds its handle's lock, and does so once.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict

from unixconn._base.errors import CancelledError, Error, IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._io.operation import Operation, begin, give_up, timed_out, would_block
from unixconn._kernel.attempt import WOULD_BLOCK
from unixconn._kernel.poll import IOCondition
from unixconn._kernel.trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from unixconn._kernel.handle import Handle

    class Waker(Protocol):
        """Who calls `serve`, and `Pending.ring` at its alarm; see poller.py."""

        @property
        def is_ours(self) -> bool:
            """Whether this process made it, and not one that this was forked from."""

        @property
        def is_closed(self) -> bool:
            """Whether it will never look again."""

        def add(self, pending: Pending[Any]) -> None:
            """Look after *pending* from now on."""

        def remove(self, pending: Pending[Any]) -> None:
            """Look no longer after *pending*."""


T = TypeVar("T")

_ANY_DIRECTION = int(IOCondition.ERR | IOCondition.HUP | IOCondition.NVAL)


class Pending(Generic[T]):
    """An operation that waits, until it ends. What has no lock of its own here needs the handle's."""

    __slots__ = (
        "_cancelled",
        "_condition",
        "_deadline",
        "_finish",
        "_handle",
        "_missed",
        "_operation",
        "_result",
        "_trigger",
        "_trying",
        "_waker",
        "alarm",
        "has_ended",
    )

    def __init__(
        self,
        operation: Operation[T],
        trigger: Trigger | None,
        waker: Waker,
        finish: Callable[[list[T], Error | None], None],
    ) -> None:
        """Take *finish*, which is told the end: the result in a list of its own, or the Error."""
        self.alarm: float | None = None
        """When to look, a time of `time.monotonic`: at the deadline, or when to try again."""
        self.has_ended = False
        """Whether it waits no longer: its end is told, or is just about to be."""
        self._deadline: float | None = None
        self._operation = operation
        self._handle = operation.handle
        self._condition = operation.condition
        self._trigger = trigger
        self._waker = waker
        self._finish: Callable[[list[T], Error | None], None] | None = finish
        # Owns what arrives: from the try to this list is one step of the interpreter.
        self._result: list[Any] = []
        self._trying = self._missed = self._cancelled = False
        operation.kept = []

    @property
    def handle(self) -> Handle:
        """What it is an operation of."""
        return self._handle

    def join(self) -> None:
        """Join the handle's line, for at most the operation's timeout; the handle's lock is held."""
        self._operation.hold()
        if self._operation.timeout is not None:
            self._deadline = time.monotonic() + self._operation.timeout
        self._set_alarm()
        waiting = self._handle.waiting
        if self._condition not in waiting:
            waiting[self._condition] = OrderedDict()
        waiting[self._condition][self] = None
        if self._trigger is not None:
            self._trigger._watch(self)
        self._waker.add(self)
        if self._finish is None:  # a signal handler has ended it meanwhile
            self._leave()
        elif self._trigger is not None or self._handle.number < 0:
            # Cancelled or closed before it could be told.
            self.look()

    def abandon(self) -> None:
        """Leave, and tell nobody."""
        self._finish = None
        self._leave()

    def advance(self) -> bool:
        """Make a try; tell whether the operation has ended."""
        if self._trying:  # and a signal handler has come here
            return False
        self._trying = True
        try:
            # Unless a signal handler has raised after the last try had brought something.
            if not self._result or self._result[0] is WOULD_BLOCK:
                self._result[:] = map(type(self._operation).attempt, (self._operation,))
        except Error as error:
            self._end(error)
        finally:
            self._trying = False
            if self._operation.kept:
                self._result[:] = map(self._operation.kept.pop, (-1,))
            if self._result and self._result[0] is not WOULD_BLOCK:
                self._end(None)
        if self._missed:  # a look, by a signal handler that has cancelled or closed
            self._missed = False
            self.look()
        return self._finish is None

    def look(self) -> None:
        """End it if its handle was closed, it was cancelled, or its time has passed. It takes the lock itself."""
        try:
            self._look()
        except BaseException:  # of a signal handler: once more, as who calls this tells of it once
            self._look()
            raise

    def _look(self) -> None:
        with self._handle.lock.entered:
            if self._trying:
                self._missed = True
            if self._finish is None or self._trying:
                return
            try:
                self._handle.check()
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    raise timed_out()
                if self._cancelled or self._waker.is_closed:
                    raise cancelled()
                if self._trigger is not None:
                    self._trigger._check()
            except Error as error:
                self._end(error)

    def ring(self) -> None:
        """Do what is to be done at `alarm`, and set the next one. It takes the lock itself."""
        self.look()
        if self._operation.interval != math.inf:
            with self._handle.lock.entered:
                if self._finish is not None and self.alarm is not None and time.monotonic() >= self.alarm:
                    self.advance()
                    self._set_alarm()

    def _set_alarm(self) -> None:
        self.alarm = self._deadline
        if self._operation.interval != math.inf:
            self.alarm = min(time.monotonic() + self._operation.interval, self._deadline or math.inf)

    def attend(self, trigger: Trigger) -> None:
        """Let *trigger* end it, too: it was started without one."""
        with self._handle.lock.entered:
            if self._finish is not None:
                self._trigger = trigger
                trigger._watch(self)
        self.look()

    def cancel(self) -> None:
        """End it as its Cancellable would."""
        self._cancelled = True
        self.look()

    def _end(self, error: Error | None) -> None:
        if self._finish is None:
            return
        try:
            self._leave()
        except BaseException:  # of a signal handler: once more
            self._leave()
            raise
        finally:
            # In a forked child it still is the parent's to finish.
            if self._waker.is_ours and self._finish is not None:
                finish = self._finish
                try:
                    finish(self._result, error and _to_tell(error, self._operation))
                except BaseException:  # of a signal handler: once more, which does nothing twice
                    finish(self._result, error and _to_tell(error, self._operation))
                    raise
            self._finish = None

    def _leave(self) -> None:
        # First, as a worker that this wakes looks whether anything is left to wait for.
        self.has_ended = True
        line = self._handle.waiting.get(self._condition)
        if line is not None:
            line.pop(self, None)
            if not line:
                self._handle.waiting.pop(self._condition, None)
        self._waker.remove(self)
        if self._trigger is not None:
            self._trigger._unwatch(self)
        self._operation.end()


def try_or_wait(
    operation: Operation[T],
    trigger: Trigger | None,
    waker_for: Callable[[Operation[T]], Waker],
    finish: Callable[[list[T], Error | None], None],
    *,
    blocking: bool,
) -> Pending[T] | None:
    """
    Make the first try of *operation*; where it would block let it wait, if *blocking*, for at most its timeout.

    *finish* is told the end: the result in a list of its own, or the Error. Gives None if that is now; else what waits,
    of which *waker_for* says who looks after it.
    """
    # Owns what arrives: from the try to this list is one step of the interpreter.
    result: list[Any] = []
    error: Error | None = None
    pending: Pending[T] | None = None
    with operation.handle.lock.entered:
        try:
            begin(operation, trigger)
            if not operation.handle.waiting or not _has_predecessors(operation):
                result[:] = map(type(operation).attempt, (operation,))
            if not result or result[0] is WOULD_BLOCK:
                if not blocking:
                    raise would_block()
                pending = Pending(operation, trigger, waker_for(operation), finish)
                pending.join()
                return pending
            operation.end()
        except Error as caught:
            error = _to_tell(caught, operation)
            if pending is not None:
                pending.abandon()
            operation.end()
        except BaseException:  # of a signal handler: nobody will be told
            if pending is not None:
                pending.abandon()
            give_up(operation, result)
            raise
        try:
            finish(result, error)
        except BaseException:  # of a signal handler: once more, which does nothing twice
            finish(result, error)
            raise
    return None


def _has_predecessors(operation: Operation[Any]) -> bool:
    for first in list(operation.handle.waiting.get(operation.condition, ())):
        if not first._waker.is_closed:
            return True
        first._end(cancelled())
    return False


def _to_tell(error: Error, operation: Operation[Any]) -> Error:
    # Without the frames, which would keep alive what was in them. CANCELLED is the Task's own in Gio, and says nothing
    # of the operation.
    told = error.prefixed("" if isinstance(error, CancelledError) else operation.prefix)
    operation.explain(told)
    return told.with_traceback(None)


def cancelled() -> Error:
    """Make the Error of an operation that was cancelled."""
    return io_error(IOErrorEnum.CANCELLED, "Operation was cancelled")


def serve(handle: Handle, events: int, waker: Waker | None = None) -> bool:
    """Let *waker* try those who wait for *events*, as poll() numbers them; tell whether anybody still waits."""
    with handle.lock.entered:
        for condition, line in tuple(handle.waiting.items()):
            while line and events & (condition | _ANY_DIRECTION):
                first = next(iter(line))
                # Not asked of the one that is just here: an event loop takes long to tell.
                is_here = waker is not None and first._waker is waker and waker.is_ours
                if not is_here and first._waker.is_closed:
                    first._end(cancelled())
                elif not first.advance():
                    break
        return bool(handle.waiting)
