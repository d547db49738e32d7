"""SocketClient and connect(): connections to listening sockets."""

from __future__ import annotations

from unixconn._base.arguments import as_member, as_timeout
from unixconn._base.deferred import defer
from unixconn._base.enums import GEnum
from unixconn._base.errors import CancelledError, Error, IOErrorEnum, io_error
from unixconn._base.object import Object, Property, Signal
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import (
    SocketAddress,
    SocketFamily,
    UnixSocketAddress,
    about_address,
    check_address,
    unix_address,
)
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.connection import UnixConnection
from unixconn._gio.socket import Socket
from unixconn._gio.socket_connection import SocketConnection, connection_over
from unixconn._gio.socket_types import SocketProtocol, SocketType, open_socket
from unixconn._gio.triples import AWAIT, NO_DATA
from unixconn._io.blocking import complete
from unixconn._io.connecting import Connect
from unixconn._io.operation import Operation, UserError
from unixconn._io.steps import complete_all
from unixconn._kernel.connect import connect_new
from unixconn._kernel.handle import Handle
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from typing import ClassVar

    from unixconn._gio.asynchronous import check_arguments, finish, start, start_sequence
    from unixconn._gio.future import Future
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._io.steps import Steps
else:
    defer(globals(), "_gio.asynchronous", "check_arguments", "finish", "start", "start_sequence")

_CONNECT = "g_socket_client_connect_async"
CONNECTING = "Could not connect: "


class SocketClientEvent(GEnum, prefix="G_SOCKET_CLIENT_"):
    """The steps on the way to a connection, in the signal ``event`` of a SocketClient (Gio.SocketClientEvent)."""

    __module__ = "unixconn"

    RESOLVING = 0
    RESOLVED = 1
    CONNECTING = 2
    CONNECTED = 3
    PROXY_NEGOTIATING = 4
    PROXY_NEGOTIATED = 5
    TLS_HANDSHAKING = 6
    TLS_HANDSHAKED = 7
    COMPLETE = 8


class ConnectNew(Operation[SocketConnection]):
    """
    Make a socket as *client* does, and connect it to *address*, without a signal.

    Only this operation knows the socket until it has ended. The operation is tried again at intervals, see `Connect`.
    """

    __slots__ = ("_address", "_client", "_connection", "_is_connected", "socket")

    condition = 0
    interval: ClassVar[float] = Connect.interval
    prefix = CONNECTING

    def __init__(self, client: SocketClient, address: SocketAddress) -> None:
        self.socket: Socket = client._prepare_socket(address)
        # As in the constructor of Operation.
        self.handle = self.socket._handle
        self.timeout = client._timeout or None
        self._client = client
        self._address = address
        self._is_connected = False

    def begin(self) -> None:
        """See `Operation.begin`."""
        made = self.socket
        self.handle.open(open_socket(made._family, made._type, made._protocol))
        if self._client._local_address is not None:
            self.socket.bind(self._client._local_address, False)
        self._connection = self.socket.connection_factory_create_connection()

    def attempt(self, result: list[SocketConnection]) -> bool:
        """See `Operation.attempt`."""
        if not connect_new(self.handle, unix_address(self._address)._for_python()):
            return False
        self._is_connected = True
        result.append(self._connection)
        return True

    def explain(self, error: Error) -> None:
        """See `Operation.explain`: *error* names the path."""
        about_address(error, self._address)

    def end(self) -> None:
        """See `Operation.end`."""
        if not self._is_connected:
            self.handle.close()

    def discard(self, result: SocketConnection) -> None:
        """Close the connection."""
        result.close()


