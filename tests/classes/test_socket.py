"""Socket: making, options, waiting, messages, listening, and its end."""

from __future__ import annotations

import array
import errno
import gc
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from helpers import SO_PASSCRED, Background, fill, forked, is_open, open_descriptors, room, settle

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
    handle,
)

SOL_SOCKET = socket.SOL_SOCKET
IN, OUT, HUP, ERR = IOCondition.IN, IOCondition.OUT, IOCondition.HUP, IOCondition.ERR


def new(kind=SocketType.STREAM):
    """Make a Unix socket."""
    return Socket.new(SocketFamily.UNIX, kind, SocketProtocol.DEFAULT)


@pytest.fixture
def sock():
    """A Unix stream socket without a peer."""
    made = new()
    yield made
    made.close()


@pytest.fixture
def sockets():
    """Two Sockets, each the other's peer."""
    a, b = UnixConnection.create_pair()
    with a, b:
        yield a.get_socket(), b.get_socket()


@pytest.fixture
def listener(tmp_path):
    """A Socket that listens at the path `listener.path`."""
    made = new()
    made.path = str(tmp_path / "listener")
    made.bind(UnixSocketAddress.new(made.path), False)
    made.listen()
    yield made
    made.close()


@pytest.fixture
def receiver(tmp_path):
    """A datagram Socket at the path `receiver.path`."""
    made = new(SocketType.DATAGRAM)
    made.path = str(tmp_path / "receiver")
    made.bind(UnixSocketAddress.new(made.path), False)
    yield made
    made.close()


@pytest.fixture
def storm():
    """Lets SIGALRM come every 50 ms; gives the list that grows by one each time."""
    calls = []
    before = signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    yield calls
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


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
        made = new(kind)
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
        made = new()
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
            new()

    def test_default_timeout_of_python(self):
        """socket.setdefaulttimeout() has no influence."""
        socket.setdefaulttimeout(0.01)
        try:
            made = new()
            a, b = UnixConnection.create_pair()
        finally:
            socket.setdefaulttimeout(None)
        with a, b:
            reader = Background(a.get_socket().receive, 5)
            assert reader.is_waiting()
            b.get_socket().send(b"x")
            assert reader.outcome() == b"x"
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
        made = new()
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
        made = new()
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
        assert a.get_option(SOL_SOCKET, SO_PASSCRED).value == 1
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


class TestNoSignalOfASend:
    """Where SIGPIPE is kept away by an option of the socket; here another option stands for it."""

    def test_however_it_is_made(self, monkeypatch, listener):
        """Opened, adopted, of a pair, or accepted: each has it."""
        monkeypatch.setattr(handle, "_NO_SIGPIPE", socket.SO_KEEPALIVE)
        client = new()
        client.connect(UnixSocketAddress.new(listener.path))
        one, other = UnixConnection.create_pair()
        made = [client, listener.accept(), one.get_socket(), other.get_socket()]
        made.append(Socket.new_from_fd(os.dup(listener.get_fd())))
        try:
            assert [each.get_option(SOL_SOCKET, socket.SO_KEEPALIVE).value for each in made] == [1] * len(made)
        finally:
            for each in made:
                each.close()

    def test_one_that_is_shut_down(self, monkeypatch):
        """It refuses the option on macOS, which is no reason not to have the socket."""
        monkeypatch.setattr(handle, "_NO_SIGPIPE", -1)
        with pytest.raises(OSError, match="available"), socket.socket(socket.AF_UNIX) as plain:
            plain.setsockopt(SOL_SOCKET, -1, 1)
        new().close()


