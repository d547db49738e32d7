"""Error, its kinds, and the codes of errnos."""

from __future__ import annotations

import contextlib
import copy
import errno
import json
import os
import pickle
import socket
import subprocess

import pytest
from helpers import adopt, room
from peers.peer_gio import need_gio

import unixconn
from unixconn import Cancellable, Error, IOErrorEnum, Socket, UnixConnection, UnixSocketAddress
from unixconn._base.errors import IO_ERROR_DOMAIN, io_error, system_error

KINDS = [
    each
    for each in map(unixconn.__getattr__, unixconn._HOMES)
    if isinstance(each, type) and issubclass(each, Error) and each is not Error
]


CLOSED = 99999
TAKING = {
    "send_fd": lambda fd: UnixConnection.create_pair()[0].send_fd(fd),
    "send_fds": lambda fd: UnixConnection.create_pair()[0].send_fds([0, fd]),
    "send_message": lambda fd: UnixConnection.create_pair()[0].send_message(b"x", [0, fd]),
    "from_socket": UnixConnection.from_socket,
    "borrow": UnixConnection.borrow,
    "listen": lambda fd: unixconn.listen(sock=fd),
    "Socket": Socket.new_from_fd,
    "FileDescriptor": unixconn.FileDescriptor,
    "samefile": lambda fd: unixconn.FileDescriptor(os.dup(0)).samefile(fd),
    "UnixFDList": lambda fd: unixconn.UnixFDList().append(fd),
    "UnixOutputStream": lambda fd: unixconn.UnixOutputStream.new(fd, False).write(b"x"),
    "UnixInputStream": lambda fd: unixconn.UnixInputStream.new(fd, False).read_bytes(1),
}
"""Calls that are given the number of a descriptor."""


@pytest.fixture
def quark():
    """The number of Gio's domain."""
    return unixconn.io_error_quark()


def closed():
    """Use a connection that was closed here."""
    a, b = UnixConnection.create_pair()
    a.close()
    with b:
        a.send_fd(0)


def ended():
    """Receive from a peer that has closed."""
    a, b = UnixConnection.create_pair()
    a.close()
    with b:
        b.receive_fd()


def reset():
    """Receive from a peer that has closed without reading."""
    a, b = UnixConnection.create_pair()
    b.send_fd(0)
    a.close()
    with b:
        b.receive_fd()


def broken():
    """Send to a peer that has closed."""
    a, b = UnixConnection.create_pair()
    a.close()
    with b:
        b.send_fd(0)


def cancelled():
    """Receive with a cancelled Cancellable."""
    cancellable = Cancellable()
    cancellable.cancel()
    a, b = UnixConnection.create_pair()
    with a, b:
        a.receive_fd(cancellable)


def timed_out():
    """Wait in vain."""
    a, b = UnixConnection.create_pair()
    with a, b:
        a.get_socket().condition_timed_wait(unixconn.IOCondition.IN, 1000)


def would_block():
    """Do not wait."""
    a, b = UnixConnection.create_pair()
    with a, b:
        a.get_socket().set_blocking(False)
        a.receive_fd()


def unconnected():
    """Send without a peer."""
    with adopt(socket.socket(socket.AF_UNIX)) as connection:
        connection.send_fd(0)


def unconnected_receive():
    """Receive without a peer."""
    with adopt(socket.socket(socket.AF_UNIX)) as connection:
        connection.receive_fd()


def uninitialised():
    """Use a Socket without a descriptor."""
    Socket().accept()


def pending():
    """Close a connection that is busy."""
    a, b = UnixConnection.create_pair()
    with a, b:
        a.set_pending()
        try:
            a.close()
        finally:
            a.clear_pending()


def not_open():
    """Send a number that is not open."""
    a, b = UnixConnection.create_pair()
    with a, b:
        a.send_fd(99999)


def full_table():
    """Make a pair where there is no room."""
    with room(0):
        UnixConnection.create_pair()


