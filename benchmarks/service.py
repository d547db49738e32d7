"""
Measures a server that gives a descriptor to each of 1,000 clients at once: ``python benchmarks/service.py``.

Both libraries run the same server, on SocketService, an asynchronous read, send_fd and a main loop. Only the import
differs. Each contestant is a process with such a server, and a second process with the clients. These use plain
sockets: they open all connections, then ask on all of them, and then receive a descriptor from each. The measurement
fails if a client gets no descriptor, or one of another file. The rounds go through all contestants in turn.

It needs unixconn installed in the interpreter that runs it. Interpreters with PyGObject, and PyPy, are measured if they
are found. The figures are medians of the rounds, in wall-clock time and in CPU time of the server alone. Ratios are
medians of the ratios within each round.

``service.py unixconn|Gio`` runs one contestant; worker.py describes its input and output.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import shutil
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from worker import MODULES, serve

CONNECTIONS = 1_000
WAYS = ("unixconn api", "unixconn abi", "Gio")
WALL, CPU = "connection, wall-clock time", "connection, CPU time of the server"

_BACKLOG = 4_096
_PATIENCE = 60
"""Seconds after which a client without an answer, or the server, gives up."""
_WARM = 3
"""The number of warm-up rounds."""


class Clients:
    """A process that opens many connections at once when it is asked to."""

    def __init__(self, path: str, file: int) -> None:
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            code = 1
            try:
                ours.close()
                self._work(theirs, path, file)
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        self._control = ours

    def start(self, count: int) -> None:
        """Ask the process to open *count* connections."""
        self._control.sendall(count.to_bytes(4, "big"))

    def lost(self) -> int:
        """Wait for the last connection; return how many got no descriptor, or one of another file."""
        return int.from_bytes(self._control.recv(4, socket.MSG_WAITALL), "big")

    @staticmethod
    def _work(control: socket.socket, path: str, file: int) -> None:
        while order := control.recv(4, socket.MSG_WAITALL):
            sockets = [socket.socket(socket.AF_UNIX) for _ in range(int.from_bytes(order, "big"))]
            for each in sockets:
                each.settimeout(_PATIENCE)
                each.connect(path)
            for each in sockets:
                each.sendall(b"?")
            lost = sum(not _answered(each, file) for each in sockets)
            control.sendall(lost.to_bytes(4, "big"))


def _answered(client: socket.socket, file: int) -> bool:
    """Receive the answer, close *client*, and return whether the answer was a descriptor of *file*."""
    with client:
        try:
            fds = socket.recv_fds(client, 1, 2)[1]
        except OSError:
            return False
    same = len(fds) == 1 and os.path.sameopenfile(fds[0], file)
    for fd in fds:
        os.close(fd)
    return same


class Server:
    """Answers a byte with the descriptor of *file*, by *module*, unixconn or Gio; *glib* has its main loop."""

    def __init__(self, module: Any, glib: Any, path: str, file: int, clients: Clients) -> None:
        self._glib = glib
        self._file = file
        self._clients = clients
        self._loop = glib.MainLoop()
        self._left = 0
        self._service = module.SocketService.new()
        self._service.set_backlog(_BACKLOG)
        address = module.UnixSocketAddress.new(path)
        self._service.add_address(address, module.SocketType.STREAM, module.SocketProtocol.DEFAULT, None)
        self._service.connect("incoming", self._incoming)

    def answer(self, count: int) -> None:
        """Answer *count* connections. Raises RuntimeError if one is lost."""
        self._left = count
        timer = self._glib.timeout_add_seconds(_PATIENCE, self._give_up)
        self._clients.start(count)
        self._loop.run()
        lost = self._clients.lost()
        if self._left or lost:
            raise RuntimeError(f"of {count} connections {self._left} were not answered, {lost} got no descriptor")
        self._glib.source_remove(timer)

    def _give_up(self) -> bool:
        self._loop.quit()
        return False

    def _incoming(self, _service: Any, connection: Any, _source_object: Any) -> bool:
        stream = connection.get_input_stream()
        stream.read_bytes_async(1, self._glib.PRIORITY_DEFAULT, None, self._asked, connection)
        return True

    def _asked(self, stream: Any, result: Any, connection: Any) -> None:
        stream.read_bytes_finish(result)
        connection.send_fd(self._file, None)
        connection.close(None)
        self._left -= 1
        if not self._left:
            self._loop.quit()


def work(way: str) -> None:
    """Run one contestant."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "service")
        file = os.open(__file__, os.O_RDONLY)
        # Forked first: later there are threads.
        clients = Clients(path, file)
        module = importlib.import_module(MODULES[way])
        glib = importlib.import_module("gi.repository.GLib") if way == "Gio" else module
        server = Server(module, glib, path, file, clients)
        serve({WALL: (server.answer, time.perf_counter), CPU: (server.answer, time.process_time)})


def measure(quick: bool) -> None:
    """Measure and print; only a few rounds if *quick*."""
    # Imported here, as the interpreter of a contestant may not have unixconn.
    from contestants import own_folder, start
    from results import Results

    from unixconn._cli.demo import find_gio

    pythons = list(dict.fromkeys(filter(None, (sys.executable, find_gio(), shutil.which("pypy3")))))
    results = Results(("Gio",))
    with own_folder() as folder, ExitStack() as stack:
        workers = dict(start("service.py", WAYS, pythons, folder))
        for worker in workers.values():
            stack.callback(worker.close)
            for operation in worker.operations * _WARM:
                worker.seconds(operation, CONNECTIONS)
        for _ in range(3 if quick else 15):
            for operation in (WALL, CPU):
                for contestant, worker in workers.items():
                    seconds = worker.seconds(operation, CONNECTIONS)
                    results.add(operation, contestant, seconds / CONNECTIONS * 1e6)

    print(*results.table(), sep="\n")
    print(f"{f'{CONNECTIONS:,} at once, none lost':<34}{'per second':>12}{'times Gio':>12}")
    for contestant in workers:
        ratio = results.ratio(WALL, contestant, "Gio")
        times = "-" if ratio is None else f"{1 / ratio:.2f}"
        print(f"  {contestant!s:<32}{1e6 / results.microseconds(WALL, contestant)[0]:>12,.0f}{times:>12}")


def main() -> None:
    """Measure all contestants, or run one."""
    if sys.argv[1:2] and sys.argv[1] in MODULES:
        work(sys.argv[1])
        return
    parser = argparse.ArgumentParser(description="Measure a server on SocketService, unixconn against Gio.")
    parser.add_argument("--quick", action="store_true", help="run a few rounds, for a rough idea only")
    measure(parser.parse_args().quick)


if __name__ == "__main__":
    main()
