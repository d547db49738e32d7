"""
One contestant with many silent peers: starts operations that wait, and measures how they delay another operation.

``crowd_worker.py unixconn|Gio WAITING FIGURE REPETITIONS PATIENCE`` starts WAITING operations in the callback form,
with peers that send nothing, and prints a JSON object:

- start: microseconds for each of them
- memory: bytes for each of them, by the resident set of the process
- ready or later, as FIGURE says: milliseconds from the start of one more operation to its callback, the median of
  REPETITIONS. "ready" can finish at once. For "later", another process is asked for the message after the start
- threads: the number of threads in the process after that
- cancel: seconds from cancelling the Cancellable that all operations share to the last callback

A figure that takes longer than PATIENCE seconds is Infinity. The peers are in another process, so that this process
needs only one descriptor for each connection.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import math
import os
import re
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from worker import MODULES, connections

_BATCH = 100
"""Descriptors in one message, where Linux allows 253; also the number of pairs that have both ends here at a time."""
_SCM_CREDENTIALS = 2  # Linux's value; PyPy's socket module lacks it


class Peers:
    """The process that has the other ends of the connections."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            ours.close()
            keep(theirs)
            os._exit(0)
        theirs.close()
        self._control = ours

    def sockets(self, count: int) -> Iterator[socket.socket]:
        """Yield *count* sockets. The process keeps their other ends."""
        while count > 0:
            pairs = [socket.socketpair() for _ in range(min(count, _BATCH))]
            socket.send_fds(self._control, [b"k"], [theirs.fileno() for _, theirs in pairs])
            for ours, theirs in pairs:
                theirs.close()
                yield ours
            count -= len(pairs)

    def ask(self) -> None:
        """Ask the process to send credentials at the other end of the latest socket."""
        self._control.send(b"s")


def keep(control: socket.socket) -> None:
    """Run the other process, until *control* is closed."""
    kept: list[int] = []
    message = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
    while True:
        data, received, _, _ = socket.recv_fds(control, 1, _BATCH)
        kept += received
        if not data:
            return
        if data == b"s":
            with socket.socket(fileno=os.dup(kept[-1])) as peer:
                peer.sendmsg([b"\0"], [(socket.SOL_SOCKET, _SCM_CREDENTIALS, message)])


class Crowd:
    """Many waiting operations of *module*, unixconn or Gio; *glib* has its main loop."""

    def __init__(self, module: Any, glib: Any, peers: Peers, patience: float) -> None:
        self._module = module
        self._glib = glib
        self._peers = peers
        self._patience = patience
        self._iterate = glib.MainContext.default().iteration
        self._cancellable = module.Cancellable()
        self._waiting: list[Any] = []
        self._ended: list[Any] = []

    def start(self, count: int) -> dict[str, float]:
        """Start *count* operations that wait, and return what each costs."""
        if not count:
            return {}
        self._waiting = connections(self._module, *self._peers.sockets(count))
        gc.collect()
        resident, begin = resident_bytes(), time.perf_counter()
        for connection in self._waiting:
            connection.receive_credentials_async(self._cancellable, self._end)
        return {
            "start": (time.perf_counter() - begin) / count * 1e6,
            "memory": (resident_bytes() - resident) / count,
        }

    def _end(self, _connection: Any, result: Any) -> None:
        self._ended.append(result)

    def ready(self, repetitions: int) -> float:
        """Return the milliseconds until the callback of an operation that can finish at once."""
        sender, receiver = connections(self._module, *socket.socketpair())

        def begin(callback: Callable[[Any, Any], object]) -> None:
            sender.send_credentials_async(None, callback)

        def end(result: Any) -> None:
            sender.send_credentials_finish(result)
            receiver.receive_credentials()

        return self._latency(begin, end, repetitions)

    def later(self, repetitions: int) -> float:
        """Return the milliseconds until the callback of an operation whose message another process sends later."""
        (receiver,) = connections(self._module, *self._peers.sockets(1))

        def begin(callback: Callable[[Any, Any], object]) -> None:
            receiver.receive_credentials_async(None, callback)
            self._peers.ask()

        return self._latency(begin, receiver.receive_credentials_finish, repetitions)

    def _latency(
        self, begin: Callable[[Callable[[Any, Any], object]], object], end: Callable[[Any], object], repetitions: int
    ) -> float:
        moments: list[float] = []
        results: list[Any] = []

        def callback(_connection: Any, result: Any) -> None:
            moments.append(time.perf_counter())
            results.append(result)

        latencies = []
        with self._waited_for() as is_late:
            for _ in itertools.repeat(None, repetitions):
                start = time.perf_counter()
                begin(callback)
                while not moments and not is_late:
                    self._iterate(True)
                if is_late:
                    return math.inf
                latencies.append(moments.pop() - start)
                end(results.pop())
        return median(latencies) * 1e3

    def cancel(self) -> dict[str, float]:
        """Cancel all waiting operations, and return how long that takes."""
        if not self._waiting:
            return {}
        with self._waited_for() as is_late:
            start = time.perf_counter()
            self._cancellable.cancel()
            while len(self._ended) < len(self._waiting) and not is_late:
                self._iterate(True)
            return {"cancel": math.inf if is_late else time.perf_counter() - start}

    @contextmanager
    def _waited_for(self) -> Iterator[list[bool]]:
        """Yield a list that gets an item when the time is up."""
        is_late: list[bool] = []
        timer = self._glib.timeout_add(int(self._patience * 1e3), is_late.append, True)
        yield is_late
        if not is_late:
            self._glib.source_remove(timer)


def resident_bytes() -> int:
    """Return the size of the resident set of this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def threads() -> int:
    """Return the number of threads in this process."""
    found = re.search(r"^Threads:\s*(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def main(way: str, waiting: str, figure: str, repetitions: str, patience: str) -> None:
    """Measure and print."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Forked first: later there are threads.
    peers = Peers()
    module = importlib.import_module(MODULES[way])
    glib = importlib.import_module("gi.repository.GLib") if way == "Gio" else module
    crowd = Crowd(module, glib, peers, float(patience))
    figures = crowd.start(int(waiting))
    measured = crowd.ready if figure == "ready" else crowd.later
    figures[figure] = measured(int(repetitions))
    figures["threads"] = threads()
    figures.update(crowd.cancel())
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
