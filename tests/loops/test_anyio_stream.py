"""unixconn.anyio: a connection as a stream of anyio."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import same
from loops.event_loops import OnAnyio
from ways import optional

import unixconn
from unixconn import FileDescriptor, IOErrorEnum, SocketType, UnixConnection

anyio = optional("anyio")
door = optional("unixconn.anyio")
UnixStream = door.UnixStream


@pytest.fixture(params=["asyncio", "trio"])
def loop(request):
    """A loop of each backend."""
    return OnAnyio(request.param)


@pytest.fixture
def run(loop):
    """Runs a coroutine function with two streams, each the other's peer."""

    def run(function):
        async def main():
            ours, theirs = UnixConnection.create_pair()
            async with UnixStream(ours) as a, UnixStream(theirs) as b:
                await function(a, b)

        loop.run(main)

    return run


@contextlib.contextmanager
def too_large(partial):
    """Check that the block ends with MESSAGE_TOO_LARGE, which has the bytes."""
    with pytest.raises(unixconn.SystemCallError, match="Message too long") as caught:
        yield
    assert (caught.value.code, caught.value.partial) == (IOErrorEnum.MESSAGE_TOO_LARGE, partial)


class TestBytes:
    def test_send_and_receive(self, run):
        """Bytes come as they were sent, more than the socket takes at once, too; then the end."""

        async def main(a, b):
            data = os.urandom(2**20)
            got = bytearray()
            async with anyio.create_task_group() as group:

                async def send():
                    await a.send(data)
                    await a.send_eof()

                group.start_soon(send)
                async for part in b:
                    got += part
            assert bytes(got) == data
            with pytest.raises(anyio.EndOfStream):
                await b.receive()
            await b.send(b"the other way")
            assert await a.receive(3) == b"the"

        run(main)

    def test_in_another_stream_of_anyio(self, run):
        """A BufferedByteStream, for instance, works over it."""
        buffered = optional("anyio.streams.buffered")

        async def main(a, b):
            await a.send(b"one\ntwo\n")
            reader = buffered.BufferedByteReceiveStream(b)
            assert await reader.receive_until(b"\n", 100) == b"one"
            assert await reader.receive_exactly(3) == b"two"

        run(main)

    def test_cancelled(self, run):
        """A receive that is cancelled takes nothing."""

        async def main(a, b):
            with anyio.move_on_after(0.01) as scope:
                await b.receive()
            assert scope.cancel_called
            await a.send(b"x")
            with anyio.CancelScope() as scope:
                scope.cancel()
                await b.receive()
            assert await b.receive() == b"x"

        run(main)


class TestDescriptors:
    def test_send_and_receive(self, run, null):
        """They come with their bytes, close-on-exec; numbers and files are taken."""

        async def main(a, b):
            with Path(os.devnull).open("rb") as file:
                await a.send_fds(b"two", [null, file])
            data, fds = await b.receive_fds(100, 2)
            assert (data, len(fds)) == (b"two", 2)
            assert all(same(fd, null) and not os.get_inheritable(fd) for fd in fds)
            unixconn.close_fds(fds)

        run(main)

    def test_to_and_from_anyio(self, run, null):
        """A stream of anyio's own is at the other end."""

        async def main(a, b):
            with a.connection.to_socket() as sock:
                other = await anyio.abc.UNIXSocketStream.from_socket(sock)
                await other.send_fds(b"x", [null])
                data, fds = await b.receive_fds(9, 1)
                await b.send_fds(data, fds)
                unixconn.close_fds(fds)
                data, fds = await other.receive_fds(9, 1)
                assert data == b"x"
                assert same(fds[0], null)
                unixconn.close_fds(fds)
                await other.aclose()

        if not hasattr(anyio.abc.UNIXSocketStream, "from_socket"):
            pytest.skip("this anyio makes no stream of a socket")
        run(main)

    def test_more_than_the_caller_takes(self, run, null):
        """Nothing is lost in silence: the descriptors are closed, and the error has the bytes; the stream goes on."""

        async def main(a, b):
            await a.send_fds(b"abc", [null] * 3)
            with too_large(b"abc"):
                await b.receive_fds(100, 2)
            await a.send_fds(b"def", [null])
            with too_large(b"def"):
                await b.receive()
            await a.send(b"on")
            assert await b.receive_fds(100, 2) == (b"on", [])

        run(main)

    def test_wrong_arguments(self, run, null):
        """They are a ValueError, as in anyio."""

        async def main(a, b):
            for call in (
                lambda: a.send_fds(b"", [null]),
                lambda: a.send_fds(b"x", []),
                lambda: a.send_fds(b"x", [null] * 254),
                lambda: b.receive_fds(0, 1),
                lambda: b.receive_fds(1, 0),
                lambda: b.receive(0),
            ):
                with pytest.raises(ValueError, match=r"must|253"):
                    await call()

        run(main)


