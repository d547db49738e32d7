"""The streams of a connection: reading, writing, pending, closing."""

from __future__ import annotations

import array
import os
import socket

import pytest
from helpers import Background, adopt, needs_passed_pidfds, open_descriptors, same, settle

import unixconn
from unixconn import (
    Bytes,
    Cancellable,
    Error,
    InputStream,
    IOStream,
    OutputStream,
    SocketConnection,
    SocketType,
    UnixConnection,
)


def send_rights(sock, fd, data):
    """Send a descriptor with *data*."""
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])


each_count = pytest.mark.parametrize("count", [9, 100_000])
"""What goes into a buffer that is kept, and what does not."""


class TestStreams:
    def test_are_always_the_same(self, pair):
        """They are made once, and are properties."""
        a, _ = pair
        reader, writer = a.get_input_stream(), a.get_output_stream()
        assert isinstance(reader, InputStream)
        assert isinstance(writer, OutputStream)
        assert a.get_input_stream() is reader is a.props.input_stream
        assert a.get_output_stream() is writer is a.props.output_stream
        assert reader.props.socket is writer.props.socket is a.get_socket()

    def test_get_fd(self, pair):
        """They tell the socket's number, -1 once it is closed."""
        a, _ = pair
        streams = a.get_input_stream(), a.get_output_stream()
        assert [each.get_fd() for each in streams] == [a.get_socket().get_fd()] * 2
        a.close()
        assert [each.get_fd() for each in streams] == [-1, -1]


