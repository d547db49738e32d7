"""Connections: making them, what they tell, subclasses, and their end."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import socket
import subprocess
import sys

import pytest
from helpers import adopt, is_open, open_descriptors, room
from internals import connection_types

import unixconn
from unixconn import (
    Cancellable,
    Error,
    IOStream,
    Object,
    Socket,
    SocketConnection,
    SocketFamily,
    SocketProtocol,
    SocketType,
    UnixConnection,
    UnixSocketAddressType,
)


def new_socket(kind=SocketType.STREAM):
    """Make a Unix socket without a peer."""
    return Socket.new(SocketFamily.UNIX, kind, SocketProtocol.DEFAULT)


class Mine(UnixConnection):
    """A user's class, with a method and a state of its own."""

    def __init__(self, *, socket, name="nobody"):
        super().__init__(socket=socket)
        self.name = name

    def send_name(self):
        """Send the name."""
        return self.get_output_stream().write(self.name.encode())


class TestMaking:
    def test_of_a_socket(self):
        """The Socket is kept as the object it is."""
        sock = new_socket()
        connection = UnixConnection(socket=sock)
        assert connection.get_socket() is sock
        assert connection.props.socket is sock
        assert isinstance(connection, (SocketConnection, IOStream, Object))
        connection.close()

    @pytest.mark.parametrize("kind", [UnixConnection, SocketConnection])
    def test_without_a_socket(self, kind):
        """It is a TypeError that names what is missing; Gio ends the process (D12)."""
        with pytest.raises(TypeError, match="socket"):
            kind()
        with pytest.raises(TypeError, match="socket"):
            kind(socket=None)
        gc.collect()

    @pytest.mark.parametrize("wrong", [5, "x", object(), 0, True, [1]])
    def test_of_something_else(self, wrong):
        """A number, or whatever is no Socket, is a TypeError."""
        with pytest.raises(TypeError, match="socket must be a Socket"):
            UnixConnection(socket=wrong)

    def test_of_python_s_socket(self):
        """A socket of the standard library is no Socket, and stays open."""
        with socket.socket(socket.AF_UNIX) as other:
            with pytest.raises(TypeError, match="socket must be a Socket"):
                UnixConnection(socket=other)
            gc.collect()
            assert is_open(other.fileno())

    def test_wrong_arguments(self):
        """Positional and unknown arguments are TypeErrors, and leave the Socket alone."""
        sock = new_socket()
        for call in (
            lambda: UnixConnection(sock),
            lambda: UnixConnection(socket=sock, nonsense=1),
            lambda: SocketConnection(sock),
        ):
            with pytest.raises(TypeError):
                call()
        assert not sock.is_closed()
        sock.close()

    def test_there_is_no_new(self):
        """As in Gio."""
        assert not hasattr(UnixConnection, "new")

    def test_of_a_socket_that_is_not_initialised(self):
        """It is made, and each method says NOT_INITIALIZED."""
        connection = UnixConnection(socket=Socket())
        for call in (
            lambda: connection.send_fd(0),
            connection.receive_fd,
            connection.send_credentials,
            connection.receive_credentials,
        ):
            with pytest.raises(unixconn.NotInitializedError, match="Invalid socket, not initialized") as caught:
                call()
            assert caught.value.code == 32

    def test_of_a_closed_socket(self):
        """It is made, and each method says CLOSED."""
        sock = new_socket()
        sock.close()
        connection = UnixConnection(socket=sock)
        assert not connection.is_closed()
        for call in (
            lambda: connection.send_fd(0),
            connection.receive_fd,
            connection.send_credentials,
            connection.receive_credentials,
        ):
            with pytest.raises(unixconn.ClosedError, match="Socket is already closed") as caught:
                call()
            assert caught.value.code == 18

    def test_of_another_type(self):
        """Family and type are not looked at."""
        connection = UnixConnection(socket=new_socket(SocketType.DATAGRAM))
        assert connection.get_socket().get_socket_type() == SocketType.DATAGRAM
        connection.close()


