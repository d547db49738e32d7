"""Socket.send_message, receive_message, send and receive."""

from __future__ import annotations

import array
import errno
import os
import socket
import sys

import pytest
from helpers import SO_PASSCRED, Background, drain, fill, new_socket, open_descriptors

import unixconn
from unixconn import (
    Bytes,
    Cancellable,
    CancelledError,
    Error,
    InvalidArgumentError,
    Socket,
    SocketType,
    UnixConnection,
    UnixCredentialsMessage,
    UnixFDMessage,
    UnixSocketAddress,
    WouldBlockError,
)

SOL_SOCKET = socket.SOL_SOCKET
OOB = socket.MSG_OOB


MSG_ERRQUEUE = getattr(socket, "MSG_ERRQUEUE", 0x2000)


@pytest.fixture
def tcp():
    """A Socket over TCP, and the plain socket that it talks to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Socket.new_from_fd(socket.create_connection(server.getsockname()).detach())
        with made, server.accept()[0] as peer:
            yield made, peer


@pytest.fixture
def descriptor_message():
    """A message with one descriptor."""
    made = UnixFDMessage.new()
    made.append_fd(0)
    yield made
    unixconn.close_fds(made.steal_fds())


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

    @pytest.mark.parametrize(
        ("vectors", "flags"),
        [([b""], 0), ([b"", bytearray(), memoryview(b"")], 0), ([b""], socket.MSG_DONTWAIT)]
        + [([b"x"], OOB), ([b"", b"x"], OOB), ([], OOB)] * (sys.platform == "linux"),
    )
    def test_without_a_byte(self, sockets, descriptor_message, vectors, flags):
        """Descriptors and credentials that would have no byte to go with on a stream are not sent (F3)."""
        a, b = sockets
        for messages in ([descriptor_message], [UnixCredentialsMessage.new()]):
            with pytest.raises(InvalidArgumentError, match="must have a byte") as caught:
                a.send_message(None, vectors, messages, flags)
            assert repr(messages) in caught.value.message
        assert b.get_available_bytes() == 0
        assert descriptor_message.get_fd_list().get_length() == 1
        if flags != OOB:
            assert a.send_message(None, vectors, [UnixFDMessage.new()], flags) == 0

    @pytest.mark.parametrize(
        ("vectors", "flags"),
        [([], 0), ([b"", b"x"], 0), ([b"xy"], OOB * (sys.platform == "linux")), ([b"x"], socket.MSG_DONTWAIT)],
    )
    def test_with_one_byte(self, sockets, descriptor_message, vectors, flags):
        """One byte is enough for a stream (F3)."""
        a, b = sockets
        assert a.send_message(None, vectors, [descriptor_message], flags) > 0
        assert b.receive_message([bytearray(9)], 0).messages[0].get_fd_list().get_length() == 1

    @pytest.mark.parametrize("kind", [SocketType.DATAGRAM, SocketType.SEQPACKET])
    @pytest.mark.parametrize("vectors", [[b""], [b"", b""]])
    def test_empty_record(self, descriptor_message, kind, vectors):
        """A record of no bytes carries descriptors (F3)."""
        a, b = UnixConnection.create_pair(kind)
        with a, b:
            assert a.get_socket().send_message(None, vectors, [descriptor_message], 0) == 0
            found = b.get_socket().receive_message([bytearray(9)], 0)
            assert found.messages[0].get_fd_list().get_length() == 1

    def test_over_another_socket(self, descriptor_message):
        """Over TCP descriptors would be dropped: they are not sent (F3)."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            tcp = Socket.new_from_fd(socket.create_connection(server.getsockname()).detach())
            with tcp, pytest.raises(unixconn.NotSupportedError, match="UnixFDMessage"):
                tcp.send_message(None, [b"x"], [descriptor_message], 0)
            with server.accept()[0] as peer:
                assert peer.recv(9) == b""

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


each_kind = pytest.mark.parametrize("kind", [SocketType.STREAM, SocketType.DATAGRAM, SocketType.SEQPACKET])
each_cancellable = pytest.mark.parametrize("cancellable", [None, Cancellable()], ids=["alone", "cancellable"])
LONGEST = 5
"""Seconds that a call which waits by mistake waits before it fails the test."""