class TestReading:
    def test_gives_what_is_there(self, raw):
        """It waits for something, and gives at most what was asked for."""
        sock, connection = raw
        stream = connection.get_input_stream()
        sock.send(b"hello")
        first = stream.read_bytes(2)
        assert isinstance(first, Bytes)
        assert (first.get_data(), first.get_size()) == (b"he", 2)
        assert stream.read_bytes(100).get_data() == b"llo"

    def test_nothing_at_all(self, raw):
        """Reading 0 bytes takes none, and does not fail."""
        sock, connection = raw
        sock.send(b"x")
        assert connection.get_input_stream().read_bytes(0).get_data() == b""
        assert connection.get_input_stream().read_bytes(1).get_data() == b"x"

    @each_count
    def test_keeps_descriptors(self, raw, null, count):
        """A descriptor that came with the bytes is what receive_fd gives next; the read ends after its byte."""
        sock, connection = raw
        before = open_descriptors()
        sock.send(b"a")
        send_rights(sock, null, b"b")
        sock.send(b"c")
        stream = connection.get_input_stream()
        assert stream.read_bytes(count).get_data() == b"ab"
        assert stream.read_bytes(count).get_data() == b"c"
        fd = connection.receive_fd()
        assert same(fd, null)
        os.close(fd)
        assert open_descriptors() == before

    @each_count
    def test_keeps_them_apart(self, raw, null, count):
        """Each message's descriptors are told apart: several in one are refused, as receive_fd refuses them."""
        sock, connection = raw
        rights = array.array("i", [null, null])
        sock.sendmsg([b"a"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        send_rights(sock, null, b"b")
        stream = connection.get_input_stream()
        assert stream.read(count) + stream.read(count) == b"ab"
        with pytest.raises(Error, match="Expecting one fd, but got 2"):
            connection.receive_fd()
        os.close(connection.receive_fd())

    def test_wakes_who_waits_for_them(self, raw, null):
        """A receive that waits gets the descriptor whose byte a stream has taken."""
        sock, connection = raw
        future = connection.receive_fd_async()
        reading = connection.get_input_stream().read_async(9)
        send_rights(sock, null, b"b")
        results = [future.result(60)]
        os.close(results[0])
        sock.send(b"c")
        assert reading.result(60) == b"c"

    @each_count
    def test_closes_what_nobody_takes(self, raw, null, count):
        """Descriptors that were kept are closed with the connection."""
        sock, connection = raw
        before = open_descriptors()
        send_rights(sock, null, b"b")
        assert connection.get_input_stream().read(count) == b"b"
        assert len(open_descriptors()) == len(before) + 1
        connection.close()
        assert len(open_descriptors()) == len(before) - 1

    @each_count
    def test_refused(self, raw, null, count):
        """Descriptors that are refused are closed, and the bytes arrive."""
        sock, connection = raw
        send_rights(sock, null, b"b")
        connection.refuse_fds()
        before = open_descriptors()
        assert connection.get_input_stream().read(count) == b"b"
        assert open_descriptors() == before

    @needs_passed_pidfds
    @each_count
    def test_with_credentials_and_a_pidfd(self, pair, null, count):
        """A pidfd is closed, and a descriptor beside it is kept."""
        a, b = pair
        b.pass_credentials()
        b.pass_pidfds()
        before = open_descriptors()
        stream = b.get_input_stream()
        a.send_message(b"x")
        assert stream.read(count) == b"x"
        assert open_descriptors() == before
        a.send_message(b"y", [null])
        assert stream.read(count) == b"y"
        fd = b.receive_fd()
        assert same(fd, null)
        os.close(fd)
        assert open_descriptors() == before

    @each_count
    def test_without_a_free_descriptor(self, raw, null, count):
        """Bytes arrive although their descriptors find no room."""
        from helpers import room

        sock, connection = raw
        send_rights(sock, null, b"abc")
        with room(0):
            assert connection.get_input_stream().read_bytes(count).get_data() == b"abc"

    @each_count
    def test_of_a_socket_that_is_closed(self, pair, count):
        """It is CLOSED."""
        stream = pair[0].get_input_stream()
        pair[0].get_socket().close()
        with pytest.raises(unixconn.ClosedError, match="Socket is already closed"):
            stream.read(count)
        assert not stream.has_pending()

    @each_count
    def test_reset(self, raw, count):
        """A peer that closes with data unread resets the connection."""
        sock, connection = raw
        connection.get_socket().send(b"x")
        sock.close()
        with pytest.raises(ConnectionResetError) as caught:
            connection.get_input_stream().read_bytes(count)
        assert caught.value.message == "Error receiving data: Connection reset by peer"

    def test_after_close(self, pair):
        """It is CLOSED, as the streams of a connection are closed with it."""
        a, _ = pair
        stream = a.get_input_stream()
        a.close()
        with pytest.raises(unixconn.ClosedError, match="Stream is already closed"):
            stream.read_bytes(9)

    @pytest.mark.parametrize("wrong", [None, "1", b"1", object()])
    def test_wrong_types(self, pair, wrong):
        """The count is a number; a refused read leaves the stream free."""
        stream = pair[0].get_input_stream()
        with pytest.raises(TypeError):
            stream.read_bytes(wrong)
        assert not stream.has_pending()

    def test_a_negative_count(self, pair):
        """It is out of the range."""
        with pytest.raises(OverflowError, match="-1"):
            pair[0].get_input_stream().read_bytes(-1)

    def test_parts_of_bytes(self):
        """There have to be as many; and what is compared has to be Bytes."""
        some = Bytes(b"hello")
        assert some.new_from_bytes(5, 0) == Bytes()
        with pytest.raises(ValueError, match="there are 5 bytes, and not 3 from 3 on"):
            some.new_from_bytes(3, 3)
        with pytest.raises(TypeError, match="b'hello'"):
            some.compare(b"hello")


class TestOfNoBytes:
    """To read or write none needs no peer."""

    def test_reading(self, pair):
        """A stream where nothing has come does not keep it waiting."""
        stream = pair[1].get_input_stream()
        assert stream.read_bytes(0, Cancellable.with_timeout(5)).get_data() == b""
        assert (stream.read(0, Cancellable.with_timeout(5)), stream.skip(0, Cancellable.with_timeout(5))) == (b"", 0)
        assert (stream.read_async(0).result(60), stream.skip_async(0).result(60)) == (b"", 0)

    def test_writing(self):
        """No empty packet goes."""
        ours, theirs = UnixConnection.create_pair(SocketType.SEQPACKET)
        assert ours.get_output_stream().write(b"") == 0
        assert ours.get_output_stream().write_async(b"").result(60) == 0
        theirs.get_socket().set_blocking(False)
        with pytest.raises(BlockingIOError):
            theirs.get_socket().receive(5)


class TestWriting:
    @pytest.mark.parametrize(
        "buffer",
        [b"abc", bytearray(b"abc"), memoryview(b"abc"), array.array("b", [97, 98, 99]), [97, 98, 99]],
        ids=lambda each: type(each).__name__,
    )
    def test_kinds_of_buffers(self, raw, buffer):
        """Whatever holds bytes is written, a list of their values too."""
        sock, connection = raw
        stream = connection.get_output_stream()
        assert stream.write(buffer) == 3
        assert sock.recv(9) == b"abc"
        result = stream.write_all(buffer)
        assert result == (True, 3)
        assert (result.ok, result.bytes_written) == (True, 3)
        assert sock.recv(9) == b"abc"

    def test_of_wide_items(self, raw):
        """Bytes are counted, not items."""
        sock, connection = raw
        assert connection.get_output_stream().write(array.array("i", [1, 2])) == 8
        assert connection.get_output_stream().write_all(array.array("i", [3])) == (True, 4)
        assert array.array("i", sock.recv(99)).tolist() == [1, 2, 3]

    @pytest.mark.parametrize("wrong", ["text", None, 5, 2.5, object(), ["x"]])
    def test_wrong_types(self, raw, wrong):
        """A str is no bytes, nor is a number; nothing is sent, and the stream is free."""
        sock, connection = raw
        stream = connection.get_output_stream()
        for write in (stream.write, stream.write_all):
            with pytest.raises(TypeError):
                write(wrong)
        assert not stream.has_pending()
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)

    def test_nothing_at_all(self, raw):
        """Writing no bytes writes none."""
        sock, connection = raw
        stream = connection.get_output_stream()
        assert stream.write(b"") == 0
        assert stream.write_all(b"") == (True, 0)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)

    def test_of_a_socket_that_is_closed(self, pair):
        """It is CLOSED."""
        stream = pair[0].get_output_stream()
        pair[0].get_socket().close()
        for write in (stream.write, stream.write_all):
            with pytest.raises(unixconn.ClosedError, match="Socket is already closed"):
                write(b"x")
        assert not stream.has_pending()

    @pytest.mark.parametrize("kind", [bytes, bytearray])
    def test_a_lot_at_once(self, raw, kind):
        """More than one attempt may send: in order, and each byte once."""
        sock, connection = raw
        data = os.urandom(5_000_000)
        writer = Background(connection.get_output_stream().write_all, kind(data))
        got = bytearray()
        while len(got) < len(data):
            got += sock.recv(1 << 20)
        assert writer.outcome() == (True, len(data))
        assert got == data

    def test_what_is_not_contiguous(self, raw):
        """A view with gaps is a TypeError, and nothing is sent."""
        sock, connection = raw
        stream = connection.get_output_stream()
        for write in (stream.write, stream.write_all):
            with pytest.raises(TypeError):
                write(memoryview(b"abcdef")[::2])
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)

    def test_write_may_go_in_part(self, raw):
        """It writes what there is room for, and tells how much."""
        sock, connection = raw
        count = connection.get_output_stream().write(bytes(10_000_000))
        assert 0 < count < 10_000_000
        got = 0
        while got < count:
            got += len(sock.recv(1 << 20))
        assert got == count

    def test_write_all_waits_for_room(self, raw):
        """It writes everything, in their order."""
        sock, connection = raw
        data = os.urandom(3_000_000)
        writer = Background(connection.get_output_stream().write_all, data)
        assert writer.is_waiting()
        got = bytearray()
        while len(got) < len(data):
            got += sock.recv(1 << 20)
        assert writer.outcome() == (True, len(data))
        assert got == data

    def test_after_close(self, pair):
        """It is CLOSED, as the streams of a connection are closed with it."""
        a, _ = pair
        stream = a.get_output_stream()
        a.close()
        for write in (stream.write, stream.write_all):
            with pytest.raises(unixconn.ClosedError, match="Stream is already closed"):
                write(b"x")


