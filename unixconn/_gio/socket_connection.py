"""SocketConnection: a pair of streams over a Socket."""

from __future__ import annotations

from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import SocketAddress, SocketFamily
from unixconn._gio.asynchronous import AWAIT, finish, start, with_async
from unixconn._gio.borrowing import duplicate_of
from unixconn._gio.input_stream import InputStream, SocketInputStream
from unixconn._gio.io_stream import IOStream
from unixconn._gio.output_stream import OutputStream, SocketOutputStream
from unixconn._gio.socket import Socket
from unixconn._gio.socket_types import SocketProtocol, SocketType, connection_types, kind_of_socket
from unixconn._kernel.peer import peer_credentials
from unixconn._kernel.processes import passer

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from typing_extensions import Self

    from unixconn._gio.asynchronous import Callback
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.future import Future
    from unixconn._gio.task import AsyncResult
    from unixconn._io.operation import Operation


class SocketConnection(IOStream):
    """
    A connection over a *socket* (Gio.SocketConnection).

    Two connections may share a Socket; closing one closes the Socket of both.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (Property("socket", Socket, "get_socket", construct_only=True),)

    _input: InputStream | None = None
    _output: OutputStream | None = None
    _socket: Socket

    if TYPE_CHECKING:

        def __init__(self, *, socket: Socket) -> None: ...

    else:

        def _declared(self, *, socket: Socket) -> None: ...

        def __init__(self, *others, socket=None):
            if others or not isinstance(socket, Socket):
                raise _wrong_arguments(type(self), others, socket)
            super().__init__()
            self._socket = socket

        # help() and inspect.signature() show this one. The constructor itself takes any arguments, to say what to call
        # instead.
        __init__.__wrapped__ = _declared
        del _declared

    _has_plain_constructor = True
    """Whether the constructor is that of this class, and no base of another library comes after it."""

    def __init_subclass__(cls, **others: Any) -> None:
        super().__init_subclass__(**others)
        usual = SocketConnection.__mro__
        cls._has_plain_constructor = cls.__init__ is SocketConnection.__init__ and cls.__mro__[-len(usual) :] == usual

    @classmethod
    def _over(cls, socket: Socket) -> Self:
        """Make a connection over *socket*, without the constructor's checks where it is that of this class."""
        if not cls._has_plain_constructor:
            return cls(socket=socket)
        made = cls.__new__(cls)
        made._pending = []
        made._socket = socket
        return made

    @classmethod
    def borrow(cls, sock: Any) -> Self:
        """
        Make a connection over the socket of *sock*, which belongs to somebody else and stays open.

        *sock* is a number, an object with ``fileno()`` such as a socket of the standard library, a transport or
        StreamWriter of asyncio, or a stream of trio or anyio. The connection has a duplicate of the descriptor:
        ``with UnixConnection.borrow(sock) as connection:`` closes that one alone. Both read from the same queue. While
        a loop reads from the socket by itself, as asyncio's transports do, what arrives goes to whichever comes first:
        call ``transport.pause_reading()`` before.

        Raises the Error FAILED for a number that is not open, INVALID_ARGUMENT for one that is no socket, and
        TOO_MANY_OPEN_FILES; TypeError for an object of another kind, and ValueError for one that is closed.
        """
        return cls._over(duplicate_of(sock))

    def get_socket(self) -> Socket:
        """Return the Socket, the object that the constructor was given."""
        return self._socket

    def __repr__(self) -> str:
        # This has to work for an object whose constructor has failed, too.
        socket: Socket | None = self.__dict__.get("_socket")
        state = "without a Socket" if socket is None else socket._state() + _peer_pid(socket)
        return f"<{type(self).__name__} {state}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pass the Socket to another process of multiprocessing, or raise TypeError."""
        return super().__reduce__() if passer() is None else (type(self)._over, (self._socket,))

    # --- connecting ---

    def connect(self, address: SocketAddress, cancellable: Cancellable | None = None) -> bool:  # type: ignore[override]
        """
        Connect the Socket to *address*, and return True; see `Socket.connect` for the errors.

        This method hides `Object.connect`, which can be called as ``Object.connect(connection, "notify::closed",
        ...)``.
        """
        return self._socket.connect(address, cancellable)

    @with_async("g_socket_connection_connect_async", returns="True")
    def _connect_operation(self, address: SocketAddress) -> Operation[bool]:
        return self._socket._connecting(address)

    @staticmethod
    def factory_register_type(
        g_type: type[SocketConnection],
        family: SocketFamily,
        type: SocketType,  # noqa: A002 - Gio's name
        protocol: int,
    ) -> None:
        """
        Make `Socket.connection_factory_create_connection` use the class *g_type* for sockets of this kind.

        Raises TypeError if *g_type* is not a subclass of SocketConnection, or if another argument is not a member of
        its enum.
        """
        if SocketConnection not in getattr(g_type, "__mro__", ()):
            raise TypeError(f"g_type must be a class of SocketConnections, not {g_type!r}")
        connection_types[kind_of_socket(family, type, protocol)] = g_type

    @staticmethod
    def factory_lookup_type(family: SocketFamily, type: SocketType, protocol_id: int) -> type[SocketConnection]:  # noqa: A002
        """
        Return the class of connections over sockets of this kind.

        Raises TypeError if an argument is not a member of its enum.
        """
        return connection_types.get(kind_of_socket(family, type, protocol_id), connection_types[None])

    # --- the Socket ---

    def fileno(self) -> int:
        """
        Return the number of the Socket's descriptor.

        Raises the Error CLOSED once it is closed, NOT_INITIALIZED for a Socket that never had one.
        """
        self._socket._check()
        return self._socket.get_fd()

    def is_connected(self) -> bool:
        """Whether the Socket was connected; the peer may have gone since."""
        return self._socket.is_connected()

    def get_local_address(self) -> SocketAddress | None:
        """Return the address that the Socket is bound to; None for another family than UNIX."""
        return self._socket.get_local_address()

    def get_remote_address(self) -> SocketAddress | None:
        """
        Return the peer's address; None for another family than UNIX.

        Raises the Error NOT_CONNECTED without a peer.
        """
        if not self._socket.is_connected():
            raise io_error(IOErrorEnum.NOT_CONNECTED, "Socket connection not connected")
        return self._socket.get_remote_address()

    def get_input_stream(self) -> InputStream:
        """Return the stream of the bytes that come from the peer, always the same object."""
        if self._input is None:
            self._input = SocketInputStream(self._socket)
        return self._input

    def get_output_stream(self) -> OutputStream:
        """Return the stream of the bytes that go to the peer, always the same object."""
        if self._output is None:
            self._output = SocketOutputStream(self._socket)
        return self._output

    def _close(self) -> None:
        try:
            # As close() of the streams does, of which nothing else is to be closed. A stream with a pending operation
            # stays open, and that operation ends when the Socket is closed.
            if self._input is not None and not self._input._pending:
                self._input._closed = True
            if self._output is not None and not self._output._pending:
                self._output._closed = True
        finally:
            # This runs even if a signal handler raises an exception: another close() would do nothing.
            self._socket.close()

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def connect_async(self, address: SocketAddress, cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def connect_async(self, address: SocketAddress, cancellable: Cancellable | None = ..., callback: Callback = ...,
                      *user_data: object) -> None: ...
    def connect_async(self, address: SocketAddress, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                      *user_data: object) -> Future[bool] | None:
        """
        Start what `connect` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `connect_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped.
        """
        return start(self, "g_socket_connection_connect_async", self._connect_operation(address), cancellable, callback,
                     user_data, self._socket)

    def connect_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `connect_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_socket_connection_connect_async", result)

    # fmt: on
    # --- end of the generated part ---


def _peer_pid(socket: Socket) -> str:
    try:
        pid = peer_credentials(socket._handle)._numbers[0]
    except Error:  # it is closed, or the system does not report peers
        return ""
    return f" peer_pid={pid}" if pid else ""


def _wrong_arguments(kind: type[SocketConnection], others: tuple[object, ...], socket: object) -> TypeError:
    if others:
        wrong = f"{kind.__name__} takes one argument, the keyword socket, and not {others[0]!r}"
    else:
        wrong = f"socket must be a Socket, not {socket!r}"
    return TypeError(
        f"{wrong}. Call unixconn.connect(path) to connect to a path, UnixConnection.create_pair() to make two "
        "connections, or UnixConnection.from_socket(sock) for a socket of the standard library"
    )


class TcpConnection(SocketConnection):
    """A connection over TCP (Gio.TcpConnection): bytes only."""

    __module__ = "unixconn"


connection_types[None] = SocketConnection
for _family in (SocketFamily.IPV4, SocketFamily.IPV6):
    for _protocol in (SocketProtocol.DEFAULT, SocketProtocol.TCP):
        connection_types[_family, SocketType.STREAM, _protocol] = TcpConnection
