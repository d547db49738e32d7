"""
Operations that wait in the background.

A `Waiter` makes the first attempt of an operation in the caller's thread. If the operation would block, the Waiter
joins a queue. A handle has one queue for each direction, and the operations in a queue end in the order of their
starts. When the socket is ready, a reactor calls `serve`, which tries the first operation in the queue again, and then
the next one.

What the user holds is a Waiter itself: Gio's Task and the Future are subclasses. So a waiting operation is one object.
All names of the Waiter begin with an underscore, as these classes show the others to the user.

The operations in one queue may belong to several reactors. Any of these may try the first operation. If the reactor of
the first operation is closed, the operation is cancelled, and the next one is tried. An event loop's reactor is closed
with the loop. In a forked child the parent's reactors count as closed, and their operations are dropped silently.

A Waiter ends once. The thread that ends it holds the handle's lock.
"""

from __future__ import annotations

import errno
import math
import time
from abc import abstractmethod

from unixconn._base.errors import CancelledError, Error, IOErrorEnum, io_error, system_error
from unixconn._base.lock import ending
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import OVERDUE, Operation, is_overdue, timed_out, would_block
from unixconn._kernel.epoll import IOCondition
from unixconn._kernel.trigger import Trigger

if TYPE_CHECKING:
    from typing import Any, Protocol

    from unixconn._kernel.handle import Handle

    class Waker(Protocol):
        """A reactor, see reactor.py. It calls `serve` when a socket is ready, and `Waiter._ring` at the alarm."""

        @property
        def is_ours(self) -> bool:
            """Whether this process has made the reactor, rather than a process that this one was forked from."""

        @property
        def is_closed(self) -> bool:
            """Whether the reactor will never serve an operation again."""

        def add(self, waiter: Waiter) -> None:
            """Serve *waiter* from now on."""

        def remove(self, waiter: Waiter) -> None:
            """Stop serving *waiter*."""

        def rearm(self, handle: Handle) -> None:
            """Watch *handle* again, as operations of it still wait. The caller holds its lock."""


_NEVER = math.inf
_ANY_DIRECTION = int(IOCondition.ERR | IOCondition.HUP | IOCondition.NVAL)


