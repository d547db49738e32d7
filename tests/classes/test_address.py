"""UnixSocketAddress."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from pathlib import Path

import pytest
from internals import from_python

import unixconn
from unixconn import Error, Socket, SocketAddress, SocketFamily, SocketProtocol, SocketType, UnixSocketAddress
from unixconn import UnixSocketAddressType as Kind

UNIX_STREAM = (SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT)
LONGEST = 107


@pytest.fixture
def abstract_name():
    """A name that no other test and no other process has."""
    return f"unixconn-test-{os.getpid()}-{os.urandom(4).hex()}"


@pytest.fixture
def listener():
    """A new Unix stream socket."""
    one = Socket.new(*UNIX_STREAM)
    yield one
    one.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, so that names in it are as short as a test wants."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bind_as_c_does(sock, name):
    """Bind to all the bytes of *name*: the socket module wants room for a NUL."""
    address = socket.AF_UNIX.to_bytes(2, sys.byteorder) + name
    assert ctypes.CDLL(None).bind(sock.fileno(), address, len(address)) == 0


class TestPath:
    def test_properties(self):
        """A path's address tells its parts."""
        address = UnixSocketAddress.new("/run/x.sock")
        assert isinstance(address, SocketAddress)
        assert address.get_path() == "/run/x.sock"
        assert address.get_path_len() == 11
        assert address.get_address_type() is Kind.PATH
        assert address.get_family() is SocketFamily.UNIX
        assert address.get_is_abstract() is False
        assert address.get_native_size() == 110
        assert address.to_string() == "/run/x.sock"
        assert address.get_properties("path", "address-type", "abstract", "family") == (
            "/run/x.sock",
            Kind.PATH,
            False,
            SocketFamily.UNIX,
        )

    @pytest.mark.parametrize("path", ["/run/x.sock", b"/run/x.sock", Path("/run/x.sock")], ids=["str", "bytes", "Path"])
    def test_kinds_of_paths(self, path):
        """str, bytes and path objects are accepted."""
        assert UnixSocketAddress.new(path).get_path() == "/run/x.sock"
        assert UnixSocketAddress(path=path).get_path() == "/run/x.sock"

    @pytest.mark.parametrize("path", [None, 5, 2.5, ["x"], object()])
    def test_wrong_types(self, path):
        """What is no path is a TypeError."""
        with pytest.raises(TypeError):
            UnixSocketAddress.new(path)

    def test_length_is_in_bytes(self):
        """A letter of two bytes counts as two."""
        # By its bytes: in some locales the file system has no such letter.
        path = os.fsdecode(b"/\xc3\xa9")
        address = UnixSocketAddress.new(path)
        assert (address.get_path(), address.get_path_len()) == (path, 3)

    def test_bytes_that_are_no_utf_8(self, folder, listener):
        """They survive, as in the rest of Python."""
        address = UnixSocketAddress.new(b"\xff\xfe")
        assert os.fsencode(address.get_path()) == b"\xff\xfe"
        listener.bind(address, False)
        assert os.listdir(os.fsencode(folder)) == [b"\xff\xfe"]
        assert os.fsencode(listener.get_local_address().get_path()) == b"\xff\xfe"

    def test_a_nul_byte(self):
        """A NUL byte would end the path early: a ValueError that names it."""
        with pytest.raises(ValueError, match=r"x.+0y"):
            UnixSocketAddress.new("x\0y")

    @pytest.mark.parametrize("length", [1, 91, 106, LONGEST])
    def test_long_paths_work(self, folder, listener, length):
        """Paths of up to 107 bytes are bound to, reported and connected to as they are."""
        path = "p" * length
        listener.bind(UnixSocketAddress.new(path), False)
        listener.listen()
        assert os.listdir(folder) == [path]
        assert listener.get_local_address().get_path() == path
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)

    @pytest.mark.parametrize("length", [LONGEST + 1, 109, 1000, 100_000])
    @pytest.mark.parametrize("kind", [Kind.PATH, Kind.ABSTRACT, Kind.ABSTRACT_PADDED])
    def test_too_long(self, kind, length):
        """A longer one is FILENAME_TOO_LONG and says how long, in place of another path (D17)."""
        with pytest.raises(Error, match=str(length)) as caught:
            UnixSocketAddress.new_with_type(b"p" * length, kind)
        assert caught.value.code == unixconn.IOErrorEnum.FILENAME_TOO_LONG
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == errno.ENAMETOOLONG
        assert caught.value.filename == "\0" * (kind is not Kind.PATH) + "p" * length

    def test_too_long_in_bytes(self):
        """Bytes are what counts."""
        letter = os.fsdecode(b"\xc3\xa9")
        UnixSocketAddress.new(letter * 53)
        with pytest.raises(Error) as caught:
            UnixSocketAddress.new(letter * 54)
        assert caught.value.code == unixconn.IOErrorEnum.FILENAME_TOO_LONG


