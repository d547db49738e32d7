"""Python's own way: unixconn.connect, unixconn.listen, and the standard library's sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import internals
import pytest
import storms
from helpers import Background, needs_passed_pidfds, open_descriptors, outcome_of_child, room, same
from internals import SYSTEM
from ways import failure

import unixconn
from unixconn import (
    Cancellable,
    Error,
    FileDescriptor,
    Object,
    SocketClient,
    UnixConnection,
    UnixListener,
    UnixSocketAddress,
)

pytestmark = pytest.mark.usefixtures("no_linger")


@pytest.fixture
def path(tmp_path):
    """Where to listen."""
    return tmp_path / "s"


def number(file):
    """Return what tells a file from others."""
    return os.lstat(file).st_ino


def serve(listener, count):
    """Send standard input to *count* clients."""
    for connection in listener:
        with connection:
            connection.send_fd(0)
        count -= 1
        if not count:
            break


FORMS = {"str": str, "bytes": os.fsencode, "PathLike": Path}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


class TestConnect:
    @each_form
    def test_a_path(self, path, form):
        """It is str, bytes or os.PathLike, for both sides."""
        with unixconn.listen(form(path)) as listener, unixconn.connect(form(path)) as client:
            assert isinstance(client, UnixConnection)
            with next(listener) as server:
                server.send_fd(0)
                fd = client.receive_fd()
                assert same(fd, 0)
                os.close(fd)

    def test_failures(self, path):
        """NOT_FOUND without a file, CONNECTION_REFUSED where nobody listens."""
        assert failure(unixconn.connect, path)[0] == 1
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert failure(unixconn.connect, path)[0] == 39
        with pytest.raises(ConnectionRefusedError):
            unixconn.connect(path)

    def test_a_timeout(self, path):
        """It is that of the connection's Socket."""
        with unixconn.listen(path), unixconn.connect(path, timeout=7) as client:
            assert client.get_socket().get_timeout() == 7

    @pytest.mark.parametrize("timeout", [0.5, 1.5, float("nan"), float("inf")])
    def test_a_timeout_of_a_fraction(self, path, timeout):
        """It is not rounded, to none perhaps."""
        with pytest.raises(ValueError, match=f"whole seconds, not {timeout!r}"):
            unixconn.connect(path, timeout=timeout)

    def test_cancelled(self, path):
        """A Cancellable ends it."""
        cancellable = Cancellable()
        cancellable.cancel()
        with unixconn.listen(path):
            assert failure(unixconn.connect, path, cancellable)[0] == 19

    def test_too_long(self, tmp_path):
        """A path that does not fit is an error for both, and nothing is made."""
        long = tmp_path / ("x" * 108)
        for call in (unixconn.connect, unixconn.listen):
            with pytest.raises(Error, match="at most 107 bytes") as caught:
                call(long)
            assert caught.value.code == 9
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("wrong", [None, 5, object()])
    def test_wrong_types(self, wrong):
        """What is no path is a TypeError."""
        text = f"path must be a string, bytes or an os.PathLike, not {wrong!r}"
        for call in (unixconn.connect, unixconn.listen):
            with pytest.raises(TypeError, match=re.escape(text)):
                call(wrong)

    def test_the_class_called_with_a_path(self, path):
        """The TypeError names what to call instead."""
        with pytest.raises(TypeError, match=re.escape("Call unixconn.listen(path)")):
            unixconn.UnixListener(path)

    def test_a_path_in_the_place_of_an_address(self, pair, path):
        """The TypeError says how to make one."""
        for connect in (pair[0].connect, SocketClient.new().connect):
            with pytest.raises(TypeError, match=re.escape("UnixSocketAddress.new(path) makes one")):
                connect(path)


