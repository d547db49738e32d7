"""Socket.send_message, receive_message, send and receive."""

from __future__ import annotations

import array
import errno
import os
import socket

import pytest
from helpers import SO_PASSCRED, Background, new_socket, open_descriptors

import unixconn
from unixconn import (
    Cancellable,
    Error,
    SocketType,
    UnixSocketAddress,
)

SOL_SOCKET = socket.SOL_SOCKET


class TestSendMessage:
    def test_of_nothing(self, sockets):
        """Without vectors it sends one NUL byte; messages may be None or empty."""
        a, b = sockets
        assert a.send_message(None, [], None, 0, None) == 1
        assert a.send_message(None, [], [], 0) == 1
        assert b.receive(9) == b"\0\0"

    def test_of_vectors(self, sockets):
        """Buffers of any kind go one after the other."""
        a, b = sockets
        vectors = [b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3], array.array("B", [103]), [104, 105], b""]
        assert a.send_message(None, vectors, None, 0) == 9
        assert b.receive(99) == b"abcdefghi"

    def test_of_many_vectors(self, sockets):
        """As many as the system takes in one call."""
        a, b = sockets
        assert a.send_message(None, [b"x"] * 1024, None, 0) == 1024
        assert b.receive(9999) == b"x" * 1024

    def test_of_too_many_vectors(self, sockets):
        """One more is the kernel's error."""
        with pytest.raises(Error) as caught:
            sockets[0].send_message(None, [b"x"] * 1025, None, 0)
        assert caught.value.errno == errno.EMSGSIZE
        assert caught.value.code == 46

    @pytest.mark.parametrize("vectors", ["text", [5], ["text"], [None], 5, [[256]]])
    def test_wrong_vectors(self, sockets, vectors):
        """What is no buffer is refused, and nothing is sent."""
        a, b = sockets
        with pytest.raises((TypeError, OverflowError)):
            a.send_message(None, vectors, None, 0)
        assert b.get_available_bytes() == 0

    def test_wrong_flags(self, sockets):
        """Flags are a number that a C int holds."""
        for flags, kind in (("x", TypeError), (-1, OverflowError), (2**31, OverflowError), (None, TypeError)):
            with pytest.raises(kind):
                sockets[0].send_message(None, [], None, flags)

    def test_to_an_address(self, receiver):
        """A datagram goes where its address says."""
        sender = new_socket(SocketType.DATAGRAM)
        assert sender.send_message(UnixSocketAddress.new(receiver.path), [b"hello"], None, 0) == 5
        assert receiver.receive(99) == b"hello"
        sender.close()

    def test_to_an_address_where_nobody_is(self, tmp_path):
        """It is NOT_FOUND."""
        sender = new_socket(SocketType.DATAGRAM)
        with pytest.raises(FileNotFoundError) as caught:
            sender.send_message(UnixSocketAddress.new(str(tmp_path / "nobody")), [b"x"], None, 0)
        assert (caught.value.code, caught.value.message) == (1, "Error sending message: No such file or directory")
        sender.close()

    def test_wrong_address(self, sockets):
        """A path is no address."""
        with pytest.raises(TypeError, match="address"):
            sockets[0].send_message("/x", [], None, 0)

    def test_to_a_peer_that_has_gone(self, sockets):
        """It is BROKEN_PIPE, and no SIGPIPE."""
        a, b = sockets
        b.close()
        with pytest.raises(BrokenPipeError, match="Error sending message: Broken pipe"):
            a.send_message(None, [], None, 0)
        with pytest.raises(BrokenPipeError, match="Error sending data: Broken pipe"):
            a.send(b"x")

    def test_goes_in_part(self, sockets):
        """A message that is too large for the queue goes in part, its descriptors with the first byte."""
        a, b = sockets
        message = unixconn.UnixFDMessage.new()
        message.append_fd(0)
        count = a.send_message(None, [bytes(10_000_000)], [message], 0)
        assert 0 < count < 10_000_000
        found = b.receive_message([bytearray(10)], 0)
        assert found.messages[0].get_fd_list().get_length() == 1


