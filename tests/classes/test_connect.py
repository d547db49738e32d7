"""connect(), connect_async() and listen(): names of each kind, types of sockets, and errors that name the path."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pickle
import socket
from pathlib import Path

import pytest
from helpers import new_socket, open_sockets, room
from ways import iterate

import unixconn
from unixconn import (
    Cancellable,
    Error,
    MainLoop,
    Object,
    SocketClient,
    SocketListener,
    SocketProtocol,
    SocketType,
    UnixConnection,
    UnixSocketAddress,
    UnixSocketAddressType,
)

needs_abstract_names = pytest.mark.skipif(
    not UnixSocketAddress.abstract_names_supported(), reason="this system has no abstract names"
)
ABSTRACT = f"\0unixconn-test-{os.getpid()}"


def address_of(name):
    """Return the address of an abstract name."""
    return UnixSocketAddress.new_with_type(name[1:], UnixSocketAddressType.ABSTRACT)


class TestNames:
    """Both functions take all that can name a socket."""

    @pytest.mark.parametrize("form", [str, os.fsencode, lambda path: path, UnixSocketAddress.new])
    def test_a_path(self, tmp_path, form):
        """A string, bytes, a Path and an address."""
        name = form(tmp_path / "s")
        with unixconn.listen(name) as listener, unixconn.connect(name), next(listener):
            assert (tmp_path / "s").exists()
        assert not (tmp_path / "s").exists()

    @needs_abstract_names
    @pytest.mark.parametrize("form", [str, str.encode, address_of])
    def test_an_abstract_name(self, form):
        """A string and bytes with a NUL byte before the name, as the standard library has it, and an address."""
        name = form(ABSTRACT)
        with unixconn.listen(name) as listener, unixconn.connect(name) as client, next(listener):
            assert repr(listener) == f"<UnixListener {ABSTRACT!r}>"
            with socket.socket(socket.AF_UNIX) as plain:
                plain.connect(ABSTRACT)
            assert client.get_remote_address().get_is_abstract()
        with pytest.raises(unixconn.RefusedError):
            unixconn.connect(name)

    @needs_abstract_names
    def test_an_abstract_name_has_no_mode(self):
        """Whoever asks for permissions would not get them."""
        with pytest.raises(ValueError, match=r"mode must be None for an abstract name.*, not 0o600"):
            unixconn.listen(ABSTRACT, mode=0o600)

    def test_an_at_sign(self, tmp_path, monkeypatch):
        """A path with @ is a file; the error for a missing one says so."""
        monkeypatch.chdir(tmp_path)
        with pytest.raises(unixconn.NotFoundError) as caught:
            unixconn.connect("@name")
        assert 'an abstract name begins with a NUL byte, "\\0"' in caught.value.__notes__[-1]
        with unixconn.listen("@name"):
            assert (tmp_path / "@name").is_socket()
            unixconn.connect("@name").close()

    @pytest.mark.parametrize("act", [unixconn.connect, unixconn.connect_async, unixconn.listen])
    def test_wrong_names(self, act):
        """An empty one would get an address from the kernel, and a number is none."""
        with pytest.raises(unixconn.InvalidArgumentError, match="must not be empty"):
            act("")
        with pytest.raises(TypeError):
            act(3)


class TestTypes:
    """Each connection is a UnixConnection, of whatever type its socket is."""

    def test_seqpacket(self, tmp_path):
        """Records keep their borders in both directions."""
        with unixconn.listen(tmp_path / "s", type=SocketType.SEQPACKET) as listener:
            with unixconn.connect(tmp_path / "s", type=SocketType.SEQPACKET) as client, next(listener) as accepted:
                assert (type(client), type(accepted)) == (UnixConnection, UnixConnection)
                for data in (b"one", b"two"):
                    client.send_message(data, [0])
                for data in (b"one", b"two"):
                    with accepted.receive_message(100) as message:
                        assert (message.data, len(message.fds)) == (data, 1)
            with pytest.raises(Error, match="wrong type for socket"):
                unixconn.connect(tmp_path / "s")

    def test_datagram(self, tmp_path):
        """A datagram socket connects to one, and nobody listens on it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(tmp_path / "s"))
            with unixconn.connect(tmp_path / "s", type=SocketType.DATAGRAM) as client:
                client.send_message(b"x")
            assert receiver.recv(100) == b"x"
        with pytest.raises(ValueError, match="no other socket listens"):
            unixconn.listen(tmp_path / "t", type=SocketType.DATAGRAM)
        with pytest.raises(unixconn.NotSupportedError, match="peer_uid must be None"):
            unixconn.connect(tmp_path / "s", type=SocketType.DATAGRAM, peer_uid=0)