class TestIterating:
    def test_until_closed(self, path):
        """A loop gives a connection for each client, and ends when the listener is closed."""
        with unixconn.listen(path) as listener:
            assert isinstance(listener, UnixListener)
            got = []
            loop = Background(lambda: got.extend(listener))
            clients = [unixconn.connect(path) for _ in range(3)]
            while len(got) < 3:
                assert loop.is_waiting()
            listener.close()
            assert loop.outcome() is None
            assert list(listener) == []
            for each in (*clients, *got):
                each.close()

    def test_serving(self, path):
        """Each of many gets its descriptor."""
        with unixconn.listen(path) as listener:
            server = Background(serve, listener, 50)
            for each in [unixconn.connect(path) for _ in range(50)]:
                with each:
                    os.close(each.receive_fd())
            assert server.outcome() is None

    def test_asynchronously(self, path):
        """`async for` does the same, and leaves the loop to others."""

        async def main():
            async with unixconn.listen(path) as listener:
                got = []

                async def server():
                    async for connection in listener:
                        async with connection:
                            await connection.send_fd_async(0)
                        got.append(connection)

                async def client():
                    async with await SocketClient().connect_async(UnixSocketAddress.new(path)) as connection:
                        os.close(await connection.receive_fd_async())

                running = asyncio.ensure_future(server())
                await asyncio.wait_for(asyncio.gather(*(client() for _ in range(50))), 60)
                assert not running.done()
                listener.close()
                await asyncio.wait_for(running, 60)
                return len(got)

        assert asyncio.run(main()) == 50
        assert not path.exists()

    def test_cancelling_the_task(self, path):
        """A task that waits for the next one can be cancelled, and another one goes on."""

        async def main():
            async with unixconn.listen(path) as listener:
                waiting = asyncio.ensure_future(listener.__anext__())
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                with unixconn.connect(path):
                    (await asyncio.wait_for(listener.accept_async(), 60)).connection.close()

        asyncio.run(main())


