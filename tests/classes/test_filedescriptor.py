"""FileDescriptor: an owner."""

from __future__ import annotations

import errno
import os
import pickle
import select
import signal
import socket

import pytest
from helpers import collect, is_open, open_descriptors, room

import unixconn
from unixconn import FileDescriptor


@pytest.fixture
def number(tmp_path):
    """The number of an open file, which a FileDescriptor is to own."""
    return os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)


def test_owns(number):
    """It has the number until it is closed, which may be done again."""
    made = FileDescriptor(number)
    assert made.fileno() == int(made) == number
    assert not made.closed
    made.close()
    made.close()
    assert made.closed
    assert not is_open(number)
    for call in (made.fileno, made.detach, made.dup, made.to_file, made.to_socket):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_what_has_an_owner_of_another_kind(tmp_path):
    """A file and a socket are refused by all that would own their descriptor, as they close it themselves."""
    with (tmp_path / "file").open("w+b") as file, socket.socket(socket.AF_UNIX) as sock:
        for value in (file, sock):
            for take in (
                FileDescriptor,
                unixconn.Socket.new_from_fd,
                lambda fd: unixconn.UnixFDList.new_from_array([fd]),
            ):
                with pytest.raises(TypeError, match="would close its descriptor as well"):
                    take(value)
            assert is_open(value.fileno())


def test_the_same_twice_in_a_list(number):
    """It would be closed twice."""
    with FileDescriptor(number) as made:
        for fds in ([made, made], [number, number]):
            with pytest.raises(ValueError, match="must be different"):
                unixconn.UnixFDList.new_from_array(fds)
        assert made.fileno() == number


def test_in_the_constructor_of_a_socket():
    """init() takes it over."""
    one, other = socket.socketpair()
    with other, FileDescriptor(one.detach()) as made:
        number = made.fileno()
        sock = unixconn.Socket(fd=made)
        assert not made.closed
        sock.init(None)
        assert (made.closed, sock.get_fd()) == (True, number)
        sock.close()


def test_with(number):
    """The end of a with block closes it."""
    with FileDescriptor(number) as made:
        assert made.fileno() == number
    assert not is_open(number)


def test_wherever_one_is_accepted(number, pair):
    """It goes where a number goes, and where an object with fileno() does."""
    a, b = pair
    with FileDescriptor(number) as made:
        os.write(made, b"hello")
        assert os.fstat(made).st_size == 5
        assert select.select([made], [], [], 0)[0] == [made]
        a.send_fd(made)
        a.send_fds([made])
        unixconn.UnixFDList.new().append(made)
        with b.receive_descriptor() as one, b.receive_descriptor() as other:
            assert one.samefile(other)
            assert one.samefile(made)
            assert one.samefile(number)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_taken_over(number):
    """What takes a descriptor over takes it from its owner, which would close it under it."""
    for take in (FileDescriptor, lambda each: unixconn.UnixFDList.new_from_array([each]), unixconn.Socket.new_from_fd):
        one, other = socket.socketpair()
        given = FileDescriptor(one.detach())
        kept = take(given)
        assert given.closed
        other.send(b"x")
        other.close()
        del kept
        collect()
    with FileDescriptor(number) as made:
        with pytest.raises(unixconn.Error):
            unixconn.Socket.new_from_fd(made)
        assert made.fileno() == number


@pytest.mark.parametrize(
    ("wrong", "error"), [(None, TypeError), ("1", TypeError), (1.0, TypeError), (True, TypeError), (-1, ValueError)]
)
def test_wrong_values(wrong, error):
    """What can not be a descriptor is refused by name, and one that is not open."""
    with pytest.raises(error, match=str(wrong)):
        FileDescriptor(wrong)
    with pytest.raises(unixconn.SystemCallError, match="fstat: Bad file descriptor") as caught:
        FileDescriptor(987)
    assert isinstance(caught.value, OSError)
    assert (caught.value.code, caught.value.errno) == (unixconn.IOErrorEnum.FAILED, errno.EBADF)
    with FileDescriptor(os.dup(0)) as made, pytest.raises(unixconn.SystemCallError, match="fstat: Bad file descriptor"):
        made.samefile(987)