class TestErrors:
    def test_closed(self, run):
        """After aclose() all methods raise ClosedResourceError, a receive that waits, too."""

        async def main(_a, b):
            async def wait():
                with pytest.raises(anyio.ClosedResourceError):
                    await b.receive()

            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.sleep(0.01)
                await b.aclose()
            await b.aclose()
            for call in (b.receive, b.send_eof, lambda: b.send(b"x"), lambda: b.receive_fds(1, 1)):
                with pytest.raises(anyio.ClosedResourceError):
                    await call()

        run(main)

    def test_closed_in_a_cancelled_scope(self, run):
        """It is closed nevertheless."""

        async def main(_a, b):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await b.aclose()
            assert b.connection.is_closed()

        run(main)

    def test_broken(self, run):
        """The peer has gone."""

        async def main(a, b):
            await b.send(b"unread")
            await b.aclose()
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await a.send(b"x")
            assert isinstance(caught.value.__cause__, unixconn.PeerClosedError)

        run(main)

    def test_reset(self, run):
        """The peer has gone without reading: the end is a reset."""

        async def main(a, b):
            await a.send(b"unread")
            await b.aclose()
            with pytest.raises(anyio.BrokenResourceError):
                await a.receive()

        run(main)

    def test_busy(self, run):
        """Two tasks cannot receive at a time."""

        async def main(a, b):
            async with anyio.create_task_group() as group:
                group.start_soon(b.receive)
                await anyio.sleep(0.01)
                with pytest.raises(anyio.BusyResourceError):
                    await b.receive()
                await a.send(b"x")

        run(main)

    def test_what_is_no_stream(self):
        """A connection of records, and anything else, is refused."""
        for each in UnixConnection.create_pair(SocketType.SEQPACKET):
            with each, pytest.raises(ValueError, match="must be a stream"):
                UnixStream(each)
        with pytest.raises(TypeError, match="must be a UnixConnection, not 5"):
            UnixStream(5)


class TestListener:
    def test_serve(self, loop, tmp_path, null):
        """A handler has a task for each stream; cancelling ends it, and the socket file is gone."""
        path = tmp_path / "s"

        async def handler(stream):
            async with stream:
                data, fds = await stream.receive_fds(100, 1)
                await stream.send_fds(data, fds)
                unixconn.close_fds(fds)

        async def main():
            async with door.UnixStreamListener(unixconn.listen(path)) as listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, handler)
                for _ in range(2):
                    async with UnixStream(await unixconn.connect_async(path)) as stream:
                        await stream.send_fds(b"x", [null])
                        data, fds = await stream.receive_fds(9, 1)
                        assert data == b"x"
                        assert same(fds[0], null)
                        unixconn.close_fds(fds)
                group.cancel_scope.cancel()
            assert not path.exists()

        loop.run(main)

    def test_accept(self, loop, tmp_path):
        """One task accepts at a time, until the listener is closed; the attributes are those of the socket."""

        async def main():
            listener = door.UnixStreamListener(unixconn.listen(tmp_path / "s"))
            assert isinstance(listener, anyio.abc.SocketListener)
            assert listener.extra(anyio.abc.SocketAttribute.local_address) == str(tmp_path / "s")
            assert listener.extra(anyio.abc.SocketAttribute.family) is socket.AF_UNIX

            async def wait():
                with pytest.raises(anyio.ClosedResourceError):
                    await listener.accept()

            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.sleep(0.01)
                with pytest.raises(anyio.BusyResourceError):
                    await listener.accept()
                await listener.aclose()
            await listener.aclose()

        loop.run(main)

    def test_what_is_no_listener_of_streams(self, tmp_path):
        """It is refused."""
        with pytest.raises(TypeError, match="must be a UnixListener, not 5"):
            door.UnixStreamListener(5)
        listener = unixconn.listen(tmp_path / "s", type=SocketType.SEQPACKET)
        with listener, pytest.raises(ValueError, match="of streams"):
            door.UnixStreamListener(listener)


class TestAttributes:
    def test_of_the_socket(self, run):
        """They are those of anyio's streams; the peer's credentials are at hand in both ways."""

        async def main(a, _b):
            of = anyio.abc.SocketAttribute
            assert a.extra(of.family) is socket.AF_UNIX
            assert a.extra(of.local_address) == a.extra(of.remote_address) == ""
            raw = a.extra(of.raw_socket)
            assert raw is a.extra(of.raw_socket)
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
            assert unixconn.peer_credentials(a).get_unix_pid() == os.getpid()
            assert a.connection.get_peer_credentials().get_unix_user() == os.geteuid()
            with pytest.raises(anyio.TypedAttributeLookupError):
                a.extra(of.local_port)

        run(main)

    def test_from_a_number(self, run):
        """A number is taken over."""

        async def main(_a, _b):
            ours, theirs = socket.socketpair()
            with theirs:
                async with await UnixStream.from_socket(ours.detach()) as stream:
                    theirs.send(b"x")
                    assert await stream.receive() == b"x"

        run(main)

    @pytest.mark.parametrize("form", ["socket", "number", "descriptor"])
    def test_of_records(self, run, form):
        """A socket of records is refused, and stays with its owner."""

        async def main(_a, _b):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.settimeout(5)
            with ours, theirs:
                owner = FileDescriptor(ours.detach()) if form == "descriptor" else None
                with pytest.raises(ValueError, match="not one of records"):
                    await UnixStream.from_socket(owner or (ours if form == "socket" else ours.fileno()))
                if owner is not None:
                    ours = owner.to_socket()
                theirs.send(b"x")
                with ours:
                    assert ours.recv(1) == b"x"
                    assert form == "descriptor" or ours.gettimeout() == 5

        run(main)

    def test_loaded_only_when_imported(self):
        """The package itself loads neither anyio nor asyncio."""
        program = (
            "import sys, unixconn; unixconn.connect; unixconn.serve;"
            "assert not {'anyio', 'asyncio'} & set(sys.modules);"
            "import unixconn.anyio, unixconn.asyncio"
        )
        folder = Path(unixconn.__file__).parents[1]
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=folder)