class TestFiles:
    @pytest.mark.parametrize("mode", [0o600, 0o666, 0o000, 0o640])
    def test_mode(self, path, mode):
        """The file has these permissions, whatever the umask says."""
        before = os.umask(0o027)
        try:
            with unixconn.listen(path, mode=mode):
                assert stat.S_IMODE(path.lstat().st_mode) == mode
                assert os.umask(0o027) == 0o027
        finally:
            os.umask(before)

    @pytest.mark.parametrize(("mode", "kind"), [(True, TypeError), (384.0, TypeError), ("600", TypeError)])
    def test_wrong_modes(self, path, mode, kind):
        """What is no integer is not taken for one."""
        with pytest.raises(kind, match=f"mode must be an integer, not {mode!r}"):
            unixconn.listen(path, mode=mode)
        assert not path.exists()

    @pytest.mark.parametrize(
        ("mode", "text"),
        [
            (600, "600, which is 0o1130: did you mean 0o600?"),
            (777, "777, which is 0o1411: did you mean 0o777?"),
            (980, "980, which is 0o1724"),
            (0o1777, "1023, which is 0o1777"),
            (-600, "-600, which is -0o1130"),
        ],
    )
    def test_no_permissions(self, path, mode, text):
        """Nor is a number that has other bits, such as one without the "0o" that was meant."""
        with pytest.raises(ValueError, match=re.escape(f"mode must be from 0 to 0o777, not {text}") + "$"):
            unixconn.listen(path, mode=mode)
        assert not path.exists()

    def test_without_a_mode(self, path):
        """They are what the umask leaves."""
        before = os.umask(0o027)
        try:
            with unixconn.listen(path):
                assert stat.S_IMODE(path.lstat().st_mode) == 0o750
        finally:
            os.umask(before)

    def test_pass_credentials(self, path):
        """What was sent before the connection was accepted has its sender, too, if that was asked for."""
        for wanted in (True, False):
            with unixconn.listen(path, pass_credentials=wanted) as listener, unixconn.connect(path) as client:
                client.send_message(b"early")
                with listener.accept().connection as served, served.receive_message(5) as message:
                    assert (message.data, message.credentials is not None) == (b"early", wanted)

    def test_is_removed(self, path):
        """Closing removes the file, once."""
        listener = unixconn.listen(path)
        assert stat.S_ISSOCK(path.lstat().st_mode)
        listener.close()
        assert not path.exists()
        path.touch()
        listener.close()
        assert path.exists()

    def test_a_child_leaves_it_to_its_parent(self, path):
        """A forked process that closes its own does not take the file away."""
        with unixconn.listen(path) as listener:
            assert outcome_of_child(lambda: listener.close() is None) == 0
            with unixconn.connect(path):
                listener.accept().connection.close()
        assert not path.exists()

    def test_is_removed_after_an_exception(self, path):
        """`with` closes."""
        with pytest.raises(ZeroDivisionError), unixconn.listen(path):
            1 / 0  # noqa: B018 - to raise
        assert not path.exists()

    @pytest.mark.parametrize("kind", ["file", "server"])
    def test_is_not_ours_any_more(self, path, kind):
        """What another one has put in its place is left alone."""
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(unixconn.listen(path))
            path.rename(path.with_name("moved"))
            if kind == "file":
                path.write_text("text")
            else:
                stack.enter_context(unixconn.listen(path))
            found = number(path)
            listener.close()
            assert number(path) == found

    def test_detached(self, path):
        """The file stays, clients are not refused meanwhile, and what waits for one ends."""
        listener = unixconn.listen(path)
        waiting = Background(listener.accept)
        assert waiting.is_waiting()
        with listener.detach() as owner:
            assert isinstance(waiting.outcome(), unixconn.ClosedError)
            with unixconn.connect(path), unixconn.listen(sock=owner) as other:
                assert other.fileno() >= 0
                other.accept().connection.close()
        assert stat.S_ISSOCK(path.lstat().st_mode)
        for call in (listener.detach, listener.fileno):
            with pytest.raises(unixconn.ClosedError):
                call()

    def test_detached_and_sent(self, path, pair):
        """Another process goes on with the socket."""
        ours, theirs = pair
        ours.give_fd(unixconn.listen(path).detach())

        def serve():
            with unixconn.listen(sock=theirs.receive_descriptor()) as listener, next(listener) as connection:
                return connection.send_message(b"new") == 3

        with unixconn.connect(path) as client:
            assert outcome_of_child(serve) == 0
            assert client.receive_message(9).data == b"new"

    def test_detached_without_room(self, path):
        """The listener goes on, and removes its file at the end."""
        with unixconn.listen(path) as listener:
            with room(0), pytest.raises(unixconn.TooManyOpenFilesError):
                listener.detach()
            with unixconn.connect(path):
                listener.accept().connection.close()
        assert not path.exists()

    def test_an_abstract_listener_detached(self):
        """It has no file."""
        name = f"\0unixconn detached {os.getpid()}"
        with unixconn.listen(name).detach() as owner, unixconn.connect(name), unixconn.listen(sock=owner) as listener:
            listener.accept().connection.close()

    def test_sent_by_itself(self, path, pair):
        """A listener is an object with ``fileno()``."""
        ours, theirs = pair
        with unixconn.listen(path) as listener:
            ours.send_fd(listener)
            with theirs.receive_descriptor() as received:
                assert received.samefile(listener)

    def test_removed_by_somebody_else(self, path):
        """That is no error."""
        with unixconn.listen(path):
            path.unlink()

    def test_a_relative_path(self, tmp_path, monkeypatch):
        """The same file is removed, wherever the process is meanwhile."""
        monkeypatch.chdir(tmp_path)
        with unixconn.listen("s"):
            (tmp_path / "folder").mkdir()
            monkeypatch.chdir(tmp_path / "folder")
            (tmp_path / "folder" / "s").touch()
        assert not (tmp_path / "s").exists()
        assert (tmp_path / "folder" / "s").exists()

    def test_a_folder_that_was_moved(self, tmp_path):
        """The file is removed where it is."""
        folder = tmp_path / "folder"
        folder.mkdir()
        listener = unixconn.listen(folder / "s")
        folder.rename(tmp_path / "moved")
        folder.touch()
        listener.close()
        assert not list((tmp_path / "moved").iterdir())
        assert failure(listener.accept)[0] == 18

    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
    def test_a_dead_server_s(self, path, kind):
        """What one has left is replaced, and nothing else is left in the folder."""
        with socket.socket(socket.AF_UNIX, kind) as dead:
            dead.bind(str(path))
        with unixconn.listen(path), unixconn.connect(path) as client:
            assert client.is_connected()
            assert os.listdir(path.parent) == ["s"]
        assert os.listdir(path.parent) == []

    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
    @pytest.mark.parametrize("listening", [False, True])
    def test_a_living_server_s(self, path, kind, listening):
        """One that is in use is not touched, and its server does not notice: ADDRESS_IN_USE."""
        with socket.socket(socket.AF_UNIX, kind) as alive:
            alive.bind(str(path))
            if listening and kind != socket.SOCK_DGRAM:
                alive.listen()
            found = number(path)
            assert failure(unixconn.listen, path)[0] == 33
            assert number(path) == found
            alive.setblocking(False)
            with pytest.raises(OSError):
                alive.accept()
            assert os.listdir(path.parent) == ["s"]

    def test_our_own(self, path):
        """Nor is one that this library listens on, and that goes on."""
        with unixconn.listen(path, mode=0) as listener:
            assert failure(unixconn.listen, path)[0] == 33
            with unixconn.connect(path), next(listener):
                pass
        assert not path.exists()

    def test_with_a_full_queue(self, path):
        """Nor one where nobody finds room."""
        with unixconn.listen(path, backlog=0), unixconn.connect(path):
            assert failure(unixconn.listen, path)[0] == 33

    @pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
    def test_what_is_no_socket(self, path, kind):
        """Another file is not touched: ADDRESS_IN_USE."""
        target = path.with_name("target")
        if kind == "file":
            path.write_text("text")
        elif kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to(target)
        found = number(path)
        assert failure(unixconn.listen, path)[0] == 33
        assert number(path) == found
        assert not target.exists()

    def test_a_link_to_a_dead_server_s(self, path):
        """A symbolic link is no socket either, and neither it nor its target is touched."""
        target = path.with_name("target")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(target))
        path.symlink_to(target)
        assert failure(unixconn.listen, path)[0] == 33
        assert path.is_symlink()
        assert target.exists()

    def test_a_folder_that_does_not_exist(self, path):
        """It is NOT_FOUND, and no descriptor is left."""
        assert failure(unixconn.listen, path / "s")[0] == 1


