"""Socket: what a connection stands on."""

from __future__ import annotations

import errno
import socket as python
from enum import IntEnum

from unixconn._base.arguments import INT_MAX, as_copy, as_integer, as_timeout, as_writable
from unixconn._base.errors import Error, InvalidArgumentError, IOErrorEnum, io_error, system_error, translated
from unixconn._base.managed import Managed
from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._gio.address import SocketAddress, SocketFamily, from_kernel, from_python
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.control_messages import SocketControlMessage, received
from unixconn._gio.datagrams import DatagramPassing, name_of, unix_address
from unixconn._gio.kinds import (
    GIO_TYPES,
    KERNEL_TYPES,
    SocketProtocol,
    SocketType,
    connection_types,
    kind_of_socket,
)
from unixconn._gio.results import Message, Option
from unixconn._io.connecting import Accept, AwaitCondition, Connect
from unixconn._io.operation import Operation, complete
from unixconn._io.receiving import ReceiveMessage
from unixconn._io.sending import SendMessage
from unixconn._kernel.control_messages import INT_SIZE, MAX_DESCRIPTORS, SCM_RIGHTS
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.descriptors import close_all, duplicate_all
from unixconn._kernel.epoll import IOCondition
from unixconn._kernel.file_descriptor import FileDescriptor, as_own_descriptor, taken_over
from unixconn._kernel.handle import NO_TIMEOUT, Handle, adopt_socket
from unixconn._kernel.peer import peer_credentials
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar

    from unixconn._gio.socket_connection import SocketConnection
    from unixconn._gio.socket_source import SocketSource
    from unixconn._io.steps import Steps

T = TypeVar("T")
EnumT = TypeVar("EnumT", bound=IntEnum)
OperationT = TypeVar("OperationT", bound="Operation[Any]")


