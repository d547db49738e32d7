"""SocketListener: accepts connections on any number of sockets."""

from __future__ import annotations

import socket as python
from collections import namedtuple
from enum import IntEnum

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.errors import ClosedError, IOErrorEnum, io_error, translated
from unixconn._base.managed import Managed
from unixconn._base.object import Object, Property, Signal
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import SocketAddress, check_address
from unixconn._gio.asynchronous import AWAIT, finish, start_sequence
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.connection import SocketConnection
from unixconn._gio.future import Future
from unixconn._gio.socket import Socket, SocketProtocol, SocketType
from unixconn._gio.task import AsyncResult
from unixconn._io.operation import READABLE, Operation
from unixconn._io.steps import complete_all
from unixconn._kernel import epoll
from unixconn._kernel.connect import accept
from unixconn._kernel.handle import Handle
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from typing import Any, ClassVar, NamedTuple

    from unixconn._gio.asynchronous import Callback
    from unixconn._io.steps import Steps
    from unixconn._kernel.epoll import Watch


_ACCEPT = "g_socket_listener_accept_async"
_ACCEPT_SOCKET = "g_socket_listener_accept_socket_async"


class SocketListenerEvent(IntEnum):
    """What a SocketListener tells of a socket that it makes (Gio.SocketListenerEvent)."""

    BINDING = 0
    BOUND = 1
    LISTENING = 2
    LISTENED = 3


if TYPE_CHECKING:

    class Accepted(NamedTuple):
        """The result of `SocketListener.accept`."""

        connection: SocketConnection
        """The connection to the peer."""
        source_object: Object | None
        """The object that was given to the listener together with the address or the Socket."""

    class AcceptedSocket(NamedTuple):
        """The result of `SocketListener.accept_socket`."""

        socket: Socket
        """The Socket to talk to the peer."""
        source_object: Object | None
        """The object that was given to the listener together with the address or the Socket."""

    class AddressAdded(NamedTuple):
        """The result of `SocketListener.add_address`."""

        ok: bool
        """Always True: a failure is raised as an Error."""
        effective_address: SocketAddress | None
        """The address that the listener is bound to."""

else:
    Accepted = namedtuple("Accepted", "connection source_object")
    Accepted.__doc__ = "The result of `SocketListener.accept`."
    Accepted.connection.__doc__ = "The connection to the peer."
    AcceptedSocket = namedtuple("AcceptedSocket", "socket source_object")
    AcceptedSocket.__doc__ = "The result of `SocketListener.accept_socket`."
    AcceptedSocket.socket.__doc__ = "The Socket to talk to the peer."
    Accepted.source_object.__doc__ = AcceptedSocket.source_object.__doc__ = (
        "The object that was given to the listener together with the address or the Socket."
    )
    AddressAdded = namedtuple("AddressAdded", "ok effective_address")
    AddressAdded.__doc__ = "The result of `SocketListener.add_address`."
    AddressAdded.ok.__doc__ = "Always True: a failure is raised as an Error."
    AddressAdded.effective_address.__doc__ = "The address that the listener is bound to."


class _Entry:
    """A socket that is listened on, and what its user has given with it."""

    __slots__ = ("_closing", "_holder", "socket", "source_object")

    def __init__(self, socket: Socket, source_object: Object | None) -> None:
        self.socket = socket
        self.source_object = source_object
        self._closing = socket._handle.closing()
        # Not the entry itself: that has the socket, which would have itself then, and stay open when it is dropped.
        self._holder = object()

    def hold(self) -> int:
        """Give a descriptor that is readable when the socket is closed: an epoll does not tell that of itself."""
        return self._closing._hold(self._holder)

    def show(self) -> None:
        """Have the descriptor say what is so: a forked process may have closed its own."""
        self._closing._show()

    def let_go(self) -> None:
        """Undo `hold`."""
        self._closing._let_go(self._holder)


def _forget(entries: list[_Entry], entry: _Entry) -> None:
    """Take *entry* out of *entries*, if it is there."""
    try:
        entries.remove(entry)
    except ValueError:  # another thread was quicker
        return


