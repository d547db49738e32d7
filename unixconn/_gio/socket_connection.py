"""SocketConnection: a pair of streams over a Socket."""

from __future__ import annotations

import os

from unixconn._base.arguments import INT_MAX, as_copy, as_integer
from unixconn._base.deferred import defer
from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import SocketAddress, SocketFamily
from unixconn._gio.borrowing import duplicate_of
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.io_stream import IOStream
from unixconn._gio.socket import Socket
from unixconn._gio.socket_types import SocketProtocol, SocketType, connection_types, kind_of_socket
from unixconn._gio.triples import AWAIT, NO_DATA, with_async
from unixconn._io.operation import WRITABLE
from unixconn._io.receiving_data import PeekMessage, ReceiveExactly, ReceiveWhole, keep_message
from unixconn._io.sending_data import SendInParts, SendWhole
from unixconn._kernel.control_messages import MAX_DESCRIPTORS, UCRED
from unixconn._kernel.descriptors import listed
from unixconn._kernel.file_descriptor import passer
from unixconn._kernel.message import Message, receive_whole
from unixconn._kernel.peer import peer_credentials
from unixconn._kernel.send import message_pools, packed, send_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, ClassVar

    from typing_extensions import Self

    from unixconn._gio.asynchronous import finish, start
    from unixconn._gio.control_messages import BytesLike
    from unixconn._gio.future import Future
    from unixconn._gio.input_stream import InputStream, SocketInputStream
    from unixconn._gio.output_stream import OutputStream, SocketOutputStream
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._io.operation import Operation
    from unixconn._kernel.credentials import Credentials
    from unixconn._kernel.descriptors import FileDescriptorLike
    from unixconn._kernel.message import JoinedMessage
else:
    defer(globals(), "_gio.asynchronous", "finish", "start")
    defer(globals(), "_gio.input_stream", "SocketInputStream")
    defer(globals(), "_gio.output_stream", "SocketOutputStream")

_PLAIN = (list, tuple)
_NONE: list[Any] = []

# These are names of this module, as they are looked up for each message.
_getpid, _geteuid, _getegid = os.getpid, os.geteuid, os.getegid


