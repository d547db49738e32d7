"""Credentials, send_credentials and receive_credentials."""

from __future__ import annotations

import array
import ctypes
import errno
import os
import socket
import struct
import sys
import tempfile
import threading
from pathlib import Path

import internals
import pytest
from helpers import PASSCRED, Background, Calls, adopt, collect, forked, in_child, is_on, open_descriptors, settle
from namespaces import NEW_USER, check, unshare
from ways import each_way, iterate

import unixconn
from unixconn import Cancellable, Credentials, CredentialsSource, Error, MainContext, SocketType, UnixConnection

NOBODY = 65534
NO_BYTE = "Expecting to read a single byte for receiving credentials but read zero bytes"
ME = (os.getpid(), os.geteuid(), os.getegid())
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def numbers(credentials):
    """Return pid, uid and gid."""
    return struct.unpack("iII", unixconn.UnixCredentialsMessage(credentials=credentials)._payload())


def send_from_a_child(function):
    """Run *function* in a child; give the child's pid."""
    pid = forked(function)
    os.waitpid(pid, 0)
    return pid


class TestCredentials:
    def test_of_this_process(self):
        """pid, and effective ids."""
        own = Credentials()
        assert (own.get_unix_pid(), own.get_unix_user()) == ME[:2]
        assert own.to_string() == "GCredentials:linux-ucred:pid={},uid={},gid={}".format(*ME)
        assert own.source is CredentialsSource.SELF
        assert own.source == "self"
        assert Credentials.new().is_same_user(own)

    def test_are_no_value(self):
        """Identity is equality, as of every Object; no arguments are taken."""
        assert Credentials() != Credentials()
        with pytest.raises(TypeError):
            Credentials(uid=3)

    def test_set_unix_user(self):
        """The uid can be set, within the range of a user's."""
        credentials = Credentials()
        assert credentials.set_unix_user(1234) is True
        assert credentials.get_unix_user() == 1234
        assert credentials.is_same_user(Credentials()) == (os.geteuid() == 1234)
        for bad, kind in ((-1, OverflowError), (2**32, OverflowError), (2**32 - 1, ValueError), ("0", TypeError)):
            with pytest.raises(kind, match="uid"):
                credentials.set_unix_user(bad)
        assert credentials.get_unix_user() == 1234

    def test_of_nobody(self):
        """An unconnected socket has no peer: INVALID_DATA, never root."""
        peer = unixconn.Socket.new(1, 1, 0).get_credentials()
        for ask in (peer.get_unix_pid, peer.get_unix_user):
            with pytest.raises(unixconn.InvalidDataError, match="GCredentials contains invalid data") as caught:
                ask()
            assert caught.value.code == 35
        assert peer.to_string() == "GCredentials:linux-ucred:pid=0"
        assert not peer.is_same_user(peer)
        peer.set_unix_user(5)
        with pytest.raises(unixconn.InvalidDataError):
            peer.get_unix_user()

    def test_of_another_family(self):
        """A TCP socket has no peer credentials."""
        with socket.socket() as tcp:
            peer = unixconn.Socket.new_from_fd(os.dup(tcp.fileno())).get_credentials()
        with pytest.raises(unixconn.InvalidDataError):
            peer.get_unix_user()

    def test_is_same_user_wants_credentials(self):
        """Anything else is a TypeError."""
        with pytest.raises(TypeError, match="None"):
            Credentials().is_same_user(None)


