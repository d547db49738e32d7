"""Socket."""

from __future__ import annotations

import _socket as python

from unixconn._base.arguments import INT_MAX, as_bytes, as_copy, as_int, as_integer, as_timeout, as_writable
from unixconn._base.deferred import defer
from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING, TypeVar, overload
from unixconn._gio import socket_bytes
from unixconn._gio.address import (
    SocketAddress,
    SocketFamily,
    address_or_none,
    from_kernel,
    from_python,
    name_of,
    unix_address,
)
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.control_messages import SocketControlMessage, as_control_message, received
from unixconn._gio.socket_types import (
    DONTWAIT,
    FAMILIES,
    GIO_TYPES,
    KERNEL_TYPES,
    NEVER_WAITS,
    PROTOCOLS,
    Datagram,
    SocketMessage,
    SocketOption,
    SocketProtocol,
    SocketType,
    connection_types,
    kind_of_socket,
    open_socket,
)
from unixconn._gio.triples import AWAIT, NO_DATA, with_async
from unixconn._io.blocking import complete
from unixconn._io.connecting import Accept, AwaitCondition, Connect
from unixconn._io.operation import READABLE, WRITABLE, Operation
from unixconn._io.receiving_data import ReceiveData, ReceiveMessage, keep_bytes
from unixconn._io.sending_data import SendData, SendMessage, SendTo, check_arrive
from unixconn._io.waiter import serve
from unixconn._kernel.connect import bind
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.descriptors import duplicate_all
from unixconn._kernel.epoll import IOCondition
from unixconn._kernel.file_descriptor import FileDescriptor, Passing, as_own_descriptor, owner_of, passer
from unixconn._kernel.handle import Handle
from unixconn._kernel.peer import peer_credentials
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.receive import RECEIVING
from unixconn._kernel.receive_data import (
    LOST,
    MOST_DATA,
    RECEIVING_DATA,
    check_kept,
    keep_received,
    receive_data,
    receive_message,
)
from unixconn._kernel.send import message_pools, send_data, send_whole
from unixconn._kernel.sockets import SocketType as KernelSocket
from unixconn._kernel.sockets import adopt_socket, kernel_pair
from unixconn._kernel.trigger import check_cancellable
from unixconn._kernel.unwanted import close_unwanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from socket import socket
    from typing import Any, ClassVar

    from typing_extensions import Buffer, Self

    from unixconn._gio.asynchronous import finish, start, start_sequence
    from unixconn._gio.control_messages import BytesLike
    from unixconn._gio.future import Future
    from unixconn._gio.socket_connection import SocketConnection
    from unixconn._gio.socket_source import SocketSource
    from unixconn._gio.streams import Bytes
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._io.steps import Steps
    from unixconn._kernel.control_messages import ControlMessage
    from unixconn._kernel.receive_data import Received
else:
    defer(globals(), "_gio.asynchronous", "finish", "start", "start_sequence")
    defer(globals(), "_gio.socket_source", "SocketSource")

T = TypeVar("T")
OperationT = TypeVar("OperationT", bound="Operation[Any]")

# Before CPython 3.11 the members of an enumeration are slow to get.
_NO_FAMILY, _STREAM, _NO_PROTOCOL = SocketFamily.INVALID, SocketType.STREAM, SocketProtocol.UNKNOWN


