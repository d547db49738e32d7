"""send_fd and receive_fd."""

from __future__ import annotations

import array
import errno
import os
import socket
import tempfile
import time

import pytest
from helpers import MOST, SO_PASSCRED, Background, adopt, fill, in_child, is_open, open_descriptors, room, same

import unixconn
from unixconn import Cancellable, Error, IOErrorEnum, UnixConnection

SO_PASSPIDFD = 76


def send_rights(sock, fds, data=b"x"):
    """Send several descriptors with one message."""
    return sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


class TestPassing:
    def test_passes_an_open_file(self, pair, null):
        """The receiver gets a descriptor of its own for the same open file, close-on-exec."""
        a, b = pair
        assert a.send_fd(null) is True
        got = b.receive_fd()
        assert got != null
        assert same(got, null)
        assert not os.get_inheritable(got)
        os.close(got)

    def test_shares_the_offset(self, pair):
        """Both descriptors are one open file description."""
        a, b = pair
        with tempfile.TemporaryFile() as file:
            file.write(b"hello")
            file.flush()
            a.send_fd(file.fileno())
            got = b.receive_fd()
            assert os.lseek(got, 0, os.SEEK_CUR) == 5
            os.lseek(got, 2, os.SEEK_SET)
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 2
            os.close(got)

    def test_the_original_may_be_closed_at_once(self, pair):
        """What is under way keeps the file open."""
        a, b = pair
        r, w = os.pipe()
        a.send_fd(w)
        os.close(w)
        got = b.receive_fd()
        os.write(got, b"x")
        assert os.read(r, 9) == b"x"
        os.close(got)
        os.close(r)

    def test_sends_one_nul_byte(self, raw, null):
        """On the wire: one NUL byte and one SCM_RIGHTS message of one int."""
        sock, connection = raw
        connection.send_fd(null)
        data, ancillary, _, _ = sock.recvmsg(10, 1000)
        assert data == b"\0"
        [(level, kind, content)] = ancillary
        assert (level, kind, len(content)) == (socket.SOL_SOCKET, socket.SCM_RIGHTS, 4)
        os.close(array.array("i", content)[0])

    def test_any_byte_will_do(self, raw, null):
        """The byte's value is ignored."""
        sock, connection = raw
        send_rights(sock, [null], b"A")
        os.close(connection.receive_fd())

    def test_takes_exactly_one_byte(self, raw, null):
        """Bytes after the first stay in the stream."""
        sock, connection = raw
        send_rights(sock, [null], b"abc")
        os.close(connection.receive_fd())
        assert connection.get_input_stream().read_bytes(9).get_data() == b"bc"

    def test_keeps_the_order(self, pair):
        """Descriptors arrive in the order in which they were sent."""
        a, b = pair
        fds = [os.memfd_create("f") for _ in range(5)]
        for fd in fds:
            a.send_fd(fd)
        got = [b.receive_fd() for _ in fds]
        assert all(map(same, fds, got))
        for fd in fds + got:
            os.close(fd)

    @pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
    def test_over_packets(self, kind, null):
        """Sequenced packets and datagrams carry descriptors too."""
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        with adopt(one) as a, adopt(other) as b:
            a.send_fd(null)
            os.close(b.receive_fd())

    def test_a_file_object_is_a_descriptor(self, pair):
        """What has fileno() is accepted."""
        a, b = pair
        with tempfile.TemporaryFile() as file:
            a.send_fd(file)
            got = b.receive_fd()
            assert same(got, file.fileno())
            os.close(got)

    def test_a_connection_over_itself(self, pair):
        """A socket can be sent, too."""
        a, b = pair
        other, rest = UnixConnection.create_pair()
        with other, rest:
            a.send_fd(other.get_socket().get_fd())
            sock = socket.socket(fileno=b.receive_fd())
            sock.send(b"hi")
            assert rest.get_input_stream().read_bytes(2).get_data() == b"hi"
            sock.close()


