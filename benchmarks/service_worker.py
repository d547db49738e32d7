"""
A server that gives a descriptor to each of 1,000 clients at once; worker.py describes input and output.

Both libraries run the same server, on SocketService, an asynchronous read, send_fd and a main loop. Only the import
differs. The clients are in a second process, and use plain sockets: they open all connections, then ask on all of them,
and then receive a descriptor from each. The measurement fails if a client gets no descriptor, or one of another file.
What is measured is the CPU time of the server.
"""

from __future__ import annotations

import importlib
import os
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from worker import MODULES, serve

AT_ONCE = 1_000
"""The number of clients at once, and the least number of times that the operation can be asked for."""

_BACKLOG = 4_096
_PATIENCE = 60
"""Seconds after which a client without an answer, or the server, gives up."""


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


def main(way: str) -> None:
    """Serve the operation of *way*."""
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

        def answer(times: int) -> None:
            for _ in range(times // AT_ONCE):
                server.answer(AT_ONCE)

        serve({"service": (answer, time.process_time)})


if __name__ == "__main__":
    main(sys.argv[1])