def test_detach(number):
    """The number is the caller's again."""
    made = FileDescriptor(number)
    assert made.detach() == number
    assert made.closed
    os.close(number)


def test_dup(number):
    """Another one of the same open file, close-on-exec."""
    with FileDescriptor(number) as made, made.dup() as other:
        assert other != made
        assert other.fileno() != number
        assert other.samefile(made)
        assert not os.get_inheritable(other.fileno())


def test_dup_without_room(number):
    """It is TOO_MANY_OPEN_FILES."""
    with FileDescriptor(number) as made, room(0), pytest.raises(unixconn.TooManyOpenFilesError):
        made.dup()


def test_to_file(number):
    """The file has it from then on, and nothing else is open."""
    before = len(open_descriptors())
    made = FileDescriptor(number)
    with made.to_file("w+", encoding="utf-8") as file:
        assert made.closed
        assert len(open_descriptors()) == before
        file.write("größer")
        file.seek(0)
        assert file.read() == "größer"
    assert len(open_descriptors()) == before - 1


@pytest.mark.parametrize(("mode", "encoding"), [("x y", None), ("r", "nonsense"), ("rb", "utf-8")])
def test_to_file_fails(number, mode, encoding):
    """It stays here, and nothing else is left open."""
    before = open_descriptors()
    with FileDescriptor(number) as made:
        with pytest.raises((ValueError, LookupError)):
            made.to_file(mode, encoding=encoding)
        assert made.fileno() == number
        assert open_descriptors() == before


@pytest.mark.breaks_off
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_to_socket_and_interruption():
    """Broken off at a random moment: the descriptor is the FileDescriptor's, or closed, and never both."""

    class Stop(Exception):  # noqa: N818 - it is no error
        pass

    def handler(*_):
        if armed:
            raise Stop

    def convert(made, seconds):
        nonlocal armed
        armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)
        sock = made.to_socket()
        armed = False
        return sock

    armed, hits = False, 0
    old = signal.signal(signal.SIGALRM, handler)
    one, other = socket.socketpair()
    try:
        for round_ in range(6000):
            made = FileDescriptor(os.dup(one.fileno()))
            try:
                convert(made, 5e-6 + round_ % 40 * 1e-6).close()
            except Stop:
                hits += 1
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert made.closed or is_open(made.fileno())
            made.close()
    finally:
        signal.signal(signal.SIGALRM, old)
        one.close()
        other.close()
    assert hits > 20


@pytest.mark.parametrize("blocking", [True, False])
def test_to_socket(blocking):
    """The socket has it from then on, and O_NONBLOCK is as it was."""
    one, other = socket.socketpair()
    one.setblocking(blocking)
    made = FileDescriptor(one.detach())
    with other, made.to_socket() as sock:
        assert made.closed
        assert (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
        assert os.get_blocking(sock.fileno()) is blocking
        assert (sock.gettimeout() is None) is blocking
        sock.send(b"x")
        assert other.recv(9) == b"x"


def test_to_socket_fails(number):
    """A file is no socket: it stays here."""
    with FileDescriptor(number) as made:
        with pytest.raises(unixconn.Error):
            made.to_socket()
        assert made.fileno() == number


def test_comparison(number):
    """It equals itself, and can be in sets."""
    with FileDescriptor(number) as made, made.dup() as other:
        assert made == made  # noqa: PLR0124
        assert made not in (other, number, None)
        assert len({made, other, made}) == 2


def test_repr(number, tmp_path):
    """It says what is open."""
    made = FileDescriptor(number)
    assert repr(made) == f"<FileDescriptor {number} '{tmp_path}/file'>"
    made.close()
    assert repr(made) == "<FileDescriptor closed>"


def test_pickling(number):
    """A number means nothing in another process: the error says so."""
    with FileDescriptor(number) as made, pytest.raises(TypeError, match="another process"):
        pickle.dumps(made)


def test_dropped(number):
    """It is closed with a ResourceWarning that says what it was."""
    with pytest.warns(  # noqa: PT031 - PyPy warns when it collects
        ResourceWarning, match=f"unclosed <FileDescriptor {number} '.*file'>"
    ):
        FileDescriptor(number)
        collect()
    assert not is_open(number)