def no_credentials():
    """Ask a socket without a peer for it."""
    one = Socket.new(unixconn.SocketFamily.UNIX, unixconn.SocketType.STREAM, unixconn.SocketProtocol.DEFAULT)
    try:
        one.get_credentials().get_unix_user()
    finally:
        one.close()


def no_option():
    """Set an option that does not exist."""
    a, b = UnixConnection.create_pair()
    with a, b:
        a.get_socket().set_option(socket.SOL_SOCKET, 9999, 1)


def another_family():
    """Pass a descriptor over TCP."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with adopt(socket.create_connection(server.getsockname())) as connection:
            connection.send_fd(0)


def too_long():
    """Name a socket by too long a path."""
    UnixSocketAddress.new("x" * 200)


def no_folder():
    """Bind in a folder that is not there."""
    one = Socket.new(unixconn.SocketFamily.UNIX, unixconn.SocketType.STREAM, unixconn.SocketProtocol.DEFAULT)
    try:
        one.bind(UnixSocketAddress.new("/nonexistent/socket"), False)
    finally:
        one.close()


def no_socket():
    """Make a Socket of something else."""
    r, w = os.pipe()
    try:
        Socket.new_from_fd(r)
    finally:
        os.close(r)
        os.close(w)


CASES = [
    (closed, unixconn.ClosedError, ConnectionError, 18, None, "Socket is already closed"),
    (ended, unixconn.ClosedError, ConnectionError, 18, None, "Connection closed by the peer"),
    (
        reset,
        unixconn.PeerResetError,
        ConnectionResetError,
        44,
        errno.ECONNRESET,
        "Error receiving message: Connection reset by peer",
    ),
    (broken, unixconn.PeerClosedError, BrokenPipeError, 44, errno.EPIPE, "Error sending message: Broken pipe"),
    (cancelled, unixconn.CancelledError, RuntimeError, 19, None, "Operation was cancelled"),
    (timed_out, unixconn.TimedOutError, TimeoutError, 24, None, "Socket I/O timed out"),
    (
        would_block,
        unixconn.WouldBlockError,
        BlockingIOError,
        27,
        errno.EAGAIN,
        "Resource temporarily unavailable",
    ),
    (
        unconnected,
        unixconn.NotConnectedError,
        OSError,
        45,
        errno.ENOTCONN,
        f"Error sending message: {os.strerror(errno.ENOTCONN)}",
    ),
    (
        unconnected_receive,
        unixconn.InvalidArgumentError,
        ValueError,
        13,
        errno.EINVAL,
        "Error receiving message: Invalid argument",
    ),
    (
        uninitialised,
        unixconn.NotInitializedError,
        ValueError,
        32,
        None,
        "Invalid socket, not initialized",
    ),
    (pending, unixconn.PendingError, RuntimeError, 20, None, "Stream has outstanding operation"),
    (not_open, unixconn.SystemCallError, OSError, 0, errno.EBADF, "dup: Bad file descriptor"),
    (
        full_table,
        unixconn.TooManyOpenFilesError,
        OSError,
        31,
        errno.EMFILE,
        f"Unable to create socket: {os.strerror(errno.EMFILE)}",
    ),
    (
        no_credentials,
        unixconn.InvalidDataError,
        ValueError,
        35,
        None,
        "GCredentials contains invalid data",
    ),
    (no_option, unixconn.SystemCallError, OSError, 0, errno.ENOPROTOOPT, "Protocol not available"),
    (another_family, unixconn.NotSupportedError, OSError, 15, None, None),
    (too_long, unixconn.SystemCallError, OSError, 9, errno.ENAMETOOLONG, None),
    (
        no_folder,
        unixconn.NotFoundError,
        FileNotFoundError,
        1,
        errno.ENOENT,
        "Error binding to address (GUnixSocketAddress): No such file or directory",
    ),
    (
        no_socket,
        unixconn.InvalidArgumentError,
        OSError,
        13,
        errno.ENOTSOCK,
        f"creating GSocket from fd: {os.strerror(errno.ENOTSOCK)}",
    ),
]


class TestKinds:
    @pytest.mark.parametrize(
        ("cause", "kind", "builtin", "code", "number", "text"), CASES, ids=[case[0].__name__ for case in CASES]
    )
    def test_of_each_failure(self, quark, cause, kind, builtin, code, number, text):
        """A failure has Gio's code and text, its own class, Python's own class, and the errno if there is one."""
        with pytest.raises(builtin) as caught:
            cause()
        error = caught.value
        assert type(error) is kind
        assert isinstance(error, Error)
        assert isinstance(error, RuntimeError)
        assert (error.domain, error.code) == (IO_ERROR_DOMAIN, code)
        assert type(error.code) is int
        assert error.matches(quark, code)
        if text is not None:
            assert error.message == text
        assert error.args == (error.message,)
        assert getattr(error, "errno", None) == number
        if number is not None:
            assert error.strerror == os.strerror(number)

    @pytest.mark.parametrize("cause", [case[0] for case in CASES], ids=[case[0].__name__ for case in CASES])
    @pytest.mark.parametrize("way", ["pickle", "copy", "deepcopy", "Error.copy"])
    def test_is_copied_whole(self, cause, way):
        """Pickling and copying keep the class and all that is in it."""
        with pytest.raises(Error) as caught:
            cause()
        error = caught.value
        made = {
            "pickle": lambda: pickle.loads(pickle.dumps(error)),
            "copy": lambda: copy.copy(error),
            "deepcopy": lambda: copy.deepcopy(error),
            "Error.copy": error.copy,
        }[way]()
        assert made is not error
        assert type(made) is type(error)
        assert (str(made), repr(made), made.args) == (str(error), repr(error), error.args)
        assert (made.message, made.domain, made.code) == (error.message, error.domain, error.code)
        for name in ("errno", "strerror", "__notes__"):
            assert getattr(made, name, None) == getattr(error, name, None)

    def test_a_copy_has_notes_of_its_own(self):
        """A note that is added to a copy is not the original's."""
        error = system_error(errno.EPIPE, "", "a note")
        made = error.copy()
        made.__notes__.append("another")
        assert error.__notes__ == ["a note"]

    def test_a_note_does_not_reach_the_text(self):
        """What is said beyond Gio's text is a note of the exception."""
        with pytest.raises(Error) as caught:
            not_open()
        assert "99999" not in str(caught.value)
        assert "99999" in caught.value.__notes__[0]

    @pytest.mark.parametrize("take", TAKING, ids=TAKING)
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_a_number_without_a_file(self, take):
        """Whatever is given a number under which no file is open names the number in a note."""
        with pytest.raises(Error) as caught:
            TAKING[take](CLOSED)
        assert caught.value.__notes__ == [f"no file is open under the number {CLOSED}: was it closed?"]

    @pytest.mark.parametrize("take", [UnixConnection.from_socket, Socket.new_from_fd, UnixConnection.borrow])
    def test_a_number_of_a_file_that_is_no_socket(self, take, tmp_path):
        """What needs a socket names the number, too."""
        with (tmp_path / "file").open("w") as file, pytest.raises(unixconn.InvalidArgumentError) as caught:
            take(file.fileno())
        assert "is not a socket" in caught.value.__notes__[0]

    @pytest.mark.parametrize("make", [UnixConnection.create_pair, Cancellable().get_fd, lambda: unixconn.listen("x")])
    def test_a_full_table(self, make, tmp_path, monkeypatch):
        """Whatever makes a descriptor names the remedy in a note if there is no room for one."""
        monkeypatch.chdir(tmp_path)
        with room(0), pytest.raises(unixconn.TooManyOpenFilesError) as caught:
            make()
        assert "RLIMIT_NOFILE" in caught.value.__notes__[0]

    def test_another_type_of_socket(self, tmp_path):
        """A connect to a socket of another type names the argument."""
        path = tmp_path / "x"
        with unixconn.listen(path), pytest.raises(Error) as caught:
            unixconn.connect(path, type=unixconn.SocketType.SEQPACKET)
        assert caught.value.errno == errno.EPROTOTYPE
        assert "pass the one that it has" in caught.value.__notes__[0]

    @pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
    def test_can_be_made_by_hand(self, kind):
        """Each kind takes text, domain and code, and can be raised and pickled."""
        with pytest.raises(kind) as caught:
            raise kind("text", "domain", 5)
        assert str(caught.value) == "domain: text (5)"
        assert str(pickle.loads(pickle.dumps(caught.value))) == "domain: text (5)"
        assert kind().message == "unknown error"

    def test_every_kind_is_public(self):
        """Whatever is raised can be named by its user."""
        assert {kind.__name__ for kind in KINDS} == {
            name for name in unixconn.__all__ if name.endswith("Error") and getattr(unixconn, name) is not Error
        }
        assert len(KINDS) >= 16
        assert unixconn.GError is Error

    def test_codes_of_the_library(self):
        """Each code gives the kind that is named after it."""
        for code in IOErrorEnum:
            error = io_error(code, "text")
            assert (error.code, error.domain) == (code, IO_ERROR_DOMAIN)
            assert isinstance(error, Error)