class Socket(DatagramPassing, Managed):
    """
    A socket (Gio.Socket); made by `new` or `new_from_fd`.

    The methods raise the Error CLOSED on a closed one and NOT_INITIALIZED on one that was made by ``Socket(fd=...)``
    without `init`. Those that may wait do so until the timeout, TIMED_OUT, or until their *cancellable* is cancelled,
    CANCELLED, or the socket is closed, CLOSED; they raise WOULD_BLOCK instead if the Socket is set not to block.
    The descriptor is closed with the object, and at the end of ``with socket:``.
    """

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("family", SocketFamily, "get_family", default=SocketFamily.INVALID, construct_only=True),
        Property("type", SocketType, "get_socket_type", default=SocketType.STREAM, construct_only=True),
        Property("protocol", SocketProtocol, "get_protocol", default=SocketProtocol.UNKNOWN, construct_only=True),
        Property("fd", int, "get_fd", default=-1, construct_only=True),
        Property("blocking", bool, "get_blocking", "set_blocking", default=True),
        Property("listen-backlog", int, "get_listen_backlog", "set_listen_backlog", default=10),
        Property("timeout", int, "get_timeout", "set_timeout", default=0),
        Property("keepalive", bool, "get_keepalive", "set_keepalive", default=False),
        Property("local-address", SocketAddress, "_local_address"),
        Property("remote-address", SocketAddress, "_remote_address"),
    )

    def __init__(
        self,
        *,
        fd: int = -1,
        family: SocketFamily = SocketFamily.INVALID,
        type: SocketType = SocketType.STREAM,  # noqa: A002 - Gio's name
        protocol: SocketProtocol = SocketProtocol.UNKNOWN,
        blocking: bool = True,
        listen_backlog: int = 10,
        timeout: int = 0,
        keepalive: bool = False,
    ) -> None:
        """Keep what `init` needs; the Socket is usable after that."""
        super().__init__()
        self._given = fd
        self._fd = as_integer(fd, "fd", -1, INT_MAX)
        self._family, self._type, self._protocol = kind_of_socket(family, type, protocol)
        self._handle = Handle()
        self._blocking, self._listen_backlog, self._timeout = True, 10, 0
        self._keepalive = bool(keepalive)
        self.set_blocking(blocking)
        self.set_listen_backlog(listen_backlog)
        self.set_timeout(timeout)

    # --- making one ---

    @classmethod
    def new(cls, family: SocketFamily, type: SocketType, protocol: SocketProtocol) -> Socket:  # noqa: A002
        """
        Make a new socket, close-on-exec.

        Raises the Error INVALID_ARGUMENT for an unknown family or protocol, else that of socket(2)'s errno.
        """
        made = cls(family=family, type=type, protocol=protocol)
        made.init(None)
        return made

    @classmethod
    def new_from_fd(cls, fd: int) -> Socket:
        """
        Make one of the socket *fd*, which belongs to it from now on, and becomes close-on-exec.

        O_NONBLOCK stays as it is: it belongs to everybody who has the socket. On failure *fd* is still the caller's:
        the Error FAILED for a number that is not open, INVALID_ARGUMENT for something that is no socket.
        """
        made = cls()
        if fd != -1:
            made._fd, made._given = as_own_descriptor(fd), fd
        # Gio's answer to -1 is that of a Socket that is told nothing at all, and so it is here.
        made.init(None)
        return made

    def init(self, cancellable: Cancellable | None = None) -> bool:
        """
        Open the socket, or take over the descriptor, that the constructor was told of; give True.

        It does not wait, and *cancellable* does not end it.
        """
        check_cancellable(cancellable)
        if not self._handle.opened:
            self._take(self._open() if self._fd < 0 else adopt_socket([self._fd]))
            taken_over(self._given)
            if self._keepalive:
                self.set_option(python.SOL_SOCKET, python.SO_KEEPALIVE, True)
        return True

    def _open(self) -> python.socket:
        if self._family is SocketFamily.INVALID:
            raise io_error(IOErrorEnum.INVALID_ARGUMENT, "Unable to create socket: Unknown family was specified")
        if self._protocol is SocketProtocol.UNKNOWN:
            raise io_error(IOErrorEnum.INVALID_ARGUMENT, "Unable to create socket: Unknown protocol was specified")
        try:
            return python.socket(self._family, KERNEL_TYPES.get(self._type, 0) | NO_TIMEOUT, self._protocol)
        except OSError as error:
            raise translated(error, "Unable to create socket: ") from None

    @staticmethod
    def _pair(type: SocketType) -> tuple[Socket, Socket]:  # noqa: A002
        if type not in KERNEL_TYPES:
            raise TypeError(f"type must be SocketType.STREAM, DATAGRAM or SEQPACKET, not {type!r}")
        one, other = Socket(), Socket()
        try:
            ends = python.socketpair(python.AF_UNIX, KERNEL_TYPES[type])
        except OSError as error:
            raise translated(error, "Unable to create socket: ") from None
        one._take(ends[0])
        other._take(ends[1])
        return one, other

    def _take(self, owner: python.socket) -> None:
        self._handle.open(owner)
        self._family = _known(SocketFamily, owner.family, SocketFamily.INVALID)
        self._type = GIO_TYPES.get(owner.type, SocketType.INVALID)
        self._protocol = _known(SocketProtocol, owner.proto, SocketProtocol.UNKNOWN)

    def connection_factory_create_connection(self) -> SocketConnection:
        """Make a connection of this socket: a `UnixConnection` for a Unix stream, else a `SocketConnection`."""
        kind = connection_types.get((self._family, self._type, self._protocol), connection_types[None])
        return kind(socket=self)

    # --- what it is ---

    def get_fd(self) -> int:
        """Give the descriptor's number, -1 once it is closed; it stays the Socket's."""
        return self._handle.number if self._handle.opened else self._fd

    def get_family(self) -> SocketFamily:
        """Give the family of addresses."""
        return self._family

    def get_socket_type(self) -> SocketType:
        """Give the type."""
        return self._type

    def get_protocol(self) -> SocketProtocol:
        """Give the protocol."""
        return self._protocol

    def get_blocking(self) -> bool:
        """Tell whether operations wait. A setting of this object, not the descriptor's O_NONBLOCK."""
        return self._blocking

    def set_blocking(self, blocking: bool) -> None:
        """Set whether operations wait, or raise WOULD_BLOCK."""
        if self._blocking != bool(blocking):
            self._blocking = bool(blocking)
            self._notify("blocking")

    def get_timeout(self) -> int:
        """Give how long an operation waits at most, in seconds; 0 means without end."""
        return self._timeout

    def set_timeout(self, timeout: int) -> None:
        """Set how long an operation waits at most, in whole seconds; 0 means without end."""
        seconds = as_timeout(timeout)
        if self._timeout != seconds:
            self._timeout = seconds
            self._notify("timeout")

    def get_listen_backlog(self) -> int:
        """Give how many connections may wait to be accepted."""
        return self._listen_backlog

    def set_listen_backlog(self, backlog: int) -> None:
        """Set how many connections may wait to be accepted; for the next `listen`."""
        number = as_integer(backlog, "backlog", 0, INT_MAX)
        if self._listen_backlog != number:
            self._listen_backlog = number
            self._notify("listen-backlog")

    def get_keepalive(self) -> bool:
        """Tell whether SO_KEEPALIVE is on, as last known if the socket is closed; without effect on a Unix socket."""
        if self._handle.number >= 0:
            self._keepalive = bool(self.get_option(python.SOL_SOCKET, python.SO_KEEPALIVE).value)
        return self._keepalive

    def set_keepalive(self, keepalive: bool) -> None:
        """Set SO_KEEPALIVE; without effect on a Unix socket."""
        if self.get_keepalive() != bool(keepalive):
            self.set_option(python.SOL_SOCKET, python.SO_KEEPALIVE, bool(keepalive))
            self._keepalive = bool(keepalive)
            self._notify("keepalive")

    def get_option(self, level: int, optname: int) -> Option:
        """Give (True, value) for an option that is an integer; raises the Error for getsockopt()'s errno."""
        self._check()
        level, optname = (
            as_integer(level, "level", -INT_MAX, INT_MAX),
            as_integer(optname, "optname", -INT_MAX, INT_MAX),
        )
        return Option(True, self._handle.get_option(level, optname, ""))

    def set_option(self, level: int, optname: int, value: int) -> bool:
        """
        Set an option that is an integer, and give True; raises the Error for setsockopt()'s errno.

        SO_PASSCRED stays on as long as somebody waits for credentials, and is *value* after that.
        """
        self._check()
        level, optname = (
            as_integer(level, "level", -INT_MAX, INT_MAX),
            as_integer(optname, "optname", -INT_MAX, INT_MAX),
        )
        self._handle.set_option(level, optname, as_integer(value, "value", -INT_MAX - 1, INT_MAX), "")
        return True

    def get_credentials(self) -> Credentials:
        """
        Give the credentials of the peer: who made the pair, or who called connect() or listen().

        They are of that moment and stay, whoever has the other end now. Without a peer, and for another family than
        UNIX, they have no valid content.
        """
        self._check()
        return peer_credentials(self._handle)

    def get_local_address(self) -> SocketAddress | None:
        """Give the address that the socket is bound to; None for another family than UNIX."""
        return self._address("could not get local address: ", python.socket.getsockname)

    def get_remote_address(self) -> SocketAddress | None:
        """Give the peer's address; None for another family than UNIX. Raises the Error NOT_CONNECTED without a peer."""
        return self._address("could not get remote address: ", python.socket.getpeername)

    # As properties they are None where there is none, also with the versions of GLib whose method raises.

    def _local_address(self) -> SocketAddress | None:
        return _or_none(self.get_local_address)

    def _remote_address(self) -> SocketAddress | None:
        return _or_none(self.get_remote_address)

    def _address(self, context: str, ask: Any) -> SocketAddress | None:
        name = self._handle.call(ask, context=context)
        return from_python(name) if self._family is SocketFamily.UNIX else None

    def is_connected(self) -> bool:
        """Tell whether there is a peer, which may have gone meanwhile."""
        try:
            self.get_remote_address()
        except Error:
            return False
        return not all(self._shut_down)

    _shut_down = (False, False)

    def get_available_bytes(self) -> int:
        """Give how many bytes are there to be read, -1 if the socket is closed."""
        if self.is_closed():
            return -1
        self._check()
        return self._handle.available_bytes()

    # --- its life ---

    def bind(self, address: SocketAddress, allow_reuse: bool) -> bool:
        """
        Give the socket a name, and give True. *allow_reuse* has no effect on a Unix socket.

        Raises the Error ADDRESS_IN_USE for one that is taken, else that of bind(2)'s errno.
        """
        name = unix_address(address)._for_python()
        self._check()
        binding = "Error binding to address (GUnixSocketAddress): "
        if not self._handle.is_unix:
            raise system_error(errno.EAFNOSUPPORT, binding)
        self._handle.call(python.socket.bind, name, context=binding)
        return True

    def listen(self) -> bool:
        """Let peers connect, as many waiting as the listen backlog says, and give True."""
        self._check()
        self._handle.listen(self._listen_backlog)
        return True

    def connect(self, address: SocketAddress, cancellable: Cancellable | None = None) -> bool:  # type: ignore[override]
        """
        Connect to *address*, and give True.

        Waits while too many others wait to be accepted there. Raises the Error for connect(2)'s errno: NOT_FOUND,
        CONNECTION_REFUSED where nobody listens, FAILED if it is connected already. It hides `Object.connect`, which is
        reached as ``Object.connect(socket, "notify::timeout", ...)``.
        """
        return self._complete(self._connecting(address), cancellable)

    def _connecting(self, address: SocketAddress) -> Connect:
        return self._timed(Connect(self._handle, unix_address(address)._for_python()))

    def check_connect_result(self) -> bool:
        """Give True: a Unix socket is connected when `connect` comes back. Raises the Error that waits in SO_ERROR."""
        self._check()
        number = self._handle.get_option(python.SOL_SOCKET, python.SO_ERROR, "")
        if number:
            raise system_error(number, "")
        return True

    def accept(self, cancellable: Cancellable | None = None) -> Socket:
        """Wait for a peer to connect, and give the Socket to talk to it, close-on-exec."""
        made = Socket()
        made._take(self._complete(Accept(self._handle), cancellable))
        return made

    def shutdown(self, shutdown_read: bool, shutdown_write: bool) -> bool:
        """End one direction or both, for all who have the socket, waking those who wait; give True."""
        self._check()
        how = {
            (True, False): python.SHUT_RD,
            (False, True): python.SHUT_WR,
            (True, True): python.SHUT_RDWR,
        }.get((bool(shutdown_read), bool(shutdown_write)))
        if how is not None:
            self._handle.call(python.socket.shutdown, how, context="Unable to shutdown socket: ")
            self._shut_down = (
                self._shut_down[0] or bool(shutdown_read),
                self._shut_down[1] or bool(shutdown_write),
            )
        return True

    def close(self) -> bool:
        """Close it, and give True. Whoever waits ends with the Error CLOSED; what was sent is still delivered."""
        if not self._handle.opened:
            self._check()
        self._handle.close()
        return True

    def is_closed(self) -> bool:
        """Tell whether it was closed."""
        return self._handle.opened and self._handle.number < 0

    # --- messages ---

    def send_message(
        self,
        address: SocketAddress | None,
        vectors: Sequence[Any],
        messages: Sequence[SocketControlMessage] | None,
        flags: int,
        cancellable: Cancellable | None = None,
    ) -> int:
        """
        Send the bytes of *vectors*, or one NUL for none, with control *messages*; give how many bytes went.

        *address* is for a socket without a connection, *vectors* a sequence of bytes-like objects, *flags* those of
        sendmsg(2). The message may go in part: its control messages are with the first byte. Raises the Error
        INVALID_ARGUMENT for more than 253 descriptors, PERMISSION_DENIED for credentials that are not this process's,
        BROKEN_PIPE or NOT_CONNECTED without a peer.
        """
        name = name_of(address)
        controls = [_control_message(each)._pack() for each in messages or ()]
        buffers = [as_copy(each) for each in vectors] or [b"\0"]
        flags = as_integer(flags, "flags", 0, INT_MAX)
        try:
            return self._complete(self._sending_to(name, buffers, controls, flags), cancellable)
        except InvalidArgumentError as error:
            count = sum(len(data) // INT_SIZE for _, kind, data in controls if kind == SCM_RIGHTS)
            if count > MAX_DESCRIPTORS:
                error.__notes__.append(
                    f"a message carries at most {MAX_DESCRIPTORS} descriptors, and this one has {count}: send several"
                )
            raise

    def receive_message(self, vectors: Sequence[Any], flags: int, cancellable: Cancellable | None = None) -> Message:
        """
        Receive bytes into *vectors*, or one into nowhere for none, and the control messages that come with them.

        *vectors* is a sequence of writable buffers, *flags* those of recvmsg(2). Gives (size, address, messages,
        flags); control messages of unknown types are dropped, the descriptors in them closed. What the kernel has cut
        for want of a free descriptor shows as MSG_CTRUNC in the flags.
        """
        targets = [as_writable(each) for each in vectors]
        buffers = [bytearray(len(each)) for each in targets]
        operation = ReceiveMessage(self._handle, buffers, flags=as_integer(flags, "flags", 0, INT_MAX))
        found = self._complete(operation, cancellable)
        try:
            left = found.size
            for target, buffer in zip(targets, buffers):
                count = min(left, len(target))
                target[:count] = buffer[:count]
                left -= count
            messages = received(found.messages, found.owner)
        finally:
            close_all(found.owner)
        return Message(found.size, from_kernel(found.address), messages, found.flags)

    def send(self, buffer: Any, cancellable: Cancellable | None = None) -> int:
        """Send the bytes of *buffer*, a bytes-like object; give how many went."""
        return self._complete(self._sending(as_copy(buffer)), cancellable)

    def _sending(self, data: bytes) -> SendMessage:
        return self._timed(SendMessage(self._handle, [data], context="Error sending data: "))

    def receive(self, size: int, cancellable: Cancellable | None = None) -> bytes:
        """
        Receive at most *size* bytes; b"" at the end of the stream.

        Descriptors that come with them are kept for a connection's `UnixConnection.receive_fd`.
        """
        return self.receive_from(size, cancellable).data

    def _receiving(self, size: int) -> Steps[bytes]:
        return (yield from self._receiving_from(size)).data

    # --- waiting ---

    def condition_check(self, condition: IOCondition) -> IOCondition:
        """Give those of *condition*, and ERR and HUP, that hold now; none if the socket is closed."""
        wanted = as_integer(condition, "condition", 0, INT_MAX)
        return IOCondition(self._handle.poll(wanted))

    def condition_wait(self, condition: IOCondition, cancellable: Cancellable | None = None) -> bool:
        """Wait for *condition*, and give True."""
        return self.condition_timed_wait(condition, -1, cancellable)

    def condition_timed_wait(
        self, condition: IOCondition, timeout_us: int, cancellable: Cancellable | None = None
    ) -> bool:
        """Wait for *condition*, for at most *timeout_us* microseconds unless that is -1, and give True."""
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
        Make a `Source` that becomes ready when one of *condition* holds, or ERR or HUP, or *cancellable* is cancelled.

        Its callback gets (socket, IOCondition, *data), and is called again until it returns a false value.
        """
        check_cancellable(cancellable)
        wanted = as_integer(condition, "condition", 0, INT_MAX)
        from unixconn._gio.socket_source import SocketSource

        return SocketSource(self, wanted, cancellable)

    def _clear_nonblock(self) -> None:
        """Clear O_NONBLOCK, as accepted sockets and pairs are without it: who inherits a descriptor expects that."""
        self._handle.call(python.socket.setblocking, True, context="")

    def _duplicate(self) -> python.socket:
        with FileDescriptor._empty() as made:
            # No thread that closes it meanwhile can make the number another file's.
            with self._handle.lock.entered:
                self._check()
                duplicate_all(made._owned, (self._handle.number,))
            return made.to_socket()

    def _check(self) -> None:
        self._handle.check()

    def _timed(self, operation: OperationT) -> OperationT:
        """Have *operation* wait for at most the timeout."""
        operation.timeout = self._timeout or None
        return operation

    def _complete(self, operation: Operation[T], cancellable: Cancellable | None, *, tried: bool = False) -> T:
        return complete(self._timed(operation), cancellable, blocking=self._blocking, tried=tried)


def _or_none(ask: Callable[[], T | None]) -> T | None:
    try:
        return ask()
    except Error:
        return None


def _known(kind: type[EnumT], value: int, otherwise: EnumT) -> EnumT:
    try:
        return kind(value)
    except ValueError:
        return otherwise


def _control_message(value: object) -> SocketControlMessage:
    if not isinstance(value, SocketControlMessage):
        raise TypeError(f"messages must be SocketControlMessages, and {value!r} is none")
    return value
