"""UnixConnection.borrow() and peer_credentials(): sockets that belong to somebody else stay as they are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest
from helpers import collect, forked, open_descriptors, open_sockets, room

import unixconn
from unixconn import Error, UnixConnection


def passes_a_descriptor(theirs, ours):
    """Receive a descriptor on the socket of *theirs*, and ask who is there."""
    ours.send_fd(0)
    with UnixConnection.borrow(theirs) as borrowed:
        assert type(borrowed) is UnixConnection
        fd = borrowed.receive_fd()
        assert os.path.sameopenfile(fd, 0)
        os.close(fd)
        borrowed.send_fd(0)
    os.close(ours.receive_fd())
    assert unixconn.peer_credentials(theirs).get_unix_pid() == os.getpid()


@contextlib.contextmanager
def pair():
    """Return a socket of the standard library, and the connection at its other end."""
    ours, theirs = socket.socketpair()
    with UnixConnection.from_socket(ours) as connection, theirs:
        yield theirs, connection


class TestForms:
    """Each library's own object can be given, and works on afterwards."""

    @pytest.mark.parametrize("form", [lambda sock: sock, lambda sock: sock.fileno(), UnixConnection.borrow])
    def test_plain(self, form):
        """A socket, a number, and a connection, which has fileno(), too."""
        with pair() as (theirs, ours):
            given = form(theirs)
            before = open_sockets()
            passes_a_descriptor(given, ours)
            assert open_sockets() == before
            if isinstance(given, UnixConnection):
                given.close()
            ours.send_message(b"still there")
            assert theirs.recv(100) == b"still there"

    def test_asyncio(self):
        """A transport and a StreamWriter."""

        async def main(theirs, ours):
            reader, writer = await asyncio.open_unix_connection(sock=theirs)
            writer.transport.pause_reading()
            passes_a_descriptor(writer, ours)
            passes_a_descriptor(writer.transport, ours)
            writer.transport.resume_reading()
            ours.send_message(b"still there")
            assert await reader.readexactly(11) == b"still there"
            writer.close()
            await writer.wait_closed()
            with pytest.raises((TypeError, ValueError)):
                unixconn.peer_credentials(writer)

        with pair() as (theirs, ours):
            asyncio.run(main(theirs, ours))

    def test_trio(self):
        """A SocketStream."""
        trio = pytest.importorskip("trio")

        async def main(theirs, ours):
            async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as stream:
                passes_a_descriptor(stream, ours)
                await stream.send_all(b"still there")
                assert ours.receive_message(100).data == b"still there"

        with pair() as (theirs, ours):
            trio.run(main, theirs, ours)

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_anyio(self, backend, tmp_path):
        """A UNIXSocketStream."""
        anyio = pytest.importorskip("anyio")

        async def main():
            with unixconn.listen(tmp_path / "s") as listener:
                async with await anyio.connect_unix(tmp_path / "s") as stream:
                    with next(listener) as ours:
                        passes_a_descriptor(stream, ours)
                        await stream.send(b"still there")
                        assert ours.receive_message(100).data == b"still there"

        anyio.run(main, backend=backend)


class TestErrors:
    """They name what was given."""

    @pytest.mark.parametrize("act", [UnixConnection.borrow, unixconn.peer_credentials])
    def test_no_socket(self, act):
        """A file, a number that is not open, a closed socket, and an object of another kind."""
        closed = socket.socket(socket.AF_UNIX)
        closed.close()
        reading, writing = os.pipe()
        before = open_descriptors()
        with pytest.raises(Error, match=r"Socket operation on non-socket|Bad file descriptor") as caught:
            act(reading)
        assert caught.value.errno is not None
        with pytest.raises(Error, match="Bad file descriptor"):
            act(1_000_000)
        with pytest.raises(ValueError, match=r"sock\.fileno\(\) must be the number of an open descriptor, not -1"):
            act(closed)
        with pytest.raises(TypeError, match=r"sock must be .*, not 'door'"):
            act("door")
        assert open_descriptors() == before
        os.close(reading)
        os.close(writing)

    def test_no_peer(self):
        """A socket without a peer."""
        with socket.socket(socket.AF_UNIX) as alone, pytest.raises(unixconn.NotConnectedError):
            unixconn.peer_credentials(alone)