class TestError:
    def test_looks_as_under_pygobject(self):
        """The text, the representation and the attributes are PyGObject's."""
        error = Error("Operation was cancelled", "g-io-error-quark", 19)
        assert str(error) == "g-io-error-quark: Operation was cancelled (19)"
        assert repr(error) == "GLib.Error('Operation was cancelled', 'g-io-error-quark', 19)"
        assert error.args == ("Operation was cancelled",)
        assert isinstance(error, RuntimeError)

    def test_defaults(self):
        """Without arguments it says what PyGObject says."""
        error = Error()
        assert (error.message, error.domain, error.code) == ("unknown error", "pygi-error", 0)

    def test_a_code_of_the_enumeration_becomes_a_number(self):
        """The code is a plain int."""
        assert type(Error("text", "domain", IOErrorEnum.CLOSED).code) is int

    def test_matches(self, quark):
        """Domain and code have to be the same, the domain as a number."""
        error = Error("text", IO_ERROR_DOMAIN, 18)
        assert error.matches(quark, IOErrorEnum.CLOSED)
        assert error.matches(domain=quark, code=18)
        assert not error.matches(quark, IOErrorEnum.CANCELLED)
        assert not error.matches(IO_ERROR_DOMAIN, 18)
        assert not error.matches(quark + 1, 18)
        assert not error.matches(0, 18)

    def test_one_of_no_known_domain_matches_nothing(self, quark):
        """A domain that has no number is not any number's."""
        error = Error("text", "a-domain-that-nobody-has", 1)
        assert not any(error.matches(number, 1) for number in (quark, 0, "a-domain-that-nobody-has"))

    def test_none_is_no_domain(self):
        """None is not the number of a domain that has none."""
        error = Error("text", "a-domain-that-nobody-has", 1)
        with contextlib.suppress(TypeError):
            assert not error.matches(None, 1)

    def test_new_literal(self, quark):
        """The number of a domain gives its name."""
        error = Error.new_literal(quark, "text", 19)
        assert repr(error) == "GLib.Error('text', 'g-io-error-quark', 19)"
        assert error.matches(quark, 19)

    def test_new_literal_of_an_unknown_domain(self):
        """A number that no domain has is refused, and named."""
        with pytest.raises(ValueError, match="-5"):
            Error.new_literal(-5, "text", 1)

    def test_prefixed(self):
        """A prefix leaves kind, code and errno alone."""
        error = system_error(errno.EPIPE, "before: ").prefixed("more: ")
        assert type(error) is unixconn.PeerClosedError
        assert (error.message, error.args) == ("more: before: Broken pipe", ("more: before: Broken pipe",))
        assert (error.errno, error.code) == (errno.EPIPE, 44)

    def test_the_quark_stays(self, quark):
        """The domain's number is an int that does not change."""
        assert isinstance(quark, int)
        assert quark > 0
        assert unixconn.io_error_quark() == quark


