"""Control messages and UnixFDList: what they hold, who owns it, and how it travels."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import gc
import os
import signal
import socket
import struct
import time

import pytest
from helpers import MOST, SO_PASSCRED, is_open, most_to_send, open_descriptors, room, same, sends_control

import unixconn
from unixconn import (
    Credentials,
    Error,
    FileDescriptor,
    SocketControlMessage,
    UnixConnection,
    UnixCredentialsMessage,
    UnixFDList,
    UnixFDMessage,
)

SOL_SOCKET, SCM_RIGHTS, SCM_CREDENTIALS = 1, 1, 2
SO_PASSPIDFD = 76


@pytest.fixture
def fds():
    """An empty list, which is emptied at the end."""
    made = UnixFDList.new()
    yield made
    for fd in made.steal_fds():
        os.close(fd)


@pytest.fixture
def sockets():
    """The Sockets of a pair of connections."""
    a, b = UnixConnection.create_pair()
    with a, b:
        yield a.get_socket(), b.get_socket()


def send(sock, *messages, vectors=()):
    """Send control messages."""
    return sock.send_message(None, list(vectors), list(messages), 0, None)


def receive(sock):
    """Receive one byte with its control messages."""
    return sock.receive_message([], 0, None).messages


class TestFDList:
    def test_begins_empty(self):
        """Both ways of making one give the same."""
        for made in (UnixFDList(), UnixFDList.new()):
            assert made.get_length() == 0
            assert made.peek_fds() == []
            assert made.steal_fds() == []

    def test_append(self, fds, null):
        """It stores a duplicate, close-on-exec, and gives the index."""
        assert [fds.append(null) for _ in range(3)] == [0, 1, 2]
        assert fds.get_length() == 3
        stored = fds.peek_fds()
        assert null not in stored
        assert len(set(stored)) == 3
        assert all(same(each, null) and not os.get_inheritable(each) for each in stored)

    def test_append_leaves_the_caller_s_alone(self, fds):
        """The original may be closed, and stays inheritable."""
        r, w = os.pipe()
        os.set_inheritable(r, True)
        fds.append(r)
        assert os.get_inheritable(r)
        os.close(r)
        os.write(w, b"x")
        assert os.read(fds.peek_fds()[0], 9) == b"x"
        os.close(w)

    def test_append_of_a_file_object(self, fds, tmp_path):
        """What has fileno() is accepted."""
        with (tmp_path / "file").open("w") as file:
            fds.append(file)
            assert same(fds.peek_fds()[0], file.fileno())

    @pytest.mark.parametrize(
        ("fd", "kind"),
        [(-1, ValueError), (2**31, OverflowError), (None, TypeError), ("1", TypeError), (True, TypeError)],
    )
    def test_append_of_what_is_none(self, fds, fd, kind):
        """It is refused."""
        with pytest.raises(kind):
            fds.append(fd)
        assert fds.get_length() == 0

    def test_append_of_one_that_is_not_open(self, fds):
        """It is Gio's error."""
        with pytest.raises(OSError, match="dup: Bad file descriptor") as caught:
            fds.append(99999)
        assert (caught.value.code, caught.value.errno) == (0, errno.EBADF)
        assert fds.get_length() == 0

    def test_append_without_room(self, fds, null):
        """It is TOO_MANY_OPEN_FILES, and the list is as it was."""
        fds.append(null)
        with room(0), pytest.raises(unixconn.TooManyOpenFilesError, match=f"dup: {os.strerror(errno.EMFILE)}"):
            fds.append(null)
        assert fds.get_length() == 1
        with room(0), pytest.raises(unixconn.TooManyOpenFilesError):
            fds.get(0)

    def test_get(self, null):
        """It gives a further duplicate, close-on-exec, that is the caller's."""
        fds = UnixFDList.new()
        fds.append(null)
        got = fds.get(0)
        assert got not in (null, *fds.peek_fds())
        assert same(got, null)
        assert not os.get_inheritable(got)
        del fds
        gc.collect()
        assert is_open(got)
        os.close(got)

    @pytest.mark.parametrize("index", [-1, 1, 2, -(2**40), 2**40])
    def test_get_outside_of_the_list(self, fds, null, index):
        """An index that is too large, or negative, is refused (D11)."""
        fds.append(null)
        before = open_descriptors()
        with pytest.raises((IndexError, OverflowError), match=str(index)):
            fds.get(index)
        assert open_descriptors() == before

    def test_get_of_an_empty_list(self, fds):
        """There is nothing at 0."""
        with pytest.raises(IndexError):
            fds.get(0)

    @pytest.mark.parametrize("index", [None, "0", object()])
    def test_get_of_a_wrong_type(self, fds, null, index):
        """An index is a number."""
        fds.append(null)
        with pytest.raises(TypeError):
            fds.get(index)

    def test_get_after_the_caller_closed_it(self, fds, null):
        """A number that somebody closed behind the list's back is an error."""
        fds.append(null)
        os.close(fds.peek_fds()[0])
        with pytest.raises(Error, match="dup: Bad file descriptor"):
            fds.get(0)
        fds.steal_fds()

    def test_peek_is_a_copy(self, fds, null):
        """What is done to the list of numbers does not change the object."""
        fds.append(null)
        fds.peek_fds().clear()
        assert fds.get_length() == 1
        assert all(map(is_open, fds.peek_fds()))

    def test_steal(self, null):
        """The numbers are the caller's; the list is empty and goes on."""
        fds = UnixFDList.new()
        fds.append(null)
        fds.append(null)
        stored = fds.peek_fds()
        stolen = fds.steal_fds()
        assert stolen == stored
        assert fds.get_length() == 0
        assert fds.append(null) == 0
        del fds
        gc.collect()
        for fd in stolen:
            assert is_open(fd)
            os.close(fd)

    def test_new_from_array(self):
        """It takes the numbers over as they are."""
        r, w = os.pipe()
        os.set_inheritable(r, True)
        fds = UnixFDList.new_from_array([r, w])
        assert fds.peek_fds() == [r, w]
        assert os.get_inheritable(r)
        assert not os.get_inheritable(w)
        del fds
        gc.collect()
        assert not is_open(r)
        assert not is_open(w)

    def test_new_from_array_of_nothing(self):
        """An empty array makes an empty list."""
        assert UnixFDList.new_from_array([]).get_length() == 0

    @pytest.mark.parametrize("wrong", [None, 5, ["x"], [None]])
    def test_new_from_array_of_a_wrong_type(self, wrong):
        """It wants numbers."""
        with pytest.raises(TypeError):
            UnixFDList.new_from_array(wrong)

    def test_new_from_array_that_fails_takes_nothing(self, null):
        """Where one is no descriptor the others stay the caller's, open."""
        with pytest.raises(TypeError):
            UnixFDList.new_from_array([null, "x"])
        gc.collect()
        assert is_open(null)

    def test_end_of_the_object(self, null):
        """What is still in it is closed."""
        fds = UnixFDList.new()
        fds.append(null)
        stored = fds.peek_fds()
        del fds
        gc.collect()
        assert not any(map(is_open, stored))
        assert is_open(null)

    def test_end_of_a_cycle(self, null):
        """That holds for one that refers to itself."""
        fds = UnixFDList.new()
        fds.append(null)
        stored = fds.peek_fds()
        fds.itself = fds
        del fds
        gc.collect()
        assert not any(map(is_open, stored))

    def test_end_of_one_whose_constructor_failed(self):
        """A subclass that fails before it is made harms nobody."""

        class Broken(UnixFDList):
            def __init__(self):
                raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            Broken()
        gc.collect()

    @pytest.mark.breaks_off
    def test_an_interrupted_append(self, fds, null):
        """An exception out of a signal handler in the middle of appending leaves each duplicate in the list."""
        before = open_descriptors()

        class StopError(Exception):
            pass

        def handler(*_):
            raise StopError

        # A function of its own: CPython's loops have a jump that their own `try` does not cover.
        def append():
            signal.setitimer(signal.ITIMER_REAL, 0.0003)
            while fds.get_length() < 200:
                fds.append(null)
            while True:
                time.sleep(0.0001)

        old = signal.signal(signal.SIGALRM, handler)
        try:
            for _ in range(100):
                with contextlib.suppress(StopError):
                    append()
                assert set(open_descriptors()) - set(before) == set(fds.peek_fds())
                for fd in fds.steal_fds():
                    os.close(fd)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)

    def test_taken_and_looked_up(self, null):
        """append_take() owns the number from then on; peek() and lookup() only show it."""
        fds = UnixFDList.new()
        number = os.dup(null)
        assert fds.append_take(number) == 0
        assert (fds.peek(0), fds.lookup(0), fds.lookup(1), fds.lookup(-1)) == (number, number, -1, -1)
        with pytest.raises(IndexError, match="index_ 1 is outside of the list, which has 1"):
            fds.peek(1)
        with pytest.raises(ValueError, match=f"fd {number} is in the list already"):
            fds.append_take(number)
        with pytest.raises(TypeError, match="fd must be"):
            fds.append_take(2.5)
        taken = FileDescriptor(os.dup(null))
        assert fds.append_take(taken) == 1
        with pytest.raises(ValueError, match="closed"):
            taken.fileno()
        unixconn.close_fds(fds.steal_fds())


