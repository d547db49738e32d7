"""
Operations that wait in the background.

`try_or_wait` makes the first try in the caller's thread. An operation that would block joins a line of its handle as a
`Waiter`, and a reactor calls `serve` when there is something to try again. The operations in one line, for one handle
and one direction, end in the order of their starts. The first in line is tried by any of the reactors that look after
the line. It is passed over when its own reactor is closed: an event loop's with the loop, the parent's in a forked
child. What ends a Waiter holds its handle's lock, and does so once.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict

from unixconn._base.errors import CancelledError, Error, IOErrorEnum, io_error
from unixconn._base.lock import ending
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._io.operation import Operation, begin, timed_out, would_block
from unixconn._kernel.epoll import IOCondition
from unixconn._kernel.trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from unixconn._kernel.handle import Handle

    class Waker(Protocol):
        """Calls `serve`, and `Waiter.ring` at its alarm; see reactor.py."""

        @property
        def is_ours(self) -> bool:
            """Whether this process made it, and not one that this was forked from."""

        @property
        def is_closed(self) -> bool:
            """Whether it will never look again."""

        def add(self, waiter: Waiter[Any]) -> None:
            """Look after *waiter* from now on."""

        def remove(self, waiter: Waiter[Any]) -> None:
            """Look no longer after *waiter*."""


T = TypeVar("T")

_ANY_DIRECTION = int(IOCondition.ERR | IOCondition.HUP | IOCondition.NVAL)


class Waiter(Generic[T]):
    """An operation that waits, until it ends. Methods that do not take the handle's lock need it to be held."""

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
        """*finish* is told the end: the result in a list of its own, or the Error."""
        self.alarm: float | None = None
        """When to look, a time of `time.monotonic`: at the deadline, or when to try again."""
        self.has_ended: bool = False
        """Whether it waits no longer: its end was told, or is just about to be."""
        self._deadline: float | None = None
        self._operation = operation
        self._handle = operation.handle
        self._condition = operation.condition
        self._trigger = trigger
        self._waker = waker
        self._finish: Callable[[list[T], Error | None], None] | None = finish
        self._result: list[T] = []
        self._trying = self._missed = self._cancelled = False

    @property
    def handle(self) -> Handle:
        """The handle of the operation."""
        return self._handle

    def join(self) -> None:
        """Join the handle's line, for at most the operation's timeout."""
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
            # Set or closed before it could be told.
            self.look()

    def abandon(self) -> None:
        """Leave the line, and tell nobody."""
        self._finish = None
        self._leave()

    def advance(self) -> bool:
        """Make a try; return whether the operation has ended."""
        if self._trying:  # and a signal handler has come here
            return False
        self._trying = True
        try:
            self._try()
        finally:
            self._trying = False
        if self._missed:  # `look`, called by a signal handler meanwhile
            self._missed = False
            self.look()
        return self._finish is None

    @ending
    def _try(self) -> None:
        # Called again, it goes on with what a try has brought that an exception has broken off.
        if self._finish is None:
            return
        try:
            if not self._result and not self._operation.attempt(self._result):
                return
        except Error as error:
            self._end(error)
        else:
            self._end(None)

    @ending
    def look(self) -> None:
        """End it if its handle was closed, its trigger was set, or its time has passed. Takes the lock itself."""
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
        """Do what is to be done at `alarm`, and set the next one. Takes the lock itself."""
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
        """Let *trigger* end it, too, which was started without one. Takes the lock itself."""
        with self._handle.lock.entered:
            if self._finish is not None:
                self._trigger = trigger
                trigger._watch(self)
        self.look()

    def cancel(self) -> None:
        """End it as its trigger would. Takes the lock itself."""
        self._cancelled = True
        self.look()

    @ending
    def _end(self, error: Error | None) -> None:
        try:
            self._leave()
        finally:
            # In a forked child it is the parent's to finish. What finish() does is done once.
            if self._waker.is_ours and self._finish is not None:
                self._finish(self._result, error and _to_tell(error, self._operation))
            self._finish = None

    def _leave(self) -> None:
        # First, as a thread that this wakes looks whether anything is left to wait for.
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
) -> Waiter[T] | None:
    """
    Make the first try of *operation*; where it would block let it wait, if *blocking*, for at most its timeout.

    *finish* is told the end: the result in a list of its own, or the Error; what it does has to be done once. Returns
    None if that is now, else what waits. *waker_for* returns what looks after that.
    """
    result: list[T] = []
    waiter: Waiter[T] | None = None
    telling = False
    with operation.handle.lock.entered:
        try:
            begin(operation, trigger)
            if (operation.handle.waiting and _has_predecessors(operation)) or not operation.attempt(result):
                if not blocking:
                    raise would_block()
                waiter = Waiter(operation, trigger, waker_for(operation), finish)
                waiter.join()
                return waiter
            operation.end()
            telling = True
            finish(result, None)
        except BaseException as caught:
            if waiter is not None:
                waiter.abandon()
            operation.end()
            if not isinstance(caught, Error):  # raised by a signal handler, and the caller is told of it
                if telling:
                    finish(result, None)
                else:
                    for each in result:
                        operation.discard(each)
                raise
            _tell(finish, _to_tell(caught, operation))
    return None


@ending
def _tell(finish: Callable[[list[T], Error | None], None], error: Error) -> None:
    finish([], error)


def _has_predecessors(operation: Operation[Any]) -> bool:
    for first in list(operation.handle.waiting.get(operation.condition, ())):
        if not first._waker.is_closed:
            return True
        first._end(cancelled())
    return False


def _to_tell(error: Error, operation: Operation[Any]) -> Error:
    # Without the frames, which would keep alive what is in them. CANCELLED is the Task's own in Gio, without a prefix.
    told = error.prefixed("" if isinstance(error, CancelledError) else operation.prefix)
    operation.explain(told)
    return told.with_traceback(None)


def cancelled() -> Error:
    """Return the Error of an operation that was cancelled."""
    return io_error(IOErrorEnum.CANCELLED, "Operation was cancelled")


def serve(handle: Handle, events: int, waker: Waker | None = None) -> bool:
    """Let *waker* try the operations that wait for *events*, as poll() numbers them; return whether any still wait."""
    with handle.lock.entered:
        for condition, line in tuple(handle.waiting.items()):
            while line and events & (condition | _ANY_DIRECTION):
                first = next(iter(line))
                # The waker itself is not closed, and an event loop takes long to tell.
                is_here = waker is not None and first._waker is waker and waker.is_ours
                if not is_here and first._waker.is_closed:
                    first._end(cancelled())
                elif not first.advance():
                    break
        return bool(handle.waiting)
