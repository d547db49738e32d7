"""Socket: how it is made, what it says of itself, and its end."""

from __future__ import annotations

import errno
import gc
import math
import os
import socket
import subprocess
import sys

import pytest
from helpers import SO_PASSCRED, Background, fill, forked, is_open, new_socket, room, settle

import unixconn
from unixconn import (
    Cancellable,
    Error,
    IOCondition,
    Socket,
    SocketFamily,
    SocketProtocol,
    SocketType,
    UnixConnection,
    UnixSocketAddress,
    UnixSocketAddressType,
)

SOL_SOCKET = socket.SOL_SOCKET
IN, OUT, HUP, ERR = IOCondition.IN, IOCondition.OUT, IOCondition.HUP, IOCondition.ERR


class TestNew:
    @pytest.mark.parametrize(
        ("kind", "kernel"),
        [
            (SocketType.STREAM, socket.SOCK_STREAM),
            (SocketType.DATAGRAM, socket.SOCK_DGRAM),
            (SocketType.SEQPACKET, socket.SOCK_SEQPACKET),
        ],
    )
    def test_types(self, kind, kernel):
        """The kernel's socket is of the type that was asked for, and close-on-exec; the Socket blocks."""
        made = new_socket(kind)
        assert (made.get_family(), made.get_socket_type(), made.get_protocol()) == (SocketFamily.UNIX, kind, 0)
        assert made.get_properties("family", "type", "protocol") == (SocketFamily.UNIX, kind, SocketProtocol.DEFAULT)
        assert not os.get_inheritable(made.get_fd())
        assert made.get_option(SOL_SOCKET, socket.SO_TYPE) == (True, kernel)
        assert made.get_option(SOL_SOCKET, socket.SO_DOMAIN).value == socket.AF_UNIX
        assert made.get_blocking() is True
        assert not made.is_closed()
        assert not made.is_connected()
        made.close()

    def test_settings(self):
        """A new one has Gio's settings."""
        made = new_socket()
        assert made.get_properties("blocking", "timeout", "listen-backlog", "keepalive") == (True, 0, 10, False)
        made.close()

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            ((SocketFamily.INVALID, SocketType.STREAM, SocketProtocol.DEFAULT), "family"),
            ((SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.UNKNOWN), "protocol"),
        ],
    )
    def test_unknown(self, arguments, what):
        """An unknown family or protocol is INVALID_ARGUMENT."""
        with pytest.raises(unixconn.InvalidArgumentError) as caught:
            Socket.new(*arguments)
        assert (caught.value.code, caught.value.message) == (
            13,
            f"Unable to create socket: Unknown {what} was specified",
        )

    def test_what_the_kernel_does_not_have(self):
        """A protocol that the family lacks is the kernel's error."""
        with pytest.raises(Error, match="Unable to create socket: ") as caught:
            Socket.new(SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.UDP)
        assert caught.value.code == 15

    @pytest.mark.parametrize("arguments", [(77, 1, 0), (1, 77, 0), (1, 1, 77), ("unix", 1, 0), (1, 1), (1, 1, 0, 0)])
    def test_wrong_arguments(self, arguments):
        """What is no member of an enumeration is a TypeError, and so is a wrong count."""
        with pytest.raises(TypeError):
            Socket.new(*arguments)

    def test_without_room(self):
        """A full table is TOO_MANY_OPEN_FILES."""
        text = f"Unable to create socket: {os.strerror(errno.EMFILE)}"
        with room(0), pytest.raises(unixconn.TooManyOpenFilesError, match=text):
            new_socket()

    def test_default_timeout_of_python(self):
        """socket.setdefaulttimeout() has no influence."""
        socket.setdefaulttimeout(0.01)
        try:
            made = new_socket()
            a, b = UnixConnection.create_pair()
        finally:
            socket.setdefaulttimeout(None)
        with a, b:
            assert os.get_blocking(a.fileno()) is os.get_blocking(b.fileno()) is True
            reader = Background(a.get_socket().receive, 5)
            assert reader.is_waiting()
            b.get_socket().send(b"x")
            assert reader.outcome() == b"x"
            reader = Background(a.get_input_stream().read_all, 3_000_000)
            assert reader.is_waiting()
            writer = Background(b.get_output_stream().write_all, bytes(3_000_000))
            assert reader.outcome() == bytes(3_000_000)
            assert writer.outcome() == (True, 3_000_000)
        made.close()