class TestBadDescriptors:
    @pytest.mark.parametrize(
        ("fd", "kind"),
        [
            (-1, ValueError),
            (-7, ValueError),
            (2**31, OverflowError),
            (2**70, OverflowError),
            (-(2**70), OverflowError),
            (True, TypeError),
            (False, TypeError),
            (2.5, TypeError),
            ("3", TypeError),
            (None, TypeError),
            (b"3", TypeError),
            ([3], TypeError),
            (object(), TypeError),
        ],
    )
    def test_is_named(self, pair, fd, kind):
        """A value that no descriptor has is refused, and named; nothing is sent."""
        a, b = pair
        with pytest.raises(kind, match="fd") as caught:
            a.send_fd(fd)
        if not isinstance(fd, (str, bytes, list, type(None))) and type(fd) is not object:
            assert str(fd) in str(caught.value)
        b.get_socket().set_blocking(False)
        with pytest.raises(unixconn.WouldBlockError):
            b.receive_fd()

    def test_not_open(self, pair):
        """A closed number is Gio's error, and an OSError with its errno."""
        with pytest.raises(OSError, match="dup: Bad file descriptor") as caught:
            pair[0].send_fd(99999)
        assert isinstance(caught.value, Error)
        assert (caught.value.code, caught.value.errno) == (IOErrorEnum.FAILED, errno.EBADF)
        assert "99999" in caught.value.__notes__[0]

    def test_a_closed_file_object(self, pair):
        """A file that is closed says so itself."""
        file = tempfile.TemporaryFile()  # noqa: SIM115
        file.close()
        with pytest.raises(ValueError, match="closed"):
            pair[0].send_fd(file)

    def test_a_bad_fd_wins_over_closed_and_cancelled(self, pair):
        """The order of checks is Gio's: the descriptor, closed, cancelled."""
        a, _ = pair
        cancelled = Cancellable()
        cancelled.cancel()
        with pytest.raises(Error, match="dup: Bad file descriptor"):
            a.send_fd(99999, cancelled)
        with pytest.raises(unixconn.CancelledError):
            a.send_fd(0, cancelled)
        a.close()
        with pytest.raises(Error, match="dup: Bad file descriptor"):
            a.send_fd(99999, cancelled)
        with pytest.raises(unixconn.ClosedError, match="Socket is already closed"):
            a.send_fd(0, cancelled)
        with pytest.raises(unixconn.ClosedError, match="Socket is already closed"):
            a.send_fd(0)

    def test_wrong_arguments(self, pair, null):
        """Counts, keywords and the cancellable's type are checked."""
        a, b = pair
        for call in (
            lambda: a.send_fd(),
            lambda: a.send_fd(null, None, 3),
            lambda: a.send_fd(null, "x"),
            lambda: a.send_fd(nonsense=1),
            lambda: b.receive_fd(5),
            lambda: b.receive_fd(None, None),
        ):
            with pytest.raises(TypeError):
                call()
        assert a.send_fd(fd=null, cancellable=None)
        os.close(b.receive_fd(cancellable=None))