class TestTimeouts:
    @pytest.mark.parametrize("what", ["receive", "receive_message", "accept", "condition_wait", "send"])
    def test_end_a_wait(self, sockets, listener, what):
        """Whatever waits ends with TIMED_OUT."""
        a, _ = sockets
        if what == "send":
            fill(UnixConnection(socket=a))
        used, call = {
            "receive": (a, lambda: a.receive(9)),
            "receive_message": (a, lambda: a.receive_message([], 0)),
            "condition_wait": (a, lambda: a.condition_wait(IN)),
            "send": (a, lambda: a.send(b"x")),
            "accept": (listener, listener.accept),
        }[what]
        used.set_timeout(1)
        with pytest.raises(TimeoutError) as caught:
            call()
        assert (caught.value.code, caught.value.message) == (24, "Socket I/O timed out")

    @pytest.mark.parametrize("what", ["receive", "condition_wait"])
    def test_signals_neither_stretch_nor_shrink_them(self, sockets, storm, what):
        """A second is a second however many signals come meanwhile (D20)."""
        a, _ = sockets
        a.set_timeout(1)
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            a.receive(9) if what == "receive" else a.condition_wait(IN)
        # The machine may be slow, so the upper end is far off; without an end it would never come.
        assert 1.0 <= time.monotonic() - start < 5.0
        assert len(storm) >= 5

    def test_signals_in_a_timed_wait(self, sockets, storm):
        """The same for a wait with a time of its own."""
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            sockets[0].condition_timed_wait(IN, 1_000_000)
        assert 1.0 <= time.monotonic() - start < 5.0
        assert len(storm) >= 5

    def test_microseconds_of_a_timed_wait(self, sockets):
        """A time of its own comes before the Socket's; -1 means the Socket's."""
        a, _ = sockets
        a.set_timeout(600)
        with pytest.raises(TimeoutError):
            a.condition_timed_wait(IN, 1000)
        with pytest.raises(TimeoutError):
            a.condition_timed_wait(IN, 0)
        a.set_timeout(1)
        with pytest.raises(TimeoutError):
            a.condition_timed_wait(IN, -1)

    def test_the_longest(self, sockets):
        """A timeout of 136 years is waited for as any other."""
        a, b = sockets
        a.set_timeout(2**32 - 1)
        waiting = Background(a.receive, 9)
        assert waiting.is_waiting()
        b.send(b"x")
        assert waiting.outcome() == b"x"
        waiting = Background(a.condition_timed_wait, IN, 2**63 - 1)
        assert waiting.is_waiting()
        b.send(b"x")
        assert waiting.outcome() is True


class TestSignals:
    def test_a_storm_changes_nothing(self, sockets, storm):
        """A call that signals interrupt, with handlers that return, goes on and gets its message."""
        a, b = sockets
        timer = threading.Timer(0.6, b.send, [b"hello"])
        timer.start()
        assert a.receive(9) == b"hello"
        timer.join()
        assert len(storm) >= 3

    def test_children_that_end(self, sockets):
        """SIGCHLD does not end a wait."""
        a, b = sockets
        calls = []
        before = signal.signal(signal.SIGCHLD, lambda *_: calls.append(1))
        try:
            children = [subprocess.Popen([sys.executable, "-S", "-c", ""]) for _ in range(3)]

            def reap():
                for child in children:
                    child.wait()
                settle(lambda: calls)
                b.send(b"hello")

            reaper = Background(reap)
            assert a.receive(9) == b"hello"
            reaper.outcome()
        finally:
            signal.signal(signal.SIGCHLD, before)
        assert calls

    @pytest.mark.parametrize(
        "what", ["receive", "receive_message", "accept", "condition_wait", "send", "receive_fd", "receive_credentials"]
    )
    def test_ctrl_c(self, sockets, listener, what):
        """Ctrl-C ends a blocked call at once, and what comes later is still there (D9)."""
        a, b = sockets
        connection = UnixConnection(socket=a)
        if what == "send":
            fill(connection)
        call = {
            "receive": lambda: a.receive(9),
            "receive_message": lambda: a.receive_message([], 0),
            "condition_wait": lambda: a.condition_wait(IN),
            "send": lambda: a.send(b"x"),
            "accept": listener.accept,
            "receive_fd": connection.receive_fd,
            "receive_credentials": connection.receive_credentials,
        }[what]
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
        try:
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                call()
        finally:
            timer.join()
            signal.signal(signal.SIGINT, before)
        assert a.get_option(SOL_SOCKET, SO_PASSCRED).value == 0
        if what != "send":
            b.send(b"later")
            assert a.receive(9) == b"later"

    @pytest.mark.parametrize("kind", [TimeoutError, OSError, BlockingIOError, InterruptedError])
    def test_an_exception_out_of_a_handler(self, sockets, kind):
        """It comes out as it is, also if it is of a kind that system calls raise."""

        class Mine(kind):
            pass

        def handler(*_):
            raise Mine

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Mine):
                sockets[0].receive(9)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def test_closing_in_a_handler(self, sockets):
        """A signal handler may close what its thread waits for."""
        a, _ = sockets
        before = signal.signal(signal.SIGALRM, lambda *_: a.close())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(unixconn.ClosedError):
                a.receive(9)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def test_using_it_in_a_handler(self, sockets):
        """A signal handler may send and receive on the socket that its thread waits for."""
        a, b = sockets
        got = []

        def handler(*_):
            b.send(b"xy")
            got.append(a.receive(1))

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            got.append(a.receive(1))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert got == [b"x", b"y"]


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
        sender = new(SocketType.DATAGRAM)
        assert sender.send_message(UnixSocketAddress.new(receiver.path), [b"hello"], None, 0) == 5
        assert receiver.receive(99) == b"hello"
        sender.close()

    def test_to_an_address_where_nobody_is(self, tmp_path):
        """It is NOT_FOUND."""
        sender = new(SocketType.DATAGRAM)
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