class TestFlags:
    @each_kind
    @each_cancellable
    def test_a_send_that_does_not_wait(self, descriptor_message, kind, cancellable):
        """With MSG_DONTWAIT a full queue is WOULD_BLOCK, with control messages and without; then it is sent (F20)."""
        a, b = UnixConnection.create_pair(kind)
        with a, b:
            one, other = a.get_socket(), b.get_socket()
            one.set_timeout(LONGEST)
            for messages in (None, [descriptor_message], [UnixCredentialsMessage.new()]):
                fill(a)
                for vectors in ([b"x"], [b"x", b"y"], []):
                    with pytest.raises(WouldBlockError):
                        one.send_message(None, vectors, messages, socket.MSG_DONTWAIT, cancellable)
                drain(b)
                assert one.send_message(None, [b"xy"], messages, socket.MSG_DONTWAIT, cancellable) == 2
                assert other.receive_message([bytearray(9)], socket.MSG_DONTWAIT, cancellable).size == 2

    @each_cancellable
    def test_a_send_to_an_address(self, receiver, descriptor_message, cancellable):
        """The same for a datagram to a receiver whose queue is full (F20)."""
        sender = new_socket(SocketType.DATAGRAM)
        sender.set_timeout(LONGEST)
        address = UnixSocketAddress.new(receiver.path)
        for messages in (None, [descriptor_message]):
            with pytest.raises(WouldBlockError):
                for _ in range(100_000):
                    sender.send_message(address, [b"x"], messages, socket.MSG_DONTWAIT, cancellable)
            while receiver.get_available_bytes():
                receiver.receive_message([], 0)
        sender.close()

    @each_kind
    @each_cancellable
    @pytest.mark.parametrize("flags", [socket.MSG_DONTWAIT, socket.MSG_DONTWAIT | socket.MSG_PEEK])
    def test_a_receive_that_does_not_wait(self, kind, cancellable, flags):
        """With MSG_DONTWAIT it is WOULD_BLOCK if nothing is there (F20)."""
        a, b = UnixConnection.create_pair(kind)
        with a, b:
            b.get_socket().set_timeout(LONGEST)
            for vectors in ([], [bytearray(3)]):
                with pytest.raises(WouldBlockError):
                    b.get_socket().receive_message(vectors, flags, cancellable)
            a.send_message(b"abc")
            for _ in range(2 if flags & socket.MSG_PEEK else 1):
                buffer = bytearray(9)
                assert b.get_socket().receive_message([buffer], flags, cancellable).size == 3
                assert buffer[:3] == b"abc"

    def test_they_do_not_outlive_the_call(self, sockets):
        """The next call without MSG_DONTWAIT waits again (F20)."""
        a, b = sockets
        with pytest.raises(WouldBlockError):
            b.receive_message([], socket.MSG_DONTWAIT)
        waiting = Background(b.receive_message, [], 0)
        assert waiting.is_waiting()
        a.send(b"x")
        assert waiting.outcome().size == 1

    @pytest.mark.skipif(sys.platform != "linux", reason="the flags are Linux's")
    @pytest.mark.parametrize(("flag", "code"), [(MSG_ERRQUEUE, 27), (OOB, 13)])
    def test_what_never_waits(self, tcp, flag, code):
        """The kernel does not wait for an error in the queue, or an urgent byte: no loop of attempts does (F20)."""
        ours, theirs = tcp
        ours.set_timeout(LONGEST)
        theirs.sendall(b"x")
        assert ours.condition_wait(unixconn.IOCondition.IN)
        with pytest.raises(Error) as caught:
            ours.receive_message([bytearray(9)], flag)
        assert caught.value.code == code
        assert ours.receive_message([bytearray(9)], 0).size == 1

    @pytest.mark.skipif(sys.platform != "linux", reason="the flag is Linux's")
    def test_bytes_that_are_dropped(self, tcp, sockets):
        """With MSG_TRUNC TCP drops them: the buffer gets no bytes of another message (F20)."""
        a, b = sockets
        a.send(b"secret")
        b.receive_message([bytearray(9)], 0)
        ours, theirs = tcp
        theirs.sendall(b"123456")
        buffer = bytearray(6)
        assert ours.receive_message([buffer], socket.MSG_TRUNC).size == 6
        assert buffer == bytes(6)


class TestSendAndReceive:
    def test_as_bytes(self, sockets):
        """receive_bytes() and receive_bytes_from() return Bytes; each kind of timeout ends the wait or does not."""
        a, b = sockets
        cancelled = Cancellable()
        cancelled.cancel()
        a.send(b"hello")
        assert b.receive_bytes(2, -1) == Bytes(b"he")
        assert b.receive_bytes_from(9, 0) == (Bytes(b"llo"), None)
        for method in (b.receive_bytes, b.receive_bytes_from):
            with pytest.raises(TimeoutError):
                method(1, 1000)
            with pytest.raises(CancelledError):
                method(1, -1, cancelled)
        b.set_blocking(False)
        with pytest.raises(WouldBlockError):
            b.receive_bytes(1, -1)
        with pytest.raises(TypeError, match="timeout_us"):
            b.receive_bytes(1, None)

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
