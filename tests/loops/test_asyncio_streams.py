"""unixconn.asyncio: asyncio's streams over a connection, with descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest
from helpers import collect, is_open, open_sockets, room, same

import unixconn
from unixconn import IOErrorEnum, SocketType, UnixConnection
from unixconn.asyncio import StreamReader, StreamWriter, open_connection, start_server


@pytest.fixture
def with_streams(run):
    """Runs a coroutine function with the two streams of a connection, and its peer as a plain connection."""

    def with_streams(function, **options):
        async def main():
            ours, theirs = UnixConnection.create_pair()
            with theirs:
                reader, writer = await open_connection(ours, **options)
                try:
                    await asyncio.wait_for(function(reader, writer, theirs), 60)
                finally:
                    writer.transport.abort()  # a peer that does not read would keep close() waiting
                    await writer.wait_closed()

        run(main)

    return with_streams


@contextlib.contextmanager
def fails(code, text):
    """Check that the block ends with the Error."""
    with pytest.raises(unixconn.Error, match=text) as caught:
        yield
    assert caught.value.code == code


def close(fds):
    """Close descriptors, and return how many there were."""
    for each in fds:
        each.close()
    return len(fds)


async def turns(count=5):
    """Let the loop go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition):
    """Wait until *condition* holds."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it does not come")


READS = {
    "readline": lambda reader: reader.readline(),
    "async for": lambda reader: reader.__anext__(),
    "readuntil": lambda reader: reader.readuntil(b"\n"),
    "readuntil of two": lambda reader: reader.readuntil(b"1\n" if not reader.seen else b"\n"),
    "readexactly": lambda reader: reader.readexactly(3),
    "read": lambda reader: reader.read(3),
}


class TestReading:
    @pytest.mark.parametrize("read", READS)
    def test_dropped_descriptors(self, with_streams, null, read):
        """F15: if this process has no room for the descriptors, the bytes are there all the same; take_fds tells it."""

        async def main(reader, _writer, peer):
            reader.seen = False
            reader._connection.pass_credentials()
            for _ in range(2):
                peer.send_message(b"01\n", [null, null])
            with room(1):
                assert await READS[read](reader) == b"01\n"
            assert reader.credentials.get_unix_pid() == os.getpid()
            with fails(IOErrorEnum.TOO_MANY_OPEN_FILES, "Too many open files"):
                reader.take_fds()
            assert reader.take_fds() == []
            assert await READS[read](reader) == b"01\n"
            assert close(reader.take_fds()) == 2

        with_streams(main)

    def test_methods(self, with_streams):
        """They are those of asyncio."""

        async def main(reader, writer, peer):
            assert isinstance(reader, asyncio.StreamReader)
            assert isinstance(writer, asyncio.StreamWriter)
            peer.send_message(b"one\ntwo\nsix bytes; and then the rest")
            assert await reader.readline() == b"one\n"
            assert await reader.readuntil() == b"two\n"
            assert await reader.readexactly(3) == b"six"
            assert await reader.readuntil(b"; ") == b" bytes; "
            assert await reader.read(3) == b"and"
            assert (await reader.read(0), await reader.readexactly(0)) == (b"", b"")
            assert not reader.at_eof()
            peer.close()
            assert await reader.read() == b" then the rest"
            assert (reader.at_eof(), await reader.read(5), await reader.readline()) == (True, b"", b"")
            with pytest.raises(asyncio.IncompleteReadError):
                await reader.readexactly(1)
            assert [each async for each in reader] == []

        with_streams(main)

    def test_errors(self, with_streams):
        """So are the errors: a line that is too long, an end that comes too early, two readers, wrong arguments."""

        async def main(reader, _writer, peer):
            peer.send_message(b"0123456789\nx\n")
            with pytest.raises(ValueError, match="limit"):
                await reader.readline()
            assert await reader.readline() == b"x\n"
            waiting = asyncio.ensure_future(reader.readline())
            await turns()
            with pytest.raises(RuntimeError, match="another coroutine"):
                await reader.read(1)
            with pytest.raises(ValueError, match="less than zero"):
                await reader.readexactly(-1)
            peer.send_message(b"no end")
            peer.close()
            assert await waiting == b"no end"

        with_streams(main, limit=8)

    def test_cancelled(self, with_streams, null):
        """A read that is cancelled loses nothing."""

        async def main(reader, _writer, peer):
            waiting = asyncio.ensure_future(reader.readline())
            peer.send_message(b"a", [null])
            await turns()
            waiting.cancel()
            peer.send_message(b"b\n")
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await reader.readline() == b"ab\n"
            assert close(reader.take_fds()) == 1

        with_streams(main)

    def test_a_peer_that_floods(self, with_streams):
        """No more is taken from the socket than the limit allows: the kernel stops the peer."""

        async def main(reader, _writer, peer):
            sending = peer.send_message_async(b"line\n" * 200_000)
            for _ in range(50):
                assert await reader.readline() == b"line\n"
            await turns()
            assert not sending.done()
            assert len(reader._buffer) <= 2 * 65536
            sending.cancel()

        with_streams(main)


class TestDescriptors:
    @pytest.mark.parametrize("read", READS)
    def test_with_their_bytes(self, with_streams, null, read):
        """They are those of the bytes read, also if all came in one piece."""

        async def main(reader, _writer, peer):
            for number in range(4):
                peer.send_message(b"%d%%\n" % number, [null] * (number % 2))
            seen = []
            for number in range(4):
                reader.seen = seen
                if read == "readuntil of two":
                    data = await reader.readuntil(b"%d%%\n" % number)
                else:
                    data = await READS[read](reader)
                assert data == b"%d%%\n" % number
                seen.append(close(reader.take_fds()))
            assert seen == [0, 1, 0, 1]

        with_streams(main)

    def test_within_a_message(self, with_streams, null):
        """They come with the first byte of theirs; a read may end anywhere."""

        async def main(reader, _writer, peer):
            peer.send_message(b"head")
            peer.send_message(b"er\nbody", [null, null])
            assert await reader.readexactly(4) == b"head"
            assert reader.take_fds() == []
            assert await reader.readexactly(1) == b"e"
            first, second = reader.take_fds()
            assert same(first.fileno(), null)
            assert not os.get_inheritable(first.fileno())
            close([first, second])
            assert await reader.read(100) == b"r\nbody"

        with_streams(main)

    def test_by_number(self, with_streams, null):
        """As many as the caller says, or an error, and none."""

        async def main(reader, _writer, peer):
            peer.send_message(b"ab", [null] * 3)
            assert await reader.read(1) == b"a"
            assert close(reader.take_fds(2)) == 2
            with fails(IOErrorEnum.FAILED, "Expecting 2 fds, but got 1"):
                reader.take_fds(2)
            assert close(reader.take_fds(1)) == 1
            assert reader.take_fds(0) == []

        with_streams(main)

    def test_credentials(self, with_streams, null):
        """Those of the sender, if the kernel adds them; descriptors still come with their bytes."""

        async def main(reader, writer, peer):
            peer.send_message(b"before\n")
            assert await reader.readline() == b"before\n"
            assert reader.credentials is None
            writer.connection.pass_credentials()
            peer.send_message(b"one\n")
            peer.send_message(b"two\n", [null])
            assert await reader.readline() == b"one\n"
            assert reader.credentials.get_unix_pid() == os.getpid()
            assert reader.take_fds() == []
            assert await reader.readline() == b"two\n"
            assert close(reader.take_fds()) == 1
            assert unixconn.peer_credentials(writer).get_unix_pid() == os.getpid()

        with_streams(main)

    def test_that_nobody_takes(self, with_streams, null):
        """They are limited; those that are taken make room; the others are closed with the reader."""

        async def main(reader, _writer, peer):
            for _ in range(300):
                peer.send_message_async(b"x", [null], None, None, None)
            with fails(IOErrorEnum.TOO_MANY_OPEN_FILES, r"254 descriptors .* take_fds"):
                await reader.readexactly(300)
            assert close(reader.take_fds()) == 254
            assert await reader.readexactly(300) == b"x" * 300

        with_streams(main)

    def test_that_are_left_at_the_end(self, with_streams, null):
        """They are closed with the connection, also if the reader lives on."""

        async def main(reader, writer, peer):
            peer.send_message(b"xyz", [null])
            assert await reader.read(1) == b"x"
            fd = reader._kept.fds[0].fileno()
            assert is_open(fd)
            writer.close()
            await writer.wait_closed()
            assert not is_open(fd)
            assert reader.take_fds() == []
            assert await reader.read() == b""

        with_streams(main)

    def test_written_in_order(self, with_streams, null):
        """They go with their bytes, however long those wait; the caller closes its own at once."""

        async def main(_reader, writer, peer):
            writer.write(b"x" * 300_000)
            for number in range(20):
                fd = os.dup(null)
                writer.write_fds(b"%02d" % number, [fd] * (1 + number % 3))
                os.close(fd)
                writer.write(b"y")
                writer.write(b"z")
            assert writer.transport.get_write_buffer_size() > 50_000
            left, fds = 300_000, []
            text = b""
            while left or len(text) < 80:
                with await peer.receive_message_async(left or 4096) as message:
                    fds += [len(message.fds)] if message.fds else []
                    text += b"" if left else message.data
                    left -= len(message.data) if left else 0
            assert text == b"".join(b"%02dyz" % number for number in range(20))
            assert fds == [1 + number % 3 for number in range(20)]
            await writer.drain()
            assert writer.transport.get_write_buffer_size() == 0

        with_streams(main)

    def test_that_cannot_be_sent(self, with_streams, null):
        """The call raises, whether it could send or has to wait; nothing is sent."""

        async def main(_reader, writer, peer):
            for _ in range(2):
                for data, fds, error in (
                    (b"x", [999_999], unixconn.Error),
                    (b"x", ["1"], TypeError),
                    ("x", [null], TypeError),
                    (b"", [null], ValueError),
                    (b"x", [-1], ValueError),
                ):
                    with pytest.raises(error):
                        writer.write_fds(data, fds)
                writer.write(b"y" * 300_000)  # from now on, what is written has to wait
            for _ in range(2):
                assert await peer.get_input_stream().read_all_async(300_000) == b"y" * 300_000
            peer.refuse_fds()
            await writer.drain()
            with contextlib.suppress(PermissionError):  # from Linux 6.16 on
                writer.write_fds(b"x", [null])
            writer.write(b"z")
            assert (await peer.get_input_stream().read_async(10)).lstrip(b"x") == b"z"

        with_streams(main)


class TestWriting:
    def test_drain(self, with_streams):
        """It waits for a slow peer, by bytes or by descriptors."""

        async def main(_reader, writer, peer):
            writer.write(b"x" * 500_000)
            waiting = asyncio.ensure_future(writer.drain())
            await turns()
            assert not waiting.done()
            assert await peer.get_input_stream().read_all_async(500_000)
            await waiting
            writer.transport.set_write_buffer_limits(high=10)
            assert writer.transport.get_write_buffer_limits() == (2, 10)
            with pytest.raises(ValueError, match="high"):
                writer.transport.set_write_buffer_limits(1, 2)

        with_streams(main)

    def test_drain_of_descriptors(self, with_streams, null):
        """A few bytes with many descriptors make it wait, too."""

        async def main(_reader, writer, peer):
            writer.write(b"x" * 300_000)
            writer.transport.set_write_buffer_limits(10_000_000)
            await writer.drain()
            writer.write_fds(b"a", [null] * 200)
            await writer.drain()
            writer.write_fds(b"b", [null] * 200)
            waiting = asyncio.ensure_future(writer.drain())
            await turns()
            assert not waiting.done()
            assert await peer.get_input_stream().read_all_async(300_000)
            unixconn.close_fds(await peer.receive_fds_async(400))
            await waiting

        with_streams(main)

    def test_end(self, with_streams):
        """write_eof() ends what the peer reads when all is sent; reading goes on."""

        async def main(reader, writer, peer):
            assert writer.can_write_eof()
            writer.writelines([b"x" * 300_000, b"y"])
            writer.write_eof()
            with pytest.raises(RuntimeError, match="write_eof"):
                writer.write(b"z")
            assert len(await peer.get_input_stream().read_all_async(1_000_000)) == 300_001
            peer.send_message(b"answer\n")
            assert await reader.readline() == b"answer\n"

        with_streams(main)

    def test_close(self, with_streams):
        """What was written is sent before; a read ends; a second call does nothing, and nothing more is sent."""

        async def main(reader, writer, peer):
            waiting = asyncio.ensure_future(reader.read(1))
            await turns()
            writer.write(b"x" * 300_000)
            writer.close()
            writer.close()
            writer.write(b"never")
            assert writer.is_closing()
            assert len(await peer.get_input_stream().read_all_async(1_000_000)) == 300_000
            await writer.wait_closed()
            assert writer.connection.is_closed()
            assert await waiting == b""

        with_streams(main)

    @pytest.mark.parametrize(
        ("method", "argument"),
        [
            ("readuntil", "\n"),
            ("readuntil", ["\n"]),
            ("readuntil", 10),
            ("readuntil", None),
            ("read", 1.5),
            ("read", "1"),
            ("readexactly", 1.5),
            ("readexactly", None),
        ],
    )
    def test_wrong_arguments_while_descriptors_come(self, with_streams, null, method, argument):
        """They are a TypeError of the call, which the loop survives, and nothing is lost."""

        async def main(reader, _writer, peer):
            waiting = asyncio.ensure_future(getattr(reader, method)(argument))
            await turns()
            peer.send_message(b"a line\n", fds=[null])
            with pytest.raises(TypeError):
                await asyncio.wait_for(waiting, 60)
            assert await reader.readline() == b"a line\n"
            unixconn.close_fds([each.detach() for each in reader.take_fds()])

        with_streams(main)

    @pytest.mark.parametrize("end", ["close", "abort", "break"])
    def test_descriptors_after_the_end(self, with_streams, null, end):
        """The caller learns that they are not sent, which bytes alone leave to drain(), and still has them."""

        async def main(_reader, writer, peer):
            if end == "break":
                peer.close()
                writer.write_fds(b"x", [null])
            else:
                getattr(writer.transport, end)()
            for _ in "12":
                with pytest.raises(unixconn.ClosedError, match="sends no descriptors"):
                    writer.write_fds(b"x", [null])
            writer.write(b"x")
            writer.write_fds(b"x", [])
            os.fstat(null)

        with contextlib.suppress(ConnectionError):
            with_streams(main)

    def test_abort(self, with_streams, null):
        """It drops what waits, and its descriptors."""

        async def main(_reader, writer, peer):
            writer.write(b"x" * 300_000)
            writer.write_fds(b"y", [null])
            writer.transport.abort()
            await writer.wait_closed()
            assert len(await peer.get_input_stream().read_all_async(1_000_000)) < 300_000

        with_streams(main)

    def test_broken(self, with_streams):
        """The peer has gone: drain() and the reads raise Python's ConnectionError."""

        async def main(reader, writer, peer):
            writer.write(b"unread")
            peer.close()
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            writer.write(b"x")
            with pytest.raises(ConnectionError):
                await writer.drain()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            assert writer.is_closing()

        with contextlib.suppress(ConnectionError):
            with_streams(main)

    def test_extra_info(self, with_streams):
        """The addresses and a socket are at hand, as with asyncio; others are the default."""

        async def main(_reader, writer, _peer):
            assert writer.get_extra_info("peername") == writer.get_extra_info("sockname") == ""
            assert writer.get_extra_info("socket").family == socket.AF_UNIX
            assert writer.get_extra_info("cipher", 5) == 5
            assert repr(writer.connection) in repr(writer)

        with_streams(main)