class _Gate:
    """An epoll that is ready when there is somebody to accept, with what a Handle needs of a socket."""

    family = python.AF_UNIX
    type = python.SOCK_STREAM

    def __init__(self) -> None:
        self._epoll: Watch | None = None

    def register(self, *numbers: int) -> None:
        """Let descriptors make it ready when they are readable."""
        if self._epoll is None:
            self._epoll = epoll.new()
        for number in numbers:
            self._epoll.register(number, epoll.READABLE)

    def fileno(self) -> int:
        """Give the epoll's descriptor."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def close(self) -> None:
        """Close the epoll."""
        if self._epoll is not None:
            self._epoll.close()


class _AcceptAny(Operation[AcceptedSocket]):
    """Accept a connection on any of *entries*; its handle is of the epoll that knows them all."""

    __slots__ = ("_entries", "_made")

    condition = READABLE

    def __init__(self, handle: Handle, entries: list[_Entry]) -> None:
        super().__init__(handle)
        self._entries = entries
        # Not anew for each attempt: its destructor, right before each wait, would swallow what a signal handler raises.
        self._made = Socket()

    def attempt(self, result: list[AcceptedSocket]) -> bool:
        """Accept one."""
        for entry in tuple(self._entries):
            accepted: list[python.socket] = []
            try:
                accept(entry.socket._handle, accepted)
            except ClosedError:  # by its user
                _forget(self._entries, entry)
                entry.let_go()
                continue
            if accepted:
                self._made._take(accepted[0])
                # The others come first the next time. It is twice there for a moment: another thread that accepts, too,
                # must not find it gone.
                self._entries.append(entry)
                _forget(self._entries, entry)
                result.append(AcceptedSocket(self._made, entry.source_object))
                return True
            entry.show()
        if not self._entries:
            raise io_error(IOErrorEnum.CLOSED, "All sockets that were listened on are closed")
        return False

    def discard(self, result: AcceptedSocket) -> None:
        """Close it."""
        result.socket.close()


class SocketListener(Managed, Object):
    """
    Accepts connections on any number of sockets (Gio.SocketListener).

    Signal: ``event`` (SocketListenerEvent, socket), for sockets that `add_address` makes. ``with listener:`` closes it,
    and so does ``async with``.
    """

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("listen-backlog", int, "_get_backlog", "set_backlog", default=10),
    )

    def __init__(self, *, listen_backlog: int = 10) -> None:
        super().__init__()
        self._backlog = as_integer(listen_backlog, "listen_backlog", 0, INT_MAX)
        self._entries: list[_Entry] = []
        # All wait for an epoll that knows the sockets: whoever accepts takes what is there on any of them.
        self._handle = Handle()
        self._gate = _Gate()
        self._closed = False

    @classmethod
    def new(cls) -> SocketListener:
        """Make one."""
        return cls()

    def do_event(self, event: SocketListenerEvent, socket: Socket) -> None:
        """Run at each event, after the plain handlers. For subclasses."""

    _signals: ClassVar = {"event": Signal(do_event)}

    # --- what it listens on ---

    def _get_backlog(self) -> int:
        return self._backlog

    def set_backlog(self, listen_backlog: int) -> None:
        """Set how many connections may wait to be accepted on each socket, from now on."""
        self._backlog = as_integer(listen_backlog, "listen_backlog", 0, INT_MAX)
        for entry in tuple(self._entries):
            entry.socket.set_listen_backlog(self._backlog)
            entry.socket.listen()

    def add_socket(self, socket: Socket, source_object: Object | None = None) -> bool:
        """
        Listen on *socket*, which was bound and told to listen, and give True; accepting gives *source_object* with it.

        Several processes may accept on it, if it has O_NONBLOCK, as those have that `Socket.new` makes: where it
        blocks, who is not the quickest waits in accept(2), and no Cancellable ends that. Raises the Error CLOSED if
        this was closed.
        """
        if not isinstance(socket, Socket):
            raise TypeError(f"socket must be a Socket, not {socket!r}")
        self._check()
        socket._check()
        entry = _Entry(socket, source_object)
        try:
            self._gate.register(socket.get_fd(), entry.hold())
        except OSError as error:
            entry.let_go()
            raise translated(error, "Listening on a socket: ") from None
        if not self._handle.opened:
            self._handle.open(self._gate)
        self._entries.append(entry)
        return True

    def add_address(
        self,
        address: SocketAddress,
        type: SocketType,  # noqa: A002 - Gio's name
        protocol: SocketProtocol,
        source_object: Object | None = None,
    ) -> AddressAdded:
        """
        Make a socket, bind it to *address*, and listen on it; give (True, the address).

        Raises the Error ADDRESS_IN_USE for an address that is taken, else that of bind(2)'s errno, and CLOSED.
        """
        check_address(address)
        self._check()
        socket = Socket.new(address.get_family(), type, protocol)
        try:
            self._listen_on(socket, address)
            self.add_socket(socket, source_object)
        except BaseException:
            socket.close()
            raise
        return AddressAdded(True, socket.get_local_address())

    def _listen_on(self, socket: Socket, address: SocketAddress) -> None:
        socket.set_listen_backlog(self._backlog)
        self.emit("event", SocketListenerEvent.BINDING, socket)
        socket.bind(address, True)
        self.emit("event", SocketListenerEvent.BOUND, socket)
        self.emit("event", SocketListenerEvent.LISTENING, socket)
        socket.listen()
        self.emit("event", SocketListenerEvent.LISTENED, socket)

    def add_inet_port(self, port: int, source_object: Object | None = None) -> bool:
        """Raise the Error NOT_SUPPORTED."""
        raise io_error(IOErrorEnum.NOT_SUPPORTED, "Ports are not supported: unixconn listens on Unix addresses only")

    def add_any_inet_port(self, source_object: Object | None = None) -> int:
        """Raise the Error NOT_SUPPORTED."""
        self.add_inet_port(0, source_object)
        return 0

    def close(self) -> None:
        """Close all its sockets. Whoever waits to accept ends with the Error CLOSED."""
        self._closed = True
        self._handle.close()
        while self._entries:
            for entry in tuple(self._entries):
                entry.let_go()
                entry.socket.close()
                # The last: what a signal handler has broken off is there for the next close().
                _forget(self._entries, entry)

    def _check(self) -> None:
        if self._closed:
            raise io_error(IOErrorEnum.CLOSED, "Listener is already closed")

    # --- accepting ---

    def accept(self, cancellable: Cancellable | None = None) -> Accepted:
        """
        Wait for a connection, and give (connection, source_object).

        Errors: CLOSED, also when its sockets were closed one by one; CANCELLED; TOO_MANY_OPEN_FILES; NOT_INITIALIZED if
        there never was anything to listen on.
        """
        check_cancellable(cancellable)
        return complete_all(self._accept(), cancellable, blocking=True)

    def accept_socket(self, cancellable: Cancellable | None = None) -> AcceptedSocket:
        """Like `accept`, with the Socket in the place of the connection."""
        check_cancellable(cancellable)
        return complete_all(self._accept_socket(), cancellable, blocking=True)

    @overload
    def accept_async(self, cancellable: Cancellable | None = None) -> Future[Accepted]: ...

    @overload
    def accept_async(
        self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: Any
    ) -> None: ...

    def accept_async(self, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any) -> Any:
        """
        Start what `accept` does, without waiting for its end.

        *callback* gets (listener, result, *user_data), and calls `accept_finish`; without one, None being one too, a
        `Future` is given, to be awaited.
        """
        return start_sequence(
            self,
            _ACCEPT,
            self._accept(),
            cancellable,
            callback,
            user_data,
            discard=_close_connection,
        )

    def accept_finish(self, result: AsyncResult) -> Accepted:
        """
        Give (connection, source_object), or raise the Error, for the *result* of `accept_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another listener or operation, or whose
        value was handed out already.
        """
        return finish(self, _ACCEPT, result)

    @overload
    def accept_socket_async(self, cancellable: Cancellable | None = None) -> Future[AcceptedSocket]: ...

    @overload
    def accept_socket_async(
        self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: Any
    ) -> None: ...

    def accept_socket_async(self, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any) -> Any:
        """Like `accept_async`, for `accept_socket` and `accept_socket_finish`."""
        return start_sequence(
            self,
            _ACCEPT_SOCKET,
            self._accept_socket(),
            cancellable,
            callback,
            user_data,
            discard=_close_socket,
        )

    def accept_socket_finish(self, result: AsyncResult) -> AcceptedSocket:
        """Like `accept_finish`, for the *result* of `accept_socket_async`."""
        return finish(self, _ACCEPT_SOCKET, result)

    # --- step by step ---

    def _accept_socket(self) -> Steps[AcceptedSocket]:
        self._check()
        try:
            return (yield _AcceptAny(self._handle, self._entries))  # type: ignore[no-any-return]
        except ClosedError:
            self._check()
            raise

    def _accept(self) -> Steps[Accepted]:
        socket, source_object = yield from self._accept_socket()
        connection: SocketConnection = socket.connection_factory_create_connection()
        return Accepted(connection, source_object)


def _close_connection(accepted: Accepted) -> None:
    accepted.connection.close()


def _close_socket(accepted: AcceptedSocket) -> None:
    accepted.socket.close()
