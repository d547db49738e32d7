"""What injections.py lets fail beside the table of operations: what is done in one call, and the commands."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import storm_operations
from helpers import forked, new_socket
from storm_operations import Place, Taken, called_at, fd_came

import unixconn
from unixconn import Cancellable, IOCondition, MainContext, Socket, UnixConnection
from unixconn._cli.main import main as command


def end_of(place: Place) -> UnixConnection:
    """Return one end of a new pair."""
    one, _ = (place.keep(each) for each in UnixConnection.create_pair())
    return one  # type: ignore[no-any-return]


def socket_of(place: Place) -> Socket:
    """Return one end's Socket."""
    return end_of(place).get_socket()


def listening_to(place: Place, name: str) -> unixconn.UnixListener:
    """Return a listener of a new path."""
    return place.keep(unixconn.listen(place.folder / name))  # type: ignore[no-any-return]


def dead(place: Place) -> Path:
    """Return the path of a socket file on which nobody listens."""
    made = socket.socket(socket.AF_UNIX)
    path = place.folder / "dead"
    made.bind(os.fspath(path))
    made.close()
    return path


def ready_to_read(place: Place) -> Taken:
    """A source's callback is called."""
    source = fd_came(place).get_socket().create_source(IOCondition.IN, None)
    found: list[object] = []
    source.set_callback(lambda *_: found.append(1))

    def call() -> None:
        source.attach()
        try:
            while not found:
                MainContext.default().iteration(True)
        finally:
            source.destroy()

    return call, ()


def quits(_place: Place) -> Taken:
    """A main loop runs, and ends."""
    loop = unixconn.MainLoop()

    def call() -> None:
        unixconn.idle_add(loop.quit)
        loop.run()

    return call, ()


CALLS: dict[str, Callable[[Place], Taken]] = {
    **storm_operations.OPERATIONS,
    "send_fd": lambda p: (p.a.send_fd, (p.fds[0],)),
    "send_fds": lambda p: (p.a.send_fds, (p.fds,)),
    "send_message": lambda p: (p.a.send_message, (b"abc", p.fds, True)),
    "send_credentials": lambda p: (p.a.send_credentials, ()),
    "Socket.send_message": lambda p: (p.a.get_socket().send_message, (None, [b"abc"], [], 0)),
    "pass_credentials": lambda p: (end_of(p).pass_credentials, ()),
    "pass_pidfds": lambda p: (end_of(p).pass_pidfds, ()),
    "refuse_fds": lambda p: (end_of(p).refuse_fds, ()),
    "get_option": lambda p: (socket_of(p).get_option, (socket.SOL_SOCKET, socket.SO_SNDBUF)),
    "set_option": lambda p: (socket_of(p).set_option, (socket.SOL_SOCKET, socket.SO_SNDBUF, 9999)),
    "set_keepalive": lambda p: (socket_of(p).set_keepalive, (True,)),
    "get_keepalive": lambda p: (socket_of(p).get_keepalive, ()),
    "get_credentials": lambda p: (socket_of(p).get_credentials, ()),
    "get_groups": lambda p: (end_of(p).get_peer_credentials().get_groups, ()),
    "get_security_label": lambda p: (end_of(p).get_peer_credentials().get_security_label, ()),
    "is_alive": lambda p: (end_of(p).get_peer_credentials().is_alive, ()),
    "get_local_address": lambda p: (p.listening.get_local_address, ()),
    "get_remote_address": lambda p: (end_of(p).get_remote_address, ()),
    "is_connected": lambda p: (socket_of(p).is_connected, ()),
    "check_connect_result": lambda p: (socket_of(p).check_connect_result, ()),
    "get_available_bytes": lambda p: (socket_of(p).get_available_bytes, ()),
    "shutdown": lambda p: (socket_of(p).shutdown, (True, True)),
    "condition_check": lambda p: (socket_of(p).condition_check, (IOCondition.OUT,)),
    "condition_wait": lambda p: (socket_of(p).condition_wait, (IOCondition.OUT,)),
    "condition_timed_wait": lambda p: (socket_of(p).condition_timed_wait, (IOCondition.IN, 1000)),
    "condition_timed_wait cancellable": lambda p: (
        socket_of(p).condition_timed_wait,
        (IOCondition.IN, 1000, p.cancellable),
    ),
    "Socket.bind": lambda p: (
        p.keep(new_socket()).bind,
        (unixconn.UnixSocketAddress.new(p.folder / "bound"), False),
    ),
    "Socket.listen": lambda p: (p.listening.listen, ()),
    "Socket.connect": lambda p: (p.keep(new_socket()).connect, (p.address,)),
    "Socket.accept": lambda p: (called_at(p) and p.listening.accept, ()),
    "add_address": lambda p: (
        p.keep(unixconn.SocketListener()).add_address,
        (
            unixconn.UnixSocketAddress.new(p.folder / "added"),
            unixconn.SocketType.STREAM,
            unixconn.SocketProtocol.DEFAULT,
        ),
    ),
    "listen mode": lambda p: (lambda path: unixconn.listen(path, mode=0o660), (p.folder / "mode",)),
    "listen dead": lambda p: (unixconn.listen, (dead(p),)),
    "listen taken": lambda p: (unixconn.listen, (p.address.get_path(),)),
    "UnixListener.close": lambda p: (listening_to(p, "closed").close, ()),
    "UnixListener.accept": lambda p: (listening_to(p, "timed").accept, (Cancellable.with_timeout(0.001),)),
    "connect nobody": lambda p: (unixconn.connect, (dead(p),)),
    "create_source": ready_to_read,
    "MainLoop.run": quits,
    # An accept that fails is made again after a second.
    "SocketService": lambda p: storm_operations.serving(p, seconds=3),
    "ThreadedSocketService": lambda p: storm_operations.serving(p, unixconn.ThreadedSocketService, "run", 3),
}
"""What is done in one call, from a Place."""


def sent_to(place: Place) -> str:
    """Return a path on which `send` finds a receiver as soon as one listens there."""
    path = os.fspath(place.folder / "door")
    sender = forked(lambda: command(["send", "--wait", "5", path, os.devnull]) == 0)

    def end() -> None:
        os.kill(sender, signal.SIGKILL)
        os.waitpid(sender, 0)

    place.keep(storm_operations.Closing(end))
    return path


COMMANDS: dict[str, Callable[[Place], list[str]]] = {
    "receive": lambda p: ["receive", sent_to(p)],
    "receive --json": lambda p: ["receive", "--json", "--allow-uid", "0", sent_to(p)],
    "receive COMMAND": lambda p: ["receive", sent_to(p), "--", "true"],
    "send": lambda p: ["send", os.fspath(p.address.get_path()), os.devnull],
    "send nobody": lambda p: ["send", os.fspath(dead(p))],
    "peer": lambda p: ["peer", os.fspath(p.address.get_path())],
    "peer --json": lambda p: ["peer", "--json", os.fspath(p.address.get_path())],
}
"""The arguments of a command, from a Place."""
