"""SocketClient: connections to those who listen."""

from __future__ import annotations

from enum import IntEnum

from unixconn._base.arguments import as_member, as_timeout
from unixconn._base.errors import CancelledError, Error, IOErrorEnum, io_error
from unixconn._base.object import Object, Property, Signal
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import SocketAddress, SocketFamily, check_address
from unixconn._gio.asynchronous import AWAIT, check_arguments, finish, start_sequence
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.connection import SocketConnection
from unixconn._gio.future import Future
from unixconn._gio.socket import Socket, SocketProtocol, SocketType
from unixconn._gio.task import AsyncResult
from unixconn._io.steps import complete_all
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from unixconn._gio.asynchronous import Callback
    from unixconn._io.steps import Steps


_CONNECT = "g_socket_client_connect_async"


class SocketClientEvent(IntEnum):
    """What a SocketClient tells of its way to a connection (Gio.SocketClientEvent)."""

    RESOLVING = 0
    RESOLVED = 1
    CONNECTING = 2
    CONNECTED = 3
    PROXY_NEGOTIATING = 4
    PROXY_NEGOTIATED = 5
    TLS_HANDSHAKING = 6
    TLS_HANDSHAKED = 7
    COMPLETE = 8


class SocketClient(Object):
    """
    Makes connections to Unix addresses (Gio.SocketClient).

    Signal: ``event`` (SocketClientEvent, address, connection or None). What belongs to hosts, proxies and TLS is
    NOT_SUPPORTED.
    """

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("family", SocketFamily, "get_family", "set_family", default=SocketFamily.INVALID),
        Property("type", SocketType, "get_socket_type", "set_socket_type", default=SocketType.STREAM),
        Property("protocol", SocketProtocol, "get_protocol", "set_protocol", default=SocketProtocol.DEFAULT),
        Property("local-address", SocketAddress, "get_local_address", "set_local_address"),
        Property("timeout", int, "get_timeout", "set_timeout", default=0),
        Property("enable-proxy", bool, "get_enable_proxy", "set_enable_proxy", default=True),
        Property("tls", bool, "get_tls", "set_tls", default=False),
    )

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
        super().__init__()
        self._family, self._type, self._protocol = SocketFamily.INVALID, SocketType.STREAM, SocketProtocol.DEFAULT
        self._local_address: SocketAddress | None = None
        self._timeout, self._enable_proxy = 0, True
        self.set_family(family)
        self.set_socket_type(type)
        self.set_protocol(protocol)
        self.set_local_address(local_address)
        self.set_timeout(timeout)
        self.set_enable_proxy(enable_proxy)
        self.set_tls(tls)

    @classmethod
    def new(cls) -> SocketClient:
        """Make one."""
        return cls()

    def get_family(self) -> SocketFamily:
        """Give the family of sockets to make; INVALID means that of the address."""
        return self._family

    def set_family(self, family: SocketFamily) -> None:
        """Set the family of sockets to make; INVALID means that of the address."""
        self._change("family", "_family", as_member(SocketFamily, family))

    def get_socket_type(self) -> SocketType:
        """Give the type of sockets to make."""
        return self._type

    def set_socket_type(self, type: SocketType) -> None:  # noqa: A002 - Gio's name
        """Set the type of sockets to make."""
        self._change("type", "_type", as_member(SocketType, type))

    def get_protocol(self) -> SocketProtocol:
        """Give the protocol of sockets to make."""
        return self._protocol

    def set_protocol(self, protocol: SocketProtocol) -> None:
        """Set the protocol of sockets to make."""
        self._change("protocol", "_protocol", as_member(SocketProtocol, protocol))

    def get_local_address(self) -> SocketAddress | None:
        """Give the address that sockets are bound to before they connect."""
        return self._local_address

    def set_local_address(self, address: SocketAddress | None) -> None:
        """Set the address that sockets are bound to before they connect."""
        if address is not None and not isinstance(address, SocketAddress):
            raise TypeError(f"address must be a SocketAddress or None, not {address!r}")
        self._change("local-address", "_local_address", address)

    def get_timeout(self) -> int:
        """Give the timeout of the sockets to make, in seconds; 0 means without end."""
        return self._timeout

    def set_timeout(self, timeout: int) -> None:
        """Set the timeout of the sockets to make, in whole seconds; 0 means without end."""
        self._change("timeout", "_timeout", as_timeout(timeout))

    def get_enable_proxy(self) -> bool:
        """Give what was set; without effect on Unix addresses."""
        return self._enable_proxy

    def set_enable_proxy(self, enable: bool) -> None:
        """Keep *enable*; without effect on Unix addresses."""
        self._change("enable-proxy", "_enable_proxy", bool(enable))

    def get_tls(self) -> bool:
        """Give False."""
        return False

    def set_tls(self, tls: bool) -> None:
        """Take False. Raises the Error NOT_SUPPORTED for True."""
        if tls:
            raise io_error(IOErrorEnum.NOT_SUPPORTED, "TLS is not supported over Unix sockets")

    def _change(self, name: str, attribute: str, value: object) -> None:
        if getattr(self, attribute) != value:
            setattr(self, attribute, value)
            self._notify(name)

    def do_event(self, event: SocketClientEvent, connectable: SocketAddress, connection: object) -> None:
        """Run at each event, after the plain handlers. For subclasses."""

    _signals: ClassVar = {"event": Signal(do_event)}

    # --- connecting ---

    def connect(  # type: ignore[override]
        self, connectable: SocketAddress, cancellable: Cancellable | None = None
    ) -> SocketConnection:
        """
        Connect to the address *connectable*, and give the connection.

        Waits while too many others wait to be accepted there. Raises the Error for connect(2)'s errno with the prefix
        ``Could not connect: ``: NOT_FOUND, CONNECTION_REFUSED where nobody listens; CANCELLED; TIMED_OUT. It hides
        `Object.connect`, which is reached as ``Object.connect(client, "event", ...)``.
        """
        check_cancellable(cancellable)
        check_address(connectable)
        return complete_all(self._connect_to(connectable, cancellable), cancellable, blocking=True)

    @overload
    def connect_async(
        self, connectable: SocketAddress, cancellable: Cancellable | None = None
    ) -> Future[SocketConnection]: ...

    @overload
    def connect_async(
        self,
        connectable: SocketAddress,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def connect_async(
        self, connectable: SocketAddress, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any
    ) -> Any:
        """
        Start what `connect` does, without waiting for its end.

        *callback* gets (client, result, *user_data), and calls `connect_finish`; without one, None being one too, a
        `Future` is given, to be awaited.
        """
        check_arguments(cancellable, callback)
        check_address(connectable)
        self._tell(SocketClientEvent.RESOLVING, connectable, None)
        return start_sequence(
            self,
            _CONNECT,
            self._connect_to(connectable, cancellable, is_resolving=True),
            cancellable,
            callback,
            user_data,
            discard=SocketConnection.close,
            is_heard=True,
        )

    def connect_finish(self, result: AsyncResult) -> SocketConnection:
        """
        Give the connection, or raise the Error, for the *result* of `connect_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another client or operation, or whose
        value was handed out already.
        """
        return finish(self, _CONNECT, result)

    def _tell(self, event: SocketClientEvent, address: SocketAddress, connection: SocketConnection | None) -> None:
        self.emit("event", event, address, connection)

    def _connect_to(
        self, address: SocketAddress, cancellable: Cancellable | None, *, is_resolving: bool = False
    ) -> Steps[SocketConnection]:
        socket: Socket | None = None
        try:
            if cancellable is not None:
                cancellable.set_error_if_cancelled()
            if not is_resolving:
                self._tell(SocketClientEvent.RESOLVING, address, None)
            self._tell(SocketClientEvent.RESOLVED, address, None)
            family = address.get_family() if self._family is SocketFamily.INVALID else self._family
            socket = Socket.new(family, self._type, self._protocol)
            socket.set_timeout(self._timeout)
            if self._local_address is not None:
                socket.bind(self._local_address, False)
            connection = socket.connection_factory_create_connection()
            self._tell(SocketClientEvent.CONNECTING, address, connection)
            yield socket._connecting(address)
            socket._clear_nonblock()
        except BaseException as error:
            if socket is not None:
                socket.close()
            self._tell(SocketClientEvent.COMPLETE, address, None)
            if isinstance(error, Error) and not isinstance(error, CancelledError):
                raise error.prefixed("Could not connect: ") from None
            raise
        self._tell(SocketClientEvent.CONNECTED, address, connection)
        self._tell(SocketClientEvent.COMPLETE, address, connection)
        return connection

    def connect_to_host(self, *_arguments: object) -> SocketConnection:
        """Raise the Error NOT_SUPPORTED."""
        raise io_error(IOErrorEnum.NOT_SUPPORTED, "Hosts are not supported: unixconn connects to Unix addresses only")

    connect_to_service = connect_to_uri = connect_to_host
