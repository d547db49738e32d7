"""
A peer that sends whatever a socket takes, in a process of its own that may be stopped and killed at any moment.

The program is a server without threads: it forks a child for each connection. `Server` and `Peer` are what a test has.
Both sides talk in lines of Python's literals, by a socket of their own.
"""

from __future__ import annotations

import array
import ast
import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

SCM_CREDENTIALS = getattr(socket, "SCM_CREDENTIALS", 2)  # PyPy has no name for it
PATTERN = bytes(n * n * 31 >> 5 & 255 for n in range(65521)) * 16
LONGEST = 200_000


def data_at(offset: int, size: int) -> bytes:
    """Return the data that the peer sends at an offset of all that it sends: nearly all pieces differ."""
    start = offset % 65521
    return PATTERN[start : start + size]


def identity(fd: int) -> str:
    """
    Return what tells the file of a descriptor from others; "" for a number that is not open.

    Files without an inode of their own, as an epoll, are told by what they contain. All pidfds count as one.
    """
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
        if name.startswith("anon_inode:"):
            content = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
            name += "".join(re.findall(r"(?:eventfd-count|data):\s*(\w+)", content)[:1])
    except OSError:
        return ""
    return name


# --- what the test has -----------------------------------------------------------------------------------------------


def _say(sock: socket.socket, message: object, fds: list[int] | None = None) -> None:
    socket.send_fds(sock, [repr(message).encode()], fds or [])


def _hear(sock: socket.socket, count: int = 0) -> tuple[Any, list[int]]:
    line, fds, _, _ = socket.recv_fds(sock, LONGEST, count)
    return (ast.literal_eval(line.decode()) if line else None), fds


class Server:
    """The process that makes peers."""

    def __init__(self) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.settimeout(20)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )

    def ask(self, name: str, *arguments: object, fds: list[int] | None = None) -> Any:
        """Call a function of the server; return what it gives."""
        _say(self._sock, (name, *arguments), fds)
        return _hear(self._sock)[0]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
        self._sock.close()
        self._process.wait(60)


class Peer:
    """A child of the server, which has the other end of a socket."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.settimeout(20)
        with sock, theirs:
            self.pid: int = server.ask("start", fds=[sock.fileno(), theirs.fileno()])
        self.lives = self.runs = True
        self.waits = False
        """Whether it has not answered yet, as it sends more than there is room for."""

    def send(self, messages: list[tuple[Any, ...]]) -> list[tuple[list[str], int]]:
        """Let it send messages (see `_send`) without waiting; return each one's files and size, or negative errno."""
        _say(self._sock, ("send_now", messages))
        return _hear(self._sock)[0]

    def start_sending(self, messages: list[tuple[Any, ...]]) -> list[list[str]]:
        """Let it send messages, and wait if there is no room; return the files that go with each one."""
        _say(self._sock, ("send_all", messages))
        self.waits = True
        return _hear(self._sock)[0]

    def answered(self) -> list[int] | None:
        """Return each message's size if it has sent what `start_sending` began; None if it waits for room."""
        while not select.select([self._sock], [], [], 0.0005)[0]:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
            if stat.rpartition(")")[2].split()[0] in "ST" and not select.select([self._sock], [], [], 0)[0]:
                return None
        self.waits = False
        return _hear(self._sock)[0]  # type: ignore[no-any-return]

    def shut_down(self, how: int) -> None:
        """Let it shut down a half of the socket."""
        _say(self._sock, ("shut_down", how))
        _hear(self._sock)

    def kill(self) -> None:
        """Kill it, wherever it is, and wait until it has gone."""
        if self.lives:
            self.lives = self.runs = self.waits = False
            self._server.ask("kill", self.pid)
        self._sock.close()

    def stop(self) -> None:
        """Stop it, wherever it is."""
        self.runs = False
        self._server.ask("stop", self.pid)

    def go_on(self) -> None:
        """End `stop`."""
        self.runs = True
        os.kill(self.pid, signal.SIGCONT)


# --- the server ------------------------------------------------------------------------------------------------------


def start(server: socket.socket, fds: list[int]) -> int:
    """Fork a peer, with its end of the connection and its socket for orders; return its pid."""
    pid = os.fork()
    if not pid:
        connection, orders = (socket.socket(fileno=fd) for fd in fds)
        _lasting.append(server)
        _serve(
            orders,
            send_now=partial(send_now, connection),
            send_all=partial(send_all, connection, orders),
            shut_down=partial(shut_down, connection),
        )
    for fd in fds:
        os.close(fd)
    return pid