class TestAsync:
    """connect_async() does the same without stopping anything else."""

    def test_await(self, tmp_path):
        """The loop runs on while the queue is full, and the connection is made when there is room."""

        async def main():
            others = []
            with unixconn.listen(tmp_path / "s", backlog=0) as listener, unixconn.connect(tmp_path / "s"):
                waiting = asyncio.ensure_future(unixconn.connect_async(tmp_path / "s", timeout=20))
                for number in range(20):
                    await asyncio.sleep(0.001)
                    others.append(number)
                    assert not waiting.done()
                with next(listener), await waiting as connection:
                    assert type(connection) is UnixConnection
                    assert connection.get_socket().get_timeout() == 20
            return others

        assert asyncio.run(main()) == list(range(20))

    def test_callback(self, tmp_path):
        """The callback gets None, as no object started it, and connect_finish() returns the connection."""
        loop, got = MainLoop(), []

        def connected(source, result, data):
            got.extend([source, result.get_source_object(), data, unixconn.connect_finish(result)])
            loop.quit()

        with unixconn.listen(tmp_path / "s"):
            assert unixconn.connect_async(tmp_path / "s", None, connected, "data") is None
            loop.run()
            assert got[:3] == [None, None, "data"]
            got[3].close()

    def test_cancelled(self, tmp_path):
        """A cancellation ends it, and leaves no descriptor."""
        with unixconn.listen(tmp_path / "s", backlog=0), unixconn.connect(tmp_path / "s"):
            before = open_sockets()
            cancellable = Cancellable()
            future = unixconn.connect_async(tmp_path / "s", cancellable)
            cancellable.cancel()
            with pytest.raises(unixconn.CancelledError):
                future.result(60)
            assert open_sockets() == before

    def test_another_user(self, tmp_path):
        """With peer_uid it is an error, and the connection is closed."""
        with unixconn.listen(tmp_path / "s") as listener:
            with pytest.raises(unixconn.PermissionDeniedError, match=f"uid {os.getuid()} listens there, and not uid 7"):
                unixconn.connect_async(tmp_path / "s", peer_uid=7).result(60)
            with next(listener) as accepted, pytest.raises(unixconn.ClosedError):
                accepted.receive_message(1)

    def test_the_wrong_finish(self, tmp_path):
        """A result of something else is refused."""
        one, other = UnixConnection.create_pair()
        results = []
        with one, other:
            one.send_fd_async(0, None, lambda _, result: results.append(result))
            iterate(lambda: results)
            with pytest.raises(ValueError, match=r"not of unixconn_connect_async|is not a result"):
                unixconn.connect_finish(results[0])
            one.send_fd_finish(results[0])


