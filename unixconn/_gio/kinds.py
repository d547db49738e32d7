"""The kinds of sockets, and which classes of connections are for which."""

from __future__ import annotations

import socket as python
from enum import IntEnum, IntFlag

from unixconn._base.arguments import as_member
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.address import SocketFamily

if TYPE_CHECKING:
    from typing import Any

    from unixconn._gio.socket_connection import SocketConnection


class SocketType(IntEnum):
    """Types of sockets (Gio.SocketType)."""

    INVALID = 0
    STREAM = 1
    DATAGRAM = 2
    SEQPACKET = 3


# Gio numbers the types in its own way.
KERNEL_TYPES = {
    SocketType.STREAM: python.SOCK_STREAM,
    SocketType.DATAGRAM: python.SOCK_DGRAM,
    SocketType.SEQPACKET: python.SOCK_SEQPACKET,
}
GIO_TYPES = {kernel: gio for gio, kernel in KERNEL_TYPES.items()}


class SocketProtocol(IntEnum):
    """Protocols (Gio.SocketProtocol)."""

    UNKNOWN = -1
    DEFAULT = 0
    TCP = 6
    UDP = 17
    SCTP = 132


class SocketMsgFlags(IntFlag):
    """Flags of messages that Gio has names for (Gio.SocketMsgFlags); the others are taken as well."""

    NONE = 0
    OOB = python.MSG_OOB
    PEEK = python.MSG_PEEK
    DONTROUTE = python.MSG_DONTROUTE


connection_types: dict[tuple[SocketFamily, SocketType, SocketProtocol] | None, type[SocketConnection]] = {}
"""The classes of connections for the kinds of sockets, None for all others; connection.py fills it in."""


def kind_of_socket(family: Any, type: Any, protocol: Any) -> tuple[SocketFamily, SocketType, SocketProtocol]:  # noqa: A002
    """Give the key of `connection_types`. Raises TypeError for what is no family, type or protocol."""
    return as_member(SocketFamily, family), as_member(SocketType, type), as_member(SocketProtocol, protocol)