def kill(pid: int) -> int:
    """Kill a peer; return when it has closed all that it had."""
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def stop(pid: int) -> int:
    """Stop a peer; return when it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    return os.waitpid(pid, os.WUNTRACED)[1]


def _serve(sock: socket.socket, **functions: Callable[..., Any]) -> None:
    """Do what comes by *sock*, until its end."""
    try:
        while True:
            order, fds = _hear(sock, 2)
            if order is None:
                break
            result = functions[order[0]](*order[1:], *([fds] if fds else []))
            if result is not None:
                _say(sock, result)
    except ConnectionError:  # the test has ended
        pass
    except Exception:  # noqa: BLE001 - the process ends with it
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


# --- what a peer does ------------------------------------------------------------------------------------------------


class _Event(ctypes.Structure):
    """struct epoll_event, which is packed on x86_64 alone."""

    _pack_ = 1 if os.uname().machine == "x86_64" else 8
    _layout_ = "ms"
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)
_made = 0
_lasting: list[socket.socket] = []


def _make(kind: str, connection: socket.socket, before: list[int]) -> int:
    """Return a new descriptor of a file of its own, of one of the `KINDS`."""
    global _made  # noqa: PLW0603 - a counter
    _made += 1
    if kind == "again" and before and before[-1] >= 0:
        return os.dup(before[-1])
    return KINDS[kind](connection, f"{os.getpid()}-{_made}", (os.getpid() & 0xFFF) << 18 | _made)


def _one(fds: tuple[int, int], which: int) -> int:
    os.close(fds[1 - which])
    return fds[which]


def _of_pair() -> int:
    one, other = socket.socketpair()
    other.close()
    return one.detach()


def _listening() -> int:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("")
    sock.listen()
    return sock.detach()


def _epoll(tag: int) -> int:
    epoll = _libc.epoll_create1(os.O_CLOEXEC)
    # The entry is there as long as the file that it is for: the server has that, too.
    assert _libc.epoll_ctl(epoll, 1, _lasting[0].fileno(), ctypes.byref(_Event(1, tag))) == 0
    return int(epoll)


def _path(name: str) -> int:
    memory = os.memfd_create(f"<{name}>")
    try:
        return os.open(f"/proc/self/fd/{memory}", getattr(os, "O_PATH", 0o10000000))
    finally:
        os.close(memory)


KINDS: dict[str, Callable[[socket.socket, str, int], int]] = {
    "memfd": lambda _sock, name, _tag: os.memfd_create(f"<{name}>"),
    "pipe": lambda _sock, _name, _tag: _one(os.pipe(), 0),
    "full end": lambda _sock, _name, _tag: _one(os.pipe(), 1),
    "socket": lambda _sock, _name, _tag: _of_pair(),
    "listening": lambda _sock, _name, _tag: _listening(),
    "own end": lambda sock, _name, _tag: os.dup(sock.fileno()),
    "epoll": lambda _sock, _name, tag: _epoll(tag),
    "eventfd": lambda _sock, _name, tag: int(_libc.eventfd(tag, os.O_CLOEXEC)),
    "path": lambda _sock, name, _tag: _path(name),
    "pidfd": lambda _sock, _name, _tag: int(_libc.syscall(434, os.getpid(), 0)),
    "again": lambda _sock, name, _tag: os.memfd_create(f"<{name}>"),
    "closed": lambda _sock, _name, _tag: -1,
}
"""The files that a peer sends. "again" is another descriptor of the file before."""


@contextlib.contextmanager
def _files(kinds: list[str], connection: socket.socket) -> Iterator[list[int]]:
    """Make descriptors of the kinds, and close them at the end."""
    made: list[int] = []
    try:
        for kind in kinds:
            made.append(_make(kind, connection, made))
        yield made
    finally:
        for fd in made:
            if fd >= 0:
                os.close(fd)


def _send(
    connection: socket.socket, flags: int, fds: list[int], offset: int, size: int, parts: int, identified: bool
) -> int:
    """
    Send one message: *size* bytes, descriptors in several control messages, and credentials if it is *identified*.

    Return how much was sent, or the negative errno.
    """
    step = -(-len(fds) // parts) or 1
    control: list[tuple[int, int, Any]] = [
        (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds[at : at + step])) for at in range(0, len(fds), step)
    ]
    if identified:
        who = struct.pack("iII", os.getpid(), os.geteuid(), os.getegid())
        control.insert(len(control) // 2, (socket.SOL_SOCKET, SCM_CREDENTIALS, who))
    try:
        return connection.sendmsg([data_at(offset, size)], control, flags)
    except OSError as error:
        return -(error.errno or 0)


def send_now(connection: socket.socket, messages: list[tuple[Any, ...]]) -> list[tuple[list[str], int]]:
    """Send what there is room for; return each message's files and size, or negative errno."""
    results = []
    for kinds, *rest in messages:
        with _files(kinds, connection) as fds:
            results.append(([identity(fd) for fd in fds], _send(connection, socket.MSG_DONTWAIT, fds, *rest)))
    return results


def send_all(connection: socket.socket, orders: socket.socket, messages: list[tuple[Any, ...]]) -> None:
    """Send all messages, waiting for room; report the files of each one, then its size or negative errno."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_files(kinds, connection)) for kinds, *_ in messages]
        _say(orders, [[identity(fd) for fd in fds] for fds in files])
        # Told before the files are closed, so that it sleeps only where there is no room.
        _say(orders, [_send_whole(connection, fds, *rest) for fds, (_, *rest) in zip(files, messages)])


def _send_whole(connection: socket.socket, fds: list[int], offset: int, size: int, *more: Any) -> int:
    done = _send(connection, 0, fds, offset, size, *more)
    # A signal that stops the process ends the system call as well.
    while 0 < done < size:
        part = _send(connection, 0, [], offset + done, size - done, *more)
        if part < 0:
            break
        done += part
    return done


def shut_down(connection: socket.socket, how: int) -> bool:
    """Shut down a half."""
    with contextlib.suppress(OSError):
        connection.shutdown(how)
    return True


if __name__ == "__main__":
    server = socket.socket(fileno=int(sys.argv[1]))
    _serve(server, start=partial(start, server), kill=kill, stop=stop)
