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
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

Operation = Callable[[int], object]
Clock = Callable[[], float]

MODULES = {"unixconn": "unixconn", "Gio": "gi.repository.Gio"}
"""The modules that have Gio's interface."""

SIZES = {"stream 100": 100, "stream 64K": 65_536}
"""The bytes that go through the streams in each operation."""
PAYLOAD = bytes(100)
"""The bytes of a message that a descriptor comes with."""
LINES = 50
"""The lines that are written at once, and then read one by one."""
MANY = 64
"""The number of descriptors in a message, besides one."""


def connections(module: Any, *sockets: socket.socket) -> list[Any]:
    """Return a UnixConnection of *module* for each of *sockets*."""
    return [module.UnixConnection(socket=module.Socket.new_from_fd(each.detach())) for each in sockets]


def gio_interface(module: Any, path: str) -> dict[str, Operation]:
    """Return the operations of *module*, unixconn or Gio, which have the same interface; *path* is for a socket."""
    one, other = connections(module, *socket.socketpair())
    file = os.open(os.devnull, os.O_RDONLY)
    operations: dict[str, Operation] = {
        **passing(module, one, other, file),
        **streams(one, other),
        "line": partial(line, one.get_output_stream(), module.DataInputStream.new(other.get_input_stream())),
        "signal": partial(signal, speaker(module)),
        **connecting(module, path),
    }
    return {**operations, **beyond_gio(one, other, file, module.close_fds)} if hasattr(one, "send_fds") else operations


def passing(module: Any, one: Any, other: Any, file: int) -> dict[str, Operation]:
    """Return the operations that pass a descriptor or credentials from *one* to *other*."""
    cancellable = module.Cancellable()

    def descriptor(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_fd(file)
            os.close(other.receive_fd())

    def with_cancellable(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_fd(file, cancellable)
            os.close(other.receive_fd(cancellable))

    def credentials(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_credentials()
            other.receive_credentials()

    return {"descriptor": descriptor, "cancellable": with_cancellable, "credentials": credentials}


def streams(one: Any, other: Any) -> dict[str, Operation]:
    """Return the operations that send bytes from *one* to *other*."""
    writer, reader = one.get_output_stream(), other.get_input_stream()

    def stream(size: int, times: int) -> None:
        data = bytes(size)
        for _ in itertools.repeat(None, times):
            writer.write_all(data)
            reader.read_bytes(size)

    return {name: partial(stream, size) for name, size in SIZES.items()}


def line(writer: Any, reader: Any, times: int) -> None:
    """Write *times* lines, `LINES` at once, and read them."""
    data = (PAYLOAD[1:] + b"\n") * LINES
    for _ in itertools.repeat(None, times // LINES):
        writer.write_all(data)
        for _ in itertools.repeat(None, LINES):
            reader.read_line()


def speaker(module: Any) -> Any:
    """Return an object of *module* with a signal, and a handler for it."""
    gobject = importlib.import_module("gi.repository.GObject") if module.__name__ == MODULES["Gio"] else module
    flags = gobject.SignalFlags.RUN_LAST
    made = type("Speaker", (gobject.Object,), {"__gsignals__": {"said": (flags, None, (int,))}})()
    made.connect("said", lambda _speaker, _number: None)
    return made


def signal(speaking: Any, times: int) -> None:
    """Emit the signal of *speaking* *times* times."""
    for _ in itertools.repeat(None, times):
        speaking.emit("said", 1)


def connecting(module: Any, path: str) -> dict[str, Operation]:
    """Return the operations that make connections."""
    pair = socket.socketpair()
    address = module.UnixSocketAddress.new(path)
    listener, client = module.SocketListener(), module.SocketClient()
    listener.add_address(address, module.SocketType.STREAM, module.SocketProtocol.DEFAULT, None)

    def connection(times: int) -> None:
        number = pair[0].fileno()
        for _ in itertools.repeat(None, times):
            module.UnixConnection(socket=module.Socket.new_from_fd(os.dup(number))).close()

    def connect(times: int) -> None:
        for _ in itertools.repeat(None, times):
            near = client.connect(address)
            far = listener.accept()[0]
            near.close()
            far.close()

    return {"connection": connection, "connect": connect}


def beyond_gio(one: Any, other: Any, file: int, close_fds: Callable[[list[int]], None]) -> dict[str, Operation]:
    """Return the operations from *one* to *other* that only unixconn has."""
    files = [file] * MANY

    def closed_by_one(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_fds(files)
            for received in other.receive_fds(MANY):
                os.close(received)

    def closed_at_once(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_fds(files)
            close_fds(other.receive_fds(MANY))

    def message(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_message(PAYLOAD, [file])
            other.receive_message(100).close()

    return {"64": closed_by_one, "64-close_fds": closed_at_once, "message": message}


def standard_library(path: str) -> dict[str, Operation]:
    """Return the operations of the socket module, which has none for credentials; *path* is for a socket."""
    one, other = socket.socketpair()
    return {**plain_passing(one, other), **plain_connecting(path)}


def plain_passing(one: socket.socket, other: socket.socket) -> dict[str, Operation]:
    """Return the operations that send something from *one* to *other*."""
    file = os.open(os.devnull, os.O_RDONLY)

    def descriptors(times: int) -> None:
        files = [file] * MANY
        for _ in itertools.repeat(None, times):
            socket.send_fds(one, [b"\0"], files)
            for received in socket.recv_fds(other, 1, MANY)[1]:
                os.close(received)

    def descriptor(payload: bytes, times: int) -> None:
        files, size = [file], len(payload)
        for _ in itertools.repeat(None, times):
            socket.send_fds(one, [payload], files)
            os.close(socket.recv_fds(other, size, 1)[1][0])

    def stream(size: int, times: int) -> None:
        data = bytes(size)
        for _ in itertools.repeat(None, times):
            one.sendall(data)
            other.recv(size)

    return {
        "descriptor": partial(descriptor, b"\0"),
        "message": partial(descriptor, PAYLOAD),
        "64": descriptors,
        "64-close_fds": descriptors,
        **{name: partial(stream, size) for name, size in SIZES.items()},
    }


def plain_connecting(path: str) -> dict[str, Operation]:
    """Return the operation that makes connections."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def connect(times: int) -> None:
        for _ in itertools.repeat(None, times):
            near = socket.socket(socket.AF_UNIX)
            near.connect(path)
            far, _address = listener.accept()
            near.close()
            far.close()

    return {"connect": connect}


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
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        if way in MODULES:
            operations = gio_interface(importlib.import_module(MODULES[way]), path)
        else:
            operations = standard_library(path)
        serve({name: (operation, time.process_time) for name, operation in operations.items()})


if __name__ == "__main__":
    main(sys.argv[1])