class TestErrors:
    """They name the path, as Python's own do."""

    @pytest.mark.parametrize(
        "act", [unixconn.connect, lambda path: unixconn.connect_async(path).result(60), unixconn.listen]
    )
    def test_the_filename(self, tmp_path, act):
        """It is an attribute, stands in the text, and survives pickling."""
        path = str(tmp_path / "missing" / "s")
        with pytest.raises(FileNotFoundError) as caught:
            act(path)
        assert isinstance(caught.value, unixconn.NotFoundError)
        for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert error.filename == path
            assert str(error).endswith(f"No such file or directory (1): {path!r}")

    @pytest.mark.parametrize(
        "act",
        [
            unixconn.connect,
            lambda path: unixconn.connect_async(path).result(60),
            lambda path: unixconn.SocketClient().connect(unixconn.UnixSocketAddress(path=path)),
        ],
        ids=["connect", "connect_async", "SocketClient"],
    )
    @pytest.mark.parametrize("kind", ["file", "folder", "socket"])
    def test_refused(self, tmp_path, act, kind):
        """A file that is no socket refuses connections as a socket does on which nobody listens; a note tells which."""
        path = str(tmp_path / "s")
        if kind == "file":
            Path(path).touch()
        elif kind == "folder":
            Path(path).mkdir()
        else:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path)
        with pytest.raises(ConnectionRefusedError) as caught:
            act(path)
        assert caught.value.errno == errno.ECONNREFUSED
        assert caught.value.filename == path
        assert caught.value.__notes__ == ([] if kind == "socket" else ["this file is not a socket"])

    @pytest.mark.parametrize(
        "act", [unixconn.connect, lambda *given, **named: unixconn.connect_async(*given, **named).result(60)]
    )
    @pytest.mark.parametrize("limit", ["timeout", "cancellable"])
    def test_timed_out(self, tmp_path, act, limit):
        """After either limit."""
        path = str(tmp_path / "s")
        arguments = {"timeout": 1} if limit == "timeout" else {"cancellable": Cancellable.with_timeout(0.05)}
        with unixconn.listen(path, backlog=0), unixconn.connect(path):
            with pytest.raises(TimeoutError, match=r"Could not connect: .* timed out") as caught:
                act(path, **arguments)
            assert caught.value.filename == path
        assert pickle.loads(pickle.dumps(caught.value)).filename == path

    def test_cancelled(self, tmp_path):
        """It has no path, and is no OSError."""
        cancellable = Cancellable()
        cancellable.cancel()
        with pytest.raises(unixconn.CancelledError) as caught:
            unixconn.connect(tmp_path / "s", cancellable)
        assert not isinstance(caught.value, OSError)

    @pytest.mark.parametrize(
        "act", [unixconn.connect, lambda path: unixconn.connect_async(path).result(60), unixconn.listen]
    )
    def test_without_a_free_descriptor(self, tmp_path, act):
        """Before the first attempt, too."""
        path = str(tmp_path / "s")
        with pytest.raises(unixconn.TooManyOpenFilesError) as caught, room(0):
            act(path)
        assert caught.value.filename == path

    @pytest.mark.parametrize("kind", ["listener", "file", "abstract"])
    def test_in_use(self, tmp_path, kind):
        """It is the OSError of bind(2), whoever has found out."""
        path = ABSTRACT if kind == "abstract" else str(tmp_path / "s")
        with contextlib.ExitStack() as stack:
            if kind == "file":
                (tmp_path / "s").touch()
            else:
                stack.enter_context(unixconn.listen(path))
            with pytest.raises(OSError, match="Error binding to address") as caught:
                unixconn.listen(path)
        assert isinstance(caught.value, unixconn.SystemCallError)
        assert caught.value.code == unixconn.IOErrorEnum.ADDRESS_IN_USE
        for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert (error.errno, error.filename) == (errno.EADDRINUSE, path)

    @pytest.mark.parametrize("name", ["\0unixconn-nobody", b"\0unixconn-nobody"])
    def test_an_abstract_name(self, name):
        """It is named, too, with its NUL byte."""
        with pytest.raises(ConnectionRefusedError, match="nobody") as caught:
            unixconn.connect(name)
        assert caught.value.filename == "\0unixconn-nobody"


def watched():
    """Return a SocketClient that somebody listens to: it connects another way."""
    client = SocketClient()
    Object.connect(client, "event", lambda *_: None)
    return client


def with_socket(act, kind=SocketType.STREAM):
    """Return a function that does *act* with a new Socket and an address."""

    def do(address):
        made = new_socket(kind)
        try:
            return act(made, address)
        finally:
            made.close()

    return do


def at_local_address(address):
    """Connect from *address*, and not to it."""
    client = SocketClient(local_address=address)
    return client.connect(UnixSocketAddress.new("elsewhere"))