class TestFactory:
    def test_of_a_unix_stream(self):
        """It makes a UnixConnection."""
        sock = new_socket()
        connection = sock.connection_factory_create_connection()
        assert type(connection) is UnixConnection
        assert connection.get_socket() is sock
        connection.close()

    @pytest.mark.parametrize("kind", [SocketType.DATAGRAM, SocketType.SEQPACKET])
    def test_of_packets(self, kind):
        """It makes a plain SocketConnection."""
        connection = new_socket(kind).connection_factory_create_connection()
        assert type(connection) is SocketConnection
        connection.close()

    def test_of_another_family(self):
        """A TCP socket's is a SocketConnection, and none that passes descriptors."""
        connection = Socket.new_from_fd(socket.socket().detach()).connection_factory_create_connection()
        assert isinstance(connection, SocketConnection)
        assert not isinstance(connection, UnixConnection)
        connection.close()


class TestPair:
    def test_each_is_the_other_s_peer(self, pair):
        """What one sends the other receives, both ways; both are close-on-exec streams without a name."""
        a, b = pair
        assert type(a) is type(b) is UnixConnection
        a.get_output_stream().write(b"to b")
        b.get_output_stream().write(b"to a")
        assert b.get_input_stream().read_bytes(99).get_data() == b"to b"
        assert a.get_input_stream().read_bytes(99).get_data() == b"to a"
        for each in pair:
            sock = each.get_socket()
            assert not os.get_inheritable(sock.get_fd())
            assert (sock.get_family(), sock.get_socket_type()) == (SocketFamily.UNIX, SocketType.STREAM)
            assert sock.get_blocking()
            assert each.is_connected()
            assert not each.is_closed()

    @pytest.mark.parametrize("free", [0, 1])
    def test_without_room(self, free):
        """It is TOO_MANY_OPEN_FILES, also where there is room for one, and leaves nothing open."""
        before = open_descriptors()
        with room(free), pytest.raises(unixconn.TooManyOpenFilesError) as caught:
            UnixConnection.create_pair()
        assert caught.value.code == 31
        assert open_descriptors() == before

    def test_of_a_subclass(self):
        """A user's class makes pairs of itself."""
        a, b = Mine.create_pair()
        with a, b:
            assert type(a) is type(b) is Mine
            assert a.name == "nobody"

    def test_of_a_subclass_that_fails(self):
        """A constructor that raises, for the first or the second, leaves no descriptor."""
        made = []

        class Failing(UnixConnection):
            def __init__(self, *, socket):
                super().__init__(socket=socket)
                made.append(1)
                if len(made) > allowed:
                    raise ValueError("enough")

        before = open_descriptors()
        for allowed in (0, 1):  # noqa: B007 - the class reads it
            made.clear()
            with pytest.raises(ValueError, match="enough"):
                Failing.create_pair()
            gc.collect()
            assert open_descriptors() == before


class TestSubclass:
    def test_has_a_state_of_its_own(self, raw):
        """Constructor, attributes and methods are the user's."""
        sock, _ = raw
        mine = Mine(socket=Socket.new_from_fd(os.dup(sock.fileno())), name="me")
        with mine:
            assert mine.send_name() == 2
            assert mine.get_socket().get_family() == SocketFamily.UNIX
        assert mine.is_closed()

    def test_overrides(self, null):
        """A method that is overridden is called, and can call the original."""

        class Counting(UnixConnection):
            count = 0

            def send_fd(self, fd, cancellable=None):
                self.count += 1
                return super().send_fd(fd, cancellable)

        a, b = Counting.create_pair()
        with a, b:
            assert a.send_fd(null)
            os.close(b.receive_fd())
            assert (a.count, b.count) == (1, 0)

    def test_without_the_constructor_of_the_base(self):
        """A class that forgets it fails at the first use, by an ordinary exception."""

        class Forgetful(UnixConnection):
            def __init__(self):
                pass

        with pytest.raises(AttributeError):
            Forgetful().send_fd(0)
        gc.collect()


