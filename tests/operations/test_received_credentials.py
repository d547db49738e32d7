"""What is known of the sender of a message beside the numbers."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time

import pytest
from helpers import SO_PASSCRED, collect, forked, in_child, needs_passed_pidfds, open_descriptors
from namespaces import NEW_USER, become, check, end, enter_user_namespace, in_pid_namespace, pid_of, unshare

from unixconn import Cancellable, Credentials, CredentialsSource, Error, FileDescriptor, NotSupportedError

PASSCRED = (socket.SOL_SOCKET, SO_PASSCRED)
SO_PASSPIDFD, SCM_PIDFD = 76, 4
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def failure(call, *arguments):
    """Return the Error of a call."""
    with pytest.raises(Error) as caught:
        call(*arguments)
    return caught.value


class TestMessage:
    def test_nothing_beside_the_numbers(self, pair):
        """The text says what would have brought it (F25)."""
        a, b = pair
        a.send_credentials()
        got = b.receive_credentials()
        assert (got.source, got.get_unix_group()) == ("message", os.getegid())
        for ask, word in (
            (got.get_groups, "no message carries groups"),
            (got.get_security_label, "SO_PASSSEC"),
            (got.get_pidfd, "SO_PASSPIDFD (Linux 6.5 or later)"),
            (got.is_alive, "UnixConnection.pass_pidfds() was called before"),
        ):
            error = failure(ask)
            assert isinstance(error, NotSupportedError)
            assert word in error.message

    def test_of_a_plain_byte_from_before(self, raw):
        """The fallback is the peer's numbers, and nothing more."""
        sock, connection = raw
        sock.send(b"x")
        got = connection.receive_credentials()
        assert (got.source, got.get_unix_group()) == ("peer", os.getegid())
        assert isinstance(failure(got.is_alive), NotSupportedError)

    @needs_passed_pidfds
    def test_a_pidfd_that_came_along(self):
        """It is the sender's, closed with the Credentials, and tells when the sender has ended."""
        a, b = socket.socketpair()
        with a, b:
            b.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
            b.setsockopt(*PASSCRED, 1)
            pid = forked(lambda: a.send(b"x") and time.sleep(60))
            content = {kind: data for _, kind, data in b.recvmsg(1, 1000)[1]}
        got = Credentials._of(struct.unpack("iII", content[2]), CredentialsSource.MESSAGE)
        got._pidfd = FileDescriptor._empty()
        got._pidfd._owned += struct.unpack("i", content[SCM_PIDFD])
        got._label = b"a label"
        assert (got.get_unix_pid(), got.is_alive(), got.get_security_label()) == (pid, True, b"a label")
        end(pid)
        assert not got.is_alive()
        os.waitpid(pid, 0)
        assert not got.is_alive()

    @needs_passed_pidfds
    def test_a_pidfd_with_received_credentials(self, pair):
        """It is theirs, be they added by the kernel or sent, in each form; and the fallback to the peer has none."""
        a, b = pair
        b.pass_pidfds()

        def pidfds():
            return sum("pidfd" in name for name in open_descriptors().values())

        def send():
            return a.send_message(b"x") and a.send_credentials() and a.send_message(b"x") and time.sleep(60)

        pid = forked(send)
        got = [b.receive_credentials(), b.receive_credentials(Cancellable()), b.receive_credentials_async().result(60)]
        for each in got:
            assert (each.source, each.get_unix_pid(), each.is_alive()) == ("message", pid, True)
            with each.get_pidfd() as pidfd:
                assert pid_of(pidfd) == pid
        assert pidfds() == 3
        end(pid)
        assert [each.is_alive() for each in got] == [False] * 3
        os.waitpid(pid, 0)
        del each, got
        collect()
        assert pidfds() == 0
        b.pass_pidfds(False)
        a.send_message(b"x")
        assert b.receive_credentials().source == "peer"

    @needs_root
    def test_of_another_user_namespace(self, pair):
        """Who is root there is here who it really is, be it sent with the byte or added by the kernel."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, 1)

        def child():
            become(1234)
            enter_user_namespace("0 1234 1", "0 1234 1")
            return a.send_credentials() and a.get_socket().send(b"x")

        check(in_child(child))
        for _ in range(2):
            got = b.receive_credentials()
            assert (got.source, got.get_unix_user(), got.get_unix_group()) == ("message", 1234, 1234)

    @needs_root
    def test_from_a_user_namespace_without_a_map(self, pair):
        """Claiming oneself is refused there; what the kernel adds is true."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, 1)

        def child():
            become(1234)
            unshare(NEW_USER)
            assert failure(a.send_credentials).code == 13
            return a.get_socket().send(b"x")

        check(in_child(child))
        assert b.receive_credentials().get_unix_user() == 1234

    @needs_root
    def test_whose_sender_has_no_number_here(self, pair):
        """The receiver's user namespace does not know the sender's user: nor does the receiver."""
        a, b = pair
        a.send_credentials()

        def child():
            b.get_socket().set_option(*PASSCRED, 1)
            assert in_child(lambda: become(5678) or a.get_socket().send(b"x")) == 0
            become(1234)
            enter_user_namespace("0 1234 1", "0 1234 1")
            b.get_socket().receive(1)
            got = b.receive_credentials()
            assert got.get_unix_pid() > 0
            assert got.to_string() == f"GCredentials:linux-ucred:pid={got.get_unix_pid()}"
            assert failure(lambda: a.send_message(b"x", (), got)).code == 35  # it would be somebody else's elsewhere
            return [failure(ask).code for ask in (got.get_unix_user, got.get_unix_group)] == [35, 35]

        check(in_child(child))

    @needs_root
    @needs_passed_pidfds
    @pytest.mark.parametrize("name", ["receive_credentials", "receive_message"])
    def test_of_nobody_in_a_pid_namespace_that_is_not_seen(self, pair, name):
        """The kernel writes it as it writes that there is no sender; the pidfd tells that there is one."""
        a, b = pair
        b.pass_credentials()
        b.pass_pidfds()
        ready, done = os.pipe()

        def nobody():
            become(65534)
            a.send_credentials()
            os.write(done, b"x")
            return time.sleep(60)

        sender = forked(nobody)
        os.read(ready, 1)

        def inside():
            got = b.receive_credentials() if name == "receive_credentials" else b.receive_message(9).credentials
            assert (got.source, got.get_unix_user(), got.get_unix_group()) == ("message", 65534, 65534)
            assert failure(got.get_unix_pid).code == 35
            return got.is_alive()

        code = in_pid_namespace(inside)
        os.kill(sender, signal.SIGKILL)
        os.waitpid(sender, 0)
        os.close(ready)
        os.close(done)
        check(code)

    @needs_root
    def test_of_nobody_outside_without_a_pidfd(self, pair):
        """S10: they are unknown, and not those of the peer, which is somebody else: root has made the pair."""
        a, b = pair
        b.pass_credentials()
        assert in_child(lambda: become(65534) or a.get_socket().send(b"x")) == 0

        def inside():
            got = b.receive_credentials()
            asked = (got.get_unix_pid, got.get_unix_user, got.get_unix_group)
            return got.source == "message" and [failure(each).code for each in asked] == [35, 35, 35]

        check(in_pid_namespace(inside))

    @needs_root
    def test_setuid_after_the_message(self, pair):
        """It is of the moment of sending: effective ids when sent, real ones when the kernel adds them."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, 1)

        def child():
            os.setegid(1234)
            os.seteuid(1234)
            a.send_credentials()
            a.get_socket().send(b"x")
            os.seteuid(0)
            become(4321)
            return a.send_credentials()

        assert in_child(child) == 0
        got = [b.receive_credentials() for _ in range(3)]
        assert [each.get_unix_user() for each in got] == [1234, 0, 4321]
        assert [each.get_unix_group() for each in got] == [1234, 0, 4321]

    def test_of_a_child_on_an_inherited_socket(self, pair):
        """The message names who wrote, the peer is who made the pair."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, 1)
        pid = forked(lambda: a.get_socket().send(b"x"))
        os.waitpid(pid, 0)
        assert b.receive_credentials().get_unix_pid() == pid
        assert b.get_peer_credentials().get_unix_pid() == os.getpid()
