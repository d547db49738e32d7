"""Who the peer is, and who a process itself is: pidfd, groups, label, and kernels that lack one of them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import (
    SYSTEM_CALLS,
    Background,
    adopt,
    collect,
    forked,
    in_child,
    needs_filters,
    open_descriptors,
    room,
)
from namespaces import (
    NEW_PID,
    NOT_PERMITTED,
    become,
    check,
    end,
    enter_user_namespace,
    in_pid_namespace,
    pid_of,
    unshare,
)

import unixconn
from unixconn import Credentials, CredentialsSource, Error, FileDescriptor, NoSuchProcessError, NotSupportedError

SO_PEERSEC, SO_PEERGROUPS, SO_PEERPIDFD = 31, 59, 77
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def has(option):
    """Return whether the kernel has a socket option."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.getsockopt(socket.SOL_SOCKET, option, 4)
        except OSError as error:
            return error.errno != errno.ENOPROTOOPT
        return True


needs_pidfds = pytest.mark.skipif(not has(SO_PEERPIDFD), reason="the kernel has no SO_PEERPIDFD")
needs_groups = pytest.mark.skipif(not has(SO_PEERGROUPS), reason="the kernel has no SO_PEERGROUPS")


@contextmanager
def listening():
    """Return a socket that listens, and its address."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        Path(folder).chmod(0o755)
        server.bind(f"{folder}/s")
        Path(f"{folder}/s").chmod(0o777)
        server.listen()
        yield server, f"{folder}/s"


@contextmanager
def client(server, address, before=lambda: None, after=lambda: None):
    """
    Return, for a with statement, a connection to a child, and its pid.

    The child calls *before*, connects, calls *after*, and lives until the connection is closed.
    """

    def child():
        server.close()
        before()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(address)
            after()
            sock.send(b"x")
            return sock.recv(1) == b""

    pid = forked(child)
    server.settimeout(5)
    connection = adopt(server.accept()[0])
    with connection:
        assert connection.get_socket().receive(1) == b"x"
        yield connection, pid
    assert os.waitpid(pid, 0)[1] == 0


class Filter(ctypes.Structure):
    """One instruction of a filter for system calls."""

    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint))


class Program(ctypes.Structure):
    """All of them."""

    _fields_ = (("length", ctypes.c_ushort), ("first", ctypes.POINTER(Filter)))


def be_on_a_kernel_without(option, number=errno.ENOPROTOOPT):
    """Have getsockopt() refuse *option* with the errno *number* in this process from now on (seccomp)."""
    load, equal, give = 0x20, 0x15, 0x06
    steps = [
        (load, 0, 0, 0),
        (equal, 0, 3, SYSTEM_CALLS[1]),
        (load, 0, 0, 32),
        (equal, 0, 1, option),
        (give, 0, 0, 0x00050000 | number),
        (give, 0, 0, 0x7FFF0000),
    ]
    libc = ctypes.CDLL(None)
    program = Program(len(steps), (Filter * len(steps))(*(Filter(*step) for step in steps)))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program)):
        os._exit(NOT_PERMITTED)


def failure(call, *arguments):
    """Return the Error of a call."""
    with pytest.raises(Error) as caught:
        call(*arguments)
    return caught.value


def test_sources():
    """A source equals its name, and is found by it."""
    assert [str(each) for each in CredentialsSource] == ["self", "message", "peer"]
    assert f"{CredentialsSource.SELF}" == CredentialsSource.SELF == "self"
    assert {"peer": 1}[CredentialsSource.PEER] == 1


class TestSelf:
    def test_what_is_known(self):
        """Group, supplementary groups, and that who asks is alive."""
        own = Credentials()
        assert own.source == "self"
        assert own.get_unix_group() == os.getegid()
        assert own.get_groups() == os.getgroups()
        assert own.is_alive()

    def test_pidfd(self):
        """It is of this process, a new one at each call, close-on-exec, and the caller's to close."""
        own = Credentials()
        if not hasattr(os, "pidfd_open"):
            assert "pidfd_open" in failure(own.get_pidfd).message
            return
        with own.get_pidfd() as one, own.get_pidfd() as other:
            assert one.fileno() != other.fileno()
            assert pid_of(one) == pid_of(other) == os.getpid()
            assert not os.get_inheritable(one.fileno())

    @pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this Python has no os.pidfd_open()")
    def test_a_pidfd_that_is_dropped(self):
        """It was the caller's to close, as every FileDescriptor."""

        def drop():
            Credentials().get_pidfd()
            collect()

        with pytest.warns(ResourceWarning, match="pidfd"):
            drop()

    @pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this Python has no os.pidfd_open()")
    def test_no_room_for_a_pidfd(self):
        """It is TOO_MANY_OPEN_FILES."""
        with room(0):
            assert failure(Credentials().get_pidfd).code == 31

    def test_label(self):
        """The kernel tells others only, and that is said."""
        error = failure(Credentials().get_security_label)
        assert isinstance(error, NotSupportedError)
        assert error.message.startswith("The security label is not known: ")
        assert "get_peer_credentials()" in error.message

    def test_groups_are_of_that_moment(self):
        """As the ids are."""
        if os.geteuid():
            pytest.skip("needs root")

        def child():
            os.setgroups([5, 6])
            own = Credentials()
            os.setgroups([7])
            return own.get_groups() == [5, 6] and Credentials().get_groups() == [7]

        assert in_child(child) == 0

    @needs_root
    def test_groups_without_a_number(self):
        """Those that this process's user namespace does not know are left out, as of others."""

        def child():
            become(1234, [5, 1234, 6])
            enter_user_namespace("0 1234 1", "0 1234 1")
            assert sorted(os.getgroups()) == [0, NOBODY, NOBODY]
            return Credentials().get_groups() == [0]

        check(in_child(child))

    def test_set_unix_user(self):
        """Made by hand, it is nobody's any more: only the numbers are left."""
        own = Credentials()
        own.set_unix_user(NOBODY)
        assert (own.source, own.get_unix_user(), own.get_unix_group()) == ("self", NOBODY, os.getegid())
        for ask in (own.get_groups, own.get_security_label, own.get_pidfd, own.is_alive):
            assert isinstance(failure(ask), NotSupportedError)

    def test_of_the_parent(self):
        """In a forked child they are of another process, of which the pid is not enough to know it by."""
        own = Credentials()

        def child():
            errors = [failure(ask) for ask in (own.get_pidfd, own.is_alive)]
            return all(isinstance(error, NotSupportedError) for error in errors) and Credentials().is_alive()

        assert in_child(child) == 0

    @needs_root
    def test_of_the_parent_with_the_same_pid(self):
        """Also where both are the first of their pid namespaces."""

        def parent():
            own = Credentials()
            unshare(NEW_PID)

            def child():
                assert os.getpid() == own.get_unix_pid() == 1
                return isinstance(failure(own.is_alive), NotSupportedError)

            return in_child(child) == 0

        check(in_pid_namespace(parent))