class TestFDMessage:
    def test_properties(self, null):
        """Its level, type and size are those of SCM_RIGHTS."""
        message = UnixFDMessage.new()
        assert isinstance(message, SocketControlMessage)
        assert (message.get_level(), message.get_msg_type(), message.get_size()) == (SOL_SOCKET, SCM_RIGHTS, 0)
        assert message.append_fd(null) is True
        assert message.append_fd(null) is True
        assert message.get_size() == 8

    def test_the_list_is_shared(self, null):
        """new_with_fd_list keeps the list itself; what is added later counts."""
        fds = UnixFDList.new()
        message = UnixFDMessage.new_with_fd_list(fds)
        assert message.get_fd_list() is fds
        assert message.props.fd_list is fds
        fds.append(null)
        assert message.get_size() == 4
        message.append_fd(null)
        assert fds.get_length() == 2

    def test_without_a_list_it_makes_one(self):
        """The property's None gives an empty list, always the same."""
        for message in (UnixFDMessage.new(), UnixFDMessage(), UnixFDMessage(fd_list=None)):
            assert message.get_fd_list().get_length() == 0
            assert message.get_fd_list() is message.get_fd_list()

    def test_the_list_is_construct_only(self):
        """It can not be exchanged."""
        message = UnixFDMessage.new()
        with pytest.raises(TypeError):
            message.set_property("fd-list", UnixFDList.new())

    def test_new_with_no_list(self):
        """new_with_fd_list wants a list: None is refused, as in Gio."""
        with pytest.raises(TypeError):
            UnixFDMessage.new_with_fd_list(None)

    @pytest.mark.parametrize("wrong", [5, [0], "x"])
    def test_wrong_type(self, wrong):
        """A list of numbers is no UnixFDList."""
        with pytest.raises(TypeError, match="fd_list"):
            UnixFDMessage(fd_list=wrong)
        with pytest.raises(TypeError, match="fd_list"):
            UnixFDMessage.new_with_fd_list(wrong)

    def test_append_errors(self):
        """They are those of the list."""
        message = UnixFDMessage.new()
        with pytest.raises(Error, match="dup: Bad file descriptor"):
            message.append_fd(99999)
        with pytest.raises(ValueError, match="-1"):
            message.append_fd(-1)
        assert message.get_size() == 0

    def test_steal(self, null):
        """The numbers are the caller's."""
        message = UnixFDMessage.new()
        message.append_fd(null)
        [stolen] = message.steal_fds()
        assert message.get_fd_list().get_length() == 0
        del message
        gc.collect()
        assert is_open(stolen)
        os.close(stolen)

    def test_ends_with_the_last_who_has_the_list(self, null):
        """The list outlives the message as long as somebody has it."""
        message = UnixFDMessage.new()
        message.append_fd(null)
        fds = message.get_fd_list()
        stored = fds.peek_fds()
        del message
        gc.collect()
        assert all(map(is_open, stored))
        del fds
        gc.collect()
        assert not any(map(is_open, stored))


