"""
One contestant of the asynchronous forms; worker.py describes its input and output.

``async_worker.py unixconn|Gio|anyio``. The callback form is measured in wall-clock time, as Gio's threads wait for each
other, which CPU time does not show; on PyPy, which has no Gio, it is measured in CPU time. The await form keeps one
thread busy, and is measured in CPU time.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from worker import LINES, MODULES, PAYLOAD, Operation, connections, serve

Receive = Callable[[], Awaitable[int]]


# --- callbacks ---


def callbacks(module: Any, glib: Any) -> dict[str, Operation]:
    """Return the operations of *module*, unixconn or Gio; *glib* has its main loop."""
    one, other = connections(module, *socket.socketpair())
    iterate = glib.MainContext.default().iteration
    received: list[Any] = []

    def ended(connection: Any, result: Any) -> None:
        received.append(connection.receive_credentials_finish(result))

    def there(times: int) -> None:
        for _ in itertools.repeat(None, times):
            one.send_credentials()
            other.receive_credentials_async(None, ended)
            while not received:
                iterate(True)
            received.clear()

    def later(times: int) -> None:
        for _ in itertools.repeat(None, times):
            other.receive_credentials_async(None, ended)
            one.send_credentials()
            while not received:
                iterate(True)
            received.clear()

    return {"callback there": there, "callback later": later, "line callback": partial(lines, module, iterate)}


def lines(module: Any, iterate: Callable[[bool], object], times: int) -> None:
    """Write *times* lines, `LINES` at once, and read them one after the other, each from the callback of the last."""
    one, other = connections(module, *socket.socketpair())
    writer, reader = one.get_output_stream(), module.DataInputStream.new(other.get_input_stream())
    data = (PAYLOAD[1:] + b"\n") * LINES
    left = 0

    def ended(stream: Any, result: Any) -> None:
        nonlocal left
        stream.read_line_finish(result)
        left -= 1
        if left:
            stream.read_line_async(0, None, ended)

    for _ in itertools.repeat(None, times // LINES):
        writer.write_all(data)
        left = LINES
        reader.read_line_async(0, None, ended)
        while left:
            iterate(True)
    one.close()
    other.close()


# --- await ---


async def unixconn_receive(receiver: socket.socket) -> Receive:
    """Return a function that receives a descriptor by unixconn."""
    (connection,) = connections(importlib.import_module("unixconn"), receiver)

    async def receive() -> int:
        return await connection.receive_fd_async()  # type: ignore[no-any-return]

    return receive


async def anyio_receive(receiver: socket.socket) -> Receive:
    """Return a function that receives a descriptor by anyio, 4.11 or newer."""
    stream = await importlib.import_module("anyio").abc.UNIXSocketStream.from_socket(receiver)

    async def receive() -> int:
        return (await stream.receive_fds(1, 1))[1][0]  # type: ignore[no-any-return]

    return receive


AWAITS = {"unixconn": unixconn_receive, "anyio": anyio_receive}


def awaits(way: str) -> Iterator[tuple[str, Operation]]:
    """Yield the operation of *way* in each event loop that is installed."""
    for loop_module in ("asyncio", "uvloop"):
        try:
            loop = importlib.import_module(loop_module).new_event_loop()
        except ImportError:
            continue
        sender, receiver = socket.socketpair()
        receiver.setblocking(False)
        receive = loop.run_until_complete(AWAITS[way](receiver))
        yield f"await {loop_module}", partial(run, loop, receive, sender)


def run(loop: asyncio.AbstractEventLoop, receive: Receive, sender: socket.socket, times: int) -> None:
    """Receive *times* descriptors. Each is sent after the call that receives it has started."""
    loop.run_until_complete(exchange(receive, sender, times))


async def exchange(receive: Receive, sender: socket.socket, times: int) -> None:
    """Do the work of `run` inside of the loop."""
    loop = asyncio.get_running_loop()
    file = os.open(os.devnull, os.O_RDONLY)
    send = partial(socket.send_fds, sender, [b"\0"], [file])
    send_later = partial(loop.call_soon, send)
    for _ in itertools.repeat(None, times):
        # Sent two iterations later: anyio yields once before its first try, and every contestant has to wait.
        loop.call_soon(send_later)
        os.close(await receive())
    os.close(file)


def main(way: str) -> None:
    """Serve the operations of *way*."""
    operations = {}
    if way in MODULES:
        module = importlib.import_module(MODULES[way])
        glib = importlib.import_module("gi.repository.GLib") if way == "Gio" else module
        for name, operation in callbacks(module, glib).items():
            operations[name] = (
                operation,
                time.perf_counter if sys.implementation.name == "cpython" else time.process_time,
            )
    if way in AWAITS:
        for name, operation in awaits(way):
            operations[name] = operation, time.process_time
    serve(operations)


if __name__ == "__main__":
    main(sys.argv[1])
