"""
Take over the listening sockets of a running haproxy: ``python haproxy_sockets.py STATS_SOCKET``.

The stats socket needs ``expose-fd listeners``. This is an example of a protocol that passes descriptors with data.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import ExitStack

import unixconn


def listening_sockets(path: str | os.PathLike[str]) -> list[socket.socket]:
    """Return the sockets that haproxy listens on. *path* is that of its stats socket."""
    found: list[socket.socket] = []
    with ExitStack() as owned, unixconn.connect(path) as connection:
        connection.send_message(b"_getsocks\n")
        (count,) = struct.unpack("i", connection.get_input_stream().read_all(4))
        while len(found) < count:
            # The data say where each socket is bound. The sockets know that, too.
            with connection.receive_message(65536) as message:
                found += [owned.enter_context(each.to_socket()) for each in message.fds]
            if len(found) < count:
                connection.send_message(bytes(4))
        owned.pop_all()
    return found


if __name__ == "__main__":
    for each in listening_sockets(sys.argv[1]):
        with each:
            print(each.getsockname())