class TestExchange:
    def test_roundtrip(self, pair):
        """The receiver gets what the kernel vouches for, and knows that it is the sender's."""
        a, b = pair
        assert a.send_credentials() is True
        got = b.receive_credentials()
        assert numbers(got) == ME
        assert got.source is CredentialsSource.MESSAGE
        assert not is_on(b)

    def test_on_the_wire(self, raw):
        """One NUL byte with one SCM_CREDENTIALS message."""
        sock, connection = raw
        sock.setsockopt(*PASSCRED, 1)
        connection.send_credentials()
        data, [(level, kind, content)], _, _ = sock.recvmsg(10, 1000)
        assert (data, level, kind, struct.unpack("iII", content)) == (b"\0", socket.SOL_SOCKET, 2, ME)

    def test_a_child_is_the_child(self, pair):
        """The sender is named, not the process that made the pair."""
        a, b = pair
        child = send_from_a_child(a.send_credentials)
        assert b.receive_credentials().get_unix_pid() == child

    def test_a_plain_byte_from_before(self, raw):
        """Nobody knows who sent it: the answer is the pair's maker, and says so."""
        sock, connection = raw
        sock.send(b"abc")
        got = connection.receive_credentials()
        assert numbers(got) == ME
        assert got.source is CredentialsSource.PEER
        assert connection.get_input_stream().read_bytes(9).get_data() == b"bc"

    def test_a_plain_byte_while_waiting(self, raw):
        """The kernel adds its true sender."""
        sock, connection = raw
        receiver = Background(connection.receive_credentials)
        assert receiver.is_waiting()
        assert settle(lambda: is_on(connection))
        child = send_from_a_child(lambda: sock.send(b"x"))
        got = receiver.outcome()
        assert got.get_unix_pid() == child
        assert got.source is CredentialsSource.MESSAGE
        assert not is_on(connection)

    def test_two_receivers_never_mistake_the_sender(self, raw):
        """The first to end leaves SO_PASSCRED on for the second (D6)."""
        sock, connection = raw
        receivers = [Background(connection.receive_credentials) for _ in range(2)]
        assert all(receiver.is_waiting() for receiver in receivers)
        children = [send_from_a_child(lambda: sock.send(b"x")) for _ in receivers]
        got = [receiver.outcome() for receiver in receivers]
        assert sorted(each.get_unix_pid() for each in got) == sorted(children)
        assert not is_on(connection)

    def test_one_leaves_early(self, raw):
        """A receiver that is cancelled leaves SO_PASSCRED on for the other."""
        sock, connection = raw
        cancellable = Cancellable()
        leaver = Background(connection.receive_credentials, cancellable)
        stayer = Background(connection.receive_credentials)
        assert leaver.is_waiting()
        assert stayer.is_waiting()
        cancellable.cancel()
        assert isinstance(leaver.outcome(), unixconn.CancelledError)
        assert is_on(connection)
        child = send_from_a_child(lambda: sock.send(b"x"))
        assert stayer.outcome().get_unix_pid() == child
        assert not is_on(connection)

    @pytest.mark.parametrize("value", [0, 1])
    def test_the_users_setting_is_kept(self, raw, value):
        """What was set before the call stands after it."""
        sock, connection = raw
        connection.get_socket().set_option(*PASSCRED, value)
        sock.send(b"xyz")
        connection.receive_credentials()
        assert is_on(connection) == value
        connection.receive_credentials(Cancellable())
        assert is_on(connection) == value

    @pytest.mark.parametrize("value", [0, 1])
    def test_the_user_sets_it_while_somebody_waits(self, raw, value):
        """It stays on as long as it is needed, and is what was asked for after that."""
        sock, connection = raw
        connection.get_socket().set_option(*PASSCRED, 1 - value)
        receiver = Background(connection.receive_credentials)
        assert receiver.is_waiting()
        connection.get_socket().set_option(*PASSCRED, value)
        assert is_on(connection)
        child = send_from_a_child(lambda: sock.send(b"x"))
        assert receiver.outcome().get_unix_pid() == child
        assert is_on(connection) == value

    @pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
    def test_over_packets(self, kind):
        """A whole packet is consumed."""
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        with adopt(one) as a, adopt(other) as b:
            a.send_credentials()
            assert numbers(b.receive_credentials()) == ME
            a.get_output_stream().write(b"a whole packet")
            assert b.receive_credentials().source is CredentialsSource.PEER
            b.get_socket().set_blocking(False)
            with pytest.raises(BlockingIOError):
                b.receive_credentials()

    def test_many_threads(self, pair):
        """Senders and receivers in many threads: each message names this process."""
        a, b = pair
        receivers = [Background(b.receive_credentials) for _ in range(8)]
        senders = [Background(a.send_credentials) for _ in range(8)]
        assert all(sender.outcome() is True for sender in senders)
        assert [numbers(receiver.outcome()) for receiver in receivers] == [ME] * 8
        assert not is_on(b)

    def test_from_a_listener(self):
        """A client is who called connect()."""
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{folder}/s")
            server.listen()

            def child():
                client = socket.socket(socket.AF_UNIX)
                client.connect(f"{folder}/s")
                return client.recv(1) == b""

            pid = forked(child)
            with adopt(server.accept()[0]) as connection:
                peer = connection.get_socket().get_credentials()
                assert (peer.get_unix_pid(), peer.source) == (pid, CredentialsSource.PEER)
            assert os.waitpid(pid, 0)[1] == 0