class TestSending:
    def test_to_a_peer_that_has_gone(self, raw):
        """Each try is BROKEN_PIPE, also Python's BrokenPipeError, and no SIGPIPE."""
        sock, connection = raw
        sock.close()
        for _ in range(2):
            with pytest.raises(BrokenPipeError) as caught:
                connection.send_fd(0)
            assert (caught.value.code, caught.value.message) == (44, "Error sending message: Broken pipe")

    def test_without_a_peer(self):
        """An unconnected socket is NOT_CONNECTED."""
        with adopt(socket.socket(socket.AF_UNIX)) as connection:
            with pytest.raises(unixconn.NotConnectedError) as caught:
                connection.send_fd(0)
            assert caught.value.message == f"Error sending message: {os.strerror(errno.ENOTCONN)}"

    def test_over_another_family(self, null):
        """A TCP socket would drop the descriptor and say that it went: NOT_SUPPORTED, and nothing is sent."""
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            with adopt(socket.create_connection(server.getsockname())) as connection, server.accept()[0] as peer:
                with pytest.raises(unixconn.NotSupportedError, match="Unix"):
                    connection.send_fd(null)
                peer.setblocking(False)
                with pytest.raises(BlockingIOError):
                    peer.recv(1)

    def test_keeps_the_file_while_it_waits(self, raw):
        """The file that is sent is that of the call, whatever becomes of the number meanwhile."""
        sock, connection = raw
        file, other = os.memfd_create("file"), os.memfd_create("other")
        fill(connection)
        sender = Background(connection.send_fd, file)
        assert sender.is_waiting()
        keep = os.dup(file)
        os.dup2(other, file)
        got = []
        while not got:
            _, ancillary, _, _ = sock.recvmsg(1 << 20, 1000)
            got += [array.array("i", content)[0] for _, _, content in ancillary]
        assert sender.outcome() is True
        assert same(got[0], keep)
        for fd in (file, other, keep, got[0]):
            os.close(fd)

    def test_needs_no_free_descriptor(self, pair, null):
        """A full descriptor table does not matter to a message that can go at once."""
        a, b = pair
        with room(0):
            assert a.send_fd(null)
        os.close(b.receive_fd())

    def test_too_many_under_way(self):
        """Beyond the user's limit of descriptors in flight: a retryable error of its own."""
        import resource

        a, b = UnixConnection.create_pair()

        def child():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            os.setgid(65534)
            os.setuid(65534)
            try:
                for _ in range(200):
                    a.send_fd(0)
            except unixconn.TooManyReferencesError as error:
                assert error.errno == errno.ETOOMANYREFS
                assert error.code == IOErrorEnum.FAILED
                os.close(b.receive_fd())
                return a.send_fd(0)

        if os.geteuid():
            pytest.skip("needs root, to become a user without privileges")
        with a, b:
            assert in_child(child) == 0