class TestCredentialsMessage:
    def test_of_this_process(self):
        """new() has this process's, and the level, type and size of SCM_CREDENTIALS."""
        for message in (UnixCredentialsMessage.new(), UnixCredentialsMessage()):
            assert (message.get_level(), message.get_msg_type(), message.get_size()) == (
                SOL_SOCKET,
                SCM_CREDENTIALS,
                12,
            )
            assert message.get_credentials().get_unix_pid() == os.getpid()
            assert message.get_credentials().get_unix_user() == os.geteuid()
            assert message.get_credentials() is message.get_credentials()

    def test_of_given_ones(self):
        """They are kept as the object they are."""
        mine = Credentials()
        message = UnixCredentialsMessage.new_with_credentials(mine)
        assert message.get_credentials() is mine
        assert message.props.credentials is mine
        assert UnixCredentialsMessage(credentials=mine).get_credentials() is mine

    @pytest.mark.parametrize("wrong", [None, 5, "x", object()])
    def test_wrong_type(self, wrong):
        """It wants Credentials."""
        with pytest.raises(TypeError, match="credentials"):
            UnixCredentialsMessage.new_with_credentials(wrong)

    def test_is_supported(self):
        """Linux has them."""
        assert UnixCredentialsMessage.is_supported() is True


class TestDeserialize:
    def test_descriptors(self):
        """The message owns them, close-on-exec."""
        numbers = os.pipe()
        for fd in numbers:
            os.set_inheritable(fd, True)
        message = SocketControlMessage.deserialize(SOL_SOCKET, SCM_RIGHTS, struct.pack("2i", *numbers))
        assert type(message) is UnixFDMessage
        assert message.get_fd_list().peek_fds() == list(numbers)
        assert not any(map(os.get_inheritable, numbers))
        del message
        gc.collect()
        assert not any(map(is_open, numbers))

    def test_no_descriptors(self):
        """An empty payload is an empty message."""
        assert SocketControlMessage.deserialize(SOL_SOCKET, SCM_RIGHTS, b"").get_size() == 0

    @pytest.mark.parametrize("size", [1, 3, 5, 7])
    def test_a_broken_size_of_descriptors(self, size):
        """A size that is no multiple of an int gives None."""
        assert SocketControlMessage.deserialize(SOL_SOCKET, SCM_RIGHTS, bytes(size)) is None

    def test_what_is_not_open(self, null):
        """A number that is not open gives None, and the others stay the caller's."""
        for numbers in ((null, 99999), (99999, null), (null, -1)):
            payload = struct.pack("2i", *numbers)
            assert SocketControlMessage.deserialize(SOL_SOCKET, SCM_RIGHTS, payload) is None
            gc.collect()
            assert is_open(null)

    def test_credentials(self):
        """They are what the bytes say, and vouched for by nobody."""
        message = SocketControlMessage.deserialize(SOL_SOCKET, SCM_CREDENTIALS, struct.pack("iII", 7, 8, 9))
        assert type(message) is UnixCredentialsMessage
        assert message.get_credentials().to_string() == "GCredentials:linux-ucred:pid=7,uid=8,gid=9"
        assert message.get_credentials().source is unixconn.CredentialsSource.SELF

    @pytest.mark.parametrize("numbers", [(0, 8, 9), (7, 2**32 - 1, 9), (7, 8, 2**32 - 1), (0, 65534, 65534)])
    def test_invalid_credentials(self, numbers):
        """A pid of 0 or an id of -1 gives None."""
        payload = struct.pack("iII", *numbers)
        assert SocketControlMessage.deserialize(SOL_SOCKET, SCM_CREDENTIALS, payload) is None

    @pytest.mark.parametrize("size", [0, 4, 8, 11, 13, 16])
    def test_a_broken_size_of_credentials(self, size):
        """A size other than 12 gives None."""
        payload = (struct.pack("iII", 7, 8, 9) * 2)[:size]
        assert SocketControlMessage.deserialize(SOL_SOCKET, SCM_CREDENTIALS, payload) is None

    @pytest.mark.parametrize(("level", "kind"), [(SOL_SOCKET, 99), (SOL_SOCKET, 0), (0, SCM_RIGHTS), (41, 1)])
    def test_unknown(self, level, kind):
        """Another level or type gives None."""
        assert SocketControlMessage.deserialize(level, kind, bytes(12)) is None

    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview, list], ids=lambda each: each.__name__)
    def test_kinds_of_buffers(self, make):
        """Payloads may be any bytes."""
        payload = make(struct.pack("iII", 7, 8, 9))
        assert SocketControlMessage.deserialize(SOL_SOCKET, SCM_CREDENTIALS, payload) is not None