class SocketClient(Object):
    """
    A factory of connections to Unix addresses (Gio.SocketClient).

    The properties are those of the sockets that the client makes: their *family*, *type* and *protocol*, the
    *local_address* that they are bound to, and their *timeout* in whole seconds, where 0 means no timeout. Signal:
    ``event``, with a `SocketClientEvent`, the address, and the connection or None. The methods for hosts, proxies and
    TLS raise the Error NOT_SUPPORTED.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("family", SocketFamily, "get_family", "set_family", default=SocketFamily.INVALID),
        Property("type", SocketType, "get_socket_type", "set_socket_type", default=SocketType.STREAM),
        Property("protocol", SocketProtocol, "get_protocol", "set_protocol", default=SocketProtocol.DEFAULT),
        Property("local-address", SocketAddress, "get_local_address", "set_local_address"),
        Property("timeout", int, "get_timeout", "set_timeout", default=0),
        Property("enable-proxy", bool, "get_enable_proxy", "set_enable_proxy", default=True),
        Property("tls", bool, "get_tls", "set_tls", default=False),
    )

    # The constructor sets only what differs from these.
    _family = SocketFamily.INVALID
    _type = SocketType.STREAM
    _protocol = SocketProtocol.DEFAULT
    _local_address: SocketAddress | None = None
    _timeout = 0
    _enable_proxy = True

    def __init__(
        self,
        *,
        family: SocketFamily = SocketFamily.INVALID,
        type: SocketType = SocketType.STREAM,  # noqa: A002 - Gio's name
        protocol: SocketProtocol = SocketProtocol.DEFAULT,
        local_address: SocketAddress | None = None,
        timeout: int = 0,
        enable_proxy: bool = True,
        tls: bool = False,
    ) -> None:
        super(Object, self).__init__()
        if family is not SocketFamily.INVALID:
            self.set_family(family)
        if type is not SocketType.STREAM:
            self.set_socket_type(type)
        if protocol is not SocketProtocol.DEFAULT:
            self.set_protocol(protocol)
        if local_address is not None:
            self.set_local_address(local_address)
        if timeout != 0:
            self.set_timeout(timeout)
        if enable_proxy is not True:
            self.set_enable_proxy(enable_proxy)
        if tls is not False:
            self.set_tls(tls)

    @classmethod
    def new(cls) -> SocketClient:
        """Return a new SocketClient with the default properties."""
        return cls()

    def get_family(self) -> SocketFamily:
        """Return the family of the sockets; INVALID stands for that of the address."""
        return self._family

    def set_family(self, family: SocketFamily) -> None:
        """Set the family of the sockets; INVALID stands for that of the address. Raises TypeError if it is unknown."""
        self._change("family", as_member(SocketFamily, family))

    def get_socket_type(self) -> SocketType:
        """Return the type of the sockets."""
        return self._type

    def set_socket_type(self, type: SocketType) -> None:  # noqa: A002 - Gio's name
        """Set the type of the sockets. Raises TypeError if it is unknown."""
        self._change("type", as_member(SocketType, type))

    def get_protocol(self) -> SocketProtocol:
        """Return the protocol of the sockets."""
        return self._protocol

    def set_protocol(self, protocol: SocketProtocol) -> None:
        """Set the protocol of the sockets. Raises TypeError if it is unknown."""
        self._change("protocol", as_member(SocketProtocol, protocol))

    def get_local_address(self) -> SocketAddress | None:
        """Return the address that the sockets are bound to before they connect, or None."""
        return self._local_address

    def set_local_address(self, address: SocketAddress | None = None) -> None:
        """
        Set the address that the sockets are bound to before they connect, or None.

        Raises TypeError for anything else.
        """
        if address is not None and not isinstance(address, SocketAddress):
            raise TypeError(f"address must be a SocketAddress or None, not {address!r}")
        self._local_address = address
        self._notify("local-address")

    def get_timeout(self) -> int:
        """Return the timeout of the sockets in seconds; 0 means no timeout."""
        return self._timeout

    def set_timeout(self, timeout: int) -> None:
        """
        Set the timeout of the sockets, in whole seconds; 0 means no timeout.

        Raises TypeError if *timeout* is not a number, OverflowError if it is negative or too large, and ValueError if
        it is between 0 and 1. `Cancellable.with_timeout` takes fractions.
        """
        self._change("timeout", as_timeout(timeout))

    def get_enable_proxy(self) -> bool:
        """Return the value that was set; it has no effect on Unix addresses."""
        return self._enable_proxy

    def set_enable_proxy(self, enable: bool) -> None:
        """Set the value; it has no effect on Unix addresses."""
        self._change("enable-proxy", bool(enable))

    def get_tls(self) -> bool:
        """Return False."""
        return False

    def set_tls(self, tls: bool) -> None:
        """Do nothing for False. Raises the Error NOT_SUPPORTED for True."""
        if tls:
            raise io_error(IOErrorEnum.NOT_SUPPORTED, "TLS is not supported over Unix sockets")

    def do_event(self, event: SocketClientEvent, connectable: SocketAddress, connection: object) -> None:
        """Handle the signal ``event`` after the plain handlers. Subclasses override this method."""

    _signals: ClassVar = {"event": Signal(do_event)}

    # --- connecting ---

    @overload  # type: ignore[override]
    def connect(self, connectable: UnixSocketAddress, cancellable: Cancellable | None = None) -> UnixConnection: ...

    @overload
    def connect(self, connectable: SocketAddress, cancellable: Cancellable | None = None) -> SocketConnection: ...

    def connect(self, connectable: SocketAddress, cancellable: Cancellable | None = None) -> SocketConnection:
        """
        Connect to the address *connectable*, and return the connection (g_socket_client_connect).

        For a `UnixSocketAddress` and the type STREAM, the connection is a `UnixConnection`. If the queue of the
        listening socket is full, the method waits until a connection is accepted there. Raises these Errors, all but
        CANCELLED with the path as their ``filename``:

        - one with the code for connect(2)'s errno, and with ``Could not connect: `` before the message: NOT_FOUND if
          there is no such socket file, CONNECTION_REFUSED if nobody listens, PERMISSION_DENIED, ...
        - TIMED_OUT after the timeout, or after the deadline of *cancellable*
        - CANCELLED if *cancellable* is cancelled

        Raises TypeError if an argument has a wrong type. This method hides `Object.connect`, which can be called as
        ``Object.connect(client, "event", ...)``.
        """
        if self._handler_list is not None or type(self).do_event is not SocketClient.do_event:  # as `_is_watched` does
            check_address(connectable)
            check_cancellable(cancellable)
            return complete_all(self._connect_to(connectable, cancellable), cancellable, blocking=True)
        try:
            if cancellable is None and type(connectable) is UnixSocketAddress:
                made = self._connect_at_once(connectable)
                if made is not None:
                    return made
            check_address(connectable)
            return complete(ConnectNew(self, connectable), cancellable)
        except CancelledError:
            raise
        except Error as error:
            raise about_address(error.prefixed(CONNECTING), connectable) from None

    # By hand and not by `with_async`: the type of the result depends on that of the address, and the first signal is
    # emitted in the call itself.

    @overload
    def connect_async(
        self, connectable: UnixSocketAddress, cancellable: Cancellable | None = None
    ) -> Future[UnixConnection]: ...

    @overload
    def connect_async(
        self, connectable: SocketAddress, cancellable: Cancellable | None = None
    ) -> Future[SocketConnection]: ...

    @overload
    def connect_async(
        self,
        connectable: SocketAddress,
        cancellable: Cancellable | None,
        callback: Callback,
        user_data: object = ...,
        *more: object,
    ) -> None: ...

    @overload
    def connect_async(
        self,
        connectable: SocketAddress,
        cancellable: Cancellable | None = ...,
        *,
        callback: Callback,
        user_data: object = ...,
    ) -> None: ...

    def connect_async(
        self,
        connectable: SocketAddress,
        cancellable: Cancellable | None = None,
        callback: Callback = AWAIT,
        user_data: object = NO_DATA,
        *more: object,
    ) -> Future[SocketConnection] | None:
        """
        Start what `connect` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (client, result, user_data, *more); `connect_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped.
        The signal ``event`` is emitted with RESOLVING in this call, and later in the place where the callback runs.
        """
        check_arguments(cancellable, callback)
        check_address(connectable)
        data = (user_data, *more) if user_data is not NO_DATA else more
        if not self._is_watched():
            operation = ConnectNew(self, connectable)
            return start(self, _CONNECT, operation, cancellable, callback, data, operation.socket)
        self._tell(SocketClientEvent.RESOLVING, connectable, None)
        return start_sequence(
            self,
            _CONNECT,
            self._connect_to(connectable, cancellable, is_resolving=True),
            cancellable,
            callback,
            data,
            discard=SocketConnection.close,
            is_heard=True,
        )

    def connect_finish(self, result: AsyncResult) -> SocketConnection:
        """
        Return the connection, for the *result* of `connect_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another client or another operation, or if its value was returned already.
        """
        return finish(self, _CONNECT, result)

    def _is_watched(self) -> bool:
        # The cheapest test for a handler, as in `Object._notify`.
        return self._handler_list is not None or type(self).do_event is not SocketClient.do_event

    def _tell(self, event: SocketClientEvent, address: SocketAddress, connection: SocketConnection | None) -> None:
        if self._is_watched():
            self.emit("event", event, address, connection)

    def _connect_at_once(self, address: UnixSocketAddress) -> SocketConnection | None:
        """
        Do what `ConnectNew` does where nothing has to wait: a short door. Return None if the backlog is full.

        Raises the Error for the errno of socket(2) or connect(2), without a prefix.
        """
        if self._local_address is not None:
            return None
        socket = self._prepare_socket(address)
        handle = socket._handle
        is_connected = False
        try:
            handle.open(open_socket(socket._family, socket._type, socket._protocol))
            made = connection_over(socket)
            is_connected = connect_new(handle, address._for_python())
        finally:
            if not is_connected:
                handle.close()
        return made if is_connected else None

    def _prepare_socket(self, address: SocketAddress) -> Socket:
        socket = Socket.__new__(Socket)  # without the constructor, as `Socket._empty` does
        socket._handle = Handle()
        socket._family = self._family or address.get_family()
        socket._type, socket._protocol, socket._timeout = self._type, self._protocol, self._timeout
        return socket

    def _connect_to(
        self, address: SocketAddress, cancellable: Cancellable | None, *, is_resolving: bool = False
    ) -> Steps[SocketConnection]:
        socket: Socket | None = None
        is_connected = False
        try:
            if cancellable is not None:
                cancellable.set_error_if_cancelled()
            if not is_resolving:
                self._tell(SocketClientEvent.RESOLVING, address, None)
            self._tell(SocketClientEvent.RESOLVED, address, None)
            made = self._prepare_socket(address)
            made.init()
            socket = made  # close() is for a socket that was made
            if self._local_address is not None:
                socket.bind(self._local_address, False)
            try:
                connection = socket.connection_factory_create_connection()
            except Exception as error:  # noqa: BLE001 - of the constructor of a user's class
                raise UserError(error) from None
            self._tell(SocketClientEvent.CONNECTING, address, connection)
            yield socket._connecting(address)
            socket._clear_nonblock()
            is_connected = True
        except (CancelledError, UserError):
            raise
        except Error as error:
            raise about_address(error.prefixed(CONNECTING), address) from None
        finally:
            if not is_connected:
                if socket is not None:
                    socket.close()
                self._tell(SocketClientEvent.COMPLETE, address, None)
        self._tell(SocketClientEvent.CONNECTED, address, connection)
        self._tell(SocketClientEvent.COMPLETE, address, connection)
        return connection

    def connect_to_host(self, *_arguments: object) -> SocketConnection:
        """Raise the Error NOT_SUPPORTED: unixconn connects to Unix addresses only."""
        raise io_error(IOErrorEnum.NOT_SUPPORTED, "Hosts are not supported: unixconn connects to Unix addresses only")

    def connect_to_service(self, *_arguments: object) -> SocketConnection:
        """Raise the Error NOT_SUPPORTED: unixconn connects to Unix addresses only."""
        return self.connect_to_host()

    def connect_to_uri(self, *_arguments: object) -> SocketConnection:
        """Raise the Error NOT_SUPPORTED: unixconn connects to Unix addresses only."""
        return self.connect_to_host()

    def __repr__(self) -> str:
        timeout = f", timeout {self._timeout} s" if self._timeout else ""
        return f"<{type(self).__name__} {self._type.name}{timeout}>"
