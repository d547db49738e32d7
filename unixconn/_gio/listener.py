"""SocketListener: accepts connections on any number of listening sockets."""

from __future__ import annotations

import _socket as python
import os
from weakref import ref

import unixconn._gio.connection  # noqa: F401 - it registers the class that accepting from a Unix stream returns
from unixconn._base.arguments import as_int
from unixconn._base.deferred import defer
from unixconn._base.enums import GEnum
from unixconn._base.errors import ClosedError, Error, IOErrorEnum, io_error, translated
from unixconn._base.object import Object, Property, Signal
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar, overload, result_tuple
from unixconn._gio.address import SocketAddress, about_address, check_address
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.socket import Socket
from unixconn._gio.socket_connection import SocketConnection, connection_over
from unixconn._gio.socket_types import SocketProtocol, SocketType
from unixconn._gio.triples import AWAIT, NO_DATA, with_async
from unixconn._io.blocking import complete
from unixconn._io.operation import READABLE, Operation, UserError
from unixconn._kernel import epoll
from unixconn._kernel.connect import accept
from unixconn._kernel.file_descriptor import passer
from unixconn._kernel.handle import Handle
from unixconn._kernel.sockets import SocketType as KernelSocket
from unixconn._kernel.sockets import close_socket

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, NamedTuple

    from unixconn._gio.asynchronous import finish, start
    from unixconn._gio.future import Future
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._kernel.epoll import Epoll
else:
    defer(globals(), "_gio.asynchronous", "finish", "start")

_READABLE = epoll.READABLE
# Of the tuple itself: that of a named tuple is one more call.
_tuple = tuple.__new__

ListenerT = TypeVar("ListenerT", bound="SocketListener")
ConnectionT_co = TypeVar("ConnectionT_co", bound=SocketConnection, covariant=True)

AFTER_AN_ERROR = 0.1
"""Seconds until who serves tries again after accepting has failed, for example because the descriptor table is full."""


class SocketListenerEvent(GEnum, prefix="G_SOCKET_LISTENER_"):
    """The steps of making a listening socket, in the signal ``event`` of a SocketListener (Gio.SocketListenerEvent)."""

    __module__ = "unixconn"

    BINDING = 0
    BOUND = 1
    LISTENING = 2
    LISTENED = 3


if TYPE_CHECKING:

    class Accepted(NamedTuple, Generic[ConnectionT_co]):
        """The result of `SocketListener.accept`."""

        connection: ConnectionT_co
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
    Accepted = result_tuple(
        "Accepted",
        "The result of `SocketListener.accept`.",
        connection="The connection to the peer.",
        source_object="The object that was given to the listener together with the address or the Socket.",
    )
    AcceptedSocket = result_tuple(
        "AcceptedSocket",
        "The result of `SocketListener.accept_socket`.",
        socket="The Socket to talk to the peer.",
        source_object="The object that was given to the listener together with the address or the Socket.",
    )
    AddressAdded = result_tuple(
        "AddressAdded",
        "The result of `SocketListener.add_address`.",
        ok="Always True: a failure is raised as an Error.",
        effective_address="The address that the listener is bound to.",
    )


class _Entry:
    """A listening socket, and the object that the user gave with it."""

    __slots__ = ("_closing", "_holder", "socket", "source_object")

    def __init__(self, socket: Socket, source_object: Object | None) -> None:
        self.socket = socket
        self.source_object = source_object
        self._closing = socket._handle.closing()
        # The socket does not refer to the entry itself: the two would form a cycle, and a socket that is dropped would
        # stay open.
        self._holder = object()

    def hold(self) -> int:
        """Return a descriptor that is readable when the socket is closed, which an epoll does not report by itself."""
        return self._closing._hold(self._holder)

    def show(self) -> None:
        """Correct the descriptor's state: a forked process, which shares it, may have closed its own socket."""
        self._closing._show()

    def let_go(self) -> None:
        """Undo `hold`."""
        self._closing._let_go(self._holder)


