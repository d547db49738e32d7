"""
Operations that wait in the background.

`try_or_wait` makes the first attempt, in the caller's thread. If the operation would block, it joins a queue as a
`Waiter`. A handle has one queue for each direction, and the operations in a queue end in the order of their starts.
When the socket is ready, a reactor calls `serve`, which tries the first operation in the queue again, and then the next
one.

The operations in one queue may belong to several reactors. Any of these may try the first operation. If the reactor of
the first operation is closed, the operation is cancelled, and the next one is tried. An event loop's reactor is closed
with the loop. In a forked child the parent's reactors count as closed, and their operations are dropped silently.

A Waiter ends once. The thread that ends it holds the handle's lock.
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
        """A reactor, see reactor.py. It calls `serve` when a socket is ready, and `Waiter.ring` at the alarm."""

        @property
        def is_ours(self) -> bool:
            """Whether this process has made the reactor, rather than a process that this one was forked from."""

        @property
        def is_closed(self) -> bool:
            """Whether the reactor will never serve an operation again."""

        def add(self, waiter: Waiter[Any]) -> None:
            """Serve *waiter* from now on."""

        def remove(self, waiter: Waiter[Any]) -> None:
            """Stop serving *waiter*."""


T = TypeVar("T")

_ANY_DIRECTION = int(IOCondition.ERR | IOCondition.HUP | IOCondition.NVAL)


class Waiter(Generic[T]):
    """An operation that waits. The caller of a method holds the handle's lock, unless the method takes it itself."""

    __slots__ = (
        "_cancelled",
        "_condition",
        "_deadline",
        "_error",
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
        """Prepare to wait. *finish* is called at the end, with a list that has the result, or with the Error."""
        self.alarm: float | None = None
        """When to call `ring`, a time of `time.monotonic`: at the deadline, or for the next regular attempt."""
        self.has_ended: bool = False
        """Whether the wait is over. *finish* was called, or is about to be."""
        self._deadline: float | None = None
        self._operation = operation
        self._handle = operation.handle
        self._condition = operation.condition
        self._trigger = trigger
        self._waker = waker
        self._finish: Callable[[list[T], Error | None], None] | None = finish
        self._result: list[T] = []
        self._error: Error | None = None
        self._trying = self._missed = self._cancelled = False

    @property
    def handle(self) -> Handle:
        """The handle of the operation."""
        return self._handle

    def join(self) -> None:
        """Join the handle's queue. The operation's timeout begins now."""
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
            # The trigger may have been set, or the handle closed, before this was in the list of either.
            self.look()

    def abandon(self) -> None:
        """Leave the queue, without a call of *finish*."""
        self._finish = None
        self._leave()

    def advance(self) -> bool:
        """Make an attempt; return whether the operation has ended."""
        if self._trying:  # a signal handler came here in the middle of an attempt
            return False
        try:
            self._trying = True
            try:
                over = self._error is not None or bool(self._result) or self._operation.attempt(self._result)
            except Error as error:
                # Without the traceback, whose frames refer to this.
                self._error, over = error.with_traceback(None), True
            if over:
                self._end(self._error)
        except BaseException:  # raised by a signal handler: go on with the outcome of the attempt, or make another
            self._trying = False
            self.advance()
            raise
        finally:
            self._trying = False
        if self._missed:  # a signal handler has called `look` meanwhile
            self._missed = False
            self.look()
        return self._finish is None

    @ending
    def look(self) -> None:
        """
        End the wait if the handle was closed, the trigger is set, or the deadline has passed.

        Takes the lock itself.
        """
        with self._handle.lock.entered:
            if self._trying:
                self._missed = True
            elif self._finish is None:
                # `ending` calls this again, and an exception may have interrupted `_leave`.
                self._leave()
            else:
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
        """Do what is due at `alarm`, and set the next alarm. Takes the lock itself."""
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
        """Let *trigger* end the operation, which was started without a trigger. Takes the lock itself."""
        with self._handle.lock.entered:
            if self._finish is not None:
                self._trigger = trigger
                trigger._watch(self)
        self.look()

    def cancel(self) -> None:
        """End the operation with CANCELLED. Takes the lock itself."""
        self._cancelled = True
        self.look()

    def _end(self, error: Error | None) -> None:
        # The caller calls this again if an exception interrupts it.
        try:
            self._leave()
        finally:
            # In a forked child *finish* is not called: the operation belongs to the parent. *finish* may be called
            # twice, and does its work only once.
            if self._waker.is_ours and self._finish is not None:
                self._finish(self._result, error and _to_tell(error, self._operation))
            self._finish = None

    def _leave(self) -> None:
        # This comes before `remove`, which may wake the reactor's thread: that thread reads it to see if anything still
        # waits.
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
    Make the first attempt of *operation*. If it would block, let it wait in the background, for at most its timeout.

    *finish* is called at the end, with a list that has the result, or with the Error. It may be called twice, and has
    to do its work only once. If *blocking* is false and the operation would block, the Error is WOULD_BLOCK.
    *waker_for* returns the reactor that serves the operation while it waits.

    Returns the Waiter; None if the operation has ended already.
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
            if not isinstance(caught, Error):  # raised by a signal handler: it comes out to the caller
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
        first.look()
        if not first.has_ended:  # a signal handler has interrupted an attempt
            return True
    return False


def _to_tell(error: Error, operation: Operation[Any]) -> Error:
    # Without the traceback, whose frames would keep their objects alive. CANCELLED has no prefix, as in Gio the GTask
    # raises it itself.
    told = error.prefixed("" if isinstance(error, CancelledError) else operation.prefix)
    operation.explain(told)
    return told.with_traceback(None)


def cancelled() -> Error:
    """Return the Error CANCELLED."""
    return io_error(IOErrorEnum.CANCELLED, "Operation was cancelled")


def serve(handle: Handle, events: int, waker: Waker | None = None) -> bool:
    """
    Try the operations of *handle* that wait for *events*, which has the numbers of poll(2).

    *waker* is the reactor that calls this, None for another caller. Returns whether any operations of the handle still
    wait.
    """
    with handle.lock.entered:
        for condition, line in tuple(handle.waiting.items()):
            while line and events & (condition | _ANY_DIRECTION):
                first = next(iter(line))
                # A reactor that calls this is not closed, and an event loop takes long to say so.
                is_here = waker is not None and first._waker is waker and waker.is_ours
                if not is_here and first._waker.is_closed:
                    first.look()
                    if first in line:  # a signal handler has interrupted an attempt
                        break
                elif not first.advance():
                    break
        return bool(handle.waiting)