class TestNewFromFd:
    def test_takes_it(self):
        """The number stays; family, type and protocol are the kernel's."""
        for kind, expected in ((socket.SOCK_STREAM, SocketType.STREAM), (socket.SOCK_SEQPACKET, SocketType.SEQPACKET)):
            number = socket.socket(socket.AF_UNIX, kind).detach()
            made = Socket.new_from_fd(number)
            assert made.get_fd() == made.props.fd == number
            assert (made.get_family(), made.get_socket_type()) == (SocketFamily.UNIX, expected)
            made.close()
            assert not is_open(number)

    def test_of_tcp(self):
        """Another family is told as such."""
        made = Socket.new_from_fd(socket.socket().detach())
        assert (made.get_family(), made.get_protocol()) == (SocketFamily.IPV4, SocketProtocol.TCP)
        made.close()

    def test_becomes_close_on_exec(self):
        """An inheritable one is made close-on-exec (D22)."""
        number = socket.socket(socket.AF_UNIX).detach()
        os.set_inheritable(number, True)
        made = Socket.new_from_fd(number)
        assert not os.get_inheritable(number)
        made.close()

    @pytest.mark.parametrize("blocking", [True, False])
    def test_leaves_o_nonblock_alone(self, blocking):
        """The flag belongs to all who have the socket."""
        with socket.socket(socket.AF_UNIX) as other:
            other.setblocking(blocking)
            made = Socket.new_from_fd(os.dup(other.fileno()))
            made.set_blocking(not blocking)
            assert os.get_blocking(other.fileno()) is blocking
            assert made.get_blocking() is not blocking
            made.close()

    def test_waits_on_a_non_blocking_number(self):
        """O_NONBLOCK of the descriptor does not matter: the Socket's own setting does."""
        one, other = socket.socketpair()
        with one:
            other.setblocking(False)
            made = Socket.new_from_fd(other.detach())
            reader = Background(made.receive, 9)
            assert reader.is_waiting()
            one.send(b"x")
            assert reader.outcome() == b"x"
            made.close()

    def test_of_what_is_no_socket(self):
        """It is INVALID_ARGUMENT, and the number is still the caller's, open and as inheritable as before (D16)."""
        r, w = os.pipe()
        os.set_inheritable(r, True)
        with pytest.raises(Error) as caught:
            Socket.new_from_fd(r)
        gc.collect()
        assert (caught.value.code, caught.value.message) == (
            13,
            f"creating GSocket from fd: {os.strerror(errno.ENOTSOCK)}",
        )
        assert os.get_inheritable(r)
        os.write(w, b"x")
        assert os.read(r, 9) == b"x"
        os.close(r)
        os.close(w)

    def test_of_a_number_that_is_not_open(self):
        """It is FAILED, with its errno."""
        with pytest.raises(OSError, match="creating GSocket from fd: Bad file descriptor") as caught:
            Socket.new_from_fd(99999)
        assert (caught.value.code, caught.value.errno) == (0, errno.EBADF)

    def test_of_minus_one(self):
        """It is what Gio says of it."""
        with pytest.raises(unixconn.InvalidArgumentError) as caught:
            Socket.new_from_fd(-1)
        assert caught.value.message == "Unable to create socket: Unknown family was specified"

    @pytest.mark.parametrize(("wrong", "kind"), [("5", TypeError), (None, TypeError), (2**31, OverflowError)])
    def test_wrong_types(self, wrong, kind):
        """A number is needed."""
        with pytest.raises(kind):
            Socket.new_from_fd(wrong)

    def test_needs_no_room(self):
        """Taking over a number makes none."""
        number = socket.socket(socket.AF_UNIX).detach()
        with room(0):
            made = Socket.new_from_fd(number)
        made.close()