class Waiter:
    """
    An operation that runs in the background, and its result.

    The attributes below are defaults: an object has only those that differ.
    """

    _operation: Operation[Any]
    _result: list[Any]
    """Has the result when there is one. The attempt of the operation puts it there."""
    _error: Exception | None = None
    _failure: Error | None = None
    """The Error of an attempt, until it has become `_error`."""
    _trigger: Trigger | None = None
    _waker: Waker
    """The reactor that serves the operation while it waits."""
    _deadline: float | None = None
    _alarm: float | None = None
    """When to call `_ring`, a time of `time.monotonic`: at the deadline, or for the next regular attempt."""
    _waits = False
    """Whether the operation has ever joined the handle's queue."""
    _is_over = False
    """Whether the wait is over. `_tell` was called, or is about to be."""
    _is_told = False
    """Whether `_tell` has returned, or nobody is to be told."""
    _trying = _missed = _is_aborted = False

    @abstractmethod
    def _waker_for(self, operation: Operation[Any]) -> Waker:
        """Return the reactor that serves *operation* while it waits."""

    @abstractmethod
    def _tell(self) -> None:
        """
        Pass on the end of the operation: `_result` has an item, or `_error` is set.

        It may be called twice, and has to do its work only once. The caller holds the lock of the handle.
        """

    def _perform(  # noqa: C901, PLR0912, PLR0915 - one frame for each operation
        self, operation: Operation[Any], trigger: Trigger | None, blocking: bool
    ) -> None:
        """
        Make the first attempt of *operation*. If it would block, let it wait in the background.

        It waits for at most its timeout, which begins with the wait. `_tell` is called at the end. If *blocking* is
        false, and the operation would block, the Error is WOULD_BLOCK.
        """
        result: list[Any] = []
        self._operation = operation
        self._result = result
        telling = False
        handle = operation.handle
        with handle.entered:
            try:
                try:
                    operation.begin()
                    if handle.number < 0:
                        handle.check()
                    if trigger is not None:
                        trigger._check()
                except Error:
                    # Gio reports wrong arguments first.
                    operation.check()
                    raise
                if not (handle.waiting and _has_predecessors(operation)) and operation.attempt(result):
                    operation.end()
                    telling = True
                    self._tell()
                    return
                if not blocking:
                    raise would_block(handle)
                # Join the handle's queue.
                operation.hold()
                if operation.timeout is not None or operation.interval != _NEVER:
                    self._start_clock(operation)
                self._waker = waker = self._waker_for(operation)
                self._waits = True
                handle.waiting.setdefault(operation.condition, {})[self] = None
                if trigger is not None:
                    self._trigger = trigger
                    trigger._watch(self)
                waker.add(self)
                if self._is_told:  # a signal handler has ended it meanwhile
                    self._end_wait()
                elif handle.number < 0 or self._is_aborted or (trigger is not None and trigger._is_set()):
                    # The trigger may have been set, or the handle closed, before this was in the list of either.
                    self._look()
            except Error as error:
                try:
                    self._give_up()
                finally:  # a signal handler may raise in it
                    self._give_up()
                self._fail(_to_tell(error, operation))
            except BaseException:  # raised by a signal handler: it comes out to the caller
                self._give_up()
                if telling:
                    self._tell()
                else:
                    self._discard_result()
                raise

    def _start_clock(self, operation: Operation[Any]) -> None:
        if operation.timeout is not None:
            if OVERDUE and is_overdue(operation.handle):
                raise timed_out()
            self._deadline = time.monotonic() + operation.timeout
        self._set_alarm()

    def _discard_result(self) -> None:
        while self._result:
            self._operation.withdraw(self._result.pop())

    def _give_up(self) -> None:
        if self._waits:
            # Leave the queue, and tell nobody.
            self._is_told = True
            self._end_wait()
        self._operation.end()

    @ending
    def _fail(self, error: Error) -> None:
        self._error = error
        self._tell()

    # The caller of a method below holds the handle's lock, unless the method takes it itself.

    def _advance(self) -> bool:
        """Make an attempt; return whether the operation has ended."""
        if self._trying:  # a signal handler came here in the middle of an attempt
            return False
        try:
            self._trying = True
            try:
                over = self._is_over or self._failure or self._result or self._operation.attempt(self._result)
            except Error as error:
                self._failure, over = error, True
            except MemoryError:  # another attempt would need as much
                self._failure, over = system_error(errno.ENOMEM, ""), True
            if over:
                self._end_wait()
        except BaseException:  # raised by a signal handler: go on with the outcome of the attempt, or make another
            self._trying = False
            self._advance()
            raise
        finally:
            self._trying = False
        if self._missed:  # a signal handler has called `_look` meanwhile
            self._missed = False
            self._look()
        return self._is_told

    @ending
    def _look(self) -> None:
        """
        End the wait if the handle was closed, the trigger is set, or the deadline has passed.

        Takes the lock itself.
        """
        if not self._waits:
            return
        operation = self._operation
        with operation.handle.entered:
            if self._trying:
                self._missed = True
            elif self._is_over or self._failure is not None or self._result:
                # `ending` calls this again, and an exception may have interrupted `_end_wait`.
                self._end_wait()
            else:
                try:
                    operation.handle.check()
                    if self._deadline is not None and time.monotonic() >= self._deadline:
                        raise timed_out()
                    if self._is_aborted or self._waker.is_closed:
                        raise cancelled()
                    if self._trigger is not None:
                        self._trigger._check()
                except Error as error:
                    self._failure = error
                    self._end_wait()

    def _ring(self) -> None:
        """Do what is due at `_alarm`, and set the next alarm. Takes the lock itself."""
        self._look()
        if self._operation.interval != _NEVER:
            with self._operation.handle.entered:
                if not self._is_told and self._alarm is not None and time.monotonic() >= self._alarm:
                    self._advance()
                    self._set_alarm()

    def _set_alarm(self) -> None:
        self._alarm = self._deadline
        if self._operation.interval != _NEVER:
            self._alarm = min(time.monotonic() + self._operation.interval, self._deadline or _NEVER)

    def _attend(self, trigger: Trigger) -> None:
        """Let *trigger* end the wait, which began without a trigger. Takes the lock itself."""
        with self._operation.handle.entered:
            if not self._is_told:
                self._trigger = trigger
                trigger._watch(self)
        self._look()

    def _abort(self) -> None:
        """End the wait with CANCELLED. Takes the lock itself."""
        self._is_aborted = True
        self._look()

    def _break_off(self, error: Error) -> None:
        """End the wait with a copy of *error*, as its reactor cannot wait any more. Takes the lock itself."""
        with self._operation.handle.entered:
            if not (self._result or self._trying or self._is_over):
                self._failure = error
            self._advance()

    def _end_wait(self) -> None:
        """Leave the queue, and call `_tell` unless that was done."""
        # The caller calls this again if an exception interrupts it.
        operation, waker = self._operation, self._waker
        try:
            # This comes before `remove`, which may wake the reactor's thread: that thread reads it to see if anything
            # still waits.
            self._is_over = True
            waiting = operation.handle.waiting
            line = waiting.get(operation.condition)
            if line is not None:
                line.pop(self, None)
                if not line:
                    waiting.pop(operation.condition, None)
            waker.remove(self)
            if self._trigger is not None:
                self._trigger._unwatch(self)
            operation.end()
        finally:
            if not self._is_told:
                if self._failure is not None:
                    self._error = _to_tell(self._failure, operation)
                # In a forked child nobody is told: the operation belongs to the parent.
                if waker.is_ours:
                    self._tell()
                self._is_told = True
            if self._failure is not None:
                # The frames in its traceback refer to this object.
                self._failure = None


def _has_predecessors(operation: Operation[Any]) -> bool:
    for first in list(operation.handle.waiting.get(operation.condition, ())):
        if not first._waker.is_closed:
            return True
        first._look()
        if not first._is_over:  # a signal handler has interrupted an attempt
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


def serve(handle: Handle, events: int, waker: Waker | None = None) -> None:
    """
    Try the operations of *handle* that wait for *events*, which has the numbers of poll(2).

    *waker* is the reactor that calls this, None for another caller. If operations still wait, the reactor watches the
    handle again.
    """
    with handle.entered:
        waiting = handle.waiting
        try:
            for condition, line in tuple(waiting.items()):
                goes_on = events & (condition | _ANY_DIRECTION)
                while True:
                    if not line or not goes_on:
                        break
                    first = next(iter(line))
                    # A reactor that calls this is not closed, and an event loop takes long to say so.
                    if not (first._waker is waker and waker.is_ours) and first._waker.is_closed:
                        first._look()
                        goes_on = first not in line  # otherwise a signal handler has interrupted an attempt
                    else:
                        goes_on = first._advance()
        finally:
            # This runs even if a signal handler raises an exception.
            if waiting and waker is not None:
                waker.rearm(handle)