class Socket(Object):
    """
    A socket (Gio.Socket), made by `new` or `new_from_fd`.

    ``with socket:`` and ``async with socket:`` close it at the end of the block. A Socket that is dropped is closed.

    All methods raise TypeError if *cancellable* is not a Cancellable, and the Errors:

    - CLOSED if the Socket is closed, also while a method waits
    - NOT_INITIALIZED if the constructor has made the Socket, and `init` was not called
    - CANCELLED if *cancellable* is cancelled; TIMED_OUT after its deadline, or after the Socket's timeout
    - WOULD_BLOCK instead of waiting, if the Socket is non-blocking
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("family", SocketFamily, "get_family", default=SocketFamily.INVALID, construct_only=True),
        Property("type", SocketType, "get_socket_type", default=SocketType.STREAM, construct_only=True),
        Property("protocol", SocketProtocol, "get_protocol", default=SocketProtocol.UNKNOWN, construct_only=True),
        Property("fd", int, "get_fd", default=-1, construct_only=True),
        Property("blocking", bool, "get_blocking", "set_blocking", default=True),
        Property("listen-backlog", int, "get_listen_backlog", "set_listen_backlog", default=10),
        Property("keepalive", bool, "get_keepalive", "set_keepalive", default=False),
        Property("local-address", SocketAddress, "_local_address"),
        Property("remote-address", SocketAddress, "_remote_address"),
        Property("timeout", int, "get_timeout", "set_timeout", default=0),
    )

    # The constructor sets only what differs from these: most Sockets are made without arguments.
    _given: int | FileDescriptor = -1
    _fd = -1
    _family = SocketFamily.INVALID
    _type = SocketType.STREAM
    _protocol = SocketProtocol.UNKNOWN
    _blocking = True
    _listen_backlog = 10
    _timeout = 0
    _keepalive = False
    _shut_down = (False, False)
    """Whether receiving and sending were shut down by `shutdown`."""

    def __init__(
        self,
        *,
        fd: int | FileDescriptor = -1,
        family: SocketFamily = SocketFamily.INVALID,
        type: SocketType = SocketType.STREAM,  # noqa: A002 - Gio's name
        protocol: SocketProtocol = SocketProtocol.UNKNOWN,
        blocking: bool = True,
        listen_backlog: int = 10,
        timeout: int = 0,
        keepalive: bool = False,
    ) -> None:
        """
        Store what `init` needs. The Socket can be used after `init`.

        *fd* is a descriptor to take over; if it is -1, `init` opens a new socket of *family*, *type* and *protocol*.
        The others are as for `set_blocking`, `set_listen_backlog`, `set_timeout` and `set_keepalive`.
        """
        super(Object, self).__init__()
        if fd != -1:
            self._given, self._fd = fd, as_integer(fd, "fd", -1, INT_MAX)
        if family is not _NO_FAMILY or type is not _STREAM or protocol is not _NO_PROTOCOL:
            self._family, self._type, self._protocol = kind_of_socket(family, type, protocol)
        self._handle = Handle()
        if keepalive:
            self._keepalive = True
        if blocking is not True:
            self.set_blocking(blocking)
        if listen_backlog != 10:
            self.set_listen_backlog(listen_backlog)
        if timeout != 0:
            self.set_timeout(timeout)

    # --- making a Socket ---

    @classmethod
    def new(cls, family: SocketFamily, type: SocketType, protocol: SocketProtocol) -> Self:  # noqa: A002
        """
        Make a new socket, close-on-exec.

        Raises the Error INVALID_ARGUMENT for the family INVALID and the protocol UNKNOWN, NOT_SUPPORTED for a type or
        protocol that the family does not have, TOO_MANY_OPEN_FILES if there is no free descriptor, and otherwise the
        Error for the errno of socket(2). Raises TypeError if an argument is not a member of its enum.
        """
        made = cls(family=family, type=type, protocol=protocol)
        made.init(None)
        return made

    @classmethod
    def new_from_fd(cls, fd: int | FileDescriptor) -> Self:
        """
        Make a Socket that takes over the descriptor *fd*, which becomes close-on-exec.

        *fd* is a number or a `FileDescriptor`, from which the descriptor is detached. O_NONBLOCK is not changed, as all
        processes that have the socket share it. On failure *fd* still belongs to the caller.

        Raises the Error FAILED for a number that is not open, and INVALID_ARGUMENT for a descriptor that is no socket.
        Raises TypeError for a file or a socket object, which would close its descriptor as well, and TypeError,
        ValueError or OverflowError for an *fd* that cannot be a descriptor.
        """
        made: Any = Socket._empty() if cls is Socket else cls()
        if fd != -1:
            made._fd, made._given = as_own_descriptor(fd), fd
        # As in Gio, -1 raises the Error for a Socket that has neither a descriptor nor a family.
        made.init(None)
        return made  # type: ignore[no-any-return]

    @staticmethod
    def _empty() -> Socket:
        # What the constructor does without arguments.
        made = Socket.__new__(Socket)
        made._handle = Handle()
        return made

    def init(self, cancellable: Cancellable | None = None) -> bool:
        """
        Open the socket, or take over the descriptor, that the constructor was given; return True.

        Raises the same errors as `new` and `new_from_fd`, and the Error NOT_SUPPORTED for any *cancellable*, as in Gio.
        """
        if cancellable is not None:
            check_cancellable(cancellable)
            raise io_error(IOErrorEnum.NOT_SUPPORTED, "Cancellable initialization not supported")
        if not self._handle.opened:
            if self._fd < 0:
                self._handle.open(open_socket(self._family, self._type, self._protocol))
            else:
                self._take(adopt_socket(owner_of(self._given, self._fd), KernelSocket))
            if self._keepalive:
                self.set_option(python.SOL_SOCKET, python.SO_KEEPALIVE, True)
        return True

    @staticmethod
    def _pair(type: SocketType) -> tuple[Socket, Socket]:  # noqa: A002
        if type not in KERNEL_TYPES:
            raise TypeError(f"type must be SocketType.STREAM, DATAGRAM or SEQPACKET, not {type!r}")
        one, other = Socket._empty(), Socket._empty()
        ends = kernel_pair(KERNEL_TYPES[type])
        one._take(ends[0])
        other._take(ends[1])
        return one, other

    def _take(self, owner: KernelSocket) -> None:
        self._handle.open(owner)
        self._family = FAMILIES.get(owner.family, _NO_FAMILY)
        self._type = GIO_TYPES.get(owner.type, SocketType.INVALID)
        self._protocol = PROTOCOLS.get(owner.proto, _NO_PROTOCOL)

    def connection_factory_create_connection(self) -> SocketConnection:
        """
        Make a connection over this Socket.

        It is a `UnixConnection` for a Unix stream, a `TcpConnection` for TCP, the class that
        `SocketConnection.factory_register_type` was given for another kind of socket, else a `SocketConnection`.
        """
        kind = connection_types.get((self._family, self._type, self._protocol))
        return (kind or connection_types[None])._over(self)

    # --- properties ---

    def get_fd(self) -> int:
        """Return the number of the descriptor, which still belongs to the Socket; -1 once it is closed."""
        return self._handle.number if self._handle.opened else self._fd

    def get_family(self) -> SocketFamily:
        """Return the family of addresses."""
        return self._family

    def get_socket_type(self) -> SocketType:
        """Return the type."""
        return self._type

    def get_protocol(self) -> SocketProtocol:
        """Return the protocol."""
        return self._protocol

    def get_blocking(self) -> bool:
        """Return whether operations wait. This is a setting of the object, not O_NONBLOCK of the descriptor."""
        return self._blocking

    def set_blocking(self, blocking: bool) -> None:
        """Set whether operations that cannot be done at once wait, or raise the Error WOULD_BLOCK."""
        self._change("blocking", bool(blocking))

    def get_timeout(self) -> int:
        """Return the longest time that an operation waits, in seconds; 0 means no limit."""
        return self._timeout

    def set_timeout(self, timeout: int) -> None:
        """
        Set the longest time that an operation waits, in whole seconds; 0 means no limit.

        Raises ValueError for less than a second (use `Cancellable.with_timeout` for that), TypeError for a *timeout*
        that is not a number and OverflowError for one that is negative or does not fit a C unsigned int.
        """
        seconds = as_timeout(timeout)
        if self._timeout != seconds:  # the lines of `_change`: programs set it before a wait
            self._timeout = seconds
            self._notify("timeout")

    def get_listen_backlog(self) -> int:
        """Return the number of connections that may wait to be accepted."""
        return self._listen_backlog

    def set_listen_backlog(self, backlog: int) -> None:
        """
        Set the number of connections that may wait to be accepted, from the next call of `listen` on; see listen(2).

        Raises TypeError for a *backlog* that is not a number, and OverflowError for one that is no C int.
        """
        self._change("listen-backlog", as_int(backlog, "backlog"))

    def get_keepalive(self) -> bool:
        """
        Return whether SO_KEEPALIVE is on, see socket(7). The option has no effect on a Unix socket.

        For a closed Socket, return the value that was last known.
        """
        if self._handle.number >= 0:
            self._keepalive = bool(self.get_option(python.SOL_SOCKET, python.SO_KEEPALIVE).value)
        return self._keepalive

    def set_keepalive(self, keepalive: bool) -> None:
        """Set SO_KEEPALIVE, see socket(7). The option has no effect on a Unix socket."""
        if self.get_keepalive() != bool(keepalive):
            self.set_option(python.SOL_SOCKET, python.SO_KEEPALIVE, bool(keepalive))
            self._keepalive = bool(keepalive)
            self._notify("keepalive")

    def get_option(self, level: int, optname: int) -> SocketOption:
        """
        Return (True, value) of an option that is an integer.

        *level* and *optname* are constants of the socket module, such as SOL_SOCKET and SO_RCVBUF. Raises the Error for
        the errno of getsockopt(2): FAILED for an unknown option.
        """
        self._check()
        level = as_integer(level, "level", -INT_MAX, INT_MAX)
        optname = as_integer(optname, "optname", -INT_MAX, INT_MAX)
        return SocketOption(True, self._handle.get_option(level, optname, ""))

    def set_option(self, level: int, optname: int, value: int) -> bool:
        """
        Set an option that is an integer, and return True.

        *level* and *optname* are constants of the socket module, such as SOL_SOCKET and SO_RCVBUF. SO_PASSCRED stays on
        as long as an operation waits for credentials, and gets *value* after that. Raises the Error for the errno of
        setsockopt(2): FAILED for an unknown option.
        """
        self._check()
        level = as_integer(level, "level", -INT_MAX, INT_MAX)
        optname = as_integer(optname, "optname", -INT_MAX, INT_MAX)
        self._handle.set_option(level, optname, as_int(value, "value"), "")
        return True

    def get_credentials(self) -> Credentials:
        """
        Return the peer credentials: those of the process that made the pair, or called connect() or listen().

        They are those of that moment, and do not change when the other end of the socket goes to another process.
        Without a peer, and for another family than UNIX, they have no valid values. See unix(7), SO_PEERCRED.

        Raises the Error NOT_SUPPORTED on a system without peer credentials.
        """
        self._check()
        return peer_credentials(self._handle)

    def get_local_address(self) -> SocketAddress | None:
        """
        Return the address that the socket is bound to; None for another family than UNIX.

        Raises the Error FAILED, ``Bad file descriptor``, on a closed Socket.
        """
        return self._address("could not get local address: ", python.socket.getsockname)

    def get_remote_address(self) -> SocketAddress | None:
        """
        Return the address of the peer; None for another family than UNIX.

        Raises the Error NOT_CONNECTED without a peer, and FAILED, ``Bad file descriptor``, on a closed Socket.
        """
        return self._address("could not get remote address: ", python.socket.getpeername)

    # The properties are None if there is no address, even in the versions of GLib whose methods raise an error.

    def _local_address(self) -> SocketAddress | None:
        return address_or_none(self.get_local_address)

    def _remote_address(self) -> SocketAddress | None:
        return address_or_none(self.get_remote_address)

    def _address(self, context: str, ask: Callable[[python.socket], Any]) -> SocketAddress | None:
        name = self._handle.call(ask, context=context)
        return from_python(name) if self._family is SocketFamily.UNIX else None

    def is_connected(self) -> bool:
        """Return whether the socket was connected, and is not shut down both ways. The peer may have gone since."""
        try:
            self.get_remote_address()
        except Error:
            return False
        return not all(self._shut_down)

    def get_available_bytes(self) -> int:
        """Return the number of bytes that can be received at once (FIONREAD), -1 if the Socket is closed."""
        if self.is_closed():
            return -1
        self._check()
        return self._handle.available_bytes()

    # --- connecting ---

    def bind(self, address: SocketAddress, allow_reuse: bool) -> bool:
        """
        Bind the socket to *address*, and return True. *allow_reuse* has no effect on a Unix socket.

        Raises the Error ADDRESS_IN_USE for an address that is taken, NOT_SUPPORTED for a socket of another family, and
        otherwise the Error for the errno of bind(2). The Error has the path as its ``filename``. Raises TypeError if
        *address* is not a `UnixSocketAddress`.
        """
        name = unix_address(address)._for_python()
        self._check()
        bind(self._handle, name)
        return True

    def listen(self) -> bool:
        """
        Let peers connect, and return True. The listen backlog limits how many may wait to be accepted.

        Raises the Error for the errno of listen(2): INVALID_ARGUMENT for a socket that is not bound.
        """
        self._check()
        self._handle.listen(self._listen_backlog)
        return True

    def connect(self, address: SocketAddress, cancellable: Cancellable | None = None) -> bool:  # type: ignore[override]
        """
        Connect to *address*, and return True.

        The method waits while the backlog of the listener is full. It hides `Object.connect`, which can be called as
        ``Object.connect(socket, "notify::timeout", ...)``.

        Raises the Error for the errno of connect(2): NOT_FOUND if there is no such socket file, CONNECTION_REFUSED if
        nobody listens there, FAILED if it is connected already. TypeError if *address* is not a `UnixSocketAddress`.
        The Error has the path as its ``filename``.
        """
        return self._complete(self._connecting(address), cancellable)

    def _connecting(self, address: SocketAddress) -> Connect:
        return self._timed(Connect(self._handle, unix_address(address)._for_python()))

    def check_connect_result(self) -> bool:
        """
        Return True, or raise the socket's pending Error (SO_ERROR), see socket(7).

        A Unix socket needs no such check: it is connected when `connect` returns.
        """
        self._check()
        number = self._handle.get_option(python.SOL_SOCKET, python.SO_ERROR, "")
        if number:
            raise system_error(number, "")
        return True

    def accept(self, cancellable: Cancellable | None = None) -> Socket:
        """
        Wait for a peer to connect, and return the Socket to talk to it, close-on-exec.

        Raises the Error for the errno of accept(2): INVALID_ARGUMENT for a socket that does not listen,
        TOO_MANY_OPEN_FILES if this process or the system has no free descriptor.
        """
        return self._accepted(self._complete(Accept(self._handle), cancellable))

    def _accepted(self, owner: KernelSocket) -> Socket:
        """Return a Socket for *owner*, which was accepted on this one: so it is of the same kind."""
        made = Socket.__new__(Socket)  # without the constructor, as `_empty` does
        made._handle = handle = Handle()
        handle.open(owner)
        made._family, made._type, made._protocol = self._family, self._type, self._protocol
        return made

    def shutdown(self, shutdown_read: bool, shutdown_write: bool) -> bool:
        """
        Shut down one direction or both, and return True; see shutdown(2).

        The shutdown applies to all processes that have the socket, and wakes their waiting operations. Raises the Error
        for the errno of shutdown(2).
        """
        self._check()
        read, write = bool(shutdown_read), bool(shutdown_write)
        if read or write:
            how = python.SHUT_RDWR if read and write else python.SHUT_RD if read else python.SHUT_WR
            self._handle.call(python.socket.shutdown, how, context="Unable to shutdown socket: ")
            self._shut_down = (self._shut_down[0] or read, self._shut_down[1] or write)
        return True

    def close(self) -> bool:
        """
        Close the socket, and return True; closing it a second time has no effect.

        Operations that wait raise the Error CLOSED. Data that were sent are still delivered.
        """
        handle = self._handle
        if not handle.opened:
            self._check()
        handle.close()
        return True

    def is_closed(self) -> bool:
        """Return whether the Socket was closed."""
        return self._handle.opened and self._handle.number < 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state()}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pass the socket to another process of multiprocessing, or raise TypeError."""
        if passer() is None:
            return super().__reduce__()
        self._check()
        return type(self).new_from_fd, (Passing(self._handle.number),)

    def _state(self) -> str:
        """Describe the Socket for `repr`: the descriptor's number, family, type and addresses. Never raises."""
        handle: Handle | None = self.__dict__.get("_handle")
        if handle is None or not handle.opened:
            return "not initialized"
        number = handle.number
        state = f"{number if number >= 0 else 'closed'} {self._family.name} {self._type.name}"
        for name, ask in (("local", python.socket.getsockname), ("peer", python.socket.getpeername)):
            try:
                address = handle.call(ask, context="")
            except Error:  # closed, or without a peer
                continue
            state += f" {name}={from_python(address)._brief() if handle.is_unix else address}"
        return state

    # --- messages ---

    def send_message(
        self,
        address: SocketAddress | None,
        vectors: Sequence[BytesLike],
        messages: Sequence[SocketControlMessage] | None,
        flags: int,
        cancellable: Cancellable | None = None,
    ) -> int:
        """
        Send the bytes of *vectors* with control *messages*, and return the number of bytes sent; see sendmsg(2).

        *address* is the receiver on a socket without a connection, None for the peer. *vectors* are bytes-like objects;
        if there are none, one NUL byte is sent. *messages* are control messages, or None. *flags* are those of
        sendmsg(2), see `SocketMsgFlags`. With MSG_DONTWAIT the method raises WOULD_BLOCK instead of waiting. A stream
        may send only the first part of the bytes: the control messages go with that part.

        Raises these Errors, and otherwise the one for the errno of sendmsg(2):

        - INVALID_ARGUMENT for more than 253 descriptors, and on a stream for control messages without in-band bytes
        - NOT_SUPPORTED for descriptors on a socket that is no Unix socket
        - PERMISSION_DENIED for credentials that are not those of this process
        - NOT_CONNECTED without a peer, BROKEN_PIPE if the peer has gone
        """
        name = name_of(address)
        controls = [as_control_message(each)._pack() for each in messages or ()]
        buffers = [as_copy(each) for each in vectors] or [b"\0"]
        flags = as_integer(flags, "flags", 0, INT_MAX)
        if controls and (flags or not self._handle.is_unix or not any(buffers)):
            check_arrive(self._handle, controls, sum(map(len, buffers)) - bool(flags & python.MSG_OOB), messages)
        if not (name or controls) and len(buffers) == 1:
            return self._send_data(buffers[0], flags, cancellable)
        operation = self._sending_to(name, buffers, controls, flags)
        return self._complete_unless(flags & DONTWAIT, operation, cancellable)

    def receive_message(
        self, vectors: Sequence[Buffer], flags: int, cancellable: Cancellable | None = None
    ) -> SocketMessage:
        """
        Receive bytes into *vectors*, and the control messages that come with them; see recvmsg(2).

        *vectors* are writable buffers, such as bytearrays; if there are none, one byte is received and dropped. *flags*
        are those of recvmsg(2), see `SocketMsgFlags`. With MSG_DONTWAIT, MSG_OOB and MSG_ERRQUEUE the method raises
        WOULD_BLOCK instead of waiting. MSG_WAITALL has no effect: see `InputStream.read_all`.

        Returns (size, address, messages, flags), a `SocketMessage`. Control messages of unknown types are dropped, and
        their descriptors closed. The flags have MSG_CTRUNC if the kernel has dropped descriptors, because this process
        had no free number for them, or because a security module denies them.

        Raises the Error BROKEN_PIPE if the peer has closed the socket with data unread, INVALID_ARGUMENT for a stream
        without a peer, and otherwise the Error for the errno of recvmsg(2). Raises TypeError for a read-only buffer.
        """
        targets = [as_writable(each) for each in vectors]
        size = sum(map(len, targets)) if targets else 1
        flags = as_integer(flags, "flags", 0, INT_MAX)
        found: list[Received] = []
        try:
            self._receive(size, found, flags, RECEIVING, cancellable)
            [came] = found
            place = 0
            for target in targets:
                part = came.data[place : place + len(target)]
                target[: len(part)] = part
                place += len(part)
            messages = received(came.messages, came.owner)
        finally:
            for each in found:
                close_unwanted(each.owner)
        return SocketMessage(came.size, from_kernel(came.address), messages, came.flags)

    def _receive(
        self, size: int, found: list[Received], flags: int, context: str, cancellable: Cancellable | None
    ) -> None:
        """Append a message to *found*, an empty list. The first attempt is made here; see `UnixConnection`."""
        tried = cancellable is None or (cancellable.__class__ is Cancellable and not cancellable._is_set())
        if not tried or not receive_message(self._handle, size, found, flags, context):
            operation = ReceiveMessage(self._handle, size, flags=flags, context=context)
            found.append(self._complete_unless(flags & NEVER_WAITS, operation, cancellable, tried=tried))

    def send(self, buffer: BytesLike, cancellable: Cancellable | None = None) -> int:
        """
        Send the bytes of *buffer*, a bytes-like object, and return the number of bytes sent.

        A stream may send a part of them. Raises the Error NOT_CONNECTED without a peer, BROKEN_PIPE if the peer has
        gone, and otherwise the Error for the errno of sendmsg(2).
        """
        data: bytes | memoryview = buffer if buffer.__class__ is bytes else as_bytes(buffer)
        handle = self._handle
        sent: list[int] = []
        tried = cancellable is None and WRITABLE not in handle.waiting
        if tried and send_data(handle, data, sent) >= 0:
            return sent[0]
        return self._complete(SendData(handle, data, sent, 0), cancellable, tried=tried)

    def _send_data(self, data: bytes, flags: int, cancellable: Cancellable | None) -> int:
        """Send *data* alone to the peer. The first attempt is made here; see `UnixConnection`."""
        handle = self._handle
        tried = False
        if (cancellable is None or (cancellable.__class__ is Cancellable and not cancellable._is_set())) and not (
            handle.waiting and WRITABLE in handle.waiting
        ):
            tried = True
            sent = send_whole(handle, message_pools[0], None, None, data, flags | SYSTEM.send_flags)
            if sent >= 0:
                return sent
        operation = SendMessage(handle, [data], flags=flags)
        return self._complete_unless(flags & DONTWAIT, operation, cancellable, tried=tried)

    def receive(self, size: int, cancellable: Cancellable | None = None) -> bytes:
        """
        Receive at most *size* bytes, and return them; b"" at the end of the stream.

        Descriptors that come with the bytes are kept, and errors are raised, as by `receive_from`.
        """
        if size.__class__ is not int or not 0 <= size <= MOST_DATA:
            return self.receive_from(size, cancellable).data  # a record may be that long
        handle = self._handle
        found: list[bytes] = []
        tried = cancellable is None
        try:
            if not tried or receive_data(handle, size, found) < 0:
                self._complete(ReceiveData(handle, size, found), cancellable, tried=tried)
            elif handle.leftovers:
                serve(handle, READABLE)  # an operation may be waiting for a descriptor
            return found[0]
        except BaseException:  # an Error, or raised by a signal handler
            if found:
                keep_bytes(handle, found)
            raise

    if TYPE_CHECKING:  # checkers differ in what they infer from an assignment

        def receive_bytes(self, size: int, timeout_us: int, cancellable: Cancellable | None = None) -> Bytes: ...

        def receive_bytes_from(
            self, size: int, timeout_us: int, cancellable: Cancellable | None = None
        ) -> tuple[Bytes, SocketAddress | None]: ...
    else:
        receive_bytes, receive_bytes_from = socket_bytes.receive_bytes, socket_bytes.receive_bytes_from

    # --- datagrams: send_to, receive_from ---

    def send_to(self, address: SocketAddress | None, buffer: BytesLike, cancellable: Cancellable | None = None) -> int:
        """
        Send the bytes of *buffer* to *address*, None for the peer, and return the number of bytes sent.

        Raises the Error NOT_FOUND if there is no such socket file, CONNECTION_REFUSED if nobody receives there,
        NOT_CONNECTED without an address and a peer, and otherwise the Error for the errno of sendmsg(2), with the path
        as its ``filename``. Raises TypeError for an *address* that is neither None nor a `UnixSocketAddress`.
        """
        name, data = name_of(address), as_copy(buffer)
        if not name:
            return self._send_data(data, 0, cancellable)
        return self._complete(self._sending_to(name, [data]), cancellable)

    def receive_from(self, size: int, cancellable: Cancellable | None = None) -> Datagram:
        """
        Receive at most *size* bytes, and return (data, address), a `Datagram`.

        The address is that of the sender, None if the sender has no name. If a datagram has more than *size* bytes, the
        rest is lost. Descriptors that come with the bytes are kept for `UnixConnection.receive_fd` of a connection over
        this Socket. Raises the same errors as `receive_message`, and TOO_MANY_OPEN_FILES if more than 253 are kept.
        """
        found: list[Received] = []
        try:
            if self._handle.leftovers:
                check_kept(self._handle)
            self._receive(as_integer(size, "size", 0, INT_MAX), found, 0, RECEIVING_DATA, cancellable)
            return self._datagram(found[0])
        finally:
            for each in found:
                if each.owner:
                    close_unwanted(each.owner)

    @with_async(
        "unixconn_socket_send_to_async",
        returns="the number of bytes sent",
        note="The bytes of *buffer* are copied during the call.",
    )
    def _send_to_operation(self, address: SocketAddress | None, buffer: BytesLike) -> Operation[int]:
        return self._sending_to(name_of(address), [as_copy(buffer)])

    @with_async(
        "unixconn_socket_receive_from_async",
        returns="(data, address)",
        note="The operation waits even if the Socket is non-blocking.",
    )
    def _receive_from_steps(self, size: int) -> Steps[Datagram]:
        return self._receiving_from(as_integer(size, "size", 0, INT_MAX))

    def _sending_to(
        self, name: bytes, buffers: Sequence[bytes], controls: Sequence[ControlMessage] = (), flags: int = 0
    ) -> SendMessage:
        return (SendTo if name else SendMessage)(self._handle, buffers, controls, flags=flags, address=name)

    def _receiving_from(self, size: int) -> Steps[Datagram]:
        if self._handle.leftovers:
            check_kept(self._handle)
        operation = ReceiveMessage(self._handle, size, context=RECEIVING_DATA)
        operation.timeout = self._timeout or None
        found = yield operation
        try:
            return self._datagram(found)
        finally:
            if found.owner:
                close_unwanted(found.owner)

    def _datagram(self, found: Received) -> Datagram:
        if (found.owner or found.flags & LOST) and keep_received(self._handle, found):
            serve(self._handle, READABLE)  # an operation may be waiting for a descriptor
        return Datagram(found.data, from_kernel(found.address))

    # --- waiting ---

    def condition_check(self, condition: IOCondition) -> IOCondition:
        """Return which of *condition*, ERR and HUP hold now; none if the Socket is closed. See poll(2)."""
        wanted = as_integer(condition, "condition", 0, INT_MAX)
        return IOCondition(self._handle.poll(wanted))

    def condition_wait(self, condition: IOCondition, cancellable: Cancellable | None = None) -> bool:
        """
        Wait until one of *condition*, ERR or HUP holds, and return True; see poll(2).

        Raises TypeError if *condition* is not a number.
        """
        return self.condition_timed_wait(condition, -1, cancellable)

    def condition_timed_wait(
        self, condition: IOCondition, timeout_us: int, cancellable: Cancellable | None = None
    ) -> bool:
        """
        Wait until one of *condition*, ERR or HUP holds, and return True; see poll(2).

        The longest time to wait is *timeout_us* in microseconds, or the Socket's timeout if that is shorter or
        *timeout_us* is negative. Raises the Error TIMED_OUT when it has passed. Raises TypeError if *condition* or
        *timeout_us* is not a number.
        """
        microseconds = as_integer(timeout_us, "timeout_us", -(2**63), 2**63 - 1)
        wanted = as_integer(condition, "condition", 0, INT_MAX)
        limits = [microseconds / 1e6] if microseconds >= 0 else []
        if self._timeout:
            limits.append(self._timeout)
        operation = AwaitCondition(self._handle, wanted)
        operation.timeout = min(limits, default=None)
        complete(operation, cancellable)
        return True

    def create_source(self, condition: IOCondition, cancellable: Cancellable | None = None) -> SocketSource:
        """
        Make a `Source` that becomes ready when one of *condition*, ERR or HUP holds.

        Its callback is called with (socket, IOCondition, *data), again and again until it returns a false value. It is
        also called in these cases, which the IOCondition tells as in Gio:

        - The Socket's timeout has passed without one of the conditions: those of IN and OUT that *condition* has. An
          operation on the Socket that the callback starts, and that would have to wait, ends with TIMED_OUT at once.
        - *cancellable* is cancelled: no condition. The callback is called once for each time, and also when one of the
          conditions holds after that.
        - The Socket is closed: NVAL. If the system cannot watch the descriptor: ERR. Both are told once.

        Raises TypeError if *condition* is not a number, and OverflowError if it is negative or does not fit a C int.
        """
        check_cancellable(cancellable)
        wanted = as_integer(condition, "condition", 0, INT_MAX)
        return SocketSource(self, wanted, cancellable)

    def _clear_nonblock(self) -> None:
        """Clear O_NONBLOCK, for accepted sockets and pairs: a program that inherits the descriptor expects that."""
        self._handle.call(python.socket.setblocking, True, context="")

    def _duplicate(self) -> socket:
        with FileDescriptor._empty() as made:
            # While this thread holds the lock, no other thread can close the socket, after which the number may be
            # another file's.
            with self._handle.entered:
                self._check()
                duplicate_all(made._owned, (self._handle.number,))
            return made.to_socket()

    def _check(self) -> None:
        self._handle.check()

    def _timed(self, operation: OperationT) -> OperationT:
        """Set the timeout of *operation* to the Socket's, and return the operation."""
        operation.timeout = self._timeout or None
        return operation

    def _complete(self, operation: Operation[T], cancellable: Cancellable | None, *, tried: bool = False) -> T:
        operation.timeout = self._timeout or None
        return complete(operation, cancellable, blocking=self._blocking, tried=tried)

    def _complete_unless(
        self, no_wait: int, operation: Operation[T], cancellable: Cancellable | None, *, tried: bool = False
    ) -> T:
        """Do what `_complete` does; raise the Error WOULD_BLOCK instead of waiting if *no_wait* is not 0."""
        operation.timeout = self._timeout or None
        return complete(operation, cancellable, blocking=self._blocking and not no_wait, tried=tried)

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def send_to_async(self, address: SocketAddress | None, buffer: BytesLike,
                      cancellable: Cancellable | None = None) -> Future[int]: ...
    @overload
    def send_to_async(self, address: SocketAddress | None, buffer: BytesLike, cancellable: Cancellable | None = ...,
                      callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def send_to_async(self, address: SocketAddress | None, buffer: BytesLike, cancellable: Cancellable | None = None,
                      callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[int] | None:
        """
        Start what `send_to` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (socket, result, user_data, *more); `send_to_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. The bytes of *buffer* are copied during the call.
        """
        return start(self, "unixconn_socket_send_to_async", self._send_to_operation(address, buffer), cancellable,
                     callback, (user_data, *more) if user_data is not NO_DATA else more, self)

    def send_to_finish(self, result: AsyncResult) -> int:
        """
        Return the number of bytes sent, for the *result* of `send_to_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another socket or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_socket_send_to_async", result)

    @overload
    def receive_from_async(self, size: int, cancellable: Cancellable | None = None) -> Future[Datagram]: ...
    @overload
    def receive_from_async(self, size: int, cancellable: Cancellable | None = ..., callback: Callback = ...,
                           user_data: object = ..., *more: object) -> None: ...
    def receive_from_async(self, size: int, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                           user_data: object = NO_DATA, *more: object) -> Future[Datagram] | None:
        """
        Start what `receive_from` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (socket, result, user_data, *more); `receive_from_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. The operation waits even if the Socket is non-blocking.
        """
        return start_sequence(self, "unixconn_socket_receive_from_async", self._receive_from_steps(size), cancellable,
                              callback, (user_data, *more) if user_data is not NO_DATA else more)

    def receive_from_finish(self, result: AsyncResult) -> Datagram:
        """
        Return (data, address), for the *result* of `receive_from_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another socket or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_socket_receive_from_async", result)

    # fmt: on
    # --- end of the generated part ---
