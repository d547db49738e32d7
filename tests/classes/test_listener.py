"""SocketListener."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import sys
import time

import internals
import pytest
from helpers import Background, no_collection, open_sockets, outcome_of_child, room, settle
from internals import listener as module
from ways import by_await, each_way, failure

import unixconn
from unixconn import (
    Cancellable,
    MainContext,
    Object,
    Socket,
    SocketClient,
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

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")

CANCELLED = (19, "Operation was cancelled")
CLOSED = (18, "Listener is already closed")
REFUSED = 39
STREAM = (SocketType.STREAM, SocketProtocol.DEFAULT)


@pytest.fixture
def listener(address):
    """One that listens there."""
    with SocketListener() as made:
        made.add_address(address, *STREAM)
        yield made


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
        operation = module._AcceptSocket(listener._handle, listener._entries)
        monkeypatch.setattr(module, "Socket", None)
        assert not operation.attempt([])

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
            assert (code, text) == (18, "All sockets of the listener are closed")
            assert failure(do, listener, name)[0] == 18
            listener.add_address(UnixSocketAddress.new(tmp_path / "third"), *STREAM)
            with SocketClient().connect(UnixSocketAddress.new(tmp_path / "third")):
                do(listener, name)[0].close()

    @pytest.mark.parametrize("adds", ["child", "parent"])
    def test_a_socket_that_another_process_adds(self, listener, address, tmp_path, adds):
        """It is for that process alone: the other one still waits, and both accept on the socket that they share."""
        other = UnixSocketAddress.new(tmp_path / "other")
        ours, theirs = socket.socketpair()

        def is_ready():
            return bool(select.select([listener._handle.number], [], [], 0)[0])

        def add_and_look():
            listener.add_address(other, *STREAM)
            with SocketClient().connect(other):
                return is_ready()

        def child():
            if adds == "child":
                assert add_and_look()
                with SocketClient().connect(other):
                    theirs.send(b"x")
                    theirs.recv(1)
            else:
                theirs.send(b"x")
                theirs.recv(1)
                assert not is_ready()
                theirs.send(b"x")
            return True

        with ours, theirs:
            started = Background(lambda: outcome_of_child(child))
            ours.recv(1)
            if adds == "parent":
                assert add_and_look()
                with SocketClient().connect(other):
                    ours.send(b"x")
                    ours.recv(1)
            else:
                assert not is_ready()
                ours.send(b"x")
            assert started.outcome() == 0
        with SocketClient().connect(address):
            assert is_ready()
            listener.accept().connection.close()
        listener.close()
        assert outcome_of_child(lambda: True) == 0

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
                assert failure(waiting.result, 60) == CANCELLED
                listener.set_backlog(5)
                with SocketClient().connect(address):
                    assert listener.get_property("listen-backlog") == 5

    def test_backlog_beside_a_closed_socket(self, address, tmp_path):
        """A socket that the user has closed is passed over, as in Gio."""
        with SocketListener() as listener:
            sockets = []
            listener.connect("event", lambda _listener, _event, made: sockets.append(made))
            listener.add_address(UnixSocketAddress.new(tmp_path / "other"), *STREAM)
            listener.add_address(address, *STREAM)
            sockets[0].close()
            listener.set_backlog(0)
            with SocketClient().connect(address):
                cancellable = Cancellable.with_timeout(0.02)
                assert failure(SocketClient().connect, address, cancellable)[0] == 24

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


class Refusing(UnixConnection):
    """A class whose constructor fails."""

    def __init__(self, *, socket):
        raise ZeroDivisionError(socket.get_fd())


@pytest.fixture
def refusing():
    """Have all connections of Unix streams be of the class Refusing."""
    key = SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT
    usual = internals.connection_types[key]
    SocketConnection.factory_register_type(Refusing, *key)
    yield
    internals.connection_types[key] = usual


@pytest.mark.usefixtures("refusing")
class TestAConstructorThatFails:
    """The caller gets its exception, and the connection is closed, at once and before a collection."""

    @each_way
    @pytest.mark.parametrize("comes", ["before", "later"])
    def test_accept(self, tmp_path, do, comes, capfd):
        """In each way; and the next connection is the next call's."""
        address = UnixSocketAddress.new(tmp_path / "s")
        with SocketListener() as listener, contextlib.ExitStack() as clients:
            listener.add_address(address, SocketType.STREAM, SocketProtocol.DEFAULT)

            def connect():
                made.append(clients.enter_context(socket.socket(socket.AF_UNIX)))
                made[-1].connect(str(tmp_path / "s"))

            for _ in "12":
                made = []
                if comes == "before":
                    connect()
                with pytest.raises(ZeroDivisionError) as caught:
                    do(listener, "accept", **({"meanwhile": connect} if comes == "later" else {}))
                made[0].settimeout(60)
                assert made[0].recv(1) == b""
                assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("is_watched", [False, True])
    def test_connect(self, tmp_path, is_watched):
        """The same for who connects."""
        client = SocketClient()
        if is_watched:
            Object.connect(client, "event", lambda *_: None)
        address = UnixSocketAddress.new(tmp_path / "s")
        before = open_sockets()
        with unixconn.listen(tmp_path / "s"):
            listening = open_sockets()
            for connect in (
                lambda: client.connect(address),
                lambda: client.connect(address, Cancellable()),
                lambda: client.connect_async(address).result(60),
            ):
                with pytest.raises(ZeroDivisionError):
                    connect()
                assert open_sockets() == listening
        assert open_sockets() == before

    def test_a_service(self, tmp_path, monkeypatch):
        """It reports the exception, and accepts the next connection."""
        told = []
        monkeypatch.setattr(sys, "excepthook", lambda kind, *_: told.append(kind))
        service = SocketService()
        service.add_address(UnixSocketAddress.new(tmp_path / "s"), SocketType.STREAM, SocketProtocol.DEFAULT)
        for count in (1, 2):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "s"))
                while len(told) < count:
                    MainContext.default().iteration(True)
                client.settimeout(60)
                assert client.recv(1) == b""
        service.close()
        while MainContext.default().iteration(False):
            pass
        assert told == [ZeroDivisionError] * 2