def test_abstract():
    """A message of no kind can not be made."""
    with pytest.raises(TypeError, match="abstract"):
        SocketControlMessage()


class TestOnTheWire:
    def test_descriptors(self, sockets, null):
        """They arrive as descriptors of their own for the same files, in their order."""
        a, b = sockets
        other = os.memfd_create("other")
        message = UnixFDMessage.new()
        for fd in (null, other, null):
            message.append_fd(fd)
        send(a, message)
        [got] = receive(b)
        fds = got.get_fd_list().peek_fds()
        assert list(map(same, fds, (null, other, null))) == [True] * 3
        assert not any(map(os.get_inheritable, fds))
        assert not set(fds) & set(message.get_fd_list().peek_fds())
        os.close(other)

    def test_is_sent_as_often_as_one_likes(self, sockets, null):
        """Sending takes nothing from the message."""
        a, b = sockets
        message = UnixFDMessage.new()
        message.append_fd(null)
        for _ in range(3):
            send(a, message)
        assert [receive(b)[0].get_fd_list().get_length() for _ in range(3)] == [1, 1, 1]
        assert message.get_fd_list().get_length() == 1

    def test_an_empty_one(self, sockets):
        """It is sent, and arrives as nothing."""
        a, b = sockets
        assert send(a, UnixFDMessage.new()) == 1
        assert receive(b) == []

    def test_most_descriptors(self, sockets, null):
        """253 are what the kernel takes, and the C library may have room for less."""
        a, b = sockets
        message = UnixFDMessage.new()
        for _ in range(MOST):
            message.append_fd(null)
        send(a, message)
        [got] = receive(b)
        assert got.get_fd_list().get_length() == MOST

    @pytest.mark.parametrize("counts", [(254,), (253, 1), (127, 127)])
    def test_254_descriptors(self, sockets, null, counts):
        """
        One more is INVALID_ARGUMENT, in one message or several, and nothing goes.

        musl has no room for several of the kind, and says NO_SPACE.
        """
        a, b = sockets
        messages = []
        for count in counts:
            messages.append(UnixFDMessage.new())
            for _ in range(count):
                messages[-1].append_fd(null)
        with pytest.raises(Error) as caught:
            send(a, *messages)
        if sends_control(sum(socket.CMSG_SPACE(4 * count) for count in counts)):
            expected = unixconn.InvalidArgumentError, 13, errno.EINVAL
        else:
            expected = unixconn.SystemCallError, 12, errno.ENOMEM
        assert (type(caught.value), caught.value.code, caught.value.errno) == expected
        assert caught.value.message == f"Error sending message: {os.strerror(caught.value.errno)}"
        assert b.get_available_bytes() == 0

    def test_several_are_merged(self, sockets, null):
        """The kernel makes one message of two."""
        a, b = sockets
        messages = [UnixFDMessage.new() for _ in range(2)]
        for message in messages:
            message.append_fd(null)
        send(a, *messages)
        [got] = receive(b)
        assert got.get_fd_list().get_length() == 2

    def test_everything_at_once(self, sockets, null):
        """The most descriptors, credentials and a pidfd all have room; the pidfd is closed (D10)."""
        a, b = sockets
        b.set_option(SOL_SOCKET, SO_PASSCRED, 1)
        try:
            b.set_option(SOL_SOCKET, SO_PASSPIDFD, 1)
        except OSError:
            pytest.skip("the kernel has no SO_PASSPIDFD")
        message = UnixFDMessage.new()
        count = most_to_send(beside=socket.CMSG_SPACE(12))
        for _ in range(count):
            message.append_fd(null)
        before = len(open_descriptors())
        send(a, message, UnixCredentialsMessage.new())
        found = b.receive_message([], 0, None)
        assert [type(each) for each in found.messages] == [UnixCredentialsMessage, UnixFDMessage]
        assert found.messages[1].get_fd_list().get_length() == count
        assert not found.flags & socket.MSG_CTRUNC
        assert len(open_descriptors()) == before + count

    def test_more_than_the_c_library_has_room_for(self, sockets, null):
        """The most descriptors with credentials: musl on 64 bits says NO_SPACE, and nothing goes; others send them."""
        a, b = sockets
        message = UnixFDMessage.new()
        for _ in range(MOST):
            message.append_fd(null)
        if sends_control(socket.CMSG_SPACE(4 * MOST) + socket.CMSG_SPACE(12)):
            assert send(a, message, UnixCredentialsMessage.new()) == 1
            assert [each.get_fd_list().get_length() for each in receive(b)] == [MOST]
        else:
            with pytest.raises(unixconn.SystemCallError) as caught:
                send(a, message, UnixCredentialsMessage.new())
            assert (caught.value.code, caught.value.errno) == (12, errno.ENOMEM)
            assert b.get_available_bytes() == 0

    def test_a_pidfd_alone(self, sockets):
        """With SO_PASSPIDFD each message brings one, which nobody asked for: closed (D10)."""
        a, b = sockets
        try:
            b.set_option(SOL_SOCKET, SO_PASSPIDFD, 1)
        except OSError:
            pytest.skip("the kernel has no SO_PASSPIDFD")
        before = open_descriptors()
        for _ in range(5):
            send(a)
            assert receive(b) == []
        assert open_descriptors() == before

    def test_credentials(self, sockets):
        """With SO_PASSCRED they arrive, from the kernel."""
        a, b = sockets
        b.set_option(SOL_SOCKET, SO_PASSCRED, 1)
        send(a, UnixCredentialsMessage.new())
        [got] = receive(b)
        assert got.get_credentials().get_unix_pid() == os.getpid()
        assert got.get_credentials().source is unixconn.CredentialsSource.MESSAGE

    def test_credentials_nobody_asked_for(self, sockets):
        """Without SO_PASSCRED they do not."""
        a, b = sockets
        send(a, UnixCredentialsMessage.new())
        assert receive(b) == []

    def test_absent_credentials(self, sockets):
        """A message from before SO_PASSCRED was on has none: no message of nobody is made up."""
        a, b = sockets
        send(a)
        b.set_option(SOL_SOCKET, SO_PASSCRED, 1)
        assert receive(b) == []

    def test_end_of_the_stream_with_credentials_on(self, sockets):
        """The kernel adds a zeroed struct, which would say root: nobody's."""
        a, b = sockets
        b.set_option(SOL_SOCKET, SO_PASSCRED, 1)
        a.close()
        found = b.receive_message([bytearray(5)], 0, None)
        assert (found.size, found.messages) == (0, [])

    @pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
    def test_end_of_packets_with_credentials_on(self, kind):
        """The same over packets: no credentials come from a peer that has gone."""
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        sock = unixconn.Socket.new_from_fd(other.detach())
        try:
            sock.set_option(SOL_SOCKET, SO_PASSCRED, 1)
            sock.set_blocking(False)
            one.close()
            try:
                messages = sock.receive_message([bytearray(5)], 0, None).messages
            except Error:
                messages = []
            assert messages == []
        finally:
            sock.close()

    def test_forged_credentials(self, sockets):
        """Who has no right to other ids is told PERMISSION_DENIED."""
        if os.geteuid():
            mine = Credentials()
            mine.set_unix_user(0)
            with pytest.raises(PermissionError) as caught:
                send(sockets[0], UnixCredentialsMessage.new_with_credentials(mine))
            assert caught.value.code == 14
        else:
            from helpers import in_child

            def child():
                os.setgid(65534)
                os.setuid(65534)
                mine = Credentials()
                mine.set_unix_user(0)
                try:
                    send(sockets[0], UnixCredentialsMessage.new_with_credentials(mine))
                except unixconn.PermissionDeniedError as error:
                    return (error.code, error.errno) == (14, errno.EPERM)

            assert in_child(child) == 0

    def test_received_ones_end_with_the_object(self, sockets, null):
        """Descriptors of a message that nobody keeps are closed."""
        a, b = sockets
        message = UnixFDMessage.new()
        message.append_fd(null)
        send(a, message)
        before = open_descriptors()
        got = receive(b)
        assert len(open_descriptors()) == len(before) + 1
        del got
        gc.collect()
        assert open_descriptors() == before

    def test_truncation(self, sockets, null):
        """Too few free numbers show as MSG_CTRUNC; those that came are in the message."""
        a, b = sockets
        message = UnixFDMessage.new()
        for _ in range(3):
            message.append_fd(null)
        send(a, message)
        with room(1):
            found = b.receive_message([], 0, None)
        assert found.flags & socket.MSG_CTRUNC
        assert sum(each.get_fd_list().get_length() for each in found.messages) == 1

    def test_peek(self, sockets, null):
        """Peeking gives descriptors of its own each time, and leaves the message."""
        a, b = sockets
        message = UnixFDMessage.new()
        message.append_fd(null)
        send(a, message)
        before = open_descriptors()
        found = [b.receive_message([], flags, None).messages[0] for flags in (socket.MSG_PEEK, socket.MSG_PEEK, 0)]
        numbers = [each.get_fd_list().peek_fds()[0] for each in found]
        assert len(set(numbers)) == 3
        assert all(same(each, null) for each in numbers)
        del found
        gc.collect()
        assert open_descriptors() == before

    def test_send_of_a_closed_list(self, sockets, null):
        """A number that was closed behind the list's back is an error."""
        message = UnixFDMessage.new()
        message.append_fd(null)
        os.close(message.get_fd_list().peek_fds()[0])
        with pytest.raises(Error, match="Error sending message: Bad file descriptor"):
            send(sockets[0], message)
        message.steal_fds()

    @pytest.mark.parametrize("wrong", [[5], ["x"], [None], 5, [b"\0"]])
    def test_wrong_types(self, sockets, wrong):
        """Messages are a list of control messages; nothing is sent else."""
        a, b = sockets
        with pytest.raises(TypeError):
            a.send_message(None, [], wrong, 0, None)
        assert b.get_available_bytes() == 0

    def test_what_comes_from_elsewhere(self, raw, null):
        """A message of another program is read alike."""
        sock, connection = raw
        sock.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null, null]))])
        [got] = receive(connection.get_socket())
        assert got.get_fd_list().get_length() == 2
        assert got.get_size() == 8
        assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in got.get_fd_list().peek_fds())
