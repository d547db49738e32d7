"""SocketService and ThreadedSocketService: accept connections in the background, and emit a signal for each."""

from __future__ import annotations

import sys
import threading

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.errors import CancelledError, ClosedError, Error, IOErrorEnum, io_error
from unixconn._base.object import Object, Property, Signal
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.connection import SocketConnection
from unixconn._gio.dropped import COUNTS_REFERENCES, Dropped
from unixconn._gio.listener import AFTER_AN_ERROR, SocketListener
from unixconn._gio.socket import Socket
from unixconn._gio.task import Task
from unixconn._io.delivery import here

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from unixconn._io.asyncio_loop import AsyncioLoop
    from unixconn._io.delivery import ContextReactor


class _AcceptTask(Task):
    """The Task of a service, which nobody else sees."""

    def _complete(self) -> None:
        self._callback = None


class SocketService(SocketListener):
    """
    A listener that accepts connections in the background, and emits a signal for each (Gio.SocketService).

    A new service is *active*: it accepts connections as soon as it has a socket. The handlers run in the context, or
    the asyncio loop, of the thread that adds the first socket or calls `start`. If accepting fails, the Error goes to
    `sys.excepthook`, and the service tries again 0.1 seconds later.

    Signal: ``incoming``, with the connection and the source_object of `add_socket`. A handler that returns True ends
    the emission. A connection to which no handler keeps a reference is closed. PyPy needs a garbage collection for
    that, unless the handlers close their connections.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (Property("active", bool, "is_active", "_set_active", default=True),)

    def __init__(self, *, active: bool = True, listen_backlog: int = 10) -> None:
        super().__init__(listen_backlog=listen_backlog)
        self._active = bool(active)
        self._accepting: Cancellable | None = None
        self._dropped = Dropped()
        # The context or the event loop in which the service accepts.
        self._place: ContextReactor | AsyncioLoop | None = None

    @classmethod
    def new(cls) -> SocketService:
        """Return a new SocketService, which is active."""
        return cls()

    def do_incoming(self, connection: SocketConnection, source_object: Object | None) -> bool:
        """
        Handle the signal ``incoming`` after the plain handlers, unless one returned True.

        Subclasses override this method. It returns whether it has taken care of *connection*.
        """
        return False

    _signals: ClassVar = {"incoming": Signal(do_incoming, ends_when_true=True)}

    def is_active(self) -> bool:
        """Return whether the service accepts connections on the sockets that it has (g_socket_service_is_active)."""
        return self._active

    def start(self) -> None:
        """Accept connections, including those that came after `stop` (g_socket_service_start)."""
        self._set_active(True)

    def stop(self) -> None:
        """Leave new connections in the kernel's queue until `start`; the sockets stay open (g_socket_service_stop)."""
        self._set_active(False)

    def _set_active(self, active: bool) -> None:
        if self._active != bool(active):
            self._active = bool(active)
            self._notify("active")
        if self._active:
            self._accept_next()
        else:
            self._accept_no_more()

    def add_socket(self, socket: Socket, source_object: Object | None = None) -> bool:
        """See `SocketListener.add_socket`."""
        super().add_socket(socket, source_object)
        self._accept_next()
        return True

    def close(self) -> None:
        """Close the service and all of its sockets, and accept no more connections."""
        super().close()
        self._accept_no_more()

    def _accept_no_more(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None

    def _wants_more(self) -> bool:
        return bool(self._active and self._entries and not self._closed)

    def _accept_next(self) -> None:
        if self._accepting is None and self._wants_more():
            self._place = here()
            self._accept_by(Cancellable())

    def _accept_by(self, accepting: Cancellable) -> None:
        has_begun = False
        try:
            self._accepting = accepting
            # What `accept_async` does, in a place that is known.
            task = _AcceptTask(self, "g_socket_listener_accept_async", accepting)
            task._callback, task._data, task._place = self._arrived, (accepting,), self._place
            task._perform(self._accept_operation(), accepting, True)
            has_begun = True
        finally:
            if not has_begun:
                # A signal handler raised an exception, and accepting may or may not have begun. Begin again.
                self._accepting = None
                accepting.cancel()
                if self._place is not None:
                    self._place.call_later(0.0, self._accept_next)

    def _arrived(self, _listener: SocketListener, task: Task, accepting: Cancellable) -> None:
        try:
            try:
                if task._error is not None:
                    failure: Any = task._error
                    raise failure.copy() if isinstance(failure, Error) else failure  # see `UserError`
                # If a signal handler raises an exception, the connection is dropped, and so closed.
                connection, source_object = task._result.pop()
            except Error as error:
                if accepting is self._accepting:
                    self._accepting = None
                if not isinstance(error, (CancelledError, ClosedError)):
                    # This comes before the report: the hook, or a signal handler during it, may raise an exception.
                    if self._place is not None:
                        self._place.call_later(AFTER_AN_ERROR, self._accept_next)
                    sys.excepthook(*sys.exc_info())
            else:
                self._incoming(connection, source_object)
        finally:
            # This runs even if a signal handler raised an exception, but not if a handler has called stop().
            if accepting is self._accepting:
                self._accepting = None
                if self._wants_more():
                    self._accept_by(accepting)

    def _incoming(self, connection: SocketConnection, source_object: Object | None) -> None:
        try:
            self._emit("incoming", "", connection, source_object)
        finally:
            if not COUNTS_REFERENCES:
                self._dropped.add(connection, self._place)

    def _state(self) -> str:
        state = super()._state()
        # The attribute is missing if the constructor has failed.
        return state if state == "closed" else f"{'active' if self.__dict__.get('_active') else 'stopped'}, {state}"


class ThreadedSocketService(SocketService):
    """
    A service that runs the handlers of each connection in a separate thread (Gio.ThreadedSocketService).

    There are at most *max_threads* threads at a time, with -1 any number. Further connections stay in the kernel's
    queue.

    Signal: ``run``, with the connection and the source_object of `add_socket`, in the thread. A handler that returns
    True ends the emission. A connection to which no handler keeps a reference is closed afterwards. The signal
    ``incoming`` is emitted first. If one of its handlers returns True, the connection gets no thread.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("max-threads", int, "_get_max_threads", default=10, construct_only=True),
    )

    def __init__(self, *, max_threads: int = 10, active: bool = True, listen_backlog: int = 10) -> None:
        super().__init__(active=active, listen_backlog=listen_backlog)
        self._max_threads = as_integer(max_threads, "max_threads", -1, INT_MAX)
        self._running: set[threading.Thread] = set()

    @classmethod
    def new(cls, max_threads: int = 10) -> ThreadedSocketService:
        """Return a new ThreadedSocketService, which is active; *max_threads* is -1 for any number."""
        return cls(max_threads=max_threads)

    def _get_max_threads(self) -> int:
        return self._max_threads

    def do_run(self, connection: SocketConnection, source_object: Object | None) -> bool:
        """
        Handle the signal ``run`` after the plain handlers, unless one returned True.

        Subclasses override this method. It returns whether it has taken care of *connection*.
        """
        return False

    _signals: ClassVar = {"run": Signal(do_run, ends_when_true=True)}

    def _incoming(self, connection: SocketConnection, source_object: Object | None) -> None:
        is_taken = True
        try:
            is_taken = self.emit("incoming", connection, source_object)
        finally:
            if is_taken and not COUNTS_REFERENCES:
                self._dropped.add(connection, self._place)
        if is_taken:
            return
        arguments = (connection, source_object)
        thread = threading.Thread(target=self._run, args=arguments, name="unixconn service", daemon=True)
        self._running.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # the sys.excepthook gets it, and the connection is closed
            raise io_error(IOErrorEnum.FAILED, f"error handling incoming socket: {error}") from None
        finally:
            # The thread could not be started, a signal handler raised an exception before that, or the thread has
            # ended.
            if not thread.is_alive():
                self._running.discard(thread)
                if not COUNTS_REFERENCES:
                    self._dropped.add(connection, self._place)

    def _run(self, connection: SocketConnection, source_object: Object | None) -> None:
        try:
            # This is checked again: a signal handler may have raised an exception in start(), which then looked like a
            # failure.
            self._running.add(threading.current_thread())
            self.emit("run", connection, source_object)
        finally:
            self._running.discard(threading.current_thread())
            if not COUNTS_REFERENCES:
                self._dropped.add(connection, self._place, threading.current_thread())
            if self._place is not None:
                self._place.call_later(0.0, self._accept_next)

    def _wants_more(self) -> bool:
        return super()._wants_more() and (self._max_threads < 0 or len(self._running) < self._max_threads)
