"""
One contestant: runs as many round trips as its standard input asks for, and prints how long they took.

``worker.py unixconn|Gio|socket`` prints the names of its operations, then for each line ``OPERATION TIMES`` the seconds
of CPU time that they took. CPU time, since nothing here waits, and what else runs on the machine does not count then.
"""

from __future__ import annotations

import importlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

Operation = Callable[[int], None]


def connections(module: Any) -> dict[str, Operation]:
    """Give the operations of *module*, unixconn or Gio, which have the same interface."""
    one, other = (
        module.UnixConnection(socket=module.Socket.new_from_fd(each.detach())) for each in socket.socketpair()
    )
    file = os.open(os.devnull, os.O_RDONLY)

    def descriptor(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_fd(file)
            os.close(other.receive_fd())

    def credentials(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_credentials()
            other.receive_credentials()

    return {"descriptor": descriptor, "credentials": credentials}


def standard_library() -> dict[str, Operation]:
    """Give the operations of the module socket, which knows nothing of credentials."""
    one, other = socket.socketpair()
    file = os.open(os.devnull, os.O_RDONLY)

    def descriptor(times: int) -> None:
        for _ in itertools.repeat(None, times):
            socket.send_fds(one, [b"\0"], [file])
            os.close(socket.recv_fds(other, 1, 1)[1][0])

    return {"descriptor": descriptor}


def main(way: str) -> None:
    """Serve until the standard input ends."""
    modules = {"unixconn": "unixconn", "Gio": "gi.repository.Gio"}
    operations = connections(importlib.import_module(modules[way])) if way in modules else standard_library()
    print(*operations, flush=True)
    for line in sys.stdin:
        operation, times = line.split()
        start = time.process_time()
        operations[operation](int(times))
        print(f"{time.process_time() - start:.9f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
