"""
Print how late another task of asyncio runs beside one peer that sends as fast as it can.

``python benchmarks/fairness.py`` prints the milliseconds for the awaits of unixconn, and for asyncio's own streams: how
late a ticker of 5 ms is at most when it is alone, and beside a task that receives from the flooding peer for a second;
and how late asyncio.wait_for ends that second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable

from unixconn import UnixConnection

TICK = 0.005
LASTS = 1.0

Receive = Callable[[], Awaitable[object]]


def flood(sender: socket.socket) -> int:
    """Send in a child process, a byte with a descriptor at a time, until it is killed; return its pid."""
    child = os.fork()
    if not child:
        try:
            null = os.open(os.devnull, os.O_RDONLY)
            while True:
                socket.send_fds(sender, [b"x"], [null])
        finally:
            os._exit(0)
    return child


def unixconn_fd(receiver: socket.socket) -> Receive:
    """Return a function that receives a descriptor."""
    connection = UnixConnection.from_socket(receiver)

    async def receive() -> None:
        os.close(await connection.receive_fd_async())

    return receive


def unixconn_message(receiver: socket.socket) -> Receive:
    """Return a function that receives a message."""
    connection = UnixConnection.from_socket(receiver)

    async def receive() -> None:
        (await connection.receive_message_async(1)).close()

    return receive


async def worst(receive: Receive | None) -> tuple[float, float]:
    """Return how late the ticker was at most, and how late the end came, in seconds, beside a task that receives."""
    late = 0.0

    async def tick() -> None:
        nonlocal late
        while True:
            begun = time.monotonic()
            await asyncio.sleep(TICK)
            late = max(late, time.monotonic() - begun - TICK)

    async def receive_on() -> None:
        while True:
            await (receive() if receive is not None else asyncio.sleep(LASTS))

    ticker = asyncio.ensure_future(tick())
    begun = time.monotonic()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(receive_on(), LASTS)
    ended = time.monotonic() - begun - LASTS
    ticker.cancel()
    return late, ended


async def beside(make: Callable[[socket.socket], Receive] | None) -> tuple[float, float]:
    """Return what `worst` does, beside a flooding peer; *make* is None for asyncio's streams."""
    sender, receiver = socket.socketpair()
    child = flood(sender)
    sender.close()
    try:
        if make is not None:
            return await worst(make(receiver))
        reader, writer = await asyncio.open_unix_connection(sock=receiver)
        found = await worst(lambda: reader.read(1))
        writer.close()
        return found
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def main() -> None:
    """Measure and print."""
    print(f"{'ms late, at most':<24}{'ticker':>8}{'wait_for':>10}")
    rows = {"unixconn receive_fd": unixconn_fd, "unixconn receive_message": unixconn_message, "asyncio's streams": None}
    print("{:<24}{:>8.1f}{:>10.1f}".format("alone", *(1000 * each for each in asyncio.run(worst(None)))))
    for name, make in rows.items():
        print("{:<24}{:>8.1f}{:>10.1f}".format(name, *(1000 * each for each in asyncio.run(beside(make)))), flush=True)


if __name__ == "__main__":
    main()
