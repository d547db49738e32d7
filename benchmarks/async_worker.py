"""
One contestant of the asynchronous forms; see worker.py for how it is spoken to.

``async_worker.py unixconn|Gio|anyio|add_reader``. The callback form is measured in wall-clock time: Gio's work is
spread over threads that wait for each other, which CPU time says nothing of. The await form is one thread's work that
never rests, and measured in CPU time.
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

from worker import MODULES, Operation, connections, serve

Receive = Callable[[], Awaitable[int]]


# --- callbacks ---


def callbacks(module: Any, glib: Any) -> dict[str, Operation]:
    """Give the operations of *module*, unixconn or Gio, whose main loop is that of *glib*."""
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

    return {"callback, message is there": there, "callback, message comes later": later}


# --- await ---


async def unixconn_receive(receiver: socket.socket) -> Receive:
    """Give the function that receives a descriptor by unixconn."""
    (connection,) = connections(importlib.import_module("unixconn"), receiver)

    async def receive() -> int:
        return await connection.receive_fd_async()  # type: ignore[no-any-return]

    return receive


async def anyio_receive(receiver: socket.socket) -> Receive:
    """Give the function that receives a descriptor by anyio, 4.11 or newer."""
    stream = await importlib.import_module("anyio").abc.UNIXSocketStream.from_socket(receiver)

    async def receive() -> int:
        return (await stream.receive_fds(1, 1))[1][0]  # type: ignore[no-any-return]

    return receive


async def add_reader_receive(receiver: socket.socket) -> Receive:
    """Give the function that receives a descriptor by nothing but the loop and the module socket."""
    loop = asyncio.get_running_loop()

    async def receive() -> int:
        arrived = loop.create_future()
        loop.add_reader(receiver, arrived.set_result, None)
        await arrived
        loop.remove_reader(receiver)
        return socket.recv_fds(receiver, 1, 1)[1][0]

    return receive


AWAITS = {"unixconn": unixconn_receive, "anyio": anyio_receive, "add_reader": add_reader_receive}


def awaits(way: str) -> Iterator[tuple[str, Operation]]:
    """Give the operation of *way* in each of the event loops that are there."""
    for loop_module in ("asyncio", "uvloop"):
        try:
            loop = importlib.import_module(loop_module).new_event_loop()
        except ImportError:
            continue
        sender, receiver = socket.socketpair()
        receiver.setblocking(False)
        receive = loop.run_until_complete(AWAITS[way](receiver))
        yield f"await, {loop_module}, comes later", partial(run, loop, receive, sender)


def run(loop: asyncio.AbstractEventLoop, receive: Receive, sender: socket.socket, times: int) -> None:
    """Receive *times* descriptors, each of which is sent after the start."""
    loop.run_until_complete(exchange(receive, sender, times))


async def exchange(receive: Receive, sender: socket.socket, times: int) -> None:
    """Do what `run` does."""
    loop = asyncio.get_running_loop()
    file = os.open(os.devnull, os.O_RDONLY)
    send = partial(socket.send_fds, sender, [b"\0"], [file])
    send_later = partial(loop.call_soon, send)
    for _ in itertools.repeat(None, times):
        # Two iterations from here: anyio lets one go by before its first try, and all of them are to wait.
        loop.call_soon(send_later)
        os.close(await receive())
    os.close(file)


def main(way: str) -> None:
    """Serve what *way* has."""
    operations = {}
    if way in MODULES:
        module = importlib.import_module(MODULES[way])
        glib = importlib.import_module("gi.repository.GLib") if way == "Gio" else module
        for name, operation in callbacks(module, glib).items():
            operations[name] = operation, time.perf_counter
    if way in AWAITS:
        for name, operation in awaits(way):
            operations[name] = operation, time.process_time
    serve(operations)


if __name__ == "__main__":
    main(sys.argv[1])
