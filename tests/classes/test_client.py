"""SocketClient, and connecting a SocketConnection."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
from pathlib import Path

import pytest
from helpers import Calls, open_descriptors, settle
from internals import client as client_module
from ways import each_way, failure, iterate

from unixconn import (
    Error,
    Object,
    Socket,
    SocketClient,
    SocketClientEvent,
    SocketConnection,
    SocketFamily,
    SocketListener,
    SocketProtocol,
    SocketType,
    UnixConnection,
    UnixSocketAddress,
)

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")

TIMED_OUT = 24
STREAM = (SocketType.STREAM, SocketProtocol.DEFAULT)


@pytest.fixture
def listener(address):
    """One that listens there."""
    with SocketListener() as made:
        made.add_address(address, *STREAM)
        yield made


@pytest.fixture
def full(address):
    """A listening socket without room for one more connection."""
    sock = Socket.new(SocketFamily.UNIX, *STREAM)
    sock.bind(address, False)
    sock.set_listen_backlog(0)
    sock.listen()
    with SocketClient().connect(address):
        yield sock
    sock.close()


@contextlib.contextmanager
def refused(_client, address):
    """Nobody listens."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(address.get_path())
        yield
    Path(address.get_path()).unlink()


def not_found(_client, _address):
    """There is no file."""
    return contextlib.nullcontext()


@contextlib.contextmanager
def accepted(_client, address):
    """Somebody listens."""
    with SocketListener() as made:
        made.add_address(address, *STREAM)
        yield
    Path(address.get_path()).unlink()


@contextlib.contextmanager
def without_room(client, address):
    """The queue is full."""
    with accepted(client, address), contextlib.ExitStack() as stack:
        for _ in range(11):
            stack.enter_context(SocketClient().connect(address))
        yield


@contextlib.contextmanager
def taken(client, address):
    """The client's own address is taken."""
    client.set_local_address(address)
    with accepted(client, address):
        yield


def another_family(client, _address):
    """The client makes sockets that have no such addresses."""
    client.set_family(SocketFamily.IPV4)
    return contextlib.nullcontext()


@contextlib.contextmanager
def in_packets(client, address):
    """The listener has another type."""
    client.set_socket_type(SocketType.SEQPACKET)
    with accepted(client, address):
        yield