class TestNotInitialised:
    CALLS = {  # noqa: RUF012 - read only
        "accept": lambda sock: sock.accept(),
        "bind": lambda sock: sock.bind(UnixSocketAddress.new("/x"), False),
        "listen": lambda sock: sock.listen(),
        "shutdown": lambda sock: sock.shutdown(True, True),
        "close": lambda sock: sock.close(),
        "send": lambda sock: sock.send(b"x"),
        "receive": lambda sock: sock.receive(1),
        "send_message": lambda sock: sock.send_message(None, [], None, 0, None),
        "receive_message": lambda sock: sock.receive_message([], 0, None),
        "condition_wait": lambda sock: sock.condition_wait(IN, None),
        "condition_timed_wait": lambda sock: sock.condition_timed_wait(IN, 1000, None),
        "get_option": lambda sock: sock.get_option(SOL_SOCKET, SO_PASSCRED),
        "set_option": lambda sock: sock.set_option(SOL_SOCKET, SO_PASSCRED, 1),
        "get_credentials": lambda sock: sock.get_credentials(),
        "get_available_bytes": lambda sock: sock.get_available_bytes(),
    }

    @pytest.mark.parametrize("name", CALLS)
    def test_is_told(self, name):
        """Each method of a Socket without a descriptor is NOT_INITIALIZED."""
        with pytest.raises(unixconn.NotInitializedError) as caught:
            self.CALLS[name](Socket())
        assert (caught.value.code, caught.value.message) == (32, "Invalid socket, not initialized")

    def test_questions_to_the_kernel(self):
        """Addresses and conditions are asked for without that check, as in Gio."""
        made = Socket()
        assert made.condition_check(IN) == 0
        for ask, which in ((made.get_local_address, "local"), (made.get_remote_address, "remote")):
            with pytest.raises(Error) as caught:
                ask()
            assert caught.value.message == f"could not get {which} address: Bad file descriptor"

    def test_can_be_initialised(self):
        """init(None) makes it usable, once."""
        number = socket.socket(socket.AF_UNIX).detach()
        made = Socket(fd=number)
        assert made.get_fd() == number
        with pytest.raises(unixconn.NotInitializedError):
            made.get_option(SOL_SOCKET, socket.SO_TYPE)
        assert made.init(None) is True
        assert made.init(None) is True
        assert made.get_option(SOL_SOCKET, socket.SO_TYPE).value == socket.SOCK_STREAM
        made.close()

    def test_a_number_that_was_never_taken(self):
        """The end of a Socket that was not initialised leaves the caller's number alone."""
        with socket.socket(socket.AF_UNIX) as other:
            made = Socket(fd=other.fileno())
            del made
            gc.collect()
            assert is_open(other.fileno())

    def test_is_no_closed_one(self):
        """It is neither closed nor connected."""
        made = Socket()
        assert made.is_closed() is False
        assert made.is_connected() is False

    def test_constructor_properties(self):
        """Settings can be given to the constructor."""
        made = Socket(
            family=SocketFamily.UNIX,
            type=SocketType.DATAGRAM,
            protocol=SocketProtocol.DEFAULT,
            blocking=False,
            listen_backlog=3,
            timeout=4,
        )
        made.init(None)
        assert made.get_properties("blocking", "listen-backlog", "timeout", "type") == (
            False,
            3,
            4,
            SocketType.DATAGRAM,
        )
        made.close()


class TestClosed:
    @pytest.mark.parametrize(
        "name",
        sorted(set(TestNotInitialised.CALLS) - {"close", "get_available_bytes"}),
    )
    def test_is_told(self, name):
        """Each method of a closed Socket is CLOSED."""
        made = new_socket()
        made.close()
        with pytest.raises(unixconn.ClosedError) as caught:
            TestNotInitialised.CALLS[name](made)
        assert (caught.value.code, caught.value.message) == (18, "Socket is already closed")

    def test_what_it_still_tells(self, sockets):
        """Its settings remain; what only the kernel knows does not."""
        a, _ = sockets
        assert a.close() is True
        assert a.close() is True
        assert a.is_closed()
        assert not a.is_connected()
        assert a.get_fd() == -1
        assert a.condition_check(IN | OUT) == 0
        assert a.get_available_bytes() == -1
        assert (a.get_family(), a.get_socket_type()) == (SocketFamily.UNIX, SocketType.STREAM)
        with pytest.raises(Error, match="could not get local address: Bad file descriptor"):
            a.get_local_address()
        with pytest.raises(Error, match="could not get remote address: Bad file descriptor"):
            a.get_remote_address()

    def test_before_cancelled(self, sockets):
        """Closed wins over cancelled."""
        a, _ = sockets
        cancellable = Cancellable()
        cancellable.cancel()
        with pytest.raises(unixconn.CancelledError):
            a.receive(1, cancellable)
        a.close()
        for call in (
            lambda: a.receive(1, cancellable),
            lambda: a.send(b"x", cancellable),
            lambda: a.accept(cancellable),
            lambda: a.condition_wait(IN, cancellable),
            lambda: a.receive_message([], 0, cancellable),
        ):
            with pytest.raises(unixconn.ClosedError):
                call()

    @pytest.mark.parametrize("what", ["receive", "receive_message", "condition_wait", "send", "accept"])
    def test_wakes_those_who_wait(self, sockets, listener, what):
        """close() ends the waits of other threads with CLOSED, and the number is closed (D2)."""
        a, b = sockets
        connection = UnixConnection(socket=a)
        if what == "send":
            fill(connection)
        used, call = {
            "receive": (a, lambda: a.receive(9)),
            "receive_message": (a, lambda: a.receive_message([], 0)),
            "condition_wait": (a, lambda: a.condition_wait(IN)),
            "send": (a, lambda: a.send(b"x")),
            "accept": (listener, listener.accept),
        }[what]
        waiting = Background(call)
        assert waiting.is_waiting()
        number = used.get_fd()
        used.close()
        error = waiting.outcome()
        assert isinstance(error, unixconn.ClosedError)
        assert error.message == "Socket is already closed"
        assert settle(lambda: not is_open(number))
        assert not b.is_closed()

    def test_end_of_the_object(self):
        """The descriptor is closed with it."""
        made = new_socket()
        number = made.get_fd()
        del made
        gc.collect()
        assert not is_open(number)

    def test_a_waiting_thread_keeps_it(self, sockets):
        """A wait holds the socket, although nobody else does."""
        one, other = socket.socketpair()
        with one:
            waiting = Background(Socket.new_from_fd(other.detach()).receive, 9)
            assert waiting.is_waiting()
            gc.collect()
            one.send(b"x")
            assert waiting.outcome() == b"x"