class TestPending:
    def test_a_second_operation(self, raw):
        """While one is under way another is PENDING, and the first goes on."""
        sock, connection = raw
        stream = connection.get_input_stream()
        reader = Background(stream.read_bytes, 9)
        assert reader.is_waiting()
        assert settle(stream.has_pending)
        with pytest.raises(unixconn.PendingError) as caught:
            stream.read_bytes(9)
        assert (caught.value.code, caught.value.message) == (20, "Stream has outstanding operation")
        with pytest.raises(unixconn.PendingError):
            stream.close()
        sock.send(b"x")
        assert reader.outcome().get_data() == b"x"
        assert not stream.has_pending()

    def test_directions_are_independent(self, raw):
        """Writing goes on while somebody reads, and so do the connection's methods."""
        sock, connection = raw
        reader = Background(connection.get_input_stream().read_bytes, 9)
        assert reader.is_waiting()
        assert not connection.has_pending()
        assert connection.get_output_stream().write(b"x") == 1
        assert connection.send_fd(0)
        sock.send(b"y")
        reader.outcome()

    @pytest.mark.parametrize("which", ["connection", "input", "output"])
    def test_by_hand(self, pair, which):
        """set_pending, has_pending and clear_pending are the user's too."""
        a, _ = pair
        one = {"connection": a, "input": a.get_input_stream(), "output": a.get_output_stream()}[which]
        assert one.has_pending() is False
        assert one.set_pending() is True
        assert one.has_pending() is True
        with pytest.raises(unixconn.PendingError) as caught:
            one.set_pending()
        assert caught.value.code == 20
        with pytest.raises(unixconn.PendingError):
            one.close()
        assert one.is_closed() is False
        one.clear_pending()
        one.clear_pending()
        assert one.has_pending() is False
        one.close()
        with pytest.raises(unixconn.ClosedError) as caught:
            one.set_pending()
        assert (caught.value.code, caught.value.message) == (18, "Stream is already closed")

    def test_an_operation_that_fails(self, pair):
        """It leaves nothing pending."""
        a, b = pair
        b.close()
        stream = a.get_output_stream()
        with pytest.raises(Error):
            stream.write(b"x")
        assert not stream.has_pending()

    def test_of_the_connection_does_not_stop_its_methods(self, pair):
        """Only close() minds it."""
        a, b = pair
        a.set_pending()
        assert a.send_fd(0)
        os.close(b.receive_fd())
        assert a.get_output_stream().write(b"x") == 1
        a.clear_pending()


