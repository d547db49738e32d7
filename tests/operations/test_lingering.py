"""Closing what a peer has sent and nobody asked for: a TCP socket whose close(2) waits for a peer that never reads."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
import warnings
from contextlib import contextmanager, suppress

import internals
import pytest
from helpers import adopt, collect, forked, is_open, settle

import unixconn
from unixconn import Error, SocketType, UnixConnection

LINGER = 6
"""Seconds for which the socket's close(2) waits."""
TICKS = 100
"""How often the ticker counts in one second."""


@pytest.fixture(scope="module")
def ticker():
    """Return a descriptor to which another process writes TICKS bytes in a second: this one may stand still."""
    source, target = os.pipe()
    os.set_blocking(source, False)

    def tick():
        os.close(source)
        while True:
            time.sleep(1 / TICKS)
            os.write(target, b".")

    # Before there is anything that the other process could keep open.
    pid = forked(tick)
    os.close(target)
    yield source
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(source)


@pytest.fixture
def at_once(ticker):
    """Return a context manager that checks that its block takes a part of the time for which the socket lingers."""

    def ticks():
        try:
            return len(os.read(ticker, 65536))
        except BlockingIOError:
            return 0

    @contextmanager
    def check():
        ticks()
        yield
        assert ticks() < LINGER * TICKS / 2

    return check


class Lingering:
    """A TCP socket with data that its peer does not take, and a close(2) that waits for that."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.socket = socket.create_connection(server.getsockname())
            self.peer, _ = server.accept()
        self.socket.setblocking(False)
        self.sent = 0
        with suppress(BlockingIOError):
            while True:
                self.sent += self.socket.send(bytes(1 << 20))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER))

    def read_all(self):
        """Return how many bytes arrive until the end."""
        found = 0
        while piece := len(self.peer.recv(1 << 20)):
            found += piece
        return found


@pytest.fixture
def lingering():
    """Return a Lingering; whoever has a descriptor of its socket closes that."""
    made = Lingering()
    yield made
    made.peer.close()
    made.socket.close()


def send(connection, lingering, data=b"\0", count=1):
    """Send the lingering socket, and leave nobody else a descriptor of it."""
    number = lingering.socket.fileno()
    # By the standard library, as a record of no bytes has to be sent, too.
    with socket.socket(fileno=os.dup(connection.get_socket().get_fd())) as other:
        other.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{count}i", *[number] * count))])
    lingering.socket.close()


def is_refused(call, *arguments):
    """Make a call that refuses what came."""
    with pytest.raises(Error):
        call(*arguments)


def left_in_a_message(_a, b):
    """Close a message with the descriptor in it."""
    b.receive_message(9).close()


def dropped_message(_a, b):
    """Drop a message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        b.receive_message(9)
        collect()