class TestClient:
    @each_way
    def test_not_found(self, address, do):
        """There is no such file: NOT_FOUND with the prefix."""
        found = failure(do, SocketClient(), "connect", address)
        assert found == (1, "Could not connect: No such file or directory")
        with pytest.raises(FileNotFoundError):
            SocketClient().connect(address)

    @each_way
    def test_refused(self, address, do):
        """Nobody listens there: CONNECTION_REFUSED with the prefix."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(address.get_path())
        found = failure(do, SocketClient(), "connect", address)
        assert found == (39, "Could not connect: Connection refused")
        with pytest.raises(ConnectionRefusedError):
            SocketClient().connect(address)

    def test_timeout(self, full, address):
        """The wait for room ends after the client's timeout, in each way; the connection's Socket gets it."""
        client = SocketClient(timeout=1)
        future = client.connect_async(address)
        code, text = failure(client.connect, address)
        assert (code, text.startswith("Could not connect: ")) == (TIMED_OUT, True)
        assert failure(future.result, 60)[0] == TIMED_OUT
        full.accept().close()
        with client.connect(address) as connection:
            assert connection.get_socket().get_timeout() == 1

    def test_local_address(self, listener, address, tmp_path):
        """The socket is bound to it before."""
        client = SocketClient()
        client.set_local_address(UnixSocketAddress.new(tmp_path / "mine"))
        with client.connect(address) as connection, listener.accept().connection as server:
            assert connection.get_local_address().get_path() == str(tmp_path / "mine")
            assert server.get_remote_address().get_path() == str(tmp_path / "mine")
        assert failure(client.connect, address)[0] == 33

    def test_packets(self, address):
        """Another type of socket gives a SocketConnection."""
        with SocketListener() as listener:
            listener.add_address(address, SocketType.SEQPACKET, SocketProtocol.DEFAULT)
            with SocketClient(type=SocketType.SEQPACKET).connect(address) as connection:
                assert type(connection) is SocketConnection
                with listener.accept().connection as server:
                    assert type(server) is SocketConnection

    @each_way
    def test_events(self, listener, address, do):
        """It tells of each step, with the connection once there is one."""
        client, heard = SocketClient(), []
        Object.connect(client, "event", lambda *arguments: heard.append(arguments), "data")
        with do(client, "connect", address) as connection:
            assert [each[1].name for each in heard] == ["RESOLVING", "RESOLVED", "CONNECTING", "CONNECTED", "COMPLETE"]
            assert all((each[0], each[2], each[4]) == (client, address, "data") for each in heard)
            assert [each[3] for each in heard] == [None, None, connection, connection, connection]
        assert isinstance(heard[0][1], SocketClientEvent)

    @each_way
    @pytest.mark.parametrize("prepare", [refused, not_found, taken, another_family, in_packets, accepted])
    def test_the_same_without_events(self, address, prepare, do):
        """The short way of a client that nobody watches ends as the other one does: with the same result or Error."""
        self.compare(address, prepare, do)

    def test_the_same_timeout_without_events(self, address):
        """So does its wait."""
        self.compare(address, without_room, lambda client, name, *arguments: getattr(client, name)(*arguments))

    @staticmethod
    def compare(address, prepare, do):
        """Connect without a handler of the events, and with one."""
        outcomes = []
        for is_watched in (False, True):
            client, heard = SocketClient(timeout=1), Calls()
            if is_watched:
                Object.connect(client, "event", heard)
            before = open_descriptors()
            with prepare(client, address):
                try:
                    with do(client, "connect", address) as made:
                        number, socket = made.fileno(), made.get_socket()
                        outcomes.append((type(made), os.get_blocking(number), os.get_inheritable(number)))
                        outcomes.append((socket.get_properties("family", "type", "protocol", "timeout", "blocking"),))
                except Error as error:
                    outcomes.append((type(error), error.code, error.message))
            gc.collect()
            assert settle(lambda before=before: open_descriptors() == before)
            assert bool(heard) == is_watched
        assert outcomes[: len(outcomes) // 2] == outcomes[len(outcomes) // 2 :]
        assert len(outcomes) == (4 if prepare is accepted else 2)

    def test_an_attempt_broken_off(self, address, listener):
        """If an attempt is broken off after it has connected the socket, the next one goes on from there."""

        class Broken:
            """A socket whose O_NONBLOCK cannot be cleared."""

            def __init__(self, real):
                self.connect, self.close = real.connect, real.close

            def setblocking(self, _blocking):
                raise KeyboardInterrupt

        operation = client_module.ConnectNew(SocketClient(), address)
        operation.begin()
        real, found = operation.handle.python, []
        operation.handle.python = Broken(real)
        with pytest.raises(KeyboardInterrupt):
            operation.attempt(found)
        operation.handle.python = real
        assert operation.attempt(found)
        operation.end()
        with found[0] as connection:
            assert os.get_blocking(connection.fileno())
            assert connection.is_connected()

    def test_own_handler_of_events(self, listener, address):
        """A subclass overrides do_event."""
        heard = []

        class Mine(SocketClient):
            def do_event(self, event, connectable, connection):
                heard.append(event)

        Mine().connect(address).close()
        assert heard[0] == SocketClientEvent.RESOLVING
        assert heard[-1] == SocketClientEvent.COMPLETE

    @pytest.mark.parametrize("callback", [False, True])
    def test_a_result_that_is_not_taken(self, listener, address, callback):
        """The connection is closed: the server sees its end."""
        if callback:
            calls = Calls()
            SocketClient().connect_async(address, None, calls)
            iterate(lambda: calls)
            calls.clear()
        else:
            future = SocketClient().connect_async(address)
            settle(future.done)
            del future
        with listener.accept().connection as server:
            gc.collect()
            server.get_socket().set_timeout(60)
            assert server.get_input_stream().read(1) == b""

    def test_properties(self):
        """They are what the constructor was given."""
        assert SocketClient().get_properties(
            "family", "type", "protocol", "local-address", "timeout", "enable-proxy", "tls"
        ) == (SocketFamily.INVALID, SocketType.STREAM, SocketProtocol.DEFAULT, None, 0, True, False)
        client = SocketClient(type=SocketType.SEQPACKET, timeout=7, enable_proxy=False)
        assert client.get_properties("type", "timeout", "enable_proxy") == (SocketType.SEQPACKET, 7, False)
        assert SocketClient.new().get_timeout() == 0

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("family", SocketFamily.UNIX),
            ("type", SocketType.SEQPACKET),
            ("protocol", SocketProtocol.TCP),
            ("timeout", 5),
            ("enable-proxy", False),
            ("local-address", UnixSocketAddress.new("x")),
        ],
    )
    def test_notify(self, name, value):
        """A setter that changes something says so, and so does setting by property, always."""
        client, heard = SocketClient(), []
        Object.connect(client, f"notify::{name}", lambda _, changed: heard.append(changed.name))
        setter = "set_socket_type" if name == "type" else f"set_{name.replace('-', '_')}"
        getattr(client, setter)(value)
        assert heard == [name]
        client.set_property(name, value)
        assert heard == [name] * 2

    @pytest.mark.parametrize("setter", ["set_family", "set_socket_type", "set_protocol"])
    @pytest.mark.parametrize("wrong", [99, "UNIX", None])
    def test_wrong_kinds(self, setter, wrong):
        """What is no member of the enumeration is a TypeError that names it, and changes nothing."""
        client = SocketClient()
        with pytest.raises(TypeError, match=f"{wrong!r} is no Socket"):
            getattr(client, setter)(wrong)
        assert (client.get_family(), client.get_socket_type()) == (SocketFamily.INVALID, SocketType.STREAM)

    def test_what_belongs_to_others(self):
        """Hosts, services, URIs and TLS are NOT_SUPPORTED."""
        client = SocketClient()
        for call in (
            lambda: client.connect_to_host("localhost", 80, None),
            lambda: client.connect_to_service("localhost", "http", None),
            lambda: client.connect_to_uri("http://localhost", 80, None),
            lambda: client.set_tls(True),
            lambda: SocketClient(tls=True),
        ):
            assert failure(call)[0] == 15

    @pytest.mark.parametrize("wrong", [None, "path", 5])
    def test_wrong_types(self, wrong):
        """What is no address is a TypeError, at once."""
        with pytest.raises(TypeError):
            SocketClient().connect(wrong)
        with pytest.raises(TypeError):
            SocketClient().connect_async(wrong)
        with pytest.raises(TypeError):
            SocketClient().set_local_address(wrong or 5)


class TestConnectionConnects:
    """SocketConnection.connect, beside the client."""

    @pytest.fixture
    def unconnected(self):
        """One without a peer."""
        with UnixConnection(socket=Socket.new(SocketFamily.UNIX, *STREAM)) as made:
            yield made

    @each_way
    def test_connects(self, listener, address, unconnected, do):
        """It gives True, and O_NONBLOCK and the Socket's setting are as before."""
        number = unconnected.get_socket().get_fd()
        before = os.get_blocking(number), unconnected.get_socket().get_blocking()
        assert do(unconnected, "connect", address) is True
        assert unconnected.is_connected()
        assert (os.get_blocking(number), unconnected.get_socket().get_blocking()) == before

    @each_way
    def test_failures(self, address, unconnected, do):
        """They have the bare text of the errno."""
        assert failure(do, unconnected, "connect", address) == (1, "No such file or directory")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(address.get_path())
        assert failure(do, unconnected, "connect", address) == (39, "Connection refused")
