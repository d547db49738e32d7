"""
One contestant: runs as many round trips as its standard input asks for, and prints how long they took.

``worker.py unixconn|Gio|socket`` prints the names of its operations. Then it reads lines ``OPERATION TIMES``, and
prints for each the seconds of CPU time that the operations took. Names and fields are separated by tabs. CPU time
leaves out other programs on the machine; it is enough, as no operation here waits.
"""

from __future__ import annotations

import importlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

Operation = Callable[[int], object]
Clock = Callable[[], float]

MODULES = {"unixconn": "unixconn", "Gio": "gi.repository.Gio"}
"""The modules that have Gio's interface."""

MANY = (64, 253)
"""The numbers of descriptors in a message, besides one."""


def connections(module: Any, *sockets: socket.socket) -> list[Any]:
    """Return a UnixConnection of *module* for each of *sockets*."""
    return [module.UnixConnection(socket=module.Socket.new_from_fd(each.detach())) for each in sockets]


def gio_interface(module: Any) -> dict[str, Operation]:
    """Return the operations of *module*, unixconn or Gio, which have the same interface."""
    one, other = connections(module, *socket.socketpair())
    file = os.open(os.devnull, os.O_RDONLY)

    def descriptor(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_fd(file)
            os.close(other.receive_fd())

    def credentials(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_credentials()
            other.receive_credentials()

    operations: dict[str, Operation] = {"descriptor": descriptor, "credentials": credentials}
    return {**operations, **many(one, other, file, module.close_fds)} if hasattr(one, "send_fds") else operations


def many(one: Any, other: Any, file: int, close_fds: Callable[[list[int]], None]) -> dict[str, Operation]:
    """Return the operations from *one* to *other* that only unixconn has."""

    def closed_by_one(count: int, times: int) -> None:
        files = [file] * count
        for _ in itertools.repeat(None, times):
            one.send_fds(files)
            for received in other.receive_fds():
                os.close(received)

    def closed_at_once(count: int, times: int) -> None:
        files = [file] * count
        for _ in itertools.repeat(None, times):
            one.send_fds(files)
            close_fds(other.receive_fds())

    ways = {"": closed_by_one, "-close_fds": closed_at_once}
    return {f"{count}{name}": partial(way, count) for name, way in ways.items() for count in MANY}


def standard_library() -> dict[str, Operation]:
    """Return the operations of the socket module, which has none for credentials."""
    one, other = socket.socketpair()
    file = os.open(os.devnull, os.O_RDONLY)

    def descriptor(times: int) -> None:
        for _ in itertools.repeat(None, times):
            socket.send_fds(one, [b"\0"], [file])
            os.close(socket.recv_fds(other, 1, 1)[1][0])

    def many(count: int, times: int) -> None:
        files = [file] * count
        for _ in itertools.repeat(None, times):
            socket.send_fds(one, [b"\0"], files)
            for received in socket.recv_fds(other, 1, count)[1]:
                os.close(received)

    return {"descriptor": descriptor, **{str(count): partial(many, count) for count in MANY}}


def serve(operations: dict[str, tuple[Operation, Clock]]) -> None:
    """Run the *operations* that standard input asks for, until it ends, and time each with its own clock."""
    print(*operations, sep="\t", flush=True)
    for line in sys.stdin:
        name, times = line.split("\t")
        operation, clock = operations[name]
        start = clock()
        operation(int(times))
        print(f"{clock() - start:.9f}", flush=True)


def main(way: str) -> None:
    """Serve the operations of *way*."""
    operations = gio_interface(importlib.import_module(MODULES[way])) if way in MODULES else standard_library()
    serve({name: (operation, time.process_time) for name, operation in operations.items()})


if __name__ == "__main__":
    main(sys.argv[1])
