"""Socket: listening, accepting and shutdown."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from helpers import SO_PASSCRED, Background, new_socket, room

import unixconn
from unixconn import (
    Cancellable,
    Error,
    Socket,
    SocketFamily,
    SocketType,
    UnixSocketAddress,
)

SOL_SOCKET = socket.SOL_SOCKET


class TestListening:
    def test_bind(self, sock, tmp_path):
        """It makes the file and gives True."""
        path = tmp_path / "socket"
        assert sock.bind(UnixSocketAddress.new(path), True) is True
        assert path.is_socket()
        assert sock.get_local_address().get_path() == str(path)

    def test_bind_to_a_name_that_is_taken(self, sock, listener):
        """It is ADDRESS_IN_USE."""
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)) as caught:
            sock.bind(UnixSocketAddress.new(listener.path), True)
        assert caught.value.code == 33

    def test_bind_twice(self, sock, tmp_path):
        """A socket has one name."""
        sock.bind(UnixSocketAddress.new(tmp_path / "one"), False)
        with pytest.raises(unixconn.InvalidArgumentError):
            sock.bind(UnixSocketAddress.new(tmp_path / "two"), False)

    @pytest.mark.parametrize("wrong", [None, "/x", 5])
    def test_bind_to_a_wrong_type(self, sock, wrong):
        """A path is no address."""
        with pytest.raises(TypeError):
            sock.bind(wrong, False)

    def test_listen_without_a_name(self, sock):
        """The error has the prefix."""
        with pytest.raises(unixconn.InvalidArgumentError, match="could not listen: Invalid argument"):
            sock.listen()

    def test_accept(self, listener):
        """It gives the Socket to the client, close-on-exec and of the same kind, set to block."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(listener.path)
            accepted = listener.accept()
            assert type(accepted) is Socket
            assert not os.get_inheritable(accepted.get_fd())
            assert accepted.get_blocking()
            assert (accepted.get_family(), accepted.get_socket_type()) == (SocketFamily.UNIX, SocketType.STREAM)
            assert accepted.is_connected()
            assert accepted.get_local_address().get_path() == listener.path
            client.send(b"hello")
            assert accepted.receive(9) == b"hello"
            assert accepted.get_credentials().get_unix_pid() == os.getpid()
            accepted.close()

    def test_accept_waits(self, listener):
        """It blocks until somebody connects."""
        waiting = Background(listener.accept)
        assert waiting.is_waiting()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(listener.path)
            waiting.outcome().close()

    def test_accept_would_block(self, listener):
        """A Socket that is set not to block raises WOULD_BLOCK."""
        listener.set_blocking(False)
        with pytest.raises(BlockingIOError) as caught:
            listener.accept()
        assert caught.value.code == 27

    def test_accept_is_cancelled(self, listener):
        """A Cancellable ends it, before and during the wait; nobody is accepted."""
        cancellable = Cancellable()
        waiting = Background(listener.accept, cancellable)
        assert waiting.is_waiting()
        cancellable.cancel()
        assert isinstance(waiting.outcome(), unixconn.CancelledError)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(listener.path)
            with pytest.raises(unixconn.CancelledError):
                listener.accept(cancellable)
            listener.accept().close()

    def test_accept_of_a_client_that_has_gone(self, listener):
        """It is accepted, and is at its end."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(listener.path)
        accepted = listener.accept()
        assert accepted.receive(9) == b""
        accepted.close()

    def test_accept_without_room(self, listener):
        """It is TOO_MANY_OPEN_FILES, and the client is still there."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(listener.path)
            with room(0), pytest.raises(unixconn.TooManyOpenFilesError):
                listener.accept()
            listener.accept().close()

    def test_accept_without_listening(self, sock):
        """It is INVALID_ARGUMENT."""
        with pytest.raises(unixconn.InvalidArgumentError, match="Error accepting connection: Invalid argument"):
            sock.accept()

    def test_several_threads_accept(self, listener):
        """Each client is accepted by one, and the others wait on."""
        waiting = [Background(listener.accept) for _ in range(3)]
        assert all(each.is_waiting() for each in waiting)
        clients = [socket.socket(socket.AF_UNIX) for _ in waiting]
        for client in clients:
            client.connect(listener.path)
        accepted = [each.outcome() for each in waiting]
        assert len({each.get_fd() for each in accepted}) == 3
        for each in (*accepted, *clients):
            each.close()

    def test_backlog(self, tmp_path):
        """As many may wait as the backlog says."""
        made = new_socket()
        path = str(tmp_path / "socket")
        made.bind(UnixSocketAddress.new(path), False)
        made.set_listen_backlog(1)
        made.listen()
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        try:
            for client in clients:
                client.setblocking(False)
            with pytest.raises(BlockingIOError):
                for client in clients:
                    client.connect(path)
        finally:
            for each in (*clients, made):
                each.close()

    def test_passcred_is_inherited(self, listener):
        """What is set on a listener holds for those that it accepts, from their first byte."""
        listener.set_option(SOL_SOCKET, SO_PASSCRED, 1)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(listener.path)
            client.send(b"x")
            accepted = listener.accept()
            [message] = accepted.receive_message([], 0).messages
            assert message.get_credentials().get_unix_pid() == os.getpid()
            accepted.close()


class TestShutdown:
    def test_of_writing(self, sockets):
        """The peer sees the end; the other direction goes on."""
        a, b = sockets
        assert a.shutdown(False, True) is True
        assert b.receive(9) == b""
        b.send(b"x")
        assert a.receive(9) == b"x"
        with pytest.raises(BrokenPipeError):
            a.send(b"x")
        assert a.is_connected()

    def test_of_reading(self, sockets):
        """It wakes who waits, with the end of the stream."""
        a, b = sockets
        waiting = Background(a.receive, 9)
        assert waiting.is_waiting()
        a.shutdown(True, False)
        assert waiting.outcome() == b""
        with pytest.raises(BrokenPipeError):
            b.send(b"x")

    def test_of_both(self, sockets):
        """Then it is not connected any more, and not closed."""
        a, b = sockets
        a.shutdown(True, True)
        assert b.receive(9) == b""
        assert not a.is_connected()
        assert not a.is_closed()

    def test_of_none(self, sockets):
        """It does nothing."""
        a, b = sockets
        assert a.shutdown(False, False) is True
        a.send(b"x")
        assert b.receive(9) == b"x"

    def test_of_a_listener(self, listener):
        """It ends an accept() that waits, in place of a loop without end: poll() says ready, accept4() EAGAIN."""
        waiting = Background(listener.accept)
        assert waiting.is_waiting()
        listener.shutdown(True, False)
        waiting.join(30)
        still = waiting.is_alive()
        listener.close()
        assert not still
        assert isinstance(waiting.outcome(), Error)