class TestFailures:
    def test_sending_without_a_peer(self):
        """An unconnected socket is NOT_CONNECTED."""
        with adopt(socket.socket(socket.AF_UNIX)) as connection, pytest.raises(unixconn.NotConnectedError) as caught:
            connection.send_credentials()
        text = os.strerror(errno.ENOTCONN)
        assert caught.value.message == f"Error sending credentials: Error sending message: {text}"

    @each_way
    @pytest.mark.usefixtures("event_loop")
    @pytest.mark.parametrize("how", ["close", "shutdown"])
    @pytest.mark.parametrize("kind", [SocketType.STREAM, SocketType.SEQPACKET])
    def test_end_of_the_connection(self, do, how, kind):
        """It is a ClosedError, each time; the kernel's zeroed credentials there are nobody's (F25)."""
        a, b = UnixConnection.create_pair(kind)
        with a, b:
            if how == "close":
                a.close()
            else:
                a.get_socket().shutdown(False, True)
            for _ in range(2):
                with pytest.raises(unixconn.ClosedError) as caught:
                    do(b, "receive_credentials")
                assert (caught.value.code, caught.value.message) == (0, NO_BYTE)
            assert not is_on(b)

    @each_way
    @pytest.mark.usefixtures("event_loop")
    @pytest.mark.parametrize("kind", [SocketType.DATAGRAM, SocketType.SEQPACKET])
    def test_empty_record(self, do, kind):
        """It is no end, and the next one comes (F25)."""
        a, b = UnixConnection.create_pair(kind)
        with a, b:
            a.send_message(b"")
            a.send_message(b"", (), True)
            a.send_credentials()
            for _ in range(2):
                with pytest.raises(Error) as caught:
                    do(b, "receive_credentials")
                assert (type(caught.value), caught.value.code, caught.value.message) == (Error, 0, NO_BYTE)
            assert do(b, "receive_credentials").get_unix_pid() == os.getpid()

    def test_without_a_peer(self):
        """An unconnected socket can not receive."""
        with adopt(socket.socket(socket.AF_UNIX)) as connection, pytest.raises(Error) as caught:
            connection.receive_credentials()
        assert (caught.value.code, caught.value.message) == (13, "Error receiving message: Invalid argument")

    def test_a_descriptor_instead(self, raw, null):
        """It is refused and closed, with one of two texts."""
        sock, connection = raw
        before = open_descriptors()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null]))]
        sock.sendmsg([b"x"], rights)
        with pytest.raises(Error) as caught:
            connection.receive_credentials()
        assert (caught.value.code, caught.value.message) == (0, "Unexpected type of ancillary data")
        connection.get_socket().set_option(*PASSCRED, 1)
        sock.sendmsg([b"x"], rights)
        with pytest.raises(Error) as caught:
            connection.receive_credentials()
        assert (caught.value.code, caught.value.message) == (0, "Expecting 1 control message, got 2")
        assert open_descriptors() == before

    def test_a_pidfd_along_with_them(self, pair):
        """A pidfd that comes along is theirs, and closed with them."""
        a, b = pair
        try:
            b.get_socket().set_option(socket.SOL_SOCKET, 76, 1)
        except OSError:
            pytest.skip("the kernel has no SO_PASSPIDFD")
        before = open_descriptors()
        a.send_credentials()
        assert numbers(b.receive_credentials()) == ME
        collect()
        assert open_descriptors() == before

    def test_a_signal_at_the_end_of_the_stream(self, pair, monkeypatch):
        """Linux adds a zeroed struct ucred there: nobody's, also for who was interrupted before looking at it."""
        a, b = pair
        context, results = MainContext(), []
        recvmsg = internals.receive._recvmsg

        def receive_and_stop(*arguments):
            recvmsg(*arguments)
            monkeypatch.undo()
            raise ZeroDivisionError

        context.push_thread_default()
        b.receive_credentials_async(None, lambda _, result: results.append(result))
        context.pop_thread_default()
        monkeypatch.setattr(internals.receive, "_recvmsg", receive_and_stop)
        a.close()
        with pytest.raises(ZeroDivisionError):
            context.iteration()
        while not results:
            context.iteration()
        with pytest.raises(Error, match="read zero bytes"):
            b.receive_credentials_finish(results[0])

    def test_over_another_family(self):
        """TCP has no credentials; older kernels let SO_PASSCRED be set there all the same."""
        refusals = (unixconn.NotSupportedError, unixconn.NotConnectedError)
        with adopt(socket.socket()) as connection, pytest.raises(refusals):
            connection.receive_credentials()

    @pytest.mark.parametrize("argument", [5, "x", object()])
    def test_a_wrong_cancellable(self, pair, argument):
        """It is a TypeError that names it, and SO_PASSCRED stays off."""
        a, b = pair
        for call in (a.send_credentials, b.receive_credentials):
            with pytest.raises(TypeError, match="cancellable") as caught:
                call(argument)
            assert ("Cancellable.with_timeout(seconds)" in str(caught.value)) is (argument == 5)
        with pytest.raises(TypeError, match="the callback is the next argument"):
            b.receive_credentials_async(print)
        assert not is_on(b)