class SocketConnection(IOStream):
    """
    A connection over a *socket* (Gio.SocketConnection).

    Two connections may share a Socket; closing one closes the Socket of both.

    The methods for messages wait as those of `UnixConnection` do, and have the errors of all its methods. Descriptors
    and credentials go only over a Unix socket.
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
            """Make a connection over *socket*, a `Socket`. Raises TypeError for anything else."""
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
        StreamWriter of asyncio, or a stream of trio or anyio. The connection has a duplicate of the descriptor, which
        ``with UnixConnection.borrow(sock) as connection:`` closes.

        Both read from the same queue. A transport of asyncio reads whatever arrives. So call
        ``transport.pause_reading()`` before you receive.

        Raises the Error FAILED for a number that is not open, INVALID_ARGUMENT for one that is no socket, and
        TOO_MANY_OPEN_FILES if there is no room for the duplicate; TypeError for an object of another kind; and
        ValueError for one that is closed.
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
            # This runs even if a signal handler raises an exception: another close() would do nothing. It is what the
            # Socket's close() does, which the callers here call again themselves.
            handle = self._socket._handle
            if not handle.opened:
                handle.check()
            handle.close_unguarded()

    # --- messages of data, with descriptors and credentials, which Gio does not have ---

    # As in connection.py, the plain methods make the first try themselves.

    def send_message(
        self,
        data: BytesLike,
        fds: Iterable[FileDescriptorLike] = (),
        credentials: Credentials | bool | None = None,
        cancellable: Cancellable | None = None,
    ) -> int:
        """
        Send all of *data*, a bytes-like object, and return its length in bytes.

        *fds* are numbers or objects with ``fileno()``, which still belong to the caller. *credentials* are those to
        send, True for those of this process. Both go with the first byte. See unix(7).

        - A stream may take the data in parts. After an error between two parts the peer has the first parts, and a note
          of the Error says so. If two threads call this method at the same time, their parts may be mixed.
        - The kernel takes 253 descriptors at a time. On a stream, the second 253 go with the second byte, and so on,
          and the last ones with all the rest of *data*. `receive_message` returns these parts one by one.
        - If an asynchronous operation has sent a part of its message, the call waits for the rest of that first.

        Raises the same errors as `UnixConnection.send_fd` and `UnixConnection.send_credentials`, and:

        - MESSAGE_TOO_LARGE for a record that the kernel does not take
        - INVALID_ARGUMENT for descriptors or credentials without data on a stream, where they would be lost
        - INVALID_ARGUMENT for more than 253 descriptors in a record, or for each byte of *data* on a stream
        """
        handle = self._socket._handle
        sent, tried = -1, False
        if (
            (cancellable is None or (cancellable.__class__ is Cancellable and not cancellable._is_set()))
            and data.__class__ is bytes
            and data
            and fds.__class__ in _PLAIN
            and (credentials is None or credentials is True)
            and (handle.is_unix or not fds)
            and not (handle.waiting and WRITABLE in handle.waiting)
        ):
            count = len(fds)
            value = None if not count else fds[0] if count == 1 and fds[0].__class__ is int else packed(fds)
            if value is not None or not count:
                identity = None
                if credentials:
                    identity, count = UCRED.pack(_getpid(), _geteuid(), _getegid()), ~count
                sent = send_whole(handle, message_pools[count], value, identity, data)
                if sent == len(data):
                    return sent
                tried = sent < 0
        operation = self._send_message_operation(data, fds, credentials)
        if sent >= 0:
            operation.counts.append(sent)
        return self._socket._complete(operation, cancellable, tried=tried)

    @with_async(
        "unixconn_send_message_async",
        returns="the number of bytes",
        note="*fds* may be closed as soon as the call returns.",
        result=int,
    )
    def _send_message_operation(
        self, data: BytesLike, fds: Iterable[FileDescriptorLike] = (), credentials: Credentials | bool | None = None
    ) -> SendWhole:
        given = listed(fds)
        if len(given) > MAX_DESCRIPTORS:
            return SendInParts(self._socket._handle, as_copy(data), given, credentials)
        return SendWhole(self._socket._handle, as_copy(data), given, credentials)

    def receive_message(self, max_bytes: int, cancellable: Cancellable | None = None) -> Message:
        """
        Receive at most *max_bytes* bytes, with their descriptors and credentials, and return a `Message`.

        - On a stream the bytes may be of several messages. They end with the first message that has descriptors, so
          these belong to the bytes that were sent last. On other sockets the bytes are one record, which may be empty.
        - Credentials and a pidfd come if `UnixConnection.pass_credentials` and `UnixConnection.pass_pidfds` have asked
          for them. A SEQPACKET connection always asks for credentials, to distinguish an empty record from the end.
          Without room in the descriptor table the pidfd alone is missing, and ``credentials.get_pidfd()`` says so.

        Raises the Errors of all methods (see `UnixConnection`), and:

        - CLOSED, ``Connection closed by the peer``, at the end; INVALID_ARGUMENT for a stream without a peer
        - TOO_MANY_OPEN_FILES if this process has no free number for each descriptor
        - PERMISSION_DENIED if a security module denies a descriptor
        - MESSAGE_TOO_LARGE for a record that is longer than *max_bytes*

        The last three consume the message, and close its descriptors. Its data, or the first *max_bytes* of it, are in
        the attribute `Error.partial`, and its sender's credentials in `Error.credentials`.

        If a signal handler raises an exception when the message has come, the next call returns it.
        """
        handle = self._socket._handle
        found: list[Message] = []
        tried = False
        try:
            if (
                (cancellable is None or (cancellable.__class__ is Cancellable and not cancellable._is_set()))
                and max_bytes.__class__ is int
                and 0 < max_bytes <= INT_MAX
                and not handle.is_sequence
            ):
                tried = True
                if receive_whole(handle, max_bytes, found):
                    message, found = found[0], _NONE
                    return message
        finally:
            if found:  # a signal handler has raised an exception
                keep_message(handle, found)
        return self._socket._complete(self._receive_message_operation(max_bytes), cancellable, tried=tried)

    @with_async(
        "unixconn_receive_message_async",
        returns="the Message",
        note="The descriptors of a Message that no caller takes are closed with its result.",
    )
    def _receive_message_operation(self, max_bytes: int) -> Operation[Message]:
        return ReceiveWhole(self._socket._handle, as_integer(max_bytes, "max_bytes", 1, INT_MAX))

    def receive_exactly(self, size: int, cancellable: Cancellable | None = None) -> JoinedMessage:
        """
        Receive *size* bytes of a stream, with their descriptors and credentials, and return a `JoinedMessage`.

        Its attribute ``offsets`` says with which bytes each descriptor came.

        If the wait ends early, by CANCELLED, TIMED_OUT or an exception of a signal handler, nothing is lost. The next
        `receive_exactly`, `receive_message`, `peek_message` or read of the input stream gets what has come. The methods
        that receive one byte with a descriptor or with credentials, and those of the Socket, do not see it.

        Raises the Errors of all methods (see `UnixConnection`), and:

        - CLOSED, ``Connection closed by the peer``, at the end
        - TOO_MANY_OPEN_FILES and PERMISSION_DENIED as `receive_message`
        - NOT_SUPPORTED if the socket is no stream

        In the first two cases, the bytes that have come are in the attribute `Error.partial`. The next call gets them
        as well, with their descriptors.
        """
        return self._socket._complete(self._receive_exactly_operation(size), cancellable)

    @with_async(
        "unixconn_receive_exactly_async",
        returns="the JoinedMessage",
        note="The descriptors of a JoinedMessage that no caller takes are closed with its result. If the task that "
        "awaits it is cancelled, it is kept for the next call.",
    )
    def _receive_exactly_operation(self, size: int) -> Operation[JoinedMessage]:
        return ReceiveExactly(self._socket._handle, as_integer(size, "size", 0, INT_MAX))

    def peek_message(self, max_bytes: int, cancellable: Cancellable | None = None) -> Message:
        """
        Return what `receive_message` would receive, and leave it in the socket for the next call (MSG_PEEK).

        The descriptors are duplicates, which belong to the `Message`. If a record is longer than *max_bytes*, its first
        bytes come, and ``end_of_record`` is False.

        Raises the same Errors as `receive_message`, but loses nothing with them; and NOT_SUPPORTED on other systems
        than Linux.
        """
        return self._socket._complete(self._peek_message_operation(max_bytes), cancellable)

    @with_async(
        "unixconn_peek_message_async",
        returns="the Message",
        note="The descriptors of a Message that no caller takes are closed with its result.",
    )
    def _peek_message_operation(self, max_bytes: int) -> Operation[Message]:
        return PeekMessage(self._socket._handle, as_integer(max_bytes, "max_bytes", 1, INT_MAX))

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def connect_async(self, address: SocketAddress, cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def connect_async(self, address: SocketAddress, cancellable: Cancellable | None = ..., callback: Callback = ...,
                      user_data: object = ..., *more: object) -> None: ...
    def connect_async(self, address: SocketAddress, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                      user_data: object = NO_DATA, *more: object) -> Future[bool] | None:
        """
        Start what `connect` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `connect_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped.
        """
        return start(self, "g_socket_connection_connect_async", self._connect_operation(address), cancellable, callback,
                     (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def connect_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `connect_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_socket_connection_connect_async", result)

    @overload
    def send_message_async(self, data: BytesLike, fds: Iterable[FileDescriptorLike] = (),
                           credentials: Credentials | bool | None = None,
                           cancellable: Cancellable | None = None) -> Future[int]: ...
    @overload
    def send_message_async(self, data: BytesLike, fds: Iterable[FileDescriptorLike] = ...,
                           credentials: Credentials | bool | None = ..., cancellable: Cancellable | None = ...,
                           callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def send_message_async(self, data: BytesLike, fds: Iterable[FileDescriptorLike] = (),
                           credentials: Credentials | bool | None = None, cancellable: Cancellable | None = None,
                           callback: Callback = AWAIT, user_data: object = NO_DATA,
                           *more: object) -> Future[int] | None:
        """
        Start what `send_message` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `send_message_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. *fds* may be closed as soon as the call returns.
        """
        return start(self, "unixconn_send_message_async", self._send_message_operation(data, fds, credentials),
                     cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def send_message_finish(self, result: AsyncResult) -> int:
        """
        Return the number of bytes, for the *result* of `send_message_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_send_message_async", result)

    @overload
    def receive_message_async(self, max_bytes: int, cancellable: Cancellable | None = None) -> Future[Message]: ...
    @overload
    def receive_message_async(self, max_bytes: int, cancellable: Cancellable | None = ..., callback: Callback = ...,
                              user_data: object = ..., *more: object) -> None: ...
    def receive_message_async(self, max_bytes: int, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                              user_data: object = NO_DATA, *more: object) -> Future[Message] | None:
        """
        Start what `receive_message` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `receive_message_finish` returns
        the value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. The descriptors of a Message that no caller takes are closed with its result.
        """
        return start(self, "unixconn_receive_message_async", self._receive_message_operation(max_bytes), cancellable,
                     callback, (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def receive_message_finish(self, result: AsyncResult) -> Message:
        """
        Return the Message, for the *result* of `receive_message_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_receive_message_async", result)

    @overload
    def receive_exactly_async(self, size: int, cancellable: Cancellable | None = None) -> Future[JoinedMessage]: ...
    @overload
    def receive_exactly_async(self, size: int, cancellable: Cancellable | None = ..., callback: Callback = ...,
                              user_data: object = ..., *more: object) -> None: ...
    def receive_exactly_async(self, size: int, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                              user_data: object = NO_DATA, *more: object) -> Future[JoinedMessage] | None:
        """
        Start what `receive_exactly` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `receive_exactly_finish` returns
        the value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. The descriptors of a JoinedMessage that no caller takes are closed with its result. If the
        task that awaits it is cancelled, it is kept for the next call.
        """
        return start(self, "unixconn_receive_exactly_async", self._receive_exactly_operation(size), cancellable,
                     callback, (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def receive_exactly_finish(self, result: AsyncResult) -> JoinedMessage:
        """
        Return the JoinedMessage, for the *result* of `receive_exactly_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_receive_exactly_async", result)

    @overload
    def peek_message_async(self, max_bytes: int, cancellable: Cancellable | None = None) -> Future[Message]: ...
    @overload
    def peek_message_async(self, max_bytes: int, cancellable: Cancellable | None = ..., callback: Callback = ...,
                           user_data: object = ..., *more: object) -> None: ...
    def peek_message_async(self, max_bytes: int, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                           user_data: object = NO_DATA, *more: object) -> Future[Message] | None:
        """
        Start what `peek_message` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `peek_message_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. The descriptors of a Message that no caller takes are closed with its result.
        """
        return start(self, "unixconn_peek_message_async", self._peek_message_operation(max_bytes), cancellable,
                     callback, (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def peek_message_finish(self, result: AsyncResult) -> Message:
        """
        Return the Message, for the *result* of `peek_message_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_peek_message_async", result)

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


def connection_over(socket: Socket) -> SocketConnection:
    """Do what `Socket.connection_factory_create_connection` does, and close *socket* if that raises an exception."""
    kind = connection_types.get((socket._family, socket._type, socket._protocol)) or connection_types[None]
    if kind._has_plain_constructor:
        # The lines of `SocketConnection._over`.
        made = kind.__new__(kind)
        made._pending = []
        made._socket = socket
        return made
    is_made = False
    try:
        made = kind(socket=socket)
        is_made = True
        return made
    finally:
        if not is_made:
            socket.close()


connection_types[None] = SocketConnection
for _family in (SocketFamily.IPV4, SocketFamily.IPV6):
    for _protocol in (SocketProtocol.DEFAULT, SocketProtocol.TCP):
        connection_types[_family, SocketType.STREAM, _protocol] = TcpConnection