class TestReceiveMessage:
    def test_into_nothing(self, sockets):
        """Without vectors it takes one byte and drops it."""
        a, b = sockets
        a.send(b"xy")
        found = b.receive_message([], 0, None)
        assert found[0] == found.size == 1
        assert found[2] == found.messages == []
        assert found[3] == found.flags
        assert b.receive(9) == b"y"

    def test_into_vectors(self, sockets):
        """Buffers are filled one after the other."""
        a, b = sockets
        a.send(b"abcdefg")
        one, other = bytearray(3), array.array("B", bytes(10))
        assert b.receive_message([one, other], 0).size == 7
        assert one == b"abc"
        assert other.tobytes() == b"defg" + bytes(6)

    @pytest.mark.parametrize("vectors", [[b"bytes"], ["text"], [5], [None], 5])
    def test_into_what_is_no_buffer(self, sockets, vectors):
        """A buffer has to be writable; nothing is consumed."""
        a, b = sockets
        a.send(b"x")
        with pytest.raises((TypeError, BufferError, ValueError)):
            b.receive_message(vectors, 0)
        assert b.receive(9) == b"x"

    def test_flags(self, sockets):
        """They are the kernel's, MSG_CMSG_CLOEXEC among them."""
        a, b = sockets
        a.send(b"x")
        assert b.receive_message([], 0).flags & 0x40000000

    def test_a_datagram_that_is_too_long(self, receiver):
        """What does not fit is lost, and MSG_TRUNC says so."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", receiver.path)
        buffer = bytearray(2)
        found = receiver.receive_message([buffer], 0)
        assert (found.size, bytes(buffer)) == (2, b"he")
        assert found.flags & socket.MSG_TRUNC

    def test_peek(self, sockets):
        """MSG_PEEK leaves the data."""
        a, b = sockets
        a.send(b"hello")
        for flags in (socket.MSG_PEEK, socket.MSG_PEEK, 0):
            buffer = bytearray(9)
            assert b.receive_message([buffer], flags).size == 5
            assert buffer.startswith(b"hello")
        assert b.get_available_bytes() == 0

    def test_of_a_stream_has_no_address(self, sockets):
        """The peer is known."""
        a, b = sockets
        a.send(b"x")
        assert b.receive_message([], 0).address is None

    def test_end_of_the_stream(self, sockets):
        """It is a size of 0 and no messages, each time."""
        a, b = sockets
        a.close()
        for _ in range(2):
            found = b.receive_message([], 0)
            assert (found.size, found.address, found.messages) == (0, None, [])

    def test_end_of_the_stream_with_passcred(self, sockets):
        """There are no credentials of nobody, who would be root."""
        a, b = sockets
        b.set_option(SOL_SOCKET, SO_PASSCRED, 1)
        a.close()
        assert b.receive_message([], 0).messages == []

    def test_reset(self, sockets):
        """It is the error with the prefix."""
        a, b = sockets
        b.send(b"x")
        a.close()
        with pytest.raises(ConnectionResetError, match="Error receiving message: Connection reset by peer"):
            b.receive_message([], 0)

    def test_is_cancelled(self, sockets):
        """A Cancellable ends it, and nothing is consumed."""
        a, b = sockets
        cancellable = Cancellable()
        waiting = Background(b.receive_message, [], 0, cancellable)
        assert waiting.is_waiting()
        cancellable.cancel()
        assert isinstance(waiting.outcome(), unixconn.CancelledError)
        a.send(b"x")
        with pytest.raises(unixconn.CancelledError):
            b.receive_message([], 0, cancellable)
        assert b.receive(9) == b"x"


class TestSendAndReceive:
    def test_data(self, sockets):
        """Send gives the count, receive the bytes, at most as many as asked for."""
        a, b = sockets
        assert a.send(b"hello") == 5
        assert b.receive(2) == b"he"
        assert b.receive(9) == b"llo"

    @pytest.mark.parametrize("wrong", ["text", None, 5])
    def test_of_a_wrong_type(self, sockets, wrong):
        """What holds no bytes is a TypeError."""
        a, b = sockets
        with pytest.raises(TypeError):
            a.send(wrong)
        assert b.get_available_bytes() == 0

    def test_end_of_the_stream(self, sockets):
        """It is b""."""
        a, b = sockets
        a.close()
        assert b.receive(9) == b""

    def test_keeps_descriptors(self, sockets):
        """Receive has no place for them: they are for a connection's receive_fd."""
        a, b = sockets
        message = unixconn.UnixFDMessage.new()
        message.append_fd(0)
        before = open_descriptors()
        a.send_message(None, [b"x"], [message], 0)
        assert b.receive(9) == b"x"
        os.close(b.connection_factory_create_connection().receive_fd())
        assert open_descriptors() == before

    def test_order_of_threads(self, sockets):
        """Many threads that send and receive lose nothing and double nothing."""
        a, b = sockets

        def send(number):
            for _ in range(200):
                a.send(bytes([number]))

        senders = [Background(send, number) for number in range(4)]
        receivers = [Background(lambda: [b.receive(1) for _ in range(200)]) for _ in range(4)]
        for each in senders:
            assert each.outcome() is None
        got = b"".join(b"".join(each.outcome()) for each in receivers)
        assert [got.count(number) for number in range(4)] == [200] * 4
        assert b.get_available_bytes() == 0