class TestQuestions:
    def test_addresses_of_a_pair(self, pair):
        """Both ends are anonymous."""
        for each in pair:
            for address in (each.get_local_address(), each.get_remote_address()):
                assert address.get_address_type() == UnixSocketAddressType.ANONYMOUS
                assert (address.get_path(), address.get_path_len()) == ("", 0)

    def test_addresses_of_a_client(self, tmp_path):
        """The server's path is the client's remote and the server's local address."""
        path = str(tmp_path / "server")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            with adopt(client) as a, adopt(server.accept()[0]) as b:
                assert a.get_remote_address().get_path() == path
                assert a.get_local_address().get_address_type() == UnixSocketAddressType.ANONYMOUS
                assert b.get_local_address().get_path() == path
                assert b.get_remote_address().get_address_type() == UnixSocketAddressType.ANONYMOUS

    def test_without_a_peer(self):
        """It is not connected, and has no remote address."""
        with UnixConnection(socket=new_socket()) as connection:
            assert connection.is_connected() is False
            with pytest.raises(unixconn.NotConnectedError) as caught:
                connection.get_remote_address()
            assert (caught.value.code, caught.value.message) == (45, "Socket connection not connected")
            assert connection.get_local_address().get_address_type() == UnixSocketAddressType.ANONYMOUS

    def test_after_close(self, pair):
        """A closed one is not connected and has no address."""
        a, _ = pair
        a.close()
        assert a.is_connected() is False
        with pytest.raises(Error) as caught:
            a.get_local_address()
        assert (caught.value.code, caught.value.message) == (0, "could not get local address: Bad file descriptor")
        with pytest.raises(unixconn.NotConnectedError):
            a.get_remote_address()

    def test_a_peer_that_has_gone(self, pair):
        """The socket does not know yet: it is connected as long as it is open."""
        a, b = pair
        b.close()
        assert a.is_connected() is True
        assert a.is_closed() is False


class TestEnd:
    def test_two_share_a_socket(self, null):
        """Closing one closes the Socket of both."""
        one, peer = UnixConnection.create_pair()
        other = UnixConnection(socket=one.get_socket())
        with one, other, peer:
            other.send_fd(null)
            os.close(peer.receive_fd())
            one.close()
            assert not other.is_closed()
            with pytest.raises(unixconn.ClosedError):
                other.send_fd(null)

    def test_the_last_reference(self):
        """A connection that nobody has any more is closed, and its peer sees it."""
        a, b = UnixConnection.create_pair()
        number = a.get_socket().get_fd()
        del a
        gc.collect()
        assert not is_open(number)
        with b, pytest.raises(unixconn.ClosedError, match="by the peer"):
            b.receive_fd()

    def test_somebody_still_has_the_socket(self, null):
        """The Socket outlives the connection as long as somebody has it."""
        a, b = UnixConnection.create_pair()
        sock = a.get_socket()
        del a
        gc.collect()
        assert not sock.is_closed()
        again = UnixConnection(socket=sock)
        with again, b:
            again.send_fd(null)
            os.close(b.receive_fd())

    @pytest.mark.parametrize("stream", ["get_input_stream", "get_output_stream"])
    def test_somebody_still_has_a_stream(self, stream):
        """A stream that is in use keeps the socket."""
        a, b = UnixConnection.create_pair()
        number = a.get_socket().get_fd()
        kept = getattr(a, stream)()
        del a
        gc.collect()
        assert is_open(number)
        assert kept.get_fd() == number
        del kept
        gc.collect()
        assert not is_open(number)
        b.close()

    def test_dropped_half_way(self, raw):
        """Dropped with unread descriptors, a cancelled wait and used streams, it leaves nothing."""
        import array

        before = open_descriptors()
        for _ in range(20):
            a, b = UnixConnection.create_pair()
            cancellable = Cancellable()
            cancellable.get_fd()
            b.get_socket().set_timeout(1)
            a.send_fd(0)
            a.send_credentials()
            os.close(b.receive_fd(cancellable))
            cancellable.cancel()
            with pytest.raises(unixconn.CancelledError):
                b.receive_credentials(cancellable)
            a.get_output_stream().write(b"x")
            b.get_input_stream()
            with socket.socket(fileno=os.dup(a.get_socket().get_fd())) as other:
                other.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 9))])
            del a, b, cancellable
        gc.collect()
        assert open_descriptors() == before

    def test_in_a_cycle(self):
        """One that refers to itself is closed by the collector."""
        a, b = UnixConnection.create_pair()
        number = a.get_socket().get_fd()
        a.itself = a
        a.get_socket().connection = a
        del a
        gc.collect()
        assert not is_open(number)
        b.close()

    def test_a_number_that_was_closed_behind_its_back(self):
        """An end that finds its number closed by somebody raises nothing, and leaves others alone."""
        a, b = UnixConnection.create_pair()
        os.close(a.get_socket().get_fd())
        with pytest.raises(Error):
            a.send_credentials()
        b.close()
        with contextlib.suppress(OSError):
            a.close()

    def test_close_twice(self, pair):
        """The second close does not hit a file that has the number now."""
        a, _ = pair
        number = a.get_socket().get_fd()
        a.close()
        fd = os.open(os.devnull, os.O_RDONLY)
        assert fd == number
        a.close()
        a.get_socket().close()
        del a
        gc.collect()
        assert is_open(fd)
        os.close(fd)