class TestFullTable:
    """peer_credentials makes no descriptor but the pidfd, so who the peer is can be asked whenever it matters (F23)."""

    @staticmethod
    def knows(given):
        """Ask without room for a descriptor: all is known but the pidfd."""
        known = unixconn.peer_credentials(given)
        before = open_descriptors()
        with room(0):
            peer = unixconn.peer_credentials(given)
        assert open_descriptors() == before
        assert (peer.get_unix_pid(), peer.get_unix_user()) == (os.getpid(), os.geteuid())
        assert peer.get_unix_group() == os.getegid()
        with contextlib.suppress(unixconn.NotSupportedError):  # the kernel may have neither
            assert peer.get_groups() == known.get_groups()
            known.get_pidfd().close()
            with pytest.raises(unixconn.TooManyOpenFilesError):
                peer.get_pidfd()

    @pytest.mark.parametrize("form", [lambda sock: sock, lambda sock: sock.fileno(), UnixConnection.borrow])
    def test_plain(self, form):
        """A socket, a number, and a connection."""
        with pair() as (theirs, _), contextlib.ExitStack() as stack:
            given = form(theirs)
            if isinstance(given, UnixConnection):
                stack.enter_context(given)
            self.knows(given)

    def test_asyncio(self):
        """A StreamWriter."""

        async def main(theirs):
            _, writer = await asyncio.open_unix_connection(sock=theirs)
            self.knows(writer)
            writer.close()
            await writer.wait_closed()

        with pair() as (theirs, _):
            asyncio.run(main(theirs))

    def test_dropped(self):
        """An object that closes its descriptor when it is dropped stays alive until the answer is there."""

        class Socket:
            def __init__(self, fd):
                self.fileno = lambda: fd
                self.close = lambda: os.close(fd)

            def __del__(self):
                self.close()

        class Stream:
            def __init__(self, fd):
                self.fd = fd

            @property
            def socket(self):
                return Socket(os.dup(self.fd))

        with pair() as (theirs, _):
            before = open_descriptors()
            assert unixconn.peer_credentials(Stream(theirs.fileno())).get_unix_pid() == os.getpid()
            collect()
            assert open_descriptors() == before


class TestAnotherSocket:
    """While the call runs, the number may become another socket's: the answer is that of one peer, or an Error."""

    def test_at_each_step(self, tmp_path):
        """The other socket's peer is another process."""

        def child():
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / "s"))
                return sock.recv(1) == b""

        with socket.socket(socket.AF_UNIX) as server, pair() as (theirs, _):
            server.bind(str(tmp_path / "s"))
            server.listen()
            pid = forked(child)
            with server.accept()[0] as other:
                pids, lost, step = set(), 0, 0
                while not pids or os.getpid() not in pids:  # until the last step is passed
                    step += 1
                    try:
                        pids.add(self.asked(theirs, other, step))
                    except unixconn.ClosedError as error:
                        lost += 1
                        assert "sock was closed meanwhile" in error.message
            assert os.waitpid(pid, 0)[1] == 0
        assert pids == {pid, os.getpid()}
        assert lost > 0

    @staticmethod
    def asked(one, other, step):
        """Ask the number of *one*, which is that of *other* from *step* on: return the pid, which is the pidfd's."""
        number = os.dup(one.fileno())
        steps = 0

        def look(_frame, _event, _argument):
            nonlocal steps
            steps += 1
            if steps == step:
                os.dup2(other.fileno(), number)

        sys.setprofile(look)
        try:
            peer = unixconn.peer_credentials(number)
        finally:
            sys.setprofile(None)
            reached = steps >= step
            os.close(number)
        pid = peer.get_unix_pid()
        with contextlib.suppress(unixconn.NotSupportedError), peer.get_pidfd() as pidfd:
            assert f"Pid:\t{pid}\n" in Path(f"/proc/self/fdinfo/{pidfd.fileno()}").read_text()
        assert reached or pid == os.getpid()
        return pid