class TestConditions:
    def test_check(self, sockets):
        """It tells what holds now, and does not wait."""
        a, b = sockets
        assert a.condition_check(IN) == 0
        assert a.condition_check(IN | OUT) == OUT
        b.send(b"x")
        assert a.condition_check(IN) == IN
        assert isinstance(a.condition_check(IN), IOCondition)
        b.close()
        assert a.condition_check(IN) == IN | HUP
        assert a.condition_check(IOCondition(0)) == HUP

    def test_wait(self, sockets):
        """It waits until the condition holds, and takes nothing."""
        a, b = sockets
        assert a.condition_wait(OUT) is True
        waiting = Background(a.condition_wait, IN)
        assert waiting.is_waiting()
        b.send(b"x")
        assert waiting.outcome() is True
        assert a.condition_wait(IN) is True
        assert a.receive(9) == b"x"

    def test_end_of_the_stream(self, sockets):
        """The peer's end is something to read."""
        a, b = sockets
        waiting = Background(a.condition_wait, IN)
        assert waiting.is_waiting()
        b.close()
        assert waiting.outcome() is True

    def test_waits_although_it_does_not_block(self, sockets):
        """A Socket that is set not to block waits here all the same."""
        a, b = sockets
        a.set_blocking(False)
        waiting = Background(a.condition_wait, IN)
        assert waiting.is_waiting()
        b.send(b"x")
        assert waiting.outcome() is True

    def test_is_cancelled(self, sockets):
        """A Cancellable ends it; it wins over a condition that holds."""
        a, b = sockets
        cancellable = Cancellable()
        waiting = Background(a.condition_wait, IN, cancellable)
        assert waiting.is_waiting()
        cancellable.cancel()
        assert isinstance(waiting.outcome(), unixconn.CancelledError)
        b.send(b"x")
        with pytest.raises(unixconn.CancelledError):
            a.condition_wait(IN, cancellable)
        with pytest.raises(unixconn.CancelledError):
            a.condition_timed_wait(IN, 1000, cancellable)

    @pytest.mark.parametrize("wrong", ["IN", None, object()])
    def test_wrong_types(self, sockets, wrong):
        """A condition is a number."""
        a, _ = sockets
        for call in (a.condition_check, a.condition_wait, lambda wrong: a.condition_timed_wait(wrong, 1000)):
            with pytest.raises(TypeError):
                call(wrong)


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
        made = new()
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
        waiting.join(3)
        still = waiting.is_alive()
        listener.close()
        assert not still
        assert isinstance(waiting.outcome(), Error)


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