def dropped_descriptor(_a, b):
    """Drop a FileDescriptor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        b.receive_descriptor()
        collect()


def dropped_control_message(_a, b):
    """Drop a UnixFDMessage."""
    b.get_socket().receive_message([bytearray(9)], 0)
    collect()


def dropped_future(_a, b):
    """Drop the result of an asynchronous call."""
    assert b.receive_fd_async().done()
    collect()


def read_and_closed(_a, b):
    """Read the bytes alone, and close the connection."""
    assert b.get_input_stream().read(9)
    b.close()


def received_from(_a, b):
    """Take a datagram alone, and close the connection."""
    b.get_socket().receive_from(9)
    b.close()


def refusing(method, *arguments):
    """Return a case in which all descriptors are refused."""

    def case(_a, b):
        b.refuse_fds()
        with suppress(unixconn.PermissionDeniedError):
            getattr(b, method)(*arguments)

    return case


def refusing_read(_a, b):
    """Read the bytes where descriptors are refused."""
    b.refuse_fds()
    assert b.get_input_stream().read(9)


CASES = {
    "credentials wanted": lambda _a, b: is_refused(b.receive_credentials),
    "message": left_in_a_message,
    "dropped message": dropped_message,
    "dropped descriptor": dropped_descriptor,
    "dropped result": dropped_future,
    "dropped control message": dropped_control_message,
    "kept": read_and_closed,
    "datagram": received_from,
    "refused fd": refusing("receive_fd"),
    "refused fds": refusing("receive_fds"),
    "refused descriptor": refusing("receive_descriptor"),
    "refused message": refusing("receive_message", 9),
    "refused bytes": refusing_read,
    "unread": lambda _a, b: b.close(),
}
TWO = {
    "one wanted": lambda _a, b: is_refused(b.receive_fd),
    "one of several wanted": lambda _a, b: is_refused(b.receive_fds, 1),
    "one descriptor wanted": lambda _a, b: is_refused(b.receive_descriptor),
}
each_case = pytest.mark.parametrize(("case", "count"), [*((each, 1) for each in CASES), *((each, 2) for each in TWO)])


@each_case
def test_no_wait(pair, lingering, at_once, case, count):
    """S4: what nobody asked for is closed without a wait, and its data arrive all the same."""
    a, b = pair
    send(a, lingering, count=count)
    with at_once():
        {**CASES, **TWO}[case](a, b)
    assert lingering.read_all() == lingering.sent


@pytest.mark.parametrize("kind", [SocketType.STREAM, SocketType.SEQPACKET, SocketType.DATAGRAM])
@pytest.mark.parametrize("end", ["close", "drop"])
def test_unread(lingering, at_once, kind, end):
    """S4: a socket with unread descriptors, also those of an empty record, is closed or dropped without a wait."""
    a, b = UnixConnection.create_pair(kind)
    send(a, lingering, b"x" if kind == SocketType.STREAM else b"")
    with a, at_once():
        if end == "close":
            b.close()
        del b
        collect()
    assert lingering.read_all() == lingering.sent


def test_kept_and_dropped(lingering, at_once):
    """S4: a connection that keeps descriptors is dropped without a wait."""
    a, b = UnixConnection.create_pair()
    send(a, lingering)
    assert b.get_input_stream().read(9)
    with a, at_once():
        del b
        collect()
    assert lingering.read_all() == lingering.sent


def test_connection_that_nobody_accepted(lingering, at_once, tmp_path):
    """S4: a listener with a connection in which descriptors wait is closed without a wait."""
    listener = unixconn.listen(tmp_path / "door")
    with unixconn.connect(tmp_path / "door") as client, at_once():
        send(client, lingering)
        listener.close()
    assert lingering.read_all() == lingering.sent


@pytest.mark.parametrize("case", ["message", "credentials wanted", "kept"])
def test_inside_of_another(pair, lingering, at_once, case):
    """S4: a Unix socket in whose queue a lingering socket waits is closed without a wait, too."""
    a, b = pair
    inner, outer = socket.socketpair()
    with inner, adopt(outer) as sender:
        send(sender, lingering)
        a.send_fd(inner)
    with at_once():
        CASES[case](a, b)
    assert lingering.read_all() == lingering.sent


def test_one_that_waits_delays_no_other(pair, at_once):
    """S4: while the closes of some wait, others go on; the number of one is free when its thread has begun."""
    several = [Lingering() for _ in range(4)]
    others = [UnixConnection.create_pair() for _ in several]
    with at_once():
        for each, (a, b) in zip(several, others):
            send(a, each)
            b.close()
            a.close()
        a, b = pair
        number = b.get_socket().get_fd()
        a.send_fd(0)
        b.close()
        assert settle(lambda: not is_open(number))
    for each in several:
        assert each.read_all() == each.sent
        each.peer.close()


def test_plain_bytes_need_no_thread(pair, calls, monkeypatch):
    """S4: a queue without descriptors is closed by close() itself."""
    a, b = pair
    a.send_credentials()
    monkeypatch.setattr(internals.handle, "close_apart", calls)
    a.close()
    b.close()
    assert not calls


def test_own_socket_lingers_on(lingering):
    """A socket that is taken out of a message keeps its option, and so does one that this process sends."""
    a, b = UnixConnection.create_pair()
    with a, b:
        a.send_message(b"x", [lingering.socket])
        with b.receive_message(9) as message:
            taken = message.fds.pop().to_socket()
        a.send_fds([lingering.socket])
        b.receive_descriptors()[0].close()
        option = taken.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        assert struct.unpack("ii", option) == (1, LINGER)
        lingering.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(8))
        taken.close()