class TestClosing:
    def test_closes_everything(self, pair):
        """The connection, its streams, the Socket and its descriptor."""
        a, _ = pair
        reader, writer, sock = a.get_input_stream(), a.get_output_stream(), a.get_socket()
        assert a.props.closed is False
        assert a.close() is True
        assert a.is_closed() is True
        assert a.props.closed is True
        assert reader.is_closed()
        assert writer.is_closed()
        assert sock.is_closed()
        assert sock.get_fd() == -1
        assert not a.is_connected()
        assert not a.has_pending()
        assert a.close() is True

    def test_streams_made_afterwards(self, pair):
        """A stream of a closed connection fails as the Socket does."""
        a, _ = pair
        a.close()
        with pytest.raises(unixconn.ClosedError):
            a.get_input_stream().read_bytes(1)
        with pytest.raises(unixconn.ClosedError):
            a.get_output_stream().write(b"x")

    def test_the_cancellable_has_no_effect(self, pair):
        """A cancelled one does not keep it open."""
        a, _ = pair
        cancellable = Cancellable()
        cancellable.cancel()
        assert a.close(cancellable) is True
        assert a.is_closed()

    def test_of_a_stream_alone(self, pair):
        """It leaves the connection and the Socket open."""
        a, b = pair
        assert a.get_input_stream().close() is True
        assert a.get_output_stream().close() is True
        assert a.get_input_stream().is_closed()
        assert not a.is_closed()
        assert a.send_fd(0)
        os.close(b.receive_fd())
        with pytest.raises(unixconn.ClosedError):
            a.get_output_stream().write(b"x")

    def test_with_a_stream_that_is_busy(self, raw):
        """The Socket is closed under it, and its operation ends with CLOSED."""
        _, connection = raw
        stream = connection.get_input_stream()
        reader = Background(stream.read_bytes, 9)
        assert reader.is_waiting()
        assert connection.close() is True
        error = reader.outcome()
        assert isinstance(error, unixconn.ClosedError)
        assert error.message == "Socket is already closed"
        assert not stream.is_closed()

    def test_what_was_sent_still_arrives(self, raw):
        """Data on its way is delivered, then comes the end."""
        sock, connection = raw
        connection.get_output_stream().write_all(b"last words")
        connection.close()
        assert sock.recv(99) == b"last words"
        assert sock.recv(99) == b""

    def test_of_the_socket_below(self, pair):
        """The connection does not notice, and can be closed."""
        a, _ = pair
        a.get_socket().close()
        assert a.is_closed() is False
        assert a.close() is True
        assert a.is_closed() is True

    def test_with(self):
        """`with` closes, also when an exception passes, and gives the object itself."""
        a, b = unixconn.UnixConnection.create_pair()
        with a as same:
            assert same is a
        assert a.is_closed()
        with pytest.raises(ZeroDivisionError), b:
            1 / 0  # noqa: B018 - to raise
        assert b.is_closed()

    def test_with_one_that_is_closed_inside(self, pair):
        """That is no error."""
        with pair[0] as a:
            a.close()

    def test_with_a_stream(self, pair):
        """`with` closes a stream alone."""
        a, _ = pair
        with a.get_output_stream() as stream:
            stream.write(b"x")
        assert stream.is_closed()
        assert not a.is_closed()

    @pytest.mark.parametrize("wrong", [5, "x", object()])
    def test_wrong_types(self, pair, wrong):
        """The cancellable is one, and nothing is closed else."""
        with pytest.raises(TypeError):
            pair[0].close(wrong)
        assert not pair[0].is_closed()


class TestBytes:
    def test_content(self):
        """It gives what it was made of."""
        for made in (Bytes(b"abc"), Bytes.new(b"abc"), Bytes(bytearray(b"abc"))):
            assert (made.get_data(), made.get_size(), len(made)) == (b"abc", 3, 3)
            assert type(made.get_data()) is bytes

    def test_equality(self):
        """It equals another one of the same content, and hashes alike; not the bytes themselves."""
        assert Bytes(b"abc") == Bytes(b"abc")
        assert hash(Bytes(b"abc")) == hash(Bytes(b"abc"))
        assert Bytes(b"abc") != Bytes(b"abd")
        assert "abc" in repr(Bytes(b"abc"))


class TestClasses:
    def test_are_under_each_other(self, pair):
        """The hierarchy is Gio's."""
        assert isinstance(pair[0], SocketConnection)
        assert isinstance(pair[0], IOStream)

    def test_over_packets(self):
        """A stream over packets reads one packet at a time."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with one, adopt(other) as connection:
            one.send(b"first")
            one.send(b"second")
            assert connection.get_input_stream().read_bytes(99).get_data() == b"first"
            assert connection.get_input_stream().read_bytes(99).get_data() == b"second"
