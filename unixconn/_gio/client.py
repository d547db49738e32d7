"""SocketClient and connect(): connections to listening sockets."""

from __future__ import annotations

from enum import IntEnum

from unixconn._base.arguments import as_member, as_timeout
from unixconn._base.errors import CancelledError, Error, IOErrorEnum, io_error
from unixconn._base.object import Object, Property, Signal
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import SocketAddress, SocketFamily, UnixSocketAddress, check_address
from unixconn._gio.asynchronous import AWAIT, check_arguments, finish, start_sequence
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.connection import SocketConnection, UnixConnection
from unixconn._gio.future import Future
from unixconn._gio.socket import Socket, SocketProtocol, SocketType
from unixconn._gio.task import AsyncResult
from unixconn._io.steps import complete_all
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from typing import ClassVar

    from unixconn._gio.address import PathLike
    from unixconn._gio.asynchronous import Callback
    from unixconn._io.steps import Steps


_CONNECT = "g_socket_client_connect_async"


class SocketClientEvent(IntEnum):
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
        """Return a new SocketClient with the default properties."""
        return cls()

    def get_family(self) -> SocketFamily:
        """Return the family of the sockets; INVALID stands for that of the address."""
        return self._family

    def set_family(self, family: SocketFamily) -> None:
        """Set the family of the sockets; INVALID stands for that of the address. Raises TypeError if it is unknown."""
        self._change("family", "_family", as_member(SocketFamily, family))

    def get_socket_type(self) -> SocketType:
        """Return the type of the sockets."""
        return self._type

    def set_socket_type(self, type: SocketType) -> None:  # noqa: A002 - Gio's name
        """Set the type of the sockets. Raises TypeError if it is unknown."""
        self._change("type", "_type", as_member(SocketType, type))

    def get_protocol(self) -> SocketProtocol:
        """Return the protocol of the sockets."""
        return self._protocol

    def set_protocol(self, protocol: SocketProtocol) -> None:
        """Set the protocol of the sockets. Raises TypeError if it is unknown."""
        self._change("protocol", "_protocol", as_member(SocketProtocol, protocol))

    def get_local_address(self) -> SocketAddress | None:
        """Return the address that the sockets are bound to before they connect, or None."""
        return self._local_address

    def set_local_address(self, address: SocketAddress | None) -> None:
        """
        Set the address that the sockets are bound to before they connect, or None.

        Raises TypeError for anything else.
        """
        if address is not None and not isinstance(address, SocketAddress):
            raise TypeError(f"address must be a SocketAddress or None, not {address!r}")
        self._change("local-address", "_local_address", address)

    def get_timeout(self) -> int:
        """Return the timeout of the sockets in seconds; 0 means no timeout."""
        return self._timeout

    def set_timeout(self, timeout: int) -> None:
        """
        Set the timeout of the sockets, in whole seconds; 0 means no timeout.

        Raises TypeError if *timeout* is not a number, OverflowError if it is negative or too large, and ValueError if
        it is between 0 and 1. `Cancellable.with_timeout` takes fractions.
        """
        self._change("timeout", "_timeout", as_timeout(timeout))

    def get_enable_proxy(self) -> bool:
        """Return the value that was set; it has no effect on Unix addresses."""
        return self._enable_proxy

    def set_enable_proxy(self, enable: bool) -> None:
        """Set the value; it has no effect on Unix addresses."""
        self._change("enable-proxy", "_enable_proxy", bool(enable))

    def get_tls(self) -> bool:
        """Return False."""
        return False

    def set_tls(self, tls: bool) -> None:
        """Do nothing for False. Raises the Error NOT_SUPPORTED for True."""
        if tls:
            raise io_error(IOErrorEnum.NOT_SUPPORTED, "TLS is not supported over Unix sockets")

    def _change(self, name: str, attribute: str, value: object) -> None:
        if getattr(self, attribute) != value:
            setattr(self, attribute, value)
            self._notify(name)

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
        listening socket is full, the method waits until a connection is accepted there. Raises these Errors:

        - one with the code for connect(2)'s errno, and with ``Could not connect: `` before the message: NOT_FOUND if
          there is no such socket file, CONNECTION_REFUSED if nobody listens, PERMISSION_DENIED, ...
        - TIMED_OUT after the timeout, or after the deadline of *cancellable*
        - CANCELLED if *cancellable* is cancelled

        Raises TypeError if an argument has a wrong type. This method hides `Object.connect`, which can be called as
        ``Object.connect(client, "event", ...)``.
        """
        check_cancellable(cancellable)
        check_address(connectable)
        return complete_all(self._connect_to(connectable, cancellable), cancellable, blocking=True)

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
        self, connectable: SocketAddress, cancellable: Cancellable | None, callback: Callback, *user_data: object
    ) -> None: ...

    @overload
    def connect_async(
        self, connectable: SocketAddress, cancellable: Cancellable | None = ..., *, callback: Callback
    ) -> None: ...

    def connect_async(
        self,
        connectable: SocketAddress,
        cancellable: Cancellable | None = None,
        callback: Callback = AWAIT,
        *user_data: object,
    ) -> Future[SocketConnection] | None:
        """
        Start what `connect` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (client, result, *user_data); `connect_finish` returns the value. Without a
        callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is dropped.
        The signal ``event`` is emitted with RESOLVING in this call, and later in the place where the callback runs.
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
        Return the connection, for the *result* of `connect_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another client or another operation, or if its value was returned already.
        """
        return finish(self, _CONNECT, result)

    def _tell(self, event: SocketClientEvent, address: SocketAddress, connection: SocketConnection | None) -> None:
        self.emit("event", event, address, connection)

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
            family = address.get_family() if self._family is SocketFamily.INVALID else self._family
            socket = Socket.new(family, self._type, self._protocol)
            socket.set_timeout(self._timeout)
            if self._local_address is not None:
                socket.bind(self._local_address, False)
            connection = socket.connection_factory_create_connection()
            self._tell(SocketClientEvent.CONNECTING, address, connection)
            yield socket._connecting(address)
            socket._clear_nonblock()
            is_connected = True
        except CancelledError:
            raise
        except Error as error:
            raise error.prefixed("Could not connect: ") from None
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
        # The attributes are missing if the constructor has failed.
        type_, timeout = self.__dict__.get("_type"), self.__dict__.get("_timeout")
        state = f" {type_.name}" if type_ is not None else ""
        return f"<{type(self).__name__}{state}{f', timeout {timeout} s' if timeout else ''}>"


def connect(path: PathLike, cancellable: Cancellable | None = None, *, timeout: int = 0) -> UnixConnection:
    """
    Connect to the socket file *path*, and return the connection.

    *path* is a string, bytes or an os.PathLike. *timeout* is the time limit for connecting, and then the timeout of the
    connection's Socket, in whole seconds; 0 means no timeout.

    Raises the Errors of `SocketClient.connect`: NOT_FOUND if there is no such file, CONNECTION_REFUSED if nobody
    listens, PERMISSION_DENIED, TIMED_OUT and CANCELLED. Raises the Error INVALID_FILENAME for an empty *path*,
    FILENAME_TOO_LONG for one of more bytes than fit into an address, and ValueError for a *timeout* with a fraction:
    `Cancellable.with_timeout` takes fractions.
    """
    if isinstance(timeout, float) and timeout % 1:
        # Gio drops the fraction. A timeout below one second would become none.
        raise ValueError(f"timeout must be whole seconds, not {timeout!r}: Cancellable.with_timeout() takes fractions")
    return SocketClient(timeout=timeout).connect(address_of_file(path), cancellable)


connect.__module__ = "unixconn"


def address_of_file(path: PathLike) -> UnixSocketAddress:
    """Return the address of the socket file *path*. Raises the Error INVALID_FILENAME for an empty *path*."""
    address = UnixSocketAddress.new(path)
    if not address.get_path_len():
        # bind(2) would choose an abstract name, and the caller would set the mode of the current folder, and remove it.
        raise io_error(IOErrorEnum.INVALID_FILENAME, "The path of a socket file must not be empty")
    return address