class TestPeer:
    def test_of_a_pair(self, pair):
        """Who made it: all that the kernel knows in one call."""
        peer = pair[0].get_peer_credentials()
        assert peer.source == "peer"
        assert (peer.get_unix_pid(), peer.get_unix_user(), peer.get_unix_group()) == (
            os.getpid(),
            os.geteuid(),
            os.getegid(),
        )
        assert peer.is_same_user(Credentials())

    @needs_groups
    def test_groups_of_a_pair(self, pair):
        """They are this process's."""
        assert sorted(pair[0].get_peer_credentials().get_groups()) == sorted(os.getgroups())

    @needs_pidfds
    def test_pidfd(self, pair):
        """A new one at each call, close-on-exec; what the Credentials have of their own goes with them, in silence."""
        before = open_descriptors()
        peer = pair[0].get_peer_credentials()
        with peer.get_pidfd() as one, peer.get_pidfd() as other:
            assert isinstance(one, FileDescriptor)
            assert one.fileno() != other.fileno()
            assert pid_of(one) == pid_of(other) == os.getpid()
            assert not os.get_inheritable(one.fileno())
            one.close()
            assert peer.is_alive()
            del peer
            collect()
            assert pid_of(other) == os.getpid()
        collect()
        assert open_descriptors() == before

    @needs_root
    @needs_groups
    @pytest.mark.parametrize("count", [0, 1, 3, 64, 65, 5000])
    def test_an_unprivileged_client(self, count):
        """Its user, its group and all of its groups, however many."""
        groups = list(range(70000, 70000 + count))
        with listening() as (server, address), client(server, address, lambda: become(1234, groups)) as (peer, pid):
            found = peer.get_peer_credentials()
            assert (found.get_unix_pid(), found.get_unix_user(), found.get_unix_group()) == (pid, 1234, 1234)
            assert found.get_groups() == groups
            assert not found.is_same_user(Credentials())

    @needs_root
    @needs_groups
    def test_setuid_after_connect(self):
        """The answer is of the moment of connect(), as a permission that was given then is."""
        with listening() as (server, address):
            before, after = (lambda: become_effectively(1234)), (lambda: become(4321, [9]))

            def become_effectively(user):
                os.setgroups([8])
                os.setegid(user)
                os.seteuid(user)

            def back():
                os.seteuid(0)
                after()

            with client(server, address, before, back) as (peer, pid):
                found = peer.get_peer_credentials()
                assert (found.get_unix_user(), found.get_unix_group(), found.get_groups()) == (1234, 1234, [8])
                assert f"\nUid:\t{4321}\t" in Path(f"/proc/{pid}/status").read_text(encoding="ascii")

    @needs_pidfds
    def test_a_child_on_an_inherited_socket(self):
        """The peer is who connected; it has ended, and that is said, whoever writes."""
        with listening() as (server, address):

            def connect_and_fork():
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(address)
                    if not os.fork():
                        time.sleep(0.1)
                        sock.send(b"%d" % os.getpid())
                        os._exit(0)
                return True

            maker = forked(connect_and_fork)
            with adopt(server.accept()[0]) as connection:
                os.waitpid(maker, 0)
                writer = int(connection.get_socket().receive(20))
                peer = connection.get_peer_credentials()
                assert peer.get_unix_pid() == maker != writer
                assert not peer.is_alive()

    @needs_pidfds
    def test_is_alive(self):
        """Until it ends: as a zombie it has ended, and also for who asks only then, or when it was waited for."""
        with listening() as (server, address):
            pid = forked(lambda: socket.socket(socket.AF_UNIX).connect(address) or time.sleep(60))
            with adopt(server.accept()[0]) as connection:
                early = connection.get_peer_credentials()
                assert early.is_alive()
                end(pid)
                as_zombie = connection.get_peer_credentials()
                assert not early.is_alive()
                assert not as_zombie.is_alive()
                os.waitpid(pid, 0)
                late = connection.get_peer_credentials()
                assert [each.is_alive() for each in (early, as_zombie, late)] == [False] * 3
                with early.get_pidfd() as pidfd:
                    assert pid_of(pidfd) == -1

    @needs_pidfds
    @needs_root
    def test_a_reused_pid(self):
        """The pid lies, the pidfd does not."""

        def namespace():
            with listening() as (server, address):

                def live():
                    socket.socket(socket.AF_UNIX).connect(address)
                    time.sleep(60)

                def come():
                    pid = forked(live)
                    return pid, adopt(server.accept()[0])

                first, old = come()
                early = old.get_peer_credentials()
                assert early.is_alive()
                os.kill(first, signal.SIGKILL)
                os.waitpid(first, 0)
                # The next process gets the number after this one; pid namespaces count on their own.
                Path("/proc/sys/kernel/ns_last_pid").write_text(str(first - 1), encoding="ascii")
                second, new = come()
                assert second == first
                late, other = old.get_peer_credentials(), new.get_peer_credentials()
                assert early.get_unix_pid() == late.get_unix_pid() == other.get_unix_pid() == first
                os.kill(early.get_unix_pid(), 0)
                assert [each.is_alive() for each in (early, late, other)] == [False, False, True]
                with early.get_pidfd() as gone, other.get_pidfd() as there:
                    assert pid_of(gone) == -1 < pid_of(there)
                    if hasattr(signal, "pidfd_send_signal"):
                        with pytest.raises(ProcessLookupError):
                            signal.pidfd_send_signal(gone.fileno(), signal.SIGKILL)
                        signal.pidfd_send_signal(there.fileno(), signal.SIGKILL)
                        os.waitpid(second, 0)
                        assert not other.is_alive()
                return True

        check(in_pid_namespace(namespace))

    @needs_root
    @needs_pidfds
    def test_in_a_pid_namespace_that_is_not_seen(self):
        """The pid is not known there, and that is said; user and pidfd are."""
        with listening() as (server, address):
            outside = forked(lambda: socket.socket(socket.AF_UNIX).connect(address) or time.sleep(60))
            with adopt(server.accept()[0]) as connection:

                def inside():
                    peer = connection.get_peer_credentials()
                    assert failure(peer.get_unix_pid).code == 35
                    assert (peer.get_unix_user(), peer.get_unix_group()) == (os.geteuid(), os.getegid())
                    return peer.is_alive()

                code = in_pid_namespace(inside)
            os.kill(outside, signal.SIGKILL)
            os.waitpid(outside, 0)
        check(code)

    @needs_root
    def test_in_another_user_namespace(self):
        """Who is root there is here who it really is."""
        with listening() as (server, address):

            def before():
                become(1234, [])
                enter_user_namespace("0 1234 1", "0 1234 1")
                assert (os.geteuid(), os.getegid()) == (0, 0)

            def probe():
                before()
                return True

            check(in_child(probe))
            with client(server, address, before) as (connection, pid):
                peer = connection.get_peer_credentials()
                assert (peer.get_unix_pid(), peer.get_unix_user(), peer.get_unix_group()) == (pid, 1234, 1234)

    @needs_root
    def test_whose_user_has_no_number_here(self):
        """The kernel shows the overflow id, which could be nobody's as well: it is not known, and nobody is like it."""
        with listening() as (server, address), client(server, address, lambda: become(1234, [5, 6])) as (connection, _):

            def inside():
                become(4321)
                enter_user_namespace("0 4321 1", "0 4321 1")
                peer = connection.get_peer_credentials()
                for ask in (peer.get_unix_user, peer.get_unix_group):
                    assert failure(ask).code == 35
                assert not peer.is_same_user(peer)
                return not has(SO_PEERGROUPS) or peer.get_groups() == []

            code = in_child(inside)
        check(code)

    @needs_root
    @needs_groups
    @pytest.mark.parametrize("obstacle", ["a full table", "no /proc"])
    def test_whose_user_may_have_no_number_here(self, obstacle):
        """Where it can not be found out whether all have one, the overflow id is taken for nobody's."""
        with listening() as (server, address), client(server, address, lambda: become(1234, [5, 6])) as (connection, _):

            def inside():
                peer = connection.get_peer_credentials()
                assert (peer.get_unix_user(), peer.get_groups()) == (1234, [5, 6])
                become(4321)
                enter_user_namespace("0 4321 1", "0 4321 1")
                peer = connection.get_peer_credentials()
                with room(0) if obstacle == "a full table" else contextlib.nullcontext():
                    if obstacle == "no /proc":
                        os.chroot(os.path.dirname(address))  # noqa: PTH120 - a str already
                    assert [failure(ask).code for ask in (peer.get_unix_user, peer.get_unix_group)] == [35, 35]
                    assert not peer.is_same_user(peer)
                    return peer.get_groups() == []

            code = in_child(inside)
        check(code)

    @needs_root
    def test_nobody_is_somebody(self):
        """Where every user has a number, the overflow id is that of the user nobody."""
        nobody = lambda: become(NOBODY, [NOBODY])  # noqa: E731
        with listening() as (server, address), client(server, address, nobody) as (connection, _):
            peer = connection.get_peer_credentials()
            assert (peer.get_unix_user(), peer.get_unix_group()) == (NOBODY, NOBODY)
            assert not has(SO_PEERGROUPS) or peer.get_groups() == [NOBODY]

    def test_label(self, pair):
        """It is what a security module has; without one that is said."""
        peer = pair[0].get_peer_credentials()
        with socket.socket(fileno=os.dup(pair[0].get_socket().get_fd())) as same:
            try:
                expected = same.getsockopt(socket.SOL_SOCKET, SO_PEERSEC, 1024)
            except OSError:
                error = failure(peer.get_security_label)
                assert isinstance(error, NotSupportedError)
                assert "SO_PEERSEC" in error.message
            else:
                assert peer.get_security_label() == expected.rstrip(b"\0")

    def test_set_unix_user(self, pair):
        """What the kernel has told is forgotten with it, and its pidfd closed."""
        before = open_descriptors()
        peer = pair[0].get_peer_credentials()
        peer.set_unix_user(1234)
        collect()
        assert open_descriptors() == before
        assert peer.source == "self"
        for ask in (peer.get_groups, peer.get_security_label, peer.get_pidfd, peer.is_alive):
            assert isinstance(failure(ask), NotSupportedError)

    def test_closed(self, pair):
        """CLOSED."""
        pair[0].close()
        assert isinstance(failure(pair[0].get_peer_credentials), unixconn.ClosedError)

    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
    def test_nobody_there(self, kind):
        """Without a peer there is no identity: NOT_CONNECTED, never root."""
        with adopt(socket.socket(socket.AF_UNIX, kind)) as connection:
            error = failure(connection.get_peer_credentials)
        assert isinstance(error, unixconn.NotConnectedError)
        assert "knows no peer" in error.message

    def test_another_family(self):
        """TCP knows of no process."""
        with adopt(socket.socket()) as connection:
            assert isinstance(failure(connection.get_peer_credentials), NotSupportedError)

    @needs_pidfds
    def test_no_room(self, pair):
        """Without room for the pidfd all else is there: only who asks for the pidfd gets the Error (F23)."""
        peer = pair[0].get_peer_credentials()
        with room(0):
            other = pair[0].get_peer_credentials()
            assert failure(peer.get_pidfd).code == 31
            assert peer.is_alive()
        own = (os.getpid(), os.geteuid(), os.getegid(), os.getgroups())
        numbers = (other.get_unix_pid(), other.get_unix_user(), other.get_unix_group())
        assert (*numbers, other.get_groups() if has(SO_PEERGROUPS) else os.getgroups()) == own
        for ask in (other.get_pidfd, other.is_alive):
            error = failure(ask)
            assert (type(error), error.errno) == (unixconn.TooManyOpenFilesError, errno.EMFILE)
            assert "get_peer_credentials()" in error.__notes__[0]
        assert pair[0].get_peer_credentials().is_alive()

    def test_of_get_credentials(self, pair):
        """Where only the numbers were asked for, nothing else is known, and the text says what to call."""
        peer = pair[0].get_socket().get_credentials()
        assert (peer.source, peer.get_unix_group()) == ("peer", os.getegid())
        for ask in (peer.get_groups, peer.get_security_label, peer.get_pidfd, peer.is_alive):
            error = failure(ask)
            assert isinstance(error, NotSupportedError)
            assert "only pid, uid and gid were asked for" in error.message

    def test_many_threads(self, pair):
        """They ask at once, and each gets its own answer."""
        asking = [Background(lambda: [pair[0].get_peer_credentials() for _ in range(50)]) for _ in range(4)]
        for each in asking:
            assert {peer.get_unix_pid() for peer in each.outcome()} == {os.getpid()}