class TestErrno:
    @pytest.mark.parametrize(
        ("names", "code"),
        [
            ("EPIPE ECONNRESET", 44),
            ("EAGAIN EWOULDBLOCK", 27),
            ("EINVAL ENOTSOCK", 13),
            ("EMFILE", 31),
            ("ENOENT", 1),
            ("EACCES EPERM", 14),
            ("ENOTCONN", 45),
            ("ECONNREFUSED", 39),
            ("ETIMEDOUT", 24),
            ("EMSGSIZE", 46),
            ("EADDRINUSE", 33),
            ("ENOMEM", 12),
            ("EOPNOTSUPP EPROTONOSUPPORT", 15),
            ("EBADF ENOBUFS ETOOMANYREFS EISCONN ENOPROTOOPT EINTR", 0),
        ],
    )
    def test_code(self, names, code):
        """The errnos that sockets give have Gio's codes."""
        for name in names.split():
            found = unixconn.io_error_from_errno(getattr(errno, name))
            assert found == code, name
            assert isinstance(found, IOErrorEnum)

    def test_whole_table_is_gios(self):
        """Each number, the senseless ones too, has the code that Gio gives it, and each code Gio's name and number."""
        program = (
            "import json, sys; from gi.repository import Gio; names = set(dir(Gio.IOErrorEnum)); print(json.dumps([["
            "int(Gio.io_error_from_errno(n)) for n in range(-5, 200)],"
            "{n: int(getattr(Gio.IOErrorEnum, n)) for n in sys.argv[1:] if n in names}]))"
        )
        command = [need_gio(), "-c", program, *IOErrorEnum.__members__]
        found = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout
        codes, names = json.loads(found)
        ours = {number: int(unixconn.io_error_from_errno(number)) for number in range(-5, 200)}
        assert ours == dict(zip(range(-5, 200), codes))
        # DESTINATION_UNSET is of a later GLib than the oldest that is met.
        assert {name: IOErrorEnum[name].value for name in names} == names
        assert set(IOErrorEnum.__members__) - set(names) <= {"DESTINATION_UNSET"}

    def test_system_error_without_a_code(self):
        """An errno that Gio has no code for is FAILED, and an OSError with the errno."""
        error = system_error(errno.EISCONN, "connecting: ")
        assert type(error) is unixconn.SystemCallError
        assert (error.code, error.errno) == (0, errno.EISCONN)
        assert error.message == f"connecting: {os.strerror(errno.EISCONN)}"

    def test_would_block_has_the_bare_text(self):
        """For WOULD_BLOCK the prefix is left out."""
        assert system_error(errno.EAGAIN, "prefix: ").message == "Resource temporarily unavailable"

    def test_too_many_references(self):
        """ETOOMANYREFS is a kind of its own, as it is worth another try."""
        error = system_error(errno.ETOOMANYREFS, "")
        assert type(error) is unixconn.TooManyReferencesError
        assert (error.code, error.errno) == (0, errno.ETOOMANYREFS)


def test_prefixed_by_credentials():
    """Errors of send_credentials are those of the operation, with a prefix, and keep their class."""
    a, b = UnixConnection.create_pair()
    with a:
        b.close()
        with pytest.raises(BrokenPipeError) as caught:
            a.send_credentials()
        assert caught.value.message == "Error sending credentials: Error sending message: Broken pipe"
        assert caught.value.errno == errno.EPIPE