class TestOtherKinds:
    def test_anonymous(self):
        """It has no path, whatever is given."""
        for address in (
            UnixSocketAddress.new_with_type(b"", Kind.ANONYMOUS),
            UnixSocketAddress.new_with_type(b"ignored", Kind.ANONYMOUS),
        ):
            assert (address.get_path(), address.get_path_len()) == ("", 0)
            assert address.get_address_type() is Kind.ANONYMOUS
            assert address.get_is_abstract() is False
            assert address.get_native_size() == 2
            assert address.to_string() == "anonymous"

    def test_abstract(self):
        """The name is without the leading NUL; its end is what its length says."""
        address = UnixSocketAddress.new_with_type(b"name", Kind.ABSTRACT)
        assert (address.get_path(), address.get_path_len()) == ("name", 4)
        assert address.get_address_type() is Kind.ABSTRACT
        assert address.get_is_abstract() is True
        assert address.props.abstract is True
        assert address.get_native_size() == 2 + 1 + 4

    def test_abstract_padded(self):
        """A padded name takes all the room."""
        address = UnixSocketAddress.new_with_type(b"name", Kind.ABSTRACT_PADDED)
        assert (address.get_path(), address.get_path_len()) == ("name", 4)
        assert address.get_address_type() is Kind.ABSTRACT_PADDED
        assert address.get_is_abstract() is True
        assert address.get_native_size() == 110

    def test_abstract_names_may_hold_anything(self):
        """NUL bytes belong to an abstract name."""
        address = UnixSocketAddress.new_with_type(b"a\0b", Kind.ABSTRACT)
        assert (address.get_path(), address.get_path_len()) == ("a\0b", 3)
        assert address.to_string() == "a\\x00b"

    def test_names_are_supported(self):
        """Linux has the abstract namespace."""
        assert UnixSocketAddress.abstract_names_supported() is True

    @pytest.mark.parametrize("kind", [77, "PATH", None])
    def test_unknown_kind(self, kind):
        """A kind that does not exist is refused."""
        with pytest.raises((TypeError, ValueError)):
            UnixSocketAddress.new_with_type(b"x", kind)

    def test_positional_arguments(self):
        """Constructors take keywords only, and no unknown ones."""
        with pytest.raises(TypeError):
            UnixSocketAddress("x")
        with pytest.raises(TypeError):
            UnixSocketAddress(nonsense=1)

    def test_is_told_apart(self):
        """A representation names kind and path."""
        assert "PATH" in repr(UnixSocketAddress.new("/x"))
        assert "/x" in repr(UnixSocketAddress.new("/x"))

    def test_the_path_as_bytes(self):
        """path-as-array is the path, as PyGObject has no other way to show bytes that are no text."""
        address = UnixSocketAddress(path=b"/a\xff")
        assert address.props.path_as_array == b"/a\xff" == os.fsencode(address.get_path())
        assert UnixSocketAddress.new_abstract("x").get_address_type() == 4


