"""SocketService and ThreadedSocketService: accept connections, and hand each to whoever has connected to a signal."""

from __future__ import annotations

import sys
import threading

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.errors import CancelledError, ClosedError, Error
from unixconn._base.object import Object, Property, Signal
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.connection import SocketConnection
from unixconn._gio.listener import SocketListener
from unixconn._gio.socket import Socket
from unixconn._io.delivery import Delivery

if TYPE_CHECKING:
    from typing import ClassVar

    from unixconn._gio.task import AsyncResult

_AFTER_AN_ERROR = 0.1
"""Seconds until it accepts again, where accepting has failed: in a process without a free descriptor, for one."""


class SocketService(SocketListener):
    """
    Accepts connections in the background, and emits a signal for each (Gio.SocketService).

    In the context, or the asyncio loop, of the thread that starts it, or adds the first socket. It is active from the
    beginning. Signal: ``incoming`` (connection, source_object), until a handler returns True; a connection that nobody
    keeps is closed. An Error in accepting goes to `sys.excepthook`, and it tries again a little later.
    """

    _properties: ClassVar[tuple[Property, ...]] = (Property("active", bool, "is_active", "_set_active", default=True),)

    def __init__(self, *, active: bool = True, listen_backlog: int = 10) -> None:
        super().__init__(listen_backlog=listen_backlog)
        self._active = bool(active)
        self._accepting: Cancellable | None = None
        # Where it has begun to accept, and goes on.
        self._delivery: Delivery | None = None

    @classmethod
    def new(cls) -> SocketService:
        """Make one; it is active."""
        return cls()

    def do_incoming(self, connection: SocketConnection, source_object: Object | None) -> bool:
        """Run for each connection that no handler has returned True for. For subclasses."""
        return False

    _signals: ClassVar = {"incoming": Signal(do_incoming, ends_when_true=True)}

    def is_active(self) -> bool:
        """Tell whether it accepts connections, or would if it had a socket to listen on."""
        return self._active

    def start(self) -> None:
        """Accept connections."""
        self._set_active(True)

    def stop(self) -> None:
        """Leave connections waiting, until `start`; the sockets stay open."""
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
        """Close all its sockets, and accept nothing more."""
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
            self._delivery = Delivery()
            self._accept_by(Cancellable())

    def _accept_by(self, accepting: Cancellable) -> None:
        try:
            self._accepting = accepting
            self.accept_async(accepting, self._arrived, accepting)
        except BaseException:  # of a signal handler: whether it has begun or not, another one will
            self._accepting = None
            accepting.cancel()
            if self._delivery is not None:
                self._delivery.call_later(0.0, self._accept_next)
            raise

    def _arrived(self, _listener: SocketListener, result: AsyncResult, accepting: Cancellable) -> None:
        try:
            try:
                connection, source_object = self.accept_finish(result)
            except Error as error:
                if accepting is self._accepting:
                    self._accepting = None
                if not isinstance(error, (CancelledError, ClosedError)):
                    # Before it is told: the hook may raise, and so may a signal handler in it.
                    if self._delivery is not None:
                        self._delivery.call_later(_AFTER_AN_ERROR, self._accept_next)
                    sys.excepthook(*sys.exc_info())
            else:
                self._incoming(connection, source_object)
        finally:
            # Whatever a signal handler has raised, but not if a handler has stopped it.
            if accepting is self._accepting:
                self._accepting = None
                if self._wants_more():
                    self._accept_by(accepting)

    def _incoming(self, connection: SocketConnection, source_object: Object | None) -> None:
        self.emit("incoming", connection, source_object)


class ThreadedSocketService(SocketService):
    """
    Runs the handlers of each connection in a thread of its own (Gio.ThreadedSocketService).

    Not more than *max_threads* at a time, -1 for any number: further connections wait to be accepted. Signal: ``run``
    (connection, source_object), in that thread; the connection is closed after it if nobody keeps it.
    """

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("max-threads", int, "_get_max_threads", default=10, construct_only=True),
    )

    def __init__(self, *, max_threads: int = 10, active: bool = True, listen_backlog: int = 10) -> None:
        super().__init__(active=active, listen_backlog=listen_backlog)
        self._max_threads = as_integer(max_threads, "max_threads", -1, INT_MAX)
        self._running: set[threading.Thread] = set()

    @classmethod
    def new(cls, max_threads: int = 10) -> ThreadedSocketService:
        """Make one; it is active."""
        return cls(max_threads=max_threads)

    def _get_max_threads(self) -> int:
        return self._max_threads

    def do_run(self, connection: SocketConnection, source_object: Object | None) -> bool:
        """Run for each connection that no handler has returned True for. For subclasses."""
        return False

    _signals: ClassVar = {"run": Signal(do_run, ends_when_true=True)}

    def _incoming(self, connection: SocketConnection, source_object: Object | None) -> None:
        if self.emit("incoming", connection, source_object):
            return
        arguments = (connection, source_object)
        thread = threading.Thread(target=self._run, args=arguments, name="unixconn service", daemon=True)
        self._running.add(thread)
        try:
            thread.start()
        except BaseException:  # no thread is to be had, or of a signal handler
            if not thread.is_alive():
                self._running.discard(thread)
            raise

    def _run(self, connection: SocketConnection, source_object: Object | None) -> None:
        try:
            # Again: a signal handler may have raised in its start, which was taken to have failed then.
            self._running.add(threading.current_thread())
            self.emit("run", connection, source_object)
        finally:
            self._running.discard(threading.current_thread())
            if self._delivery is not None:
                self._delivery.call_later(0.0, self._accept_next)

    def _wants_more(self) -> bool:
        return super()._wants_more() and (self._max_threads < 0 or len(self._running) < self._max_threads)