class TestSettings:
    def test_timeout(self, sock):
        """It is whole seconds."""
        sock.set_timeout(5)
        assert sock.get_timeout() == 5
        sock.set_timeout(2.5)
        assert sock.get_timeout() == 2
        sock.set_timeout(2**32 - 1)
        assert sock.get_timeout() == 2**32 - 1

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            (-1, OverflowError),
            (2**32, OverflowError),
            (math.inf, OverflowError),
            (math.nan, ValueError),
            ("1", TypeError),
            (0.5, ValueError),
        ],
    )
    def test_timeout_out_of_range(self, sock, value, kind):
        """What a C unsigned int can not hold is refused, by name, and changes nothing; less than a second as well."""
        with pytest.raises(kind, match=f"timeout must be .*, not {value!r}"):
            sock.set_timeout(value)
        assert sock.get_timeout() == 0

    def test_listen_backlog(self, sock):
        """It is for the next listen()."""
        sock.set_listen_backlog(3)
        assert sock.get_listen_backlog() == 3

    @pytest.mark.parametrize("kind", [Socket, unixconn.SocketListener])
    def test_any_backlog(self, kind):
        """It may be any C int, as in Gio: the kernel takes a negative one for the largest."""
        made = kind()
        set_it = made.set_listen_backlog if kind is Socket else made.set_backlog
        for number in (-1, -(2**31), 2**31 - 1):
            set_it(number)
            assert made.props.listen_backlog == number
        for number in (2**31, -(2**31) - 1):
            with pytest.raises(OverflowError, match=f"backlog must be .*, not {number}"):
                set_it(number)

    def test_a_negative_backlog(self, tmp_path):
        """Peers can connect."""
        with new_socket() as made, new_socket() as client:
            made.set_listen_backlog(-1)
            made.bind(UnixSocketAddress.new(tmp_path / "s"), False)
            made.listen()
            client.connect(UnixSocketAddress.new(tmp_path / "s"))
            made.accept().close()

    def test_keepalive(self, sock):
        """It is SO_KEEPALIVE."""
        sock.set_keepalive(True)
        assert sock.get_keepalive() is True
        assert sock.get_option(SOL_SOCKET, socket.SO_KEEPALIVE).value == 1

    def test_options(self, sockets):
        """An option is read as (True, value) and set as an integer."""
        a, _ = sockets
        assert a.set_option(SOL_SOCKET, SO_PASSCRED, 1) is True
        found = a.get_option(SOL_SOCKET, SO_PASSCRED)
        assert found == (True, 1)
        assert (found.ok, found.value) == (True, 1)
        assert a.set_option(SOL_SOCKET, SO_PASSCRED, False)
        assert a.get_option(SOL_SOCKET, SO_PASSCRED) == (True, 0)

    def test_options_that_do_not_exist(self, sockets):
        """The error is the kernel's, and the text the bare strerror."""
        a, _ = sockets
        for call in (lambda: a.get_option(SOL_SOCKET, 9999), lambda: a.set_option(SOL_SOCKET, 9999, 1)):
            with pytest.raises(OSError, match="Protocol not available") as caught:
                call()
            assert (caught.value.code, caught.value.errno) == (0, errno.ENOPROTOOPT)

    @pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
    def test_options_out_of_range(self, sockets, value):
        """A value that no C int holds is refused."""
        with pytest.raises(OverflowError):
            sockets[0].set_option(SOL_SOCKET, SO_PASSCRED, value)

    @pytest.mark.parametrize("own", [0, 1])
    def test_passcred_is_kept(self, sockets, own):
        """What the user has set is there again after a receiver of credentials, also if set meanwhile."""
        a, b = sockets
        connection = UnixConnection(socket=a)
        a.set_option(SOL_SOCKET, SO_PASSCRED, own)
        waiting = Background(connection.receive_credentials)
        assert waiting.is_waiting()
        assert settle(lambda: a.get_option(SOL_SOCKET, SO_PASSCRED).value == 1)
        b.send(b"x")
        waiting.outcome()
        assert a.get_option(SOL_SOCKET, SO_PASSCRED).value == own
        waiting = Background(connection.receive_credentials)
        assert waiting.is_waiting()
        a.set_option(SOL_SOCKET, SO_PASSCRED, 1 - own)
        assert a.get_option(SOL_SOCKET, SO_PASSCRED).value == 1
        b.send(b"x")
        waiting.outcome()
        assert a.get_option(SOL_SOCKET, SO_PASSCRED).value == 1 - own

    def test_blocking_is_the_object_s(self, sockets):
        """set_blocking does not touch the descriptor."""
        a, _ = sockets
        before = os.get_blocking(a.get_fd())
        a.set_blocking(False)
        assert a.get_blocking() is False
        assert os.get_blocking(a.get_fd()) is before
        for call in (lambda: a.receive(1), lambda: a.receive_message([], 0)):
            with pytest.raises(BlockingIOError) as caught:
                call()
            assert (caught.value.code, caught.value.message) == (27, "Resource temporarily unavailable")


