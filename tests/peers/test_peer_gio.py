"""Gio, by PyGObject in another process, as the peer."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest
from helpers import MOST, Background, open_descriptors
from peers.peer_gio import gio

from unixconn import (
    ClosedError,
    CredentialsSource,
    Error,
    PeerClosedError,
    Socket,
    SocketFamily,
    SocketProtocol,
    SocketType,
    UnixCredentialsMessage,
    UnixFDMessage,
    UnixSocketAddress,
)

SO_PASSCRED = getattr(socket, "SO_PASSCRED", 16)
KINDS = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET], ids=["stream", "seqpacket"])


@pytest.fixture
def pipe():
    """A pipe: its reading and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def message_of(count, fd):
    """Make a message of *count* descriptors."""
    message = UnixFDMessage.new()
    for _ in range(count):
        message.append_fd(fd)
    return message


@KINDS
def test_gio_writes_through_our_descriptor(kind, pipe):
    """A descriptor that we send is usable for Gio."""
    script = 'fd = connection.receive_fd(); outcome = os.write(fd, b"from Gio")'
    with gio(script, kind) as (connection, peer):
        assert connection.send_fd(pipe[1])
        assert peer.outcome() == 8
    assert os.read(pipe[0], 99) == b"from Gio"


@KINDS
def test_we_write_through_gios_descriptor(kind):
    """A descriptor that Gio sends is usable for us, and close-on-exec."""
    script = """
reader, writer = os.pipe()
connection.send_fd(writer)
os.close(writer)
with os.fdopen(reader) as file:
    outcome = file.read()
"""
    with gio(script, kind) as (connection, peer):
        fd = connection.receive_fd()
        assert not os.get_inheritable(fd)
        os.write(fd, b"from unixconn")
        os.close(fd)
        assert peer.outcome() == "from unixconn"


@KINDS
def test_gio_learns_who_we_are(kind):
    """The credentials that we send name this process."""
    script = "c = connection.receive_credentials(); outcome = [c.get_unix_pid(), c.get_unix_user(), os.getppid()]"
    with gio(script, kind) as (connection, peer):
        assert connection.send_credentials()
        assert peer.outcome() == [os.getpid(), os.geteuid(), os.getpid()]


@KINDS
def test_we_learn_who_gio_is(kind):
    """The credentials that Gio sends name its process, and are from the message."""
    with gio("outcome = connection.send_credentials()", kind) as (connection, peer):
        credentials = connection.receive_credentials()
        assert (credentials.get_unix_pid(), credentials.get_unix_user()) == (peer.pid, os.geteuid())
        assert credentials.source is CredentialsSource.MESSAGE
        assert peer.outcome() is True


def test_a_plain_byte_that_gio_sends_while_we_wait(pipe):
    """The kernel names the true writer of a byte, though this process made the pair."""
    script = """
os.read(connection.receive_fd(), 1)
outcome = connection.get_output_stream().write(b"x")
"""
    with gio(script, socket.SOCK_STREAM) as (connection, peer):
        connection.send_fd(pipe[0])
        waiting = Background(connection.receive_credentials)
        assert waiting.is_waiting()
        os.write(pipe[1], b"x")
        credentials = waiting.outcome()
        assert (credentials.get_unix_pid(), credentials.source) == (peer.pid, CredentialsSource.MESSAGE)
        assert peer.outcome() == 1


def test_gio_reads_a_stream_of_both(pipe):
    """Bytes, descriptors and credentials arrive in the order in which they were sent."""
    script = """
into = connection.get_input_stream()
outcome = [into.read_bytes(3).get_data().decode()]
outcome.append(os.write(connection.receive_fd(), b"x"))
outcome.append(connection.receive_credentials().get_unix_pid())
outcome.append(into.read_bytes(9).get_data().decode())
"""
    with gio(script, socket.SOCK_STREAM) as (connection, peer):
        out = connection.get_output_stream()
        out.write_all(b"abc")
        connection.send_fd(pipe[1])
        connection.send_credentials()
        out.write_all(b"def")
        assert peer.outcome() == ["abc", 1, os.getpid(), "def"]


def test_gio_has_closed():
    """What Gio sent before it closed is received; after that there are errors."""
    with gio("outcome = [connection.send_fd(0), connection.close()]", socket.SOCK_STREAM) as (connection, peer):
        assert peer.outcome() == [True, True]
        os.close(connection.receive_fd())
        with pytest.raises(ClosedError):
            connection.receive_fd()
        with pytest.raises(PeerClosedError):
            connection.send_fd(0)
        with pytest.raises(PeerClosedError):
            connection.send_credentials()


def test_we_have_closed():
    """Gio receives what we sent before we closed, and after that the end."""
    script = """
outcome = [connection.receive_fd() > 0, connection.receive_fd()]
outcome += [attempt(connection.send_fd, 0), attempt(connection.receive_credentials)]
"""
    with gio(script, socket.SOCK_STREAM) as (connection, peer):
        connection.send_fd(0)
        connection.close()
        end = "Expecting to read a single byte for receiving credentials but read zero bytes"
        assert peer.outcome() == [True, -1, [44, "Error sending message: Broken pipe"], [0, end]]