class TestPythonsSockets:
    @pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
    def test_from_socket(self, timeout):
        """The descriptor is the connection's, and O_NONBLOCK stays as it was."""
        one, other = socket.socketpair()
        with one, other:
            other.settimeout(timeout)
            fd = other.fileno()
            before = os.get_blocking(fd)
            with UnixConnection.from_socket(other) as connection:
                assert type(connection) is UnixConnection
                assert (connection.fileno(), other.fileno()) == (fd, -1)
                assert os.get_blocking(fd) is before
                waiting = Background(connection.get_input_stream().read, 9)
                assert waiting.is_waiting()
                one.send(b"x")
                assert waiting.outcome() == b"x"
                assert os.get_blocking(fd) is before

    def test_from_a_socket_that_is_closed(self):
        """It is named."""
        with socket.socket(socket.AF_UNIX) as sock:
            pass
        with pytest.raises(unixconn.ClosedError, match=r"must be open, and <socket.socket \[closed\]"):
            UnixConnection.from_socket(sock)

    def test_from_socket_where_the_class_raises(self):
        """The socket keeps its descriptor."""

        class NoneTodayError(Exception):
            pass

        class Connection(UnixConnection):
            def __init__(self, *, socket):
                raise NoneTodayError

        one, other = socket.socketpair()
        with one, other:
            with pytest.raises(NoneTodayError):
                Connection.from_socket(other)
            one.send(b"x")
            assert other.recv(9) == b"x"

    @pytest.mark.parametrize("given", [int, FileDescriptor, socket.socket])
    def test_a_listener_without_room(self, path, given):
        """A failure leaves the socket to its owner, with its descriptor and its timeout."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            sock.listen()
            sock.settimeout(5)
            number = sock.fileno()
            what = sock if given is socket.socket else given(sock.detach())
            before = open_descriptors()
            for count in range(9):
                try:
                    with room(count):
                        listener = unixconn.UnixListener.from_socket(what)
                    break
                except unixconn.TooManyOpenFilesError:
                    assert open_descriptors() == before
                    assert what == number if given is int else what.fileno() == number
            assert count > 1  # one is for a look at what it is
            assert given is not socket.socket or sock.gettimeout() == 5
            with listener, unixconn.connect(path), listener.accept().connection:
                assert listener._entries[0].socket.get_fd() == number

    @needs_passed_pidfds
    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_pidfds_that_a_stream_meets(self, pair, count):
        """They are closed, and are none of the descriptors that were sent."""
        a, b = pair
        b.pass_pidfds()
        before = open_descriptors()
        a.send_message(b"x", [0] * count)
        assert b.get_input_stream().read(9) == b"x"
        assert len(open_descriptors()) == len(before) + count
        if count:
            got = b.receive_fds()
            assert all(same(each, 0) for each in got)
            unixconn.close_fds(got)
        b.get_socket().set_blocking(False)
        assert failure(b.receive_fd)[0] == unixconn.IOErrorEnum.WOULD_BLOCK

    def test_of_a_child_process(self, path):
        """A connection that was made is without O_NONBLOCK, as accepted ones and pairs are: children expect that."""
        with unixconn.listen(path) as listener, unixconn.connect(path) as client:
            server, _ = listener.accept()
            with server, subprocess.Popen(["cat"], stdin=client, stdout=subprocess.PIPE) as child:
                time.sleep(0.1)
                server.get_output_stream().write(b"hello")
                server.get_socket().shutdown(False, True)
                assert child.communicate() == (b"hello", None)

    @pytest.mark.parametrize("use", [lambda b: b.to_socket().close(), lambda b: b.get_socket().get_credentials()])
    def test_closed_meanwhile(self, pair, use, monkeypatch):
        """Who closes waits until the number was used: it would be another socket's."""
        b = pair[1]
        number = b.fileno()
        closing = []

        def close_meanwhile(function):
            def call(*arguments):
                closing.append(Background(b.close))
                closing[0].join(0.05)
                assert Path(f"/proc/self/fd/{number}").exists()
                return function(*arguments)

            return call

        monkeypatch.setattr(internals.socket, "duplicate_all", close_meanwhile(internals.duplicate_all))
        monkeypatch.setattr(SYSTEM, "peer", close_meanwhile(SYSTEM.peer))
        use(b)
        assert closing.pop().outcome() is True

    @pytest.mark.parametrize("blocking", [False, True])
    @pytest.mark.parametrize("default", [None, 5.0])
    def test_to_socket(self, pair, blocking, default):
        """It has a descriptor of its own; O_NONBLOCK stays, whatever new sockets get, and the connection goes on."""
        a, b = pair
        os.set_blocking(a.fileno(), blocking)
        socket.setdefaulttimeout(default)
        try:
            made = a.to_socket()
        finally:
            socket.setdefaulttimeout(None)
        with made:
            assert made.fileno() != a.fileno()
            assert not os.get_inheritable(made.fileno())
            assert (made.family, made.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
            assert os.get_blocking(a.fileno()) is blocking
            assert made.gettimeout() == (None if blocking else 0.0)
            made.send(b"x")
        assert b.get_input_stream().read(9) == b"x"
        a.get_output_stream().write(b"y")
        assert b.get_input_stream().read(9) == b"y"

    def test_there_and_back(self, pair):
        """A connection of the socket of a connection works."""
        a, b = pair
        with UnixConnection.from_socket(a.to_socket()) as again:
            again.send_fd(0)
        os.close(b.receive_fd())

    def test_from_what_is_none(self):
        """A failure leaves the socket to its owner."""
        with socket.socket() as closed:
            pass
        with pytest.raises(Error):
            UnixConnection.from_socket(closed)
        with pytest.raises(TypeError):
            UnixConnection.from_socket(None)
        for wrong, kind in (("path", TypeError), (1.5, TypeError), (-1, ValueError), (2**40, OverflowError)):
            with pytest.raises(kind, match=f"^sock must .*{re.escape(str(wrong))}"):
                UnixConnection.from_socket(wrong)

    def test_from_a_number_or_a_descriptor(self):
        """As `UnixListener.from_socket` does; what is no socket stays with its owner."""
        a, b = socket.socketpair()
        with UnixConnection.from_socket(a.detach()) as one, FileDescriptor(b.detach()) as owner:
            other = UnixConnection.from_socket(owner)
            assert owner.closed
            one.send_fd(0)
            os.close(other.receive_fd())
            other.close()
        with Path(os.devnull).open() as file:
            with pytest.raises(unixconn.InvalidArgumentError):
                UnixConnection.from_socket(file.fileno())
            with pytest.raises(TypeError):
                UnixConnection.from_socket(file)

    def test_closed(self, pair):
        """to_socket and fileno are CLOSED on a closed connection."""
        a, _ = pair
        assert a.fileno() == a.get_socket().get_fd()
        a.close()
        assert failure(a.to_socket)[0] == 18
        assert failure(a.fileno)[0] == 18

    def test_without_a_free_descriptor(self, pair):
        """It is TOO_MANY_OPEN_FILES."""
        from helpers import room

        with room(0):
            found = failure(pair[0].to_socket)
        assert found[0] == 31

    def test_with_send_fds(self, pair):
        """The standard library's descriptors arrive, and go."""
        a, b = pair
        with a.to_socket() as sock:
            socket.send_fds(sock, [b"\0"], [0])
            os.close(b.receive_fd())
            b.send_fd(0)
            data, fds, _, _ = socket.recv_fds(sock, 1, 1)
            assert data == b"\0"
            os.close(fds[0])


def test_several_processes_accept(path, tmp_path):
    """Who sees a connection that another process has taken by then does not wait for the next one in the kernel."""
    other, sockets = unixconn.SocketListener(), []
    Object.connect(other, "event", lambda _, event, socket: sockets.append(socket))
    with unixconn.listen(path) as listener, other:
        address = UnixSocketAddress.new(tmp_path / "other")
        other.add_address(address, unixconn.SocketType.STREAM, unixconn.SocketProtocol.DEFAULT)
        assert not os.get_blocking(sockets[-1].get_fd())
        assert not os.get_blocking(listener._entries[0].socket.get_fd())


def test_a_file_that_goes_just_then(path, monkeypatch):
    """What another server removes between two looks is nobody's any more, and not in use."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    class Gone:
        @staticmethod
        def S_ISSOCK(mode):  # noqa: N802 - stat's name
            monkeypatch.undo()
            path.unlink()
            return stat.S_ISSOCK(mode)

    monkeypatch.setattr(internals.socket_file, "stat", Gone)
    with unixconn.listen(path), unixconn.connect(path):
        pass


class TestFromSocket:
    """UnixListener.from_socket() takes over a socket that listens already."""

    @pytest.fixture
    def listening(self, path):
        """A socket of the standard library."""
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
            made.listen()
            yield made

    @pytest.mark.parametrize(
        "form", [lambda sock: sock, lambda sock: sock.detach(), lambda sock: FileDescriptor(sock.detach())]
    )
    def test_each_form(self, listening, path, form):
        """A socket, a number and a FileDescriptor. The file stays when the listener is closed."""
        with UnixListener.from_socket(form(listening)) as listener:
            assert listening.fileno() == -1
            assert repr(listener) == f"<UnixListener {str(path)!r}>"
            with unixconn.connect(path), next(listener) as accepted:
                assert isinstance(accepted, UnixConnection)
        assert path.exists()

    def test_listen(self, listening, path):
        """listen(sock=...) does it, too, and asks for credentials if it is told to."""
        listener = unixconn.listen(sock=listening.detach(), pass_credentials=True)
        with listener, unixconn.connect(path) as client, next(listener) as accepted:
            client.send_message(b"x")
            with accepted.receive_message(1) as message:
                assert message.credentials.get_unix_pid() == os.getpid()

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ({}, TypeError, "not None, unless there is a sock"),
            ({"path": "/s", "sock": 3}, TypeError, "'/s' and 3"),
            ({"sock": 3, "mode": 0o600}, ValueError, "left out"),
            ({"sock": 3, "backlog": 5}, ValueError, "left out"),
        ],
    )
    def test_wrong_arguments_of_listen(self, arguments, error, text):
        """A path or a socket, and what goes with it."""
        with pytest.raises(error, match=text):
            unixconn.listen(**arguments)

    @pytest.mark.parametrize("kind", ["bound", "pair", "datagram", "file"])
    def test_what_does_not_listen(self, path, kind):
        """It is an Error that names it, and it is left as it was."""
        one, other = socket.socketpair()
        unbound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
        with one, other, unbound, Path(os.devnull).open("rb") as file:
            unbound.bind(str(path))
            given = {"bound": unbound, "pair": one, "datagram": unbound, "file": file.fileno()}[kind]
            with pytest.raises(
                unixconn.InvalidArgumentError, match=f"socket that listens, and {re.escape(repr(given))}"
            ):
                UnixListener.from_socket(given)
            assert kind == "file" or given.fileno() >= 0
            os.fstat(file.fileno())

    def test_what_is_not_open(self, listening):
        """A number that is not open, and a socket that is closed."""
        listening.close()
        with pytest.raises(Error, match="Bad file descriptor"):
            UnixListener.from_socket(1_000_000)
        with pytest.raises(unixconn.ClosedError, match=r"sock must be open, and .*-1"):
            UnixListener.from_socket(listening)

    def test_what_is_not_taken(self, listening):
        """Another object would close its descriptor as well; what stands for a number is one."""

        class Numbered:
            def __index__(self):
                return listening.fileno()

        class Owning:
            def fileno(self):
                return listening.fileno()

        for given in (Owning(), "3", None, True, 3.0):
            with pytest.raises(TypeError, match=re.escape(repr(given))):
                UnixListener.from_socket(given)
        with UnixListener.from_socket(Numbered()) as listener:
            number = listening.detach()
            os.fstat(number)
        assert repr(listener).endswith("closed>")
        with pytest.raises(OSError):
            os.fstat(number)


@pytest.mark.parametrize("free", range(8))
def test_with_few_descriptors(path, free):
    """F16: listen that runs out of descriptors is TOO_MANY_OPEN_FILES, and leaves no file."""
    from helpers import room

    with room(free):
        try:
            unixconn.listen(path).close()
        except Error as error:
            assert error.code == 31
        else:
            assert free > 2
    assert not path.exists()


@pytest.mark.skipif(not storms.RETURN_IS_ATOMIC, reason="a result may be lost between the return and the list")
def test_an_exception_at_each_step(tmp_path, monkeypatch):
    """A signal handler that raises while the socket is made leaves no file behind, wherever it does."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    path = tmp_path / "door"
    seen, step, left = [], 0, []
    while len(seen) >= step:
        step += 1
        made = []
        try:
            seen = storms.stop_at(step)
            made.extend(map(unixconn.listen, (path,)))
        except storms.Interruption:
            pass
        finally:
            sys.setprofile(None)
        for each in made:
            each.close()
        if path.exists():
            left.append(seen[step - 1])
            path.unlink()
    assert (left, step > 20) == ([], True)