def _forget(entries: list[_Entry], entry: _Entry) -> None:
    """Remove *entry* from *entries*, unless it was removed before."""
    try:
        entries.remove(entry)
    except ValueError:  # another thread has just removed it
        return


class _Gate:
    """An epoll that is readable when a connection can be accepted, with the attributes of a socket for a Handle."""

    family = python.AF_UNSPEC
    type = python.SOCK_STREAM

    def __init__(self, entries: list[_Entry]) -> None:
        self._entries = entries
        self._epoll: Epoll | None = None

    def register(self, number: int, closing: int) -> None:
        """Make the epoll readable while one of the descriptors is."""
        watching = self._epoll
        if watching is None:
            watching = self._epoll = epoll.new()
            _gates.add(ref(self, _gates.discard))
        watching.register(number, _READABLE)
        watching.register(closing, _READABLE)

    def renew(self) -> None:
        """
        Replace the epoll by another one with the same number, in a forked child.

        Otherwise a socket that one of the two processes adds would end the waits of the other one, too, which cannot
        accept on it.
        """
        if self.fileno() < 0:
            return
        still_open = [each for each in self._entries if each.socket.get_fd() >= 0]
        made = epoll.new()
        try:
            for each in still_open:
                made.register(each.socket.get_fd(), _READABLE)
                made.register(each.hold(), _READABLE)
            os.dup2(made.fileno(), self.fileno(), inheritable=False)
        finally:
            made.close()

    def fileno(self) -> int:
        """Return the epoll's descriptor."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def close(self, _close: Callable[[Any], object] = close_socket) -> None:
        """Close the epoll."""
        # When a destructor calls this at the end of the process, the interpreter may have cleared the module's names.
        if self._epoll is not None:
            _close(self._epoll)


_gates: set[ref[_Gate]] = set()
"""All gates that have an epoll, for the child of a fork."""


def _start_in_child() -> None:
    for each in tuple(_gates):
        gate = each()
        if gate is not None:
            try:  # noqa: SIM105 - contextlib would be imported for this alone
                gate.renew()
            except (OSError, ValueError):  # no descriptor is free, so that the two go on to share it; or it is closed
                pass


os.register_at_fork(after_in_child=_start_in_child)


class _GateHandle(Handle):
    """The Handle of a listener's epoll. The listener closes it."""

    __slots__ = ()

    def check(self) -> None:
        """See `Handle.check`: the text names the listener."""
        if self.closed:
            raise _already_closed()
        super().check()


def _already_closed() -> Error:
    return io_error(IOErrorEnum.CLOSED, "Listener is already closed")


def _accept_any(entries: list[_Entry]) -> tuple[Socket, Object | None] | None:
    """
    Accept a connection on one of the sockets of *entries*, and return the Socket and the object given with the entry.

    Returns None if that would block. The Socket closes its descriptor when it is dropped.

    Raises the Error CLOSED if all sockets are closed, and the Error for accept(2)'s errno.
    """
    for entry in tuple(entries):
        accepted: list[KernelSocket] = []
        try:
            accept(entry.socket._handle, accepted)
        except ClosedError:  # the user has closed this socket
            _forget(entries, entry)
            entry.let_go()
            continue
        if accepted:
            if len(entries) > 1:
                # Next time the other sockets come first. For a moment the list has the entry twice, as another thread
                # that accepts must always find it.
                entries.append(entry)
                _forget(entries, entry)
            return entry.socket._accepted(accepted[0]), entry.source_object
        entry.show()
    if not entries:
        raise io_error(IOErrorEnum.CLOSED, "All sockets of the listener are closed")
    return None


