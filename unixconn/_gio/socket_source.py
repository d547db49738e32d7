"""SocketSource: a Source that becomes ready when a socket does."""

from __future__ import annotations

import threading

from unixconn._base.errors import CancelledError, TimedOutError
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.cancellable import Cancellable
from unixconn._io.connecting import AwaitCondition
from unixconn._io.delivery import ContextReactor, reactor_of
from unixconn._io.main_context import MainContext
from unixconn._io.operation import OVERDUE
from unixconn._io.source import Source
from unixconn._io.waiter import Waiter
from unixconn._kernel.epoll import IOCondition

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unixconn._gio.socket import Socket
    from unixconn._io.operation import Operation


class SocketSource(Source):
    """
    A Source for a socket, made by `Socket.create_source`.

    It becomes ready when one of *condition*, ERR or HUP holds for *socket*, when the timeout of *socket* has passed,
    when *socket* is closed, and each time *cancellable* is cancelled.
    """

    __slots__ = ("_cancellable", "_condition", "_found", "_is_cancelled", "_is_late", "_is_over", "_socket", "_waiter")

    def __init__(self, socket: Socket, condition: int, cancellable: Cancellable | None) -> None:
        super().__init__()
        self._socket = socket
        self._condition = condition
        self._cancellable = cancellable
        self._found = IOCondition(0)
        self._waiter: _Condition | None = None
        self._is_late = False
        """Whether it is ready because the timeout has passed."""
        self._is_over = False
        """Whether nothing can be waited for any more, as the socket was closed."""
        self._is_cancelled = False
        """Whether the callback is still to be told that the Cancellable was cancelled."""

    def set_callback(self, callback: Callable[..., object], *data: object) -> None:
        """
        Set *callback*, which is called with the socket, the conditions that hold, and *data*.

        See `Source.set_callback` and `Socket.create_source`. Raises TypeError for a *callback* that cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")

        def call() -> object:
            thread = threading.get_ident()
            try:
                try:
                    if self._is_late:
                        OVERDUE[thread] = self._socket._handle
                    return callback(self._socket, self._found, *data)
                finally:
                    OVERDUE.pop(thread, None)
            finally:  # a signal handler may raise before the first step of the other one
                OVERDUE.pop(thread, None)

        self._call = call

    def attach(self, context: MainContext | None = None) -> int:
        """See `Source.attach`."""
        if self._cancellable is not None:
            # This comes first, as it may raise an Error.
            self._cancellable._set_alarm()
        return super().attach(context)

    def destroy(self) -> None:
        """See `Source.destroy`."""
        super().destroy()
        if self._cancellable is not None:
            self._cancellable._unwatch(self)
        if self._waiter is not None:
            self._waiter._abort()

    def _prepare(self) -> None:
        if self._is_over:
            return
        if self._waiter is None and self._cancellable is not None:
            self._cancellable._watch(self)
            # Not `_is_set`, as the thread tells of a deadline that has just passed.
            self._is_cancelled = self._cancellable._code is not None
        self._waiter = waiter = _Condition(self)
        if self._is_cancelled:
            self._tell(IOCondition(0))
        else:
            # Without the Cancellable, which stays set: the callback would be told again and again.
            operation = AwaitCondition(self._socket._handle, self._condition)
            waiter._perform(self._socket._timed(operation), None, True)
            self._look_again(waiter)

    def _look_again(self, waiter: _Condition) -> None:
        """End *waiter* if another thread has cancelled or destroyed the source since `_prepare` looked."""
        if self._is_cancelled or self._destroyed:
            waiter._abort()

    def _look(self) -> None:
        """Become ready if the Cancellable is cancelled."""
        if self._cancellable is not None and self._cancellable._is_set():
            self._is_cancelled = True
            if self._waiter is not None:
                self._waiter._abort()

    def _end(self, found: IOCondition, error: Exception | None) -> None:
        """Become ready, as the wait has ended with *found* or *error*. Gio's conditions: gsocket.c."""
        if isinstance(error, CancelledError):
            found = IOCondition(0)
        elif isinstance(error, TimedOutError):
            found = (IOCondition.IN | IOCondition.OUT) & self._condition
        elif error is not None:
            found = IOCondition.NVAL if self._socket._handle.number < 0 else IOCondition.ERR
            self._is_over = True
        self._is_late = isinstance(error, TimedOutError)
        self._tell(found)

    def _tell(self, found: IOCondition) -> None:
        self._found = found
        if not found:
            self._is_cancelled = False
        if not self._destroyed:
            self._make_ready()


class _Condition(Waiter):
    """The wait until *source* is ready once more."""

    def __init__(self, source: SocketSource) -> None:
        self._source = source

    def _waker_for(self, operation: Operation[Any]) -> ContextReactor:
        return reactor_of(self._source._context or MainContext.default())

    def _tell(self) -> None:
        self._source._end(IOCondition(0) if self._error is not None else self._result[0], self._error)