# Each form of Gio's that takes an address, and whether it needs nobody there, or somebody.
GIO_FORMS = {
    "client": (lambda address: SocketClient().connect(address), "connect"),
    "client, async": (lambda address: SocketClient().connect_async(address).result(60), "connect"),
    "client, watched": (lambda address: watched().connect(address), "connect"),
    "client, watched, async": (lambda address: watched().connect_async(address).result(60), "connect"),
    "local address": (at_local_address, "bind"),
    "Socket.connect": (with_socket(lambda made, address: made.connect(address)), "connect"),
    "SocketConnection.connect": (
        with_socket(lambda made, address: made.connection_factory_create_connection().connect(address)),
        "connect",
    ),
    "SocketConnection.connect_async": (
        with_socket(
            lambda made, address: made.connection_factory_create_connection().connect_async(address).result(60)
        ),
        "connect",
    ),
    "bind": (with_socket(lambda made, address: made.bind(address, False)), "bind"),
    "add_address": (
        lambda address: SocketListener().add_address(address, SocketType.STREAM, SocketProtocol.DEFAULT),
        "bind",
    ),
    "send_to": (with_socket(lambda made, address: made.send_to(address, b"x"), SocketType.DATAGRAM), "connect"),
    "send_to_async": (
        with_socket(lambda made, address: made.send_to_async(address, b"x").result(60), SocketType.DATAGRAM),
        "connect",
    ),
    "send_message": (
        with_socket(lambda made, address: made.send_message(address, [b"x"], [], 0), SocketType.DATAGRAM),
        "connect",
    ),
}


class TestErrorsOfGiosForms:
    """They name the path, too."""

    @pytest.mark.parametrize("form", GIO_FORMS)
    def test_no_such_folder(self, tmp_path, form):
        """It is an attribute, stands in the text, and survives pickling. Gio's message stays as it is."""
        path = str(tmp_path / "missing" / "s")
        with pytest.raises(FileNotFoundError) as caught:
            GIO_FORMS[form][0](UnixSocketAddress.new(path))
        assert path not in caught.value.message
        for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert error.filename == path
            assert str(error).endswith(f"No such file or directory (1): {path!r}")

    @pytest.mark.parametrize("kind", [UnixSocketAddressType.ABSTRACT, UnixSocketAddressType.ABSTRACT_PADDED])
    @pytest.mark.parametrize("form", GIO_FORMS)
    def test_abstract(self, form, kind):
        """A name has its NUL byte, and not those that fill an address up."""
        act, does = GIO_FORMS[form]
        address = UnixSocketAddress.new_with_type(f"unixconn-nobody-{os.getpid()}", kind)
        with contextlib.ExitStack() as stack:
            if does == "bind":
                other = new_socket()
                stack.callback(other.close)
                other.bind(address, False)
            with pytest.raises(OSError, match=r"refused|in use") as caught:
                act(address)
        assert caught.value.filename == "\0" + address.get_path()

    @pytest.mark.parametrize("form", [each for each in GIO_FORMS if "client" in each or each == "add_address"])
    def test_without_a_free_descriptor(self, tmp_path, form):
        """Where the call makes the socket."""
        path = str(tmp_path / "s")
        with pytest.raises(unixconn.TooManyOpenFilesError) as caught, room(0):
            GIO_FORMS[form][0](UnixSocketAddress.new(path))
        assert caught.value.filename == path

    def test_timed_out(self, tmp_path):
        """After either limit."""
        path = str(tmp_path / "s")
        with unixconn.listen(path, backlog=0), unixconn.connect(path):
            with pytest.raises(TimeoutError) as caught:
                SocketClient().connect(UnixSocketAddress.new(path), Cancellable.with_timeout(0.05))
            assert caught.value.filename == path

    def test_another_error(self):
        """Without an address there is no filename."""
        alone = new_socket(SocketType.DATAGRAM)
        with pytest.raises(unixconn.NotConnectedError) as caught:
            alone.send_to(None, b"x")
        assert caught.value.filename is None
        alone.close()


class TestIteration:
    """Every listener is an iterator."""

    def test_a_plain_one(self, tmp_path):
        """A SocketListener, until it is closed."""
        listener, got = SocketListener(), []
        address = UnixSocketAddress.new(tmp_path / "s")
        listener.add_address(address, SocketType.STREAM, unixconn.SocketProtocol.DEFAULT)
        with unixconn.connect(address), unixconn.connect(address):
            for connection in listener:
                got.append(connection)
                connection.close()
                if len(got) == 2:
                    listener.close()

            async def main():
                return [each async for each in listener]

            assert asyncio.run(main()) == []
        assert [type(each) for each in got] == [UnixConnection, UnixConnection]