class TestServer:
    def test_code_of_asyncio(self, run, tmp_path):
        """A program written for asyncio's functions works with each of them replaced, or both."""

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async for line in reader:
                writer.write(line)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            ended.append(writer)

        async def main():
            for start in (start_server, asyncio.start_unix_server):
                for connect in (open_connection, asyncio.open_unix_connection):
                    path = str(tmp_path / f"{start.__module__}{connect.__module__}")
                    async with await start(echo, path) as server:
                        assert server.is_serving()
                        reader, writer = await connect(path)
                        writer.write(b"one\ntwo\n")
                        assert [await reader.readline() for _ in range(2)] == [b"one\n", b"two\n"]
                        writer.close()
                        await writer.wait_closed()
                        await until(lambda: ended)  # asyncio's server does not wait in each version
                        ended.clear()
                    assert not server.is_serving()

        ended = []
        run(main)

    def test_descriptors(self, run, null):
        """They go to the handler and back."""

        async def back(reader: StreamReader, writer: StreamWriter) -> None:
            line = await reader.readline()
            [fd] = reader.take_fds(1)
            with fd:
                writer.write_fds(line, [fd])
            await writer.drain()
            writer.close()

        async def main():
            name = f"\0unixconn-test-streams-{os.getpid()}"
            async with await start_server(back, name):
                reader, writer = await open_connection(name, timeout=60)
                writer.write_fds(b"x\n", [null])
                assert await reader.readline() == b"x\n"
                with reader.take_fds(1)[0] as fd:
                    assert same(fd.fileno(), null)
                writer.close()
                await writer.wait_closed()

        run(main)

    def test_failing_handlers(self, run, tmp_path):
        """Their errors go to the loop, and their connections are closed; a plain function is a handler, too."""

        async def fail(_reader, _writer):
            raise ZeroDivisionError

        def fail_at_once(_reader, _writer):
            raise ZeroDivisionError

        async def main():
            reports = []
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: reports.append(type(context["exception"]))
            )
            for number, each in enumerate((fail, fail_at_once)):
                async with await start_server(each, tmp_path / str(number)):
                    reader, writer = await open_connection(tmp_path / str(number))
                    assert await reader.read() == b""
                    writer.close()
            assert reports == [ZeroDivisionError] * 2

        run(main)

    def test_end(self, run, tmp_path):
        """close() leaves the connections open, and wait_closed() waits for them; serve_forever() does both."""

        async def main():
            streams = []
            server = await start_server(lambda *both: streams.append(both), tmp_path / "s")
            assert server.get_loop() is asyncio.get_running_loop()
            await server.start_serving()
            forever = asyncio.ensure_future(server.serve_forever())
            clients = [await open_connection(tmp_path / "s") for _ in range(2)]
            await until(lambda: len(streams) == 2)
            assert repr(server) == f"<Server of {server.listener!r}, 2 open>"
            forever.cancel()
            await turns()
            assert not server.is_serving()
            with pytest.raises(unixconn.Error):
                await open_connection(tmp_path / "s")
            assert not forever.done()
            server.abort_clients()
            server.close_clients()
            with pytest.raises(asyncio.CancelledError):
                await forever
            for reader, writer in clients:
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()

        run(main)

    def test_wrong_arguments(self, run, tmp_path):
        """They are refused, and nothing stays open."""

        async def main():
            with pytest.raises(TypeError, match="callable"):
                await start_server(5, tmp_path / "s")
            with pytest.raises(ValueError, match="limit"):
                await start_server(print, tmp_path / "s", limit=0)
            with pytest.raises(ValueError, match="limit"):
                await open_connection(tmp_path / "s", limit=0)
            with pytest.raises(FileNotFoundError):
                await open_connection(tmp_path / "s")
            for each in UnixConnection.create_pair(SocketType.SEQPACKET):
                with each, pytest.raises(ValueError, match="must be a stream"):
                    await open_connection(each)

        run(main)
        with pytest.raises(RuntimeError, match="loop"):
            open_connection(tmp_path / "s").send(None)


@pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
def test_streams_that_are_dropped(run, null):
    """They close the connection, and the descriptors that nobody has taken."""

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        before = open_sockets()
        ours, theirs = UnixConnection.create_pair()
        with theirs:
            streams = await open_connection(ours)
            theirs.send_message(b"x", [null])
            assert await streams[0].read(1) == b"x"
            fd = streams[0]._kept.fds[0].fileno()
            del streams, ours
            collect()
            await turns()
            collect()
            assert not is_open(fd)
            with pytest.raises(unixconn.ClosedError):
                await theirs.receive_message_async(1)
        assert open_sockets() <= before

    run(main)
