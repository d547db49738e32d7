"""UnixConnection.borrow() and peer_credentials(): sockets that belong to somebody else stay as they are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest
from helpers import open_descriptors, open_sockets

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