class TestArguments:
    def test_keywords(self, pair, null):
        """Arguments have Gio's names, and nullable ones may be left out or None."""
        a, b = pair
        a.send_fd(fd=null, cancellable=None)
        os.close(b.receive_fd(cancellable=None))
        a.send_credentials(cancellable=None)
        b.receive_credentials(cancellable=None)
        a.close(cancellable=None)

    def test_wrong_counts(self, pair):
        """Too many and unknown ones are TypeErrors."""
        a, _ = pair
        for call in (
            lambda: a.send_credentials(None, None),
            lambda: a.receive_credentials(None, None),
            lambda: a.receive_credentials(nonsense=None),
            lambda: a.get_socket(1),
            lambda: a.is_connected(1),
            lambda: a.close(None, None),
            lambda: UnixConnection.create_pair(1, 2),
        ):
            with pytest.raises(TypeError):
                call()


def test_the_factory_without_its_classes_asked_for():
    """A program that names Socket alone can make connections of it."""
    program = "import unixconn; print(unixconn.Socket.new(1, 1, 0).connection_factory_create_connection())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "UnixConnection" in done.stdout


def test_another_class_of_connections(raw):
    """A class that was registered for a kind of sockets is that of their connections; others keep theirs."""

    class Records(UnixConnection):
        pass

    kind = SocketFamily.UNIX, SocketType.SEQPACKET, SocketProtocol.DEFAULT
    try:
        SocketConnection.factory_register_type(Records, *kind)
        assert SocketConnection.factory_lookup_type(*kind) is Records
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made = [Socket.new_from_fd(each.detach()).connection_factory_create_connection() for each in ends]
        assert [type(each) for each in made] == [Records, Records]
        for each in made:
            assert each.get_socket().check_connect_result() is True
            each.close()
        assert type(raw[1].get_socket().connection_factory_create_connection()) is UnixConnection
        for wrong in (int, None, "Records", Socket):
            with pytest.raises(TypeError, match=re.escape(repr(wrong))):
                SocketConnection.factory_register_type(wrong, *kind)
    finally:
        # It is for good, else.
        del connection_types[kind]


class Named:
    """A base of another library, which comes last."""

    def __init__(self):
        super().__init__()
        self.name = "named"


class WithABase(UnixConnection, Named):
    """Made by the constructors of both."""


class WithAConstructor(UnixConnection):
    """Made by its own constructor."""

    def __init__(self, *, socket):
        super().__init__(socket=socket)
        self.name = "named"


class WithMore(UnixConnection):
    """Made as its base is."""

    name = "named"


@pytest.mark.parametrize("kind", [WithABase, WithAConstructor, WithMore])
def test_constructors_of_subclasses(kind):
    """Each is called, however the connection is made; and what is made closes its Socket."""
    key = SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT
    usual = connection_types[key]
    try:
        SocketConnection.factory_register_type(kind, *key)
        made = [
            *kind.create_pair(),
            kind.from_socket(socket.socket(socket.AF_UNIX)),
            kind(socket=Socket.new(*key)),
            Socket.new(*key).connection_factory_create_connection(),
        ]
    finally:
        connection_types[key] = usual
    for each in made:
        assert (type(each), each.name, each.has_pending(), each.is_closed()) == (kind, "named", False, False)
        assert each.close()
        assert each.get_socket().is_closed()
