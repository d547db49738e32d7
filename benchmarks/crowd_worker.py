"""
One contestant among many silent peers: starts operations that wait, and measures how the others fare.

``crowd_worker.py unixconn|Gio WAITING FIGURE REPETITIONS PATIENCE`` starts WAITING operations in the callback form,
whose peers say nothing, and prints a JSON object:

- start: microseconds for each of them
- memory: bytes for each of them, by the process's resident set
- ready, or later, as FIGURE says: milliseconds from the start of one more operation to its callback, medians of
  REPETITIONS. It is one that can finish at once, or one whose message another process is asked for after the start
- threads: how many the process has after that
- cancel: seconds from the cancelling of the one Cancellable that all have to the last callback

What takes longer than PATIENCE seconds is Infinity. The other ends of all connections are in another process, so that
this one has a descriptor for each connection.
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
"""Descriptors in one message, of which Linux allows 253; also how many pairs are whole at a time."""
_SCM_CREDENTIALS = 2  # of Linux; PyPy's socket does not have it


class Peers:
    """The process at the other ends."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            ours.close()
            keep(theirs)
            os._exit(0)
        theirs.close()
        self._control = ours

    def sockets(self, count: int) -> Iterator[socket.socket]:
        """Give *count* sockets whose other ends it keeps."""
        while count > 0:
            pairs = [socket.socketpair() for _ in range(min(count, _BATCH))]
            socket.send_fds(self._control, [b"k"], [theirs.fileno() for _, theirs in pairs])
            for ours, theirs in pairs:
                theirs.close()
                yield ours
            count -= len(pairs)

    def ask(self) -> None:
        """Have it send credentials at the other end of the latest of the sockets."""
        self._control.send(b"s")


def keep(control: socket.socket) -> None:
    """Be the other process, until *control* ends."""
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
    """Many operations that wait, of *module*, unixconn or Gio, whose main loop is that of *glib*."""

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
        """Let *count* operations wait."""
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
        """Give the milliseconds until the callback of an operation that can finish at once."""
        sender, receiver = connections(self._module, *socket.socketpair())

        def begin(callback: Callable[[Any, Any], object]) -> None:
            sender.send_credentials_async(None, callback)

        def end(result: Any) -> None:
            sender.send_credentials_finish(result)
            receiver.receive_credentials()

        return self._latency(begin, end, repetitions)

    def later(self, repetitions: int) -> float:
        """Give the milliseconds until the callback of one whose message comes later, from another process."""
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
        """End all that waits."""
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
        """Give a list which is not empty any more when the patience has run out."""
        is_late: list[bool] = []
        timer = self._glib.timeout_add(int(self._patience * 1e3), is_late.append, True)
        yield is_late
        if not is_late:
            self._glib.source_remove(timer)


def resident_bytes() -> int:
    """Give the size of this process's resident set."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def threads() -> int:
    """Give the number of this process's threads."""
    found = re.search(r"^Threads:\s*(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def main(way: str, waiting: str, figure: str, repetitions: str, patience: str) -> None:
    """Measure and print."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Forked before anything that has threads is there.
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