@needs_filters
class TestOlderKernels:
    """Each option refused as a kernel does that has not got it."""

    @pytest.mark.parametrize(
        ("option", "name", "version"),
        [(SO_PEERGROUPS, "SO_PEERGROUPS", "4.13"), (SO_PEERPIDFD, "SO_PEERPIDFD", "6.5")],
    )
    def test_one_is_missing(self, pair, option, name, version):
        """The call does not fail; the getter is NOT_SUPPORTED, and names option, version and kernel."""

        def child():
            be_on_a_kernel_without(option)
            peer = pair[0].get_peer_credentials()
            asked = [peer.get_groups] if option == SO_PEERGROUPS else [peer.get_pidfd, peer.is_alive]
            for _ in range(2):
                for error in map(failure, asked):
                    assert isinstance(error, NotSupportedError)
                    assert f"{name} needs Linux {version} or later, and this is Linux " in error.message
            return peer.get_unix_user() == os.geteuid()

        check(in_child(child))

    def test_no_security_module(self, pair):
        """SO_PEERSEC is refused as an option that is not there."""

        def child():
            be_on_a_kernel_without(SO_PEERSEC)
            error = failure(pair[0].get_peer_credentials().get_security_label)
            return isinstance(error, NotSupportedError) and "security module" in error.message

        check(in_child(child))

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.ESRCH])
    def test_who_has_ended(self, pair, number):
        """Before Linux 6.16 there is no pidfd for a process that was waited for: it is known to have ended."""

        def child():
            be_on_a_kernel_without(SO_PEERPIDFD, number)
            peer = pair[0].get_peer_credentials()
            error = failure(peer.get_pidfd)
            assert isinstance(error, NoSuchProcessError)
            assert isinstance(error, ProcessLookupError)
            assert (error.code, error.errno) == (0, errno.ESRCH)
            return not peer.is_alive()

        check(in_child(child))

    @pytest.mark.parametrize("option", [SO_PEERGROUPS, SO_PEERSEC, SO_PEERPIDFD])
    def test_other_failures(self, pair, option):
        """They are no answer; all else is there, and only the getter of that value fails (F23)."""

        def child():
            be_on_a_kernel_without(option, errno.EACCES)
            peer = pair[0].get_peer_credentials()
            getters = {
                SO_PEERGROUPS: peer.get_groups,
                SO_PEERSEC: peer.get_security_label,
                SO_PEERPIDFD: peer.get_pidfd,
            }
            error = failure(getters[option])
            assert (error.code, error.errno) == (14, errno.EACCES)
            return (peer.get_unix_pid(), peer.get_unix_user()) == (os.getppid(), os.geteuid())

        check(in_child(child))


@needs_pidfds
def test_a_pidfd_can_be_waited_for(pair):
    """It becomes readable when the process ends."""
    with listening() as (server, address):
        pid = forked(lambda: socket.socket(socket.AF_UNIX).connect(address) or time.sleep(60))
        with adopt(server.accept()[0]) as connection, connection.get_peer_credentials().get_pidfd() as pidfd:
            assert select.select([pidfd], [], [], 0)[0] == []
            os.kill(pid, signal.SIGKILL)
            assert select.select([pidfd], [], [], 5)[0] == [pidfd]
            os.waitpid(pid, 0)