def test_messages_of_many_descriptors():
    """A message with the most descriptors that the kernel and the C library take goes to Gio and comes back."""
    script = """
size, address, messages, flags = connection.get_socket().receive_message([], 0)
connection.get_socket().send_message(None, [], messages, 0)
outcome = [size, [each.get_fd_list().get_length() for each in messages]]
"""
    with gio(script, socket.SOCK_STREAM) as (connection, peer):
        connection.get_socket().send_message(None, [], [message_of(MOST, 0)], 0)
        (returned,) = connection.get_socket().receive_message([], 0).messages
        fds = returned.get_fd_list().peek_fds()
        assert len(fds) == MOST
        assert all(os.path.sameopenfile(fd, 0) for fd in fds)
        assert peer.outcome() == [1, [MOST]]


def test_credentials_and_descriptors_in_one_message_to_gio():
    """Gio sees both, the credentials first."""
    script = """
connection.get_socket().set_option(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
connection.send_fd(0)
messages = connection.get_socket().receive_message([], 0)[2]
outcome = [messages[0].get_credentials().get_unix_pid(), messages[1].get_fd_list().get_length(), len(messages)]
"""
    with gio(script, socket.SOCK_STREAM) as (connection, peer):
        os.close(connection.receive_fd())
        both = [UnixCredentialsMessage.new(), message_of(2, 0)]
        connection.get_socket().send_message(None, [], both, 0)
        assert peer.outcome() == [os.getpid(), 2, 2]


def test_credentials_and_a_descriptor_in_one_message_of_gio():
    """Credentials that come along are no reason to lose the descriptor."""
    script = """
fds = Gio.UnixFDMessage()
fds.append_fd(0)
outcome = connection.get_socket().send_message(None, [], [Gio.UnixCredentialsMessage(), fds], 0)
"""
    with gio(script, socket.SOCK_STREAM) as (connection, peer):
        connection.get_socket().set_option(socket.SOL_SOCKET, SO_PASSCRED, 1)
        os.close(connection.receive_fd())
        assert peer.outcome() == 1


def test_two_descriptors_of_gio():
    """Two descriptors are one too many, in Gio's words, and both are closed."""
    script = """
fds = Gio.UnixFDMessage()
fds.append_fd(0)
fds.append_fd(0)
outcome = connection.get_socket().send_message(None, [], [fds], 0)
"""
    with gio(script, socket.SOCK_STREAM) as (connection, peer):
        before = open_descriptors()
        with pytest.raises(Error, match="Expecting one fd, but got 2"):
            connection.receive_fd()
        assert open_descriptors() == before
        assert peer.outcome() == 1


def test_gio_refuses_two_descriptors():
    """Gio's words for two descriptors of ours."""
    with gio("outcome = attempt(connection.receive_fd)", socket.SOCK_STREAM) as (connection, peer):
        connection.get_socket().send_message(None, [], [message_of(2, 0)], 0)
        assert peer.outcome() == [0, "Expecting one fd, but got 2\n"]


def test_gio_connects_to_our_listening_socket(pipe):
    """Gio's client meets our server, and each learns of the other."""
    script = """
client = Gio.SocketClient().connect(Gio.UnixSocketAddress.new(os.read(connection.receive_fd(), 999).decode()), None)
client.send_credentials()
with os.fdopen(client.receive_fd(), "w") as file:
    file.write("hello")
outcome = client.get_socket().get_credentials().get_unix_pid()
"""
    with tempfile.TemporaryDirectory() as folder, gio(script, socket.SOCK_STREAM) as (connection, peer):
        path = Path(folder, "socket")
        server = Socket.new(SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT)
        server.bind(UnixSocketAddress.new(str(path)), True)
        server.listen()
        os.write(pipe[1], bytes(path))
        connection.send_fd(pipe[0])
        with server.accept().connection_factory_create_connection() as accepted:
            assert accepted.get_socket().get_credentials().get_unix_pid() == peer.pid
            assert accepted.receive_credentials().get_unix_pid() == peer.pid
            accepted.send_fd(pipe[1])
            assert peer.outcome() == os.getpid()
        assert os.read(pipe[0], 99) == b"hello"
        server.close()


def test_our_connection_as_a_descriptor():
    """A connection is itself passed to Gio, which talks over it."""
    script = """
other = Gio.UnixConnection(socket=Gio.Socket.new_from_fd(connection.receive_fd()))
outcome = [other.send_credentials(), other.send_fd(0)]
"""
    with gio(script, socket.SOCK_STREAM) as (connection, peer):
        ours, theirs = type(connection).create_pair()
        with ours:
            with theirs:
                connection.send_fd(theirs.get_socket().get_fd())
            assert ours.receive_credentials().get_unix_pid() == peer.pid
            os.close(ours.receive_fd())
            assert peer.outcome() == [True, True]
