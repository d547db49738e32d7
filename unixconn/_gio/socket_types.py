"""What Sockets are made of and return: types, protocols, flags, new sockets, and the results of methods."""

from __future__ import annotations

import _socket as python

from unixconn._base.arguments import as_member
from unixconn._base.enums import GEnum, GFlags
from unixconn._base.errors import IOErrorEnum, io_error, translated
from unixconn._base.typing import TYPE_CHECKING, result_tuple
from unixconn._gio.address import SocketFamily
from unixconn._kernel.sockets import NO_TIMEOUT

if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from unixconn._gio.address import SocketAddress
    from unixconn._gio.control_messages import SocketControlMessage
    from unixconn._gio.socket_connection import SocketConnection


class SocketType(GEnum, prefix="G_SOCKET_TYPE_"):
    """Types of sockets (Gio.SocketType)."""

    __module__ = "unixconn"

    INVALID = 0
    STREAM = 1
    DATAGRAM = 2
    SEQPACKET = 3


# Gio numbers the types differently.
KERNEL_TYPES = {
    SocketType.STREAM: int(python.SOCK_STREAM),
    SocketType.DATAGRAM: int(python.SOCK_DGRAM),
    SocketType.SEQPACKET: int(python.SOCK_SEQPACKET),
}
GIO_TYPES = {kernel: gio for gio, kernel in KERNEL_TYPES.items()}


class SocketProtocol(GEnum, prefix="G_SOCKET_PROTOCOL_"):
    """Protocols (Gio.SocketProtocol)."""

    __module__ = "unixconn"

    UNKNOWN = -1
    DEFAULT = 0
    TCP = 6
    UDP = 17
    SCTP = 132


# A dictionary is faster than a call of the enumeration.
FAMILIES = {int(each): each for each in SocketFamily}
PROTOCOLS = {int(each): each for each in SocketProtocol}


class SocketMsgFlags(GFlags, prefix="G_SOCKET_MSG_"):
    """
    The flags of sendmsg(2) and recvmsg(2) that have names in Gio (Gio.SocketMsgFlags).

    Others may be given too, such as MSG_DONTWAIT of the socket module. MSG_NOSIGNAL and MSG_CMSG_CLOEXEC are always on.
    """

    __module__ = "unixconn"

    NONE = 0
    OOB = python.MSG_OOB
    PEEK = python.MSG_PEEK
    DONTROUTE = python.MSG_DONTROUTE


DONTWAIT = int(python.MSG_DONTWAIT)
"""The flag with which sendmsg(2) does not wait."""
NEVER_WAITS = DONTWAIT | int(python.MSG_OOB) | int(getattr(python, "MSG_ERRQUEUE", 0))
"""The flags with which recvmsg(2) does not wait."""


connection_types: dict[tuple[SocketFamily, SocketType, SocketProtocol] | None, type[SocketConnection]] = {}
"""The class of connections for each kind of socket; the key None is for all others. The classes' modules fill it in."""


def kind_of_socket(family: Any, type: Any, protocol: Any) -> tuple[SocketFamily, SocketType, SocketProtocol]:  # noqa: A002
    """Return a key of `connection_types`. Raises TypeError if an argument is not a member of its enum."""
    return as_member(SocketFamily, family), as_member(SocketType, type), as_member(SocketProtocol, protocol)


def open_socket(family: SocketFamily, type: SocketType, protocol: SocketProtocol) -> python.socket:  # noqa: A002
    """Return a new socket, close-on-exec. Raises the Error for socket(2)'s errno, or INVALID_ARGUMENT."""
    if family is SocketFamily.INVALID:
        raise io_error(IOErrorEnum.INVALID_ARGUMENT, "Unable to create socket: Unknown family was specified")
    if protocol is SocketProtocol.UNKNOWN:
        raise io_error(IOErrorEnum.INVALID_ARGUMENT, "Unable to create socket: Unknown protocol was specified")
    try:
        return python.socket(family, KERNEL_TYPES.get(type, 0) | NO_TIMEOUT, protocol)
    except OSError as error:
        raise translated(error, "Unable to create socket: ") from None


if TYPE_CHECKING:

    class SocketOption(NamedTuple):
        """The result of `Socket.get_option`."""

        ok: bool
        """Always True: a failure is raised as an Error."""
        value: int
        """The value of the option."""

    class Datagram(NamedTuple):
        """The result of `Socket.receive_from`."""

        data: bytes
        """The bytes of the datagram, as many as there was room for."""
        address: SocketAddress | None
        """The sender's address, None for a sender without a name."""

    class SocketMessage(NamedTuple):
        """The result of `Socket.receive_message`."""

        size: int
        """The number of data bytes received."""
        address: SocketAddress | None
        """The sender's address, on a socket without a connection; None for a sender without a name."""
        messages: list[SocketControlMessage]
        """The control messages."""
        flags: int
        """The kernel's msg_flags, see recvmsg(2)."""

else:
    SocketOption = result_tuple(
        "SocketOption",
        "The result of `Socket.get_option`.",
        ok="Always True: a failure is raised as an Error.",
        value="The value of the option.",
    )
    Datagram = result_tuple(
        "Datagram",
        "The result of `Socket.receive_from`.",
        data="The bytes of the datagram, as many as there was room for.",
        address="The sender's address, None for a sender without a name.",
    )
    SocketMessage = result_tuple(
        "SocketMessage",
        "The result of `Socket.receive_message`.",
        size="The number of data bytes received.",
        address="The sender's address, on a socket without a connection; None for a sender without a name.",
        messages="The control messages.",
        flags="The kernel's msg_flags, see recvmsg(2).",
    )