class TestOnTheWire:
    def test_abstract(self, listener, abstract_name):
        """A name without padding is bound to as such; another process finds it by the same bytes."""
        listener.bind(UnixSocketAddress.new_with_type(abstract_name.encode(), Kind.ABSTRACT), False)
        listener.listen()
        found = listener.get_local_address()
        assert (found.get_path(), found.get_address_type()) == (abstract_name, Kind.ABSTRACT)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("\0" + abstract_name)
            assert client.getpeername() == b"\0" + abstract_name.encode()

    def test_abstract_padded(self, listener, abstract_name):
        """A padded name is another one than the unpadded."""
        listener.bind(UnixSocketAddress.new_with_type(abstract_name.encode(), Kind.ABSTRACT_PADDED), False)
        listener.listen()
        found = listener.get_local_address()
        assert (found.get_path(), found.get_address_type()) == (abstract_name, Kind.ABSTRACT_PADDED)
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect("\0" + abstract_name)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(b"\0" + abstract_name.encode().ljust(107, b"\0"))

    def test_abstract_with_nul_bytes(self, listener, abstract_name):
        """NUL bytes inside and at the end of an abstract name are kept."""
        name = abstract_name.encode() + b"\0x\0"
        listener.bind(UnixSocketAddress.new_with_type(name, Kind.ABSTRACT), False)
        assert os.fsencode(listener.get_local_address().get_path()) == name
        assert listener.get_local_address().get_path_len() == len(name)

    def test_the_longest_abstract_name(self, listener, abstract_name):
        """107 bytes fit after the NUL."""
        name = abstract_name.ljust(LONGEST, "x").encode()
        listener.bind(UnixSocketAddress.new_with_type(name, Kind.ABSTRACT), False)
        assert listener.get_local_address().get_path_len() == LONGEST
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            # Bound, as it is found, and not listening.
            client.connect(b"\0" + name)

    def test_anonymous(self, listener):
        """An unbound socket has no name; binding to none makes the kernel choose one."""
        assert listener.get_local_address().get_address_type() is Kind.ANONYMOUS
        listener.bind(UnixSocketAddress.new_with_type(b"", Kind.ANONYMOUS), False)
        chosen = listener.get_local_address()
        assert chosen.get_address_type() is Kind.ABSTRACT
        assert chosen.get_path_len() == 5

    def test_of_senders(self, folder, abstract_name):
        """A datagram tells its sender's address: a path, an abstract name, or none."""
        senders = []
        receiver = Socket.new(SocketFamily.UNIX, SocketType.DATAGRAM, SocketProtocol.DEFAULT)
        receiver.bind(UnixSocketAddress.new("receiver"), False)
        for name in ("sender", "\0" + abstract_name, ""):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                if name:
                    sender.bind(name)
                sender.sendto(b"x", "receiver")
                senders.append(receiver.receive_message([], 0).address)
        receiver.close()
        assert [(each.get_path(), each.get_address_type()) for each in senders[:2]] == [
            ("sender", Kind.PATH),
            (abstract_name, Kind.ABSTRACT),
        ]
        assert senders[2] is None or senders[2].get_address_type() is Kind.ANONYMOUS

    def test_the_longest_path_of_a_sender(self, folder):
        """A sender's path of 107 bytes arrives whole."""
        receiver = Socket.new(SocketFamily.UNIX, SocketType.DATAGRAM, SocketProtocol.DEFAULT)
        receiver.bind(UnixSocketAddress.new("receiver"), False)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.bind("s" * LONGEST)
            sender.sendto(b"x", "receiver")
        assert receiver.receive_message([], 0).address.get_path() == "s" * LONGEST
        receiver.close()

    def test_a_sender_of_108_bytes(self, folder):
        """Linux lets C programs bind to 108 bytes without a NUL: what such a peer sends is not lost for its name."""
        name = b"s" * 108
        receiver = Socket.new(SocketFamily.UNIX, SocketType.DATAGRAM, SocketProtocol.DEFAULT)
        try:
            receiver.bind(UnixSocketAddress.new("receiver"), False)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                bind_as_c_does(sender, name)
                sender.sendto(b"hello", "receiver")
            found = receiver.receive_message([bytearray(9)], 0)
            assert found.size == 5
            assert found.address.get_path() == name.decode()
        finally:
            receiver.close()

    def test_a_listener_of_108_bytes(self, folder):
        """The same for the addresses of a socket that was made elsewhere."""
        name = b"l" * 108
        sock = socket.socket(socket.AF_UNIX)
        bind_as_c_does(sock, name)
        inherited = Socket.new_from_fd(sock.detach())
        try:
            assert inherited.get_local_address().get_path() == name.decode()
        finally:
            inherited.close()

    @pytest.mark.parametrize("behind", ["", "x", "\udcc0x" * 9])
    def test_what_is_behind_108_bytes(self, behind):
        """Python's getsockname() reads on up to the next NUL, wherever that is."""
        assert from_python("l" * 108 + behind).get_path() == "l" * 108