class TestReceiving:
    def test_end_of_file(self, raw):
        """The peer's end is CLOSED, each time; Gio gives -1 (D1)."""
        sock, connection = raw
        sock.close()
        for _ in range(2):
            with pytest.raises(unixconn.ClosedError) as caught:
                connection.receive_fd()
            assert (caught.value.code, caught.value.message) == (18, "Connection closed by the peer")

    def test_end_of_file_with_credentials_on(self, raw):
        """With SO_PASSCRED the kernel adds empty credentials to the end of the stream."""
        sock, connection = raw
        connection.get_socket().set_option(socket.SOL_SOCKET, SO_PASSCRED, 1)
        sock.close()
        with pytest.raises(unixconn.ClosedError, match="by the peer"):
            connection.receive_fd()

    def test_shutdown_wakes_it(self, pair):
        """The end of the reading direction is an end of file, also for one who waits."""
        _, b = pair
        receiver = Background(b.receive_fd)
        assert receiver.is_waiting()
        b.get_socket().shutdown(True, False)
        assert isinstance(receiver.outcome(), unixconn.ClosedError)

    def test_reset(self, raw):
        """A peer that closes with data unread resets the connection, which then is at its end."""
        sock, connection = raw
        connection.send_fd(0)
        sock.close()
        with pytest.raises(ConnectionResetError) as caught:
            connection.receive_fd()
        assert (caught.value.code, caught.value.message) == (44, "Error receiving message: Connection reset by peer")
        with pytest.raises(unixconn.ClosedError):
            connection.receive_fd()

    def test_without_a_peer(self):
        """An unconnected socket can not receive."""
        with adopt(socket.socket(socket.AF_UNIX)) as connection:
            with pytest.raises(unixconn.InvalidArgumentError) as caught:
                connection.receive_fd()
            assert (caught.value.code, caught.value.message) == (13, "Error receiving message: Invalid argument")

    def test_a_byte_without_a_descriptor(self, raw):
        """It is refused and consumed, and the next one can be read."""
        sock, connection = raw
        sock.send(b"xy")
        with pytest.raises(Error) as caught:
            connection.receive_fd()
        assert (caught.value.code, caught.value.message) == (0, "Expecting 1 control message, got 0")
        assert connection.get_input_stream().read_bytes(5).get_data() == b"y"

    @pytest.mark.parametrize("count", [2, 3, MOST])
    def test_several_descriptors(self, raw, null, count):
        """They are refused and closed, and the next message is received."""
        sock, connection = raw
        send_rights(sock, [null] * count)
        send_rights(sock, [null])
        with pytest.raises(Error) as caught:
            connection.receive_fd()
        assert (caught.value.code, caught.value.message) == (0, f"Expecting one fd, but got {count}\n")
        os.close(connection.receive_fd())

    def test_credentials_instead(self, raw):
        """Credentials alone are no descriptor."""
        sock, connection = raw
        connection.get_socket().set_option(socket.SOL_SOCKET, SO_PASSCRED, 1)
        sock.send(b"x")
        with pytest.raises(Error) as caught:
            connection.receive_fd()
        assert (caught.value.code, caught.value.message) == (0, "Unexpected type of ancillary data")

    def test_absent_credentials(self, raw):
        """Credentials of nobody, for a byte from before SO_PASSCRED was on, do not count."""
        sock, connection = raw
        sock.send(b"x")
        connection.get_socket().set_option(socket.SOL_SOCKET, SO_PASSCRED, 1)
        with pytest.raises(Error, match="Expecting 1 control message, got 0"):
            connection.receive_fd()

    def test_credentials_beside_it(self, raw, null):
        """Credentials ahead of the descriptor are no reason to lose it (D5)."""
        sock, connection = raw
        connection.get_socket().set_option(socket.SOL_SOCKET, SO_PASSCRED, 1)
        send_rights(sock, [null])
        got = connection.receive_fd()
        assert same(got, null)
        os.close(got)

    def test_a_pidfd_beside_it(self, raw, null):
        """A pidfd that comes along is closed (D10)."""
        sock, connection = raw
        try:
            connection.get_socket().set_option(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
        except OSError:
            pytest.skip("the kernel has no SO_PASSPIDFD")
        send_rights(sock, [null])
        before = open_descriptors()
        got = connection.receive_fd()
        assert same(got, null)
        os.close(got)
        assert open_descriptors() == before

    @pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
    def test_a_packet_without_data(self, kind, null):
        """A packet of no bytes delivers its descriptor (D10b)."""
        sock, other = socket.socketpair(socket.AF_UNIX, kind)
        with sock, adopt(other) as connection:
            send_rights(sock, [null], b"")
            got = connection.receive_fd()
            assert same(got, null)
            os.close(got)

    def test_an_empty_datagram(self):
        """A datagram of no bytes is no end of file."""
        sock, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with sock, adopt(other) as connection:
            sock.send(b"")
            with pytest.raises(Error, match="Expecting 1 control message, got 0"):
                connection.receive_fd()

    def test_two_receivers_get_one_each(self, pair):
        """Each message goes to one of those who wait."""
        a, b = pair
        fds = [os.memfd_create("f") for _ in range(2)]
        receivers = [Background(b.receive_fd) for _ in fds]
        assert all(receiver.is_waiting() for receiver in receivers)
        for fd in fds:
            a.send_fd(fd)
        got = [receiver.outcome() for receiver in receivers]
        assert [sorted(same(fd, other) for other in got) for fd in fds] == [[False, True]] * 2
        for fd in fds + got:
            os.close(fd)

    def test_o_nonblock_is_left_alone(self, pair, null):
        """The flag belongs to whoever shares the socket."""
        a, b = pair
        numbers = [each.get_socket().get_fd() for each in pair]
        before = [os.get_blocking(number) for number in numbers]
        a.send_fd(null)
        os.close(b.receive_fd())
        b.get_socket().set_timeout(1)
        with pytest.raises(TimeoutError):
            b.receive_fd()
        assert [os.get_blocking(number) for number in numbers] == before


class TestNoFreeDescriptor:
    def test_at_every_number_of_free_slots(self, raw, null):
        """Too few free numbers: TOO_MANY_OPEN_FILES, nothing left open, and the connection goes on."""
        sock, connection = raw
        for count in range(1, 5):
            for free in range(count + 2):
                send_rights(sock, [null] * count)
                before = open_descriptors()
                with room(free):
                    try:
                        os.close(connection.receive_fd())
                        outcome = "received"
                    except unixconn.TooManyOpenFilesError as error:
                        assert error.errno == errno.EMFILE
                        assert error.message == f"Error receiving message: {os.strerror(errno.EMFILE)}"
                        outcome = "too many"
                    except Error as error:
                        outcome = error.message
                assert open_descriptors() == before
                whole = "received" if count == 1 else f"Expecting one fd, but got {count}\n"
                assert outcome == (whole if free >= count else "too many"), (count, free)
        send_rights(sock, [null])
        os.close(connection.receive_fd())

    def test_with_credentials_and_pidfd_on(self, raw, null):
        """The same with everything on that the kernel can add."""
        sock, connection = raw
        for option in (SO_PASSCRED, SO_PASSPIDFD):
            try:
                connection.get_socket().set_option(socket.SOL_SOCKET, option, 1)
            except OSError:
                pytest.skip("the kernel has no SO_PASSPIDFD")
        for free in range(5):
            send_rights(sock, [null])
            before = open_descriptors()
            with room(free):
                try:
                    os.close(connection.receive_fd())
                    assert free >= 1
                except unixconn.TooManyOpenFilesError:
                    assert free < 2
            assert open_descriptors() == before

    def test_a_cancellable_needs_one(self, pair):
        """A wait with a Cancellable needs a descriptor: an error in place of Gio's end of the process (D3)."""
        _, b = pair
        cancellable = Cancellable()
        with room(0), pytest.raises(unixconn.TooManyOpenFilesError):
            b.receive_fd(cancellable)
        b.get_socket().set_timeout(1)
        with pytest.raises(TimeoutError):
            b.receive_fd(cancellable)

    def test_a_wait_without_one_does_not(self, pair):
        """A wait without a Cancellable works in a full table, and close() still ends it."""
        _, b = pair
        b.get_socket().set_timeout(1)
        with room(0), pytest.raises(TimeoutError):
            b.receive_fd()
        b.get_socket().set_timeout(0)
        with room(0):
            receiver = Background(b.receive_fd)
            assert receiver.is_waiting()
            b.close()
            assert isinstance(receiver.outcome(), unixconn.ClosedError)

    def test_sending_has_to_wait(self, raw, null):
        """A send that must wait duplicates its descriptor, and says so if it can not."""
        _, connection = raw
        fill(connection)
        with room(0), pytest.raises(unixconn.TooManyOpenFilesError) as caught:
            connection.send_fd(null)
        assert caught.value.message == f"dup: {os.strerror(errno.EMFILE)}"


class TestClosing:
    def test_wakes_those_who_wait(self, pair):
        """Receivers in other threads end with CLOSED at once (D2)."""
        _, b = pair
        receivers = [Background(b.receive_fd), Background(b.receive_credentials)]
        assert all(receiver.is_waiting() for receiver in receivers)
        number = b.get_socket().get_fd()
        b.close()
        for receiver in receivers:
            error = receiver.outcome()
            assert isinstance(error, unixconn.ClosedError)
            assert error.message == "Socket is already closed"
        assert not is_open(number)

    def test_the_peer_sees_it_at_once(self, raw):
        """Waiting threads do not keep the connection open."""
        sock, connection = raw
        receiver = Background(connection.receive_fd)
        assert receiver.is_waiting()
        connection.close()
        sock.settimeout(60)
        assert sock.recv(1) == b""
        receiver.outcome()

    def test_in_a_forked_child(self, pair):
        """A thread of the parent that waits keeps nothing open in the child."""
        _, b = pair
        receiver = Background(b.receive_fd)
        assert receiver.is_waiting()
        number = b.get_socket().get_fd()

        def child():
            b.close()
            return not is_open(number)

        assert in_child(child) == 0
        assert receiver.is_alive()
        b.close()
        receiver.outcome()

    def test_races_with_use(self, null):
        """Closing while others send and receive: each ends with a result or an error, and nothing hits another file."""
        for _ in range(50):
            a, b = UnixConnection.create_pair()
            with a, b:
                a.send_fd(null)
                workers = [Background(a.send_fd, null), Background(b.receive_fd), Background(b.receive_fd)]
                time.sleep(0)
                a.close()
                b.close()
                for worker in workers:
                    outcome = worker.outcome()
                    if isinstance(outcome, int) and outcome is not True:
                        os.close(outcome)
                    else:
                        assert outcome is True or isinstance(outcome, (unixconn.ClosedError, OSError)), outcome
