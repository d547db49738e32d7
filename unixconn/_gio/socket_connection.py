"""SocketConnection: a socket that talks to one peer."""

from __future__ import annotations

from unixconn._base.errors import IOErrorEnum, io_error
from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING, TypeVar, overload
from unixconn._gio.address import SocketAddress, SocketFamily
from unixconn._gio.asynchronous import AWAIT, finish, start
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.input_stream import InputStream
from unixconn._gio.io_stream import IOStream
from unixconn._gio.output_stream import OutputStream
from unixconn._gio.socket import Socket, SocketProtocol, SocketType, connection_types, kind_of_socket
from unixconn._gio.task import AsyncResult

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from unixconn._gio.asynchronous import Callback
    from unixconn._io.operation import Operation


T = TypeVar("T")

_CONNECT = "g_socket_connection_connect_async"


class SocketConnection(IOStream):
    """
    A connection over a *socket* (Gio.SocketConnection).

    Two connections may share a Socket; closing one closes the Socket of both. ``with connection:`` closes it.
    """

    _properties: ClassVar[tuple[Property, ...]] = (Property("socket", Socket, "get_socket", construct_only=True),)

    def __init__(self, *, socket: Socket) -> None:
        if not isinstance(socket, Socket):
            raise TypeError(f"socket must be a Socket, not {socket!r}")
        super().__init__()
        self._socket = socket
        self._input: InputStream | None = None
        self._output: OutputStream | None = None

    def get_socket(self) -> Socket:
        """Give the Socket, the object that was given."""
        return self._socket

    def connect(self, address: SocketAddress, cancellable: Cancellable | None = None) -> bool:  # type: ignore[override]
        """
        Connect the Socket to *address*, and give True; see `Socket.connect`.

        It hides `Object.connect`, which is reached as ``Object.connect(connection, "notify::closed", ...)``.
        """
        return self._socket.connect(address, cancellable)

    @overload
    def connect_async(self, address: SocketAddress, cancellable: Cancellable | None = None) -> Future[bool]: ...

    @overload
    def connect_async(
        self,
        address: SocketAddress,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def connect_async(
        self, address: SocketAddress, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any
    ) -> Any:
        """
        Start what `connect` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `connect_finish`; without one, None being one too, a
        `Future` is given, to be awaited.
        """
        return self._start(_CONNECT, self._socket._connecting(address), cancellable, callback, user_data)

    def connect_finish(self, result: AsyncResult) -> bool:
        """
        Give True, or raise the Error, for the *result* of `connect_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _CONNECT, result)  # type: ignore[no-any-return]

    @staticmethod
    def factory_register_type(
        g_type: type[SocketConnection],
        family: SocketFamily,
        type: SocketType,  # noqa: A002 - Gio's name
        protocol: int,
    ) -> None:
        """Have `Socket.connection_factory_create_connection` make a *g_type* of sockets of this kind."""
        if SocketConnection not in getattr(g_type, "__mro__", ()):
            raise TypeError(f"g_type must be a class of SocketConnections, not {g_type!r}")
        connection_types[kind_of_socket(family, type, protocol)] = g_type

    @staticmethod
    def factory_lookup_type(family: SocketFamily, type: SocketType, protocol_id: int) -> type[SocketConnection]:  # noqa: A002
        """Give the class of connections over sockets of this kind."""
        return connection_types.get(kind_of_socket(family, type, protocol_id), connection_types[None])

    def fileno(self) -> int:
        """Give the number of the Socket's descriptor. Raises the Error CLOSED once it is closed."""
        self._socket._check()
        return self._socket.get_fd()

    def is_connected(self) -> bool:
        """Tell whether the Socket has a peer."""
        return self._socket.is_connected()

    def get_local_address(self) -> SocketAddress | None:
        """Give the address that the Socket is bound to."""
        return self._socket.get_local_address()

    def get_remote_address(self) -> SocketAddress | None:
        """Give the peer's address. Raises the Error NOT_CONNECTED without a peer."""
        if not self._socket.is_connected():
            raise io_error(IOErrorEnum.NOT_CONNECTED, "Socket connection not connected")
        return self._socket.get_remote_address()

    def get_input_stream(self) -> InputStream:
        """Give the stream of what comes, always the same object."""
        if self._input is None:
            self._input = InputStream(self._socket)
        return self._input

    def get_output_stream(self) -> OutputStream:
        """Give the stream of what goes, always the same object."""
        if self._output is None:
            self._output = OutputStream(self._socket)
        return self._output

    def _start(
        self,
        name: str,
        operation: Operation[T],
        cancellable: Cancellable | None,
        callback: Any,
        data: tuple[object, ...],
    ) -> Future[T] | None:
        timed = self._socket._timed(operation)
        return start(self, name, timed, cancellable, callback, data, blocking=self._socket._blocking)

    def _close(self) -> None:
        try:
            for stream in (self._input, self._output):
                # A stream with an operation under way stays open, and that operation ends with the Socket.
                if stream is not None and not stream.has_pending():
                    stream.close()
        finally:
            # After an exception out of a signal handler, too: a second close() does nothing.
            self._socket.close()


class TcpConnection(SocketConnection):
    """A connection over TCP (Gio.TcpConnection): bytes only."""


connection_types[None] = SocketConnection
for _family in (SocketFamily.IPV4, SocketFamily.IPV6):
    for _protocol in (SocketProtocol.DEFAULT, SocketProtocol.TCP):
        connection_types[_family, SocketType.STREAM, _protocol] = TcpConnection
