"""Results of several values: tuples whose members have names."""

from __future__ import annotations

from collections import namedtuple

from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple

    from unixconn._base.object import Object
    from unixconn._gio.address import SocketAddress
    from unixconn._gio.control_messages import SocketControlMessage
    from unixconn._gio.socket import Socket
    from unixconn._gio.socket_connection import SocketConnection

    class Option(NamedTuple):
        """The answer of `Socket.get_option`."""

        ok: bool
        value: int

    class Datagram(NamedTuple):
        """The answer of `Socket.receive_from`."""

        data: bytes
        address: SocketAddress | None
        """The sender's, None for one without a name."""

    class Message(NamedTuple):
        """The answer of `Socket.receive_message`."""

        size: int
        """Data bytes."""
        address: SocketAddress | None
        """The sender's, for sockets without a connection."""
        messages: list[SocketControlMessage]
        flags: int
        """The kernel's msg_flags."""

    class Accepted(NamedTuple):
        """The answer of `SocketListener.accept`."""

        connection: SocketConnection
        source_object: Object | None

    class AcceptedSocket(NamedTuple):
        """The answer of `SocketListener.accept_socket`."""

        socket: Socket
        source_object: Object | None

    class AddressAdded(NamedTuple):
        """The answer of `SocketListener.add_address`."""

        ok: bool
        effective_address: SocketAddress | None

    class Written(NamedTuple):
        """The answer of `OutputStream.write_all`."""

        ok: bool
        bytes_written: int

else:
    Accepted = namedtuple("Accepted", "connection source_object")
    AcceptedSocket = namedtuple("AcceptedSocket", "socket source_object")
    AddressAdded = namedtuple("AddressAdded", "ok effective_address")
    Datagram = namedtuple("Datagram", "data address")
    Option = namedtuple("Option", "ok value")
    Message = namedtuple("Message", "size address messages flags")
    Written = namedtuple("Written", "ok bytes_written")

__all__ = ["Accepted", "AcceptedSocket", "AddressAdded", "Datagram", "Message", "Option", "Written"]
