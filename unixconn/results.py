"""Results of several values: tuples whose members have names."""

from __future__ import annotations

from collections import namedtuple

from unixconn._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple

    from unixconn.address import SocketAddress
    from unixconn.messages import SocketControlMessage

    class Option(NamedTuple):
        """The answer of `Socket.get_option`."""

        ok: bool
        value: int

    class Message(NamedTuple):
        """The answer of `Socket.receive_message`."""

        size: int
        """Data bytes."""
        address: SocketAddress | None
        """The sender's, for sockets without a connection."""
        messages: list[SocketControlMessage]
        flags: int
        """The kernel's msg_flags."""

    class Written(NamedTuple):
        """The answer of `OutputStream.write_all`."""

        ok: bool
        bytes_written: int

else:
    Option = namedtuple("Option", "ok value")
    Message = namedtuple("Message", "size address messages flags")
    Written = namedtuple("Written", "ok bytes_written")

__all__ = ["Message", "Option", "Written"]