class _AcceptSocket(Operation[AcceptedSocket]):
    """
    Accept a connection on one of *entries*.

    The operation's handle is that of the epoll that watches all their sockets.
    """

    __slots__ = ("_entries",)

    condition = READABLE

    def __init__(self, handle: Handle, entries: list[_Entry]) -> None:
        super().__init__(handle)
        self._entries = entries

    def attempt(self, result: list[AcceptedSocket]) -> bool:
        """See `Operation.attempt`."""
        accepted = _accept_any(self._entries)
        if accepted is None:
            return False
        result.append(AcceptedSocket(*accepted))
        return True

    def discard(self, result: AcceptedSocket) -> None:
        """Close the connection."""
        result.socket.close()


class _Accept(Operation[Accepted[SocketConnection]]):
    """Do what `_AcceptSocket` does, and make a connection by *over*."""

    __slots__ = ("_entries", "_over")

    condition = READABLE

    def __init__(self, handle: Handle, entries: list[_Entry], over: Callable[[Socket], SocketConnection]) -> None:
        super().__init__(handle)
        self._entries = entries
        self._over = over

    def attempt(self, result: list[Accepted[SocketConnection]]) -> bool:
        """See `Operation.attempt`."""
        accepted = _accept_any(self._entries)
        if accepted is None:
            return False
        try:
            connection = self._over(accepted[0])
        except Exception as error:  # noqa: BLE001 - of the constructor of a user's class
            raise UserError(error) from None
        result.append(_tuple(Accepted, (connection, accepted[1])))
        return True

    def explain(self, error: Error) -> None:
        """Raise the exception of the user's constructor in place of *error*."""
        if isinstance(error, UserError):
            raise error.raised from None

    def discard(self, result: Accepted[SocketConnection]) -> None:
        """Close the connection."""
        result.connection.close()


