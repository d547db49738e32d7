"""SocketClient, SocketListener and the services: how connections come to be."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import socket
import sys
import threading
import time

import pytest
from helpers import Background, Calls, outcome_of_child, room, settle
from ways import by_await, each_way, failure, iterate

import unixconn
from unixconn import (
    Cancellable,
    MainContext,
    Object,
    Socket,
    SocketClient,
    SocketClientEvent,
    SocketConnection,
    SocketFamily,
    SocketListener,
    SocketListenerEvent,
    SocketProtocol,
    SocketService,
    SocketType,
    ThreadedSocketService,
    UnixConnection,
    UnixSocketAddress,
)
from unixconn import listener as module
from unixconn.attempt import WOULD_BLOCK

CANCELLED = (19, "Operation was cancelled")
CLOSED = (18, "Listener is already closed")
TIMED_OUT = 24
REFUSED = 39
STREAM = (SocketType.STREAM, SocketProtocol.DEFAULT)


pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")


@pytest.fixture
def address(tmp_path):
    """Where to listen."""
    return UnixSocketAddress.new(tmp_path / "s")


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
def no_collection():
    """Let references alone free things, as CPython does."""
    if sys.implementation.name != "cpython":
        pytest.skip("frees only by collections")
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


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
        assert failure(future.result, 9)[0] == TIMED_OUT
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
            server.get_socket().set_timeout(5)
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

class TestListener:
    @each_way
    def test_several_sockets(self, tmp_path, do):
        """It accepts on all of them, and tells which by the source object."""
        places = [UnixSocketAddress.new(tmp_path / str(number)) for number in range(3)]
        sources = [Object() for _ in places]
        with SocketListener() as listener:
            for place, source in zip(places, sources):
                assert listener.add_address(place, *STREAM, source).ok is True
            clients = [SocketClient().connect(place) for place in reversed(places)]
            found = [do(listener, "accept") for _ in places]
            assert {id(each.source_object) for each in found} == {id(each) for each in sources}
            for each in (*clients, *(each.connection for each in found)):
                each.close()

    def test_a_look_makes_nothing_that_is_destroyed(self, listener, monkeypatch):
        """A destructor before the wait would swallow what a signal handler raises."""
        operation = module._AcceptAny(listener._handle, listener._entries)
        monkeypatch.setattr(module, "Socket", None)
        assert operation.attempt() is WOULD_BLOCK

    def test_is_fair(self, tmp_path):
        """A socket where many wait does not keep the others from their turn."""
        places = [UnixSocketAddress.new(tmp_path / str(number)) for number in range(2)]
        sources = [Object() for _ in places]
        with SocketListener() as listener:
            for place, source in zip(places, sources):
                listener.add_address(place, *STREAM, source)
            clients = [SocketClient().connect(place) for place in (places[0],) * 5 + (places[1],)]
            found = [listener.accept() for _ in range(2)]
            assert {id(each.source_object) for each in found} == {id(each) for each in sources}
            for each in (*clients, *(each.connection for each in found)):
                each.close()

    def test_effective_address(self, address):
        """add_address gives (True, the address)."""
        with SocketListener() as listener:
            ok, effective = listener.add_address(address, *STREAM)
            assert (ok, effective.get_path()) == (True, address.get_path())
            assert failure(listener.add_address, address, *STREAM)[0] == 33

    @each_way
    @pytest.mark.parametrize("name", ["accept", "accept_socket"])
    def test_user_closes_the_last_socket(self, address, tmp_path, do, name):
        """Who waits goes on while another one is left, and ends with CLOSED with the last; a new one can be added."""
        with SocketListener() as listener:
            sockets = []
            listener.connect("event", lambda _listener, _event, made: sockets.append(made))
            listener.add_address(address, *STREAM)
            listener.add_address(UnixSocketAddress.new(tmp_path / "other"), *STREAM)
            cancellable = Cancellable()

            def close_one_and_cancel():
                sockets[0].close()
                time.sleep(0.02)
                cancellable.cancel()

            found = failure(do, listener, name, cancellable=cancellable, meanwhile=close_one_and_cancel)
            assert found == CANCELLED
            code, text = failure(do, listener, name, meanwhile=sockets[-1].close)
            assert (code, text) == (18, "All sockets that were listened on are closed")
            assert failure(do, listener, name)[0] == 18
            listener.add_address(UnixSocketAddress.new(tmp_path / "third"), *STREAM)
            with SocketClient().connect(UnixSocketAddress.new(tmp_path / "third")):
                do(listener, name)[0].close()

    def test_a_child_closes_its_own(self, listener, address):
        """What a forked process closes is not closed here, and nothing goes round and round for it."""
        waiting = Background(listener.accept)
        waiting.join(0.05)
        assert outcome_of_child(lambda: listener.close() is None) == 0
        assert settle(lambda: select.select([listener._handle.number], [], [], 0)[0] == [])
        with SocketClient().connect(address):
            waiting.outcome().connection.close()

    def test_dropped(self, address):
        """Its sockets are closed at once, without a collection, though it has a handler."""
        with no_collection():
            listener = SocketListener()
            listener.connect("event", print, "handed on")
            listener.connect_after("notify", print)
            address_added = listener.add_address(address, *STREAM)
            assert address_added[0]
            del listener
            assert failure(SocketClient().connect, address)[0] == REFUSED

    def test_dropped_after_a_wait_in_asyncio(self, address):
        """What was cancelled does not keep it."""

        async def main():
            listener = SocketListener()
            listener.add_address(address, *STREAM)
            waiting = asyncio.ensure_future(wait(listener))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            del listener

        async def wait(listener):
            await listener.accept_async()

        with no_collection():
            asyncio.run(main())
            assert failure(SocketClient().connect, address)[0] == REFUSED

    def test_after_close(self, listener, address, tmp_path):
        """Nothing can be added, nobody connects, and closing again is no error."""
        listener.close()
        listener.close()
        assert failure(listener.add_address, UnixSocketAddress.new(tmp_path / "other"), *STREAM) == CLOSED
        assert not (tmp_path / "other").exists()
        assert failure(SocketClient().connect, address)[0] == 39

    def test_with_and_async_with(self, address):
        """Listeners, services and sockets are closed at the end of either."""
        made = [SocketListener(), SocketService(), ThreadedSocketService(), Socket.new(SocketFamily.UNIX, *STREAM)]

        async def use(each):
            async with each as entered:
                assert entered is each

        for each in made[::2]:
            with each as entered:
                assert entered is each
        for each in made[1::2]:
            asyncio.run(use(each))
        assert made[3].is_closed()
        for each in made[:3]:
            assert failure(each.add_address, address, *STREAM)[0] == CLOSED[0]

    def test_the_same_socket_twice(self, address):
        """It is an error, and changes nothing."""
        with SocketListener() as listener:
            sock = Socket.new(SocketFamily.UNIX, *STREAM)
            sock.bind(address, False)
            sock.listen()
            listener.add_socket(sock)
            assert failure(listener.add_socket, sock)[0] == 2
            with SocketClient().connect(address):
                listener.accept().connection.close()

    def test_without_a_socket(self):
        """There is nothing to wait for: NOT_INITIALIZED."""
        with SocketListener() as listener:
            assert failure(listener.accept)[0] == 32
            assert failure(listener.accept_async().result, 9)[0] == 32

    @each_way
    def test_several_waiters(self, listener, address, do):
        """Each connection is for one of them."""
        waiting = [Background(listener.accept) for _ in range(3)]
        clients = [SocketClient().connect(address) for _ in range(4)]
        found = [do(listener, "accept"), *(each.outcome() for each in waiting)]
        assert len({each.connection.get_socket().get_fd() for each in found}) == 4
        for each in (*clients, *(each.connection for each in found)):
            each.close()

    @each_way
    def test_an_adopted_socket(self, address, do):
        """One that blocks, as the standard library makes it, does not keep accept from ending; O_NONBLOCK stays."""
        with socket.socket(socket.AF_UNIX) as made, SocketListener() as listener:
            made.bind(address.get_path())
            made.listen()
            adopted = Socket.new_from_fd(os.dup(made.fileno()))
            source = Object()
            assert listener.add_socket(adopted, source) is True
            cancellable = Cancellable()
            assert failure(do, listener, "accept", cancellable=cancellable, meanwhile=cancellable.cancel) == CANCELLED
            with SocketClient().connect(address):
                # Another one takes it before.
                made.accept()[0].close()
            cancellable.reset()
            assert failure(do, listener, "accept", cancellable=cancellable, meanwhile=cancellable.cancel) == CANCELLED
            with SocketClient().connect(address):
                connection, given = do(listener, "accept")
                connection.close()
            assert given is source
            assert os.get_blocking(made.fileno())

    def test_events(self, address):
        """It tells of each step with the socket."""
        with SocketListener() as listener:
            heard = []
            listener.connect("event", lambda *arguments: heard.append(arguments))
            listener.add_address(address, *STREAM)
            assert [each[1] for each in heard] == list(SocketListenerEvent)
            assert {each[0] for each in heard} == {listener}
            assert len({each[2] for each in heard}) == 1
            assert isinstance(heard[0][2], Socket)

    def test_backlog(self, address):
        """It is what the next sockets listen with, and a property."""
        with SocketListener(listen_backlog=3) as listener:
            assert listener.props.listen_backlog == 3
            listener.set_backlog(0)
            listener.add_address(address, *STREAM)
            with SocketClient().connect(address):
                cancellable = Cancellable()
                waiting = SocketClient().connect_async(address, cancellable)
                cancellable.cancel()
                assert failure(waiting.result, 9) == CANCELLED
                listener.set_backlog(5)
                with SocketClient().connect(address):
                    assert listener.get_property("listen-backlog") == 5

    def test_ports(self, listener):
        """They are NOT_SUPPORTED."""
        assert failure(listener.add_inet_port, 80, None)[0] == 15
        assert failure(listener.add_any_inet_port, None)[0] == 15

    def test_wrong_types(self, listener, pair):
        """What is no socket or address is a TypeError."""
        for wrong in (None, 5, pair[0]):
            with pytest.raises(TypeError):
                listener.add_socket(wrong)
        for wrong in (None, 5, "path"):
            with pytest.raises(TypeError):
                listener.add_address(wrong, *STREAM)

    @each_way
    def test_without_a_free_descriptor(self, listener, address, do):
        """It is TOO_MANY_OPEN_FILES, and the connection waits for the next one."""
        with SocketClient().connect(address):
            if do is by_await:
                pytest.skip("asyncio itself needs descriptors")
            with room(0), pytest.raises(unixconn.TooManyOpenFilesError):
                do(listener, "accept")
            listener.accept().connection.close()

def ask(address, count):
    """Open *count* connections at once; give how many of them got a descriptor."""
    got = 0
    for each in [SocketClient(timeout=3).connect(address) for _ in range(count)]:
        with each:
            os.close(each.receive_fd())
            got += 1
    return got


def in_asyncio(function, *arguments):
    """Do in a thread, while an asyncio loop runs in this one, what *function* does."""

    async def main():
        return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, function, *arguments), 5)

    return main()


def in_context(function, *arguments):
    """Do in a thread, while this one iterates the default context, what *function* does."""
    running = Background(function, *arguments)
    iterate(lambda: not running.is_alive())
    return running.outcome()


def give(_service, connection, _source_object):
    """Handle a connection: send standard input."""
    connection.send_fd(0)


class TestService:
    @pytest.fixture
    def service(self, address):
        """One that listens."""
        with SocketService(listen_backlog=300) as made:
            made.add_address(address, *STREAM)
            yield made

    def test_incoming(self, address):
        """Each connection is told to the handlers, with the source object, until one returns True."""
        source, heard = Object(), []
        with SocketService() as service:
            service.connect("incoming", lambda *arguments: heard.append(arguments) or len(heard) > 1)
            service.connect("incoming", lambda *arguments: heard.append("second"))
            service.add_address(address, *STREAM, source)
            with SocketClient().connect(address):
                iterate(lambda: len(heard) == 2)
            with SocketClient().connect(address):
                iterate(lambda: len(heard) == 3)
            assert (heard[0][0], heard[0][2], heard[1]) == (service, source, "second")
            assert isinstance(heard[0][1], UnixConnection)
            assert heard[2] != "second"
            for each in (heard[0], heard[2]):
                each[1].close()

    def test_own_handler(self, address):
        """A subclass overrides do_incoming."""
        heard = []

        class Mine(SocketService):
            def do_incoming(self, connection, source_object):
                heard.append(connection)
                return True

        with Mine() as service:
            service.add_address(address, *STREAM)
            with SocketClient().connect(address):
                iterate(lambda: heard)
            heard[0].close()

    def test_nobody_keeps_it(self, service, address):
        """The connection is closed."""
        heard = []
        service.connect("incoming", lambda *_: heard.append(1))
        with SocketClient().connect(address) as client:
            iterate(lambda: heard)
            gc.collect()
            client.get_socket().set_timeout(5)
            assert client.get_input_stream().read(9) == b""

    def test_active(self, address):
        """It is from the beginning, unless the constructor is told otherwise; start and stop notify on change."""
        assert SocketService().is_active() is True
        service, heard = SocketService(active=False), []
        service.connect("notify::active", lambda *_: heard.append(service.props.active))
        assert service.is_active() is False
        service.start()
        service.start()
        service.stop()
        service.stop()
        assert heard == [True, False]
        service.set_property("active", False)
        assert heard == [True, False, False]

    def test_stop_and_start(self, service, address):
        """Meanwhile connections wait; none is lost."""
        heard = []
        service.connect("incoming", lambda _, connection, __: heard.append(connection))
        service.stop()
        with SocketClient().connect(address), SocketClient().connect(address):
            for _ in range(20):
                MainContext.default().iteration(False)
            assert heard == []
            service.start()
            iterate(lambda: len(heard) == 2)
        for each in heard:
            each.close()

    def test_200_at_once(self, service, address):
        """Each gets its descriptor."""
        service.connect("incoming", give)
        assert in_context(ask, address, 200) == 200

    def test_200_at_once_in_asyncio(self, address):
        """It runs in an asyncio loop as well."""

        async def main():
            with SocketService(listen_backlog=300) as service:
                service.connect("incoming", give)
                service.add_address(address, *STREAM)
                return await in_asyncio(ask, address, 200)

        assert asyncio.run(main()) == 200

    def test_an_exception_in_a_handler(self, service, address, reports):
        """It is reported, and the service goes on."""
        service.connect("incoming", lambda *_: 1 / 0)
        service.connect("incoming", give)
        assert in_context(ask, address, 3) == 3
        assert [type(each) for each in reports] == [ZeroDivisionError] * 3

    def test_without_a_free_descriptor(self, service, address, reports):
        """It is reported, and the service goes on when there is one again."""
        service.connect("incoming", give)
        with SocketClient(timeout=3).connect(address) as client:
            with room(0):
                iterate(lambda: reports)
            assert isinstance(reports[0], unixconn.TooManyOpenFilesError)
            iterate(client.get_input_stream().is_readable)
            os.close(client.receive_fd())

    def test_a_hook_that_raises(self, service, address, monkeypatch):
        """It goes on all the same, when there are descriptors again."""
        told = []

        def hook(*error):
            told.append(error)
            raise KeyboardInterrupt

        service.connect("incoming", give)
        with SocketClient(timeout=3).connect(address) as client:
            with room(0), monkeypatch.context() as patch:
                patch.setattr(sys, "excepthook", hook)
                with pytest.raises(KeyboardInterrupt):
                    iterate(lambda: False)
            assert told
            iterate(client.get_input_stream().is_readable)
            os.close(client.receive_fd())

    def test_stopped_and_dropped(self, address):
        """Its socket is closed at once, without a collection."""
        with no_collection():
            service = SocketService()
            service.connect("incoming", give)
            service.add_address(address, *STREAM)
            with SocketClient(timeout=3).connect(address) as client:
                iterate(client.get_input_stream().is_readable)
                os.close(client.receive_fd())
            service.stop()
            while MainContext.default().iteration(False):
                pass
            del service
            assert failure(SocketClient().connect, address)[0] == REFUSED

    def test_without_a_free_descriptor_in_asyncio(self, address, reports):
        """So it does in an asyncio loop."""

        async def until(condition):
            end = time.monotonic() + 5
            while not condition():
                assert time.monotonic() < end, "it does not go on"
                await asyncio.sleep(0.01)

        async def main():
            with SocketService() as service:
                service.connect("incoming", give)
                service.add_address(address, *STREAM)
                with SocketClient().connect(address) as client:
                    with room(0):
                        await until(lambda: reports)
                    await until(client.get_input_stream().is_readable)
                    os.close(client.receive_fd())

        asyncio.run(main())
        assert isinstance(reports[0], unixconn.TooManyOpenFilesError)

    def test_close(self, service, address):
        """Nobody is accepted any more."""
        service.close()
        assert failure(SocketClient().connect, address)[0] == 39
        assert failure(service.accept) == CLOSED


class TestThreadedService:
    def test_runs_in_a_thread(self, address):
        """Each connection's handler has a thread of its own; the connection is closed after it."""
        heard, source = [], Object()

        def run(service, connection, source_object):
            heard.append((threading.current_thread(), source_object))
            connection.send_fd(0)
            return True

        with ThreadedSocketService(max_threads=5) as service:
            service.connect("run", run)
            service.add_address(address, *STREAM, source)
            assert in_context(ask, address, 5) == 5
        assert len({id(each[0]) for each in heard}) == 5
        assert threading.main_thread() not in [each[0] for each in heard]
        assert {each[1] for each in heard} == {source}
        assert service.props.max_threads == 5

    def most(self, function):
        """Count how many handlers run at a time; the server side of `function`, which is given the handler."""
        running, most, lock = [], [], threading.Lock()

        def run(_service, connection, _source_object):
            with lock:
                running.append(1)
                most.append(len(running))
            time.sleep(0.02)
            with lock:
                running.pop()
            connection.send_fd(0)

        assert function(run) == 6
        return max(most)

    @pytest.mark.parametrize(("limit", "allowed"), [(1, 1), (2, 2), (-1, 6)])
    def test_max_threads(self, address, limit, allowed):
        """Not more than that run at a time, and none is lost."""

        def serve(run):
            with ThreadedSocketService(max_threads=limit) as service:
                service.connect("run", run)
                service.add_address(address, *STREAM)
                return in_context(ask, address, 6)

        assert self.most(serve) <= allowed

    def test_max_threads_in_asyncio(self, address):
        """It goes on in the loop that it was started in."""

        def serve(run):
            async def main():
                with ThreadedSocketService(max_threads=1) as service:
                    service.connect("run", run)
                    service.add_address(address, *STREAM)
                    return await in_asyncio(ask, address, 6)

            return asyncio.run(main())

        assert self.most(serve) == 1

    def test_max_threads_in_another_context(self, address):
        """It goes on in the context that it was started in."""
        context = MainContext.new()

        def serve(run):
            context.push_thread_default()
            try:
                with ThreadedSocketService(max_threads=1) as service:
                    service.connect("run", run)
                    service.add_address(address, *STREAM)
                    running = Background(ask, address, 6)
                    iterate(lambda: not running.is_alive(), context)
                    return running.outcome()
            finally:
                context.pop_thread_default()

        assert self.most(serve) == 1

    def test_incoming_comes_first(self, address):
        """A handler of incoming that returns True keeps the connection from the threads."""
        heard = []
        with ThreadedSocketService() as service:
            service.connect("incoming", lambda _, connection, __: connection.send_fd(0))
            service.connect("run", lambda *_: heard.append("run"))
            service.add_address(address, *STREAM)
            assert in_context(ask, address, 3) == 3
        assert heard == []