class TestQuestions:
    def test_available_bytes(self, sockets):
        """It counts what can be read at once."""
        a, b = sockets
        assert b.get_available_bytes() == 0
        a.send(b"hello")
        assert b.get_available_bytes() == 5
        b.receive(2)
        assert b.get_available_bytes() == 3

    def test_available_bytes_of_datagrams(self, receiver):
        """Of datagrams it counts the next one."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", receiver.path)
            sender.sendto(b"you", receiver.path)
        assert receiver.get_available_bytes() == 5

    def test_addresses(self, sockets, sock):
        """Both ends of a pair are anonymous; a socket without a peer has no remote address."""
        a, _ = sockets
        assert a.get_local_address().get_address_type() is UnixSocketAddressType.ANONYMOUS
        assert a.get_remote_address().get_address_type() is UnixSocketAddressType.ANONYMOUS
        with pytest.raises(unixconn.NotConnectedError, match="could not get remote address: ") as caught:
            sock.get_remote_address()
        assert caught.value.code == 45

    def test_credentials(self, sockets, sock):
        """They are of who made the pair; without a peer there are none."""
        a, b = sockets
        b.close()
        found = a.get_credentials()
        assert (found.get_unix_pid(), found.get_unix_user()) == (os.getpid(), os.geteuid())
        assert found.source is unixconn.CredentialsSource.PEER
        none = sock.get_credentials()
        assert none.to_string() == "GCredentials:linux-ucred:pid=0"
        with pytest.raises(unixconn.InvalidDataError):
            none.get_unix_user()
        with pytest.raises(unixconn.InvalidDataError):
            none.get_unix_pid()

    def test_a_datagram_socket_that_is_connected(self):
        """A pair of datagram sockets is connected too."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with one:
            made = Socket.new_from_fd(other.detach())
            assert made.is_connected()
            made.close()


class TestFork:
    def test_both_have_it(self, sockets):
        """A child talks by the socket that it has inherited, and its close leaves the parent's alone."""
        a, b = sockets

        def child():
            a.send(b"from the child")
            a.close()
            return a.is_closed()

        pid = forked(child)
        assert b.receive(99) == b"from the child"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        a.send(b"x")
        assert b.receive(9) == b"x"

    def test_a_program_does_not_get_it(self, sockets):
        """What this process starts has none of its sockets, whatever else is inherited."""
        numbers = [each.get_fd() for each in sockets]
        program = "import os, sys; print([os.path.exists(f'/proc/self/fd/{n}') for n in map(int, sys.argv[1:])])"
        command = [sys.executable, "-S", "-c", program, *map(str, numbers)]
        assert subprocess.check_output(command, close_fds=False).strip() == b"[False, False]"