class TestIdentity:
    @needs_root
    def test_effective_ids_are_sent(self):
        """send_credentials claims the effective ids of the moment, each as what it is."""

        def child():
            a, b = UnixConnection.create_pair()
            os.setegid(1234)
            os.seteuid(NOBODY)
            a.send_credentials()
            return numbers(b.receive_credentials()) == (os.getpid(), NOBODY, 1234)

        assert in_child(child) == 0

    @needs_root
    def test_forging(self):
        """The superuser may claim any user, another one only itself."""

        def child():
            a, b = UnixConnection.create_pair()
            forged = Credentials()
            forged.set_unix_user(1234)
            message = unixconn.UnixCredentialsMessage(credentials=forged)
            a.get_socket().send_message(None, [], [message], 0)
            as_root = b.receive_credentials().get_unix_user()
            os.setegid(NOBODY)
            os.seteuid(NOBODY)
            try:
                a.get_socket().send_message(None, [], [message], 0)
            except PermissionError as error:
                return (as_root, error.code, error.message) == (
                    1234,
                    14,
                    "Error sending message: Operation not permitted",
                )

        assert in_child(child) == 0

    @needs_root
    def test_from_another_pid_namespace(self):
        """The pid is not known there, the uid is (D23)."""
        a, b = UnixConnection.create_pair()
        a.send_credentials()

        def child():
            if ctypes.CDLL(None).unshare(0x20000000):  # CLONE_NEWPID
                os._exit(77)

            def grandchild():
                got = b.receive_credentials()
                try:
                    got.get_unix_pid()
                except unixconn.InvalidDataError:
                    return got.get_unix_user() == os.geteuid() and got.source is CredentialsSource.MESSAGE

            return in_child(grandchild) == 0

        with a, b:
            code = in_child(child)
        if code == 77:
            pytest.skip("no pid namespace can be made here")
        assert code == 0

    def test_no_thread_sees_the_flag_off(self, raw):
        """While one waits, others come and go: the flag never goes off under it."""
        sock, connection = raw
        waiter = Background(connection.receive_credentials)
        assert waiter.is_waiting()
        stop, seen = threading.Event(), []

        def come_and_go():
            cancelled = Cancellable()
            cancelled.cancel()
            while not stop.is_set():
                try:
                    connection.receive_credentials(cancelled)
                except unixconn.CancelledError:
                    seen.append(is_on(connection))

        others = [Background(come_and_go) for _ in range(3)]
        while len(seen) < 300:
            assert all(other.is_alive() for other in others)
        stop.set()
        for other in others:
            assert other.outcome() is None
        assert set(seen) == {1}
        sock.send(b"x")
        waiter.outcome()


@pytest.mark.skipif(sys.platform != "linux", reason="user namespaces are Linux's")
@pytest.mark.parametrize(
    ("maps", "lacking"), [((), "uid {0} and gid {1}"), (("uid",), "gid {1}"), (("gid",), "uid {0}")]
)
def test_in_a_user_namespace_without_a_map(pair, maps, lacking):
    """The kernel's "Invalid argument" has a note that says what is not mapped, in every form (F21)."""
    a, b = pair
    outside = {"uid": os.geteuid(), "gid": os.getegid()}

    def inside():
        unshare(NEW_USER)
        Path("/proc/self/setgroups").write_bytes(b"deny")
        for kind in maps:
            Path(f"/proc/self/{kind}_map").write_bytes(b"7 %d 1" % outside[kind])
        own, message = Credentials(), unixconn.UnixCredentialsMessage.new()
        note = f"this user namespace does not map {lacking.format(os.geteuid(), os.getegid())}, see"

        def by_callback():
            calls = Calls()
            a.send_credentials_async(None, calls)
            iterate(lambda: calls)
            a.send_credentials_finish(calls.result)

        for call in (
            a.send_credentials,
            lambda: a.send_credentials(Cancellable()),
            lambda: a.send_credentials_async().result(60),
            by_callback,
            lambda: a.send_fake_credentials(os.getpid(), os.geteuid(), os.getegid()),
            lambda: a.send_fake_credentials_async(os.getpid(), os.geteuid(), os.getegid()).result(60),
            lambda: a.send_message(b"x", (), True),
            lambda: a.send_message(b"x", [0], own, Cancellable()),
            lambda: a.send_message_async(b"x", (), True).result(60),
            lambda: a.get_socket().send_message(None, [b"x"], [message], 0),
        ):
            with pytest.raises(unixconn.InvalidArgumentError) as caught:
                call()
            assert [each.startswith(note) for each in caught.value.__notes__] == [True]
        with pytest.raises(unixconn.InvalidArgumentError) as caught:
            a.get_socket().send_message(None, [b"x"], [message, too_many()], 0)
        assert len(caught.value.__notes__) == 2
        return a.send_fd(0) and a.send_message(b"x", [0]) == 1

    check(in_child(inside))
    os.close(b.receive_fd())
    os.close(b.receive_fd())


def too_many():
    """Return a message with more descriptors than the kernel takes."""
    made = unixconn.UnixFDMessage.new()
    for _ in range(254):
        made.append_fd(0)
    return made