class SocketListener(Object):
    """
    An object that accepts connections on any number of sockets (Gio.SocketListener).

    *listen_backlog* is the number of connections that the kernel queues for each socket. ``for connection in listener``
    and ``async for connection in listener`` accept one connection after the other, until the listener is closed. ``with
    listener:`` and ``async with listener:`` close the listener at the end of the block. Signal: ``event``, with a
    `SocketListenerEvent` and the Socket, for each socket that `add_address` makes.
    """

    __module__ = "unixconn"

    _uncalled: ClassVar[str] = "do_changed"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("listen-backlog", int, "_get_backlog", "set_backlog", default=10),
    )

    def __init__(self, *, listen_backlog: int = 10) -> None:
        super(Object, self).__init__()
        self._backlog = as_int(listen_backlog, "listen_backlog")
        self._entries: list[_Entry] = []
        # All operations wait for an epoll that watches all sockets, and accept on whichever is ready. The settings of
        # this Socket are those of the waits: without a limit.
        self._socket = Socket()
        self._socket._handle = self._handle = _GateHandle()
        self._gate = _Gate(self._entries)
        self._accept_as(connection_over)
        self._closed = False

    def _accept_as(self, over: Callable[[Socket], SocketConnection]) -> None:
        """Make connections by *over*."""
        # The operation has no state: one serves all calls.
        self._accepting_any = _Accept(self._handle, self._entries, over)

    @classmethod
    def new(cls) -> SocketListener:
        """Return a new SocketListener without sockets."""
        return cls()

    def do_event(self, event: SocketListenerEvent, socket: Socket) -> None:
        """Handle the signal ``event`` after the plain handlers. Subclasses override this method."""

    _signals: ClassVar = {"event": Signal(do_event)}

    # --- listening ---

    def _get_backlog(self) -> int:
        return self._backlog

    def set_backlog(self, listen_backlog: int) -> None:
        """
        Set the number of connections that the kernel queues for each socket (g_socket_listener_set_backlog).

        It applies to the sockets that the listener has, and to those that are added later. Raises TypeError if
        *listen_backlog* is not a number, and OverflowError if it does not fit into a C int.
        """
        self._backlog = as_int(listen_backlog, "listen_backlog")
        for entry in tuple(self._entries):
            try:
                entry.socket.set_listen_backlog(self._backlog)
                entry.socket.listen()
            except ClosedError:  # the user has closed this socket
                continue

    def add_socket(self, socket: Socket, source_object: Object | None = None) -> bool:
        """
        Accept connections on *socket*, which must be listening, and return True (g_socket_listener_add_socket).

        `accept` returns *source_object* with each connection of this socket.

        Several processes can accept on the same socket, provided that it has O_NONBLOCK, as sockets made by
        `Socket.new` have. Without it, a process may wait in accept(2) after another one has accepted the connection,
        and no Cancellable ends that wait.

        Raises TypeError if *socket* is not a Socket, the Error CLOSED if the listener or *socket* is closed, and
        TOO_MANY_OPEN_FILES if there is no descriptor left for the epoll.
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
        Make a socket that is bound to *address*, accept connections on it, and return (True, the address).

        `accept` returns *source_object* with each connection of this socket. See g_socket_listener_add_address.

        Raises TypeError if *address* is not a SocketAddress, the Error CLOSED if the listener is closed, and an Error
        with the code for the errno of socket(2), bind(2) or listen(2): ADDRESS_IN_USE if the address is taken. It has
        the path as its ``filename``.
        """
        check_address(address)
        self._check()
        socket: Socket | None = None
        is_added = False
        try:
            socket = Socket.new(address.get_family(), type, protocol)
            self._listen_on(socket, address)
            is_added = self.add_socket(socket, source_object)
        except Error as error:
            about_address(error, address)
            raise
        finally:
            if not is_added and socket is not None:
                socket.close()
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
        """Raise the Error NOT_SUPPORTED: unixconn listens on Unix addresses only."""
        raise io_error(IOErrorEnum.NOT_SUPPORTED, "Ports are not supported: unixconn listens on Unix addresses only")

    def add_any_inet_port(self, source_object: Object | None = None) -> int:
        """Raise the Error NOT_SUPPORTED: unixconn listens on Unix addresses only."""
        self.add_inet_port(0, source_object)
        return 0

    def close(self) -> None:
        """
        Close the listener and all of its sockets (g_socket_listener_close).

        Operations that wait end with the Error CLOSED. A second call does nothing.
        """
        self._closed = True
        self._handle.close()
        while self._entries:
            for entry in tuple(self._entries):
                entry.let_go()
                entry.socket.close()
                # This comes last: if a signal handler raises an exception before, the next close() finds the entry.
                try:  # noqa: SIM105 - the lines of `_forget`, without the call
                    self._entries.remove(entry)
                except ValueError:  # another thread has just removed it
                    pass

    def _check(self) -> None:
        if self._closed:
            raise _already_closed()

    def __enter__(self: ListenerT) -> ListenerT:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    async def __aenter__(self: ListenerT) -> ListenerT:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pass the sockets to another process of multiprocessing, or raise TypeError."""
        # A subclass has more than the sockets: handlers of a service, which the other process would not have.
        if type(self) is not SocketListener or passer() is None:
            return super().__reduce__()
        self._check()
        return _listener_of, (self._backlog, [(each.socket, each.source_object) for each in tuple(self._entries)])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state()}>"

    def _state(self) -> str:
        # The attributes are missing if the constructor has failed.
        if self.__dict__.get("_closed", False):
            return "closed"
        count = len(self.__dict__.get("_entries", ()))
        return "1 socket" if count == 1 else f"{count} sockets"

    # --- accepting ---

    def __iter__(self: ListenerT) -> ListenerT:
        return self

    def __next__(self) -> SocketConnection:
        try:
            return self.accept().connection
        except ClosedError:
            raise StopIteration from None

    def __aiter__(self: ListenerT) -> ListenerT:
        return self

    async def __anext__(self) -> SocketConnection:
        try:
            return (await self.accept_async()).connection
        except ClosedError:
            raise StopAsyncIteration from None

    def accept(self, cancellable: Cancellable | None = None) -> Accepted[SocketConnection]:
        """
        Wait for a connection, accept it, and return (connection, source_object) (g_socket_listener_accept).

        The source_object is that of `add_socket` or `add_address`. Raises TypeError if *cancellable* has a wrong type,
        and these Errors:

        - CLOSED if the listener is closed, or all of its sockets are
        - CANCELLED, or TIMED_OUT after a deadline, if *cancellable* is cancelled
        - TOO_MANY_OPEN_FILES if the descriptor table is full; the connection stays in the queue
        - NOT_INITIALIZED if the listener never had a socket

        An exception in the constructor of a class of `SocketConnection.factory_register_type` closes the accepted
        connection, and is raised here.
        """
        if cancellable is None:
            # A short door: the first attempt, as the operation makes it.
            if self._handle.number < 0:
                self._handle.check()
            accepted = _accept_any(self._entries)
            if accepted is not None:
                return _tuple(Accepted, (self._accepting_any._over(accepted[0]), accepted[1]))
        return complete(self._accept_operation(), cancellable, tried=cancellable is None)

    def accept_socket(self, cancellable: Cancellable | None = None) -> AcceptedSocket:
        """
        Wait for a connection as `accept` does, and return (socket, source_object) (g_socket_listener_accept_socket).

        The errors are those of `accept`.
        """
        return complete(self._accept_socket_operation(), cancellable)

    @with_async("g_socket_listener_accept_async", returns="(connection, source_object)")
    def _accept_operation(self) -> Operation[Accepted[SocketConnection]]:
        return self._accepting_any

    @with_async("g_socket_listener_accept_socket_async", returns="(socket, source_object)")
    def _accept_socket_operation(self) -> Operation[AcceptedSocket]:
        return _AcceptSocket(self._handle, self._entries)

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def accept_async(self, cancellable: Cancellable | None = None) -> Future[Accepted[SocketConnection]]: ...
    @overload
    def accept_async(self, cancellable: Cancellable | None = ..., callback: Callback = ..., user_data: object = ...,
                     *more: object) -> None: ...
    def accept_async(self, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                     user_data: object = NO_DATA, *more: object) -> Future[Accepted[SocketConnection]] | None:
        """
        Start what `accept` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (listener, result, user_data, *more); `accept_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped.
        """
        return start(self, "g_socket_listener_accept_async", self._accept_operation(), cancellable, callback,
                     (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def accept_finish(self, result: AsyncResult) -> Accepted[SocketConnection]:
        """
        Return (connection, source_object), for the *result* of `accept_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another listener or another operation, or if its value was returned already.
        """
        return finish(self, "g_socket_listener_accept_async", result)

    @overload
    def accept_socket_async(self, cancellable: Cancellable | None = None) -> Future[AcceptedSocket]: ...
    @overload
    def accept_socket_async(self, cancellable: Cancellable | None = ..., callback: Callback = ...,
                            user_data: object = ..., *more: object) -> None: ...
    def accept_socket_async(self, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                            user_data: object = NO_DATA, *more: object) -> Future[AcceptedSocket] | None:
        """
        Start what `accept_socket` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (listener, result, user_data, *more); `accept_socket_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped.
        """
        return start(self, "g_socket_listener_accept_socket_async", self._accept_socket_operation(), cancellable,
                     callback, (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def accept_socket_finish(self, result: AsyncResult) -> AcceptedSocket:
        """
        Return (socket, source_object), for the *result* of `accept_socket_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another listener or another operation, or if its value was returned already.
        """
        return finish(self, "g_socket_listener_accept_socket_async", result)

    # fmt: on
    # --- end of the generated part ---


def _listener_of(backlog: int, entries: list[tuple[Socket, Object | None]]) -> SocketListener:
    """Make a listener of what `SocketListener.__reduce__` has passed."""
    made = SocketListener(listen_backlog=backlog)
    for socket, source_object in entries:
        made.add_socket(socket, source_object)
    return made
