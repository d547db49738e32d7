"""Reading and writing a stream: what is particular to each method; the rest is in the table."""

from __future__ import annotations

import array
import asyncio
import gc
import os
import socket
import time

import pytest
from helpers import Background, Calls, drain, fill, received, same, settle
from ways import CANCELLED, PENDING, each_background, failure, iterate

import unixconn
from unixconn import PRIORITY_DEFAULT, PRIORITY_HIGH, PRIORITY_LOW, Bytes, Cancellable, SocketType, UnixConnection

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")

READS = {"read": (9, b"hello"), "read_all": (5, b"hello"), "read_bytes": (9, Bytes(b"hello")), "skip": (5, 5)}
"""With what each is asked for, and what it gives where there is b"hello"."""
WRITES = {"write": (b"hello", 5), "write_all": (b"hello", (True, 5)), "write_bytes": (Bytes(b"hello"), 5)}
BIG = 3_000_000
each_read = pytest.mark.parametrize("name", READS)
each_write = pytest.mark.parametrize("name", WRITES)


class TestBlocking:
    def test_read_gives_what_is_there(self, raw):
        """It does not wait for as much as was asked for."""
        sock, connection = raw
        sock.send(b"hello")
        stream = connection.get_input_stream()
        assert [stream.read(2), stream.read(99)] == [b"he", b"llo"]

    def test_read_all_waits_for_all(self, raw):
        """It puts pieces together."""
        sock, connection = raw
        reader = Background(connection.get_input_stream().read_all, 6)
        for piece in (b"ab", b"cd"):
            sock.send(piece)
            assert reader.is_waiting()
        sock.send(b"efgh")
        assert reader.outcome() == b"abcdef"
        assert connection.get_input_stream().read(9) == b"gh"

    def test_read_all_until_the_end(self, raw):
        """The stream's end makes it less."""
        sock, connection = raw
        sock.send(b"abc")
        sock.close()
        assert connection.get_input_stream().read_all(99) == b"abc"

    def test_skip(self, raw):
        """It passes over so many bytes at most."""
        sock, connection = raw
        sock.send(b"hello")
        stream = connection.get_input_stream()
        assert [stream.skip(2), stream.read(9)] == [2, b"llo"]

    @pytest.mark.parametrize("buffer", [bytearray(9), memoryview(bytearray(9))], ids=lambda each: type(each).__name__)
    def test_readinto(self, raw, buffer):
        """It reads into the caller's buffer, and gives how many bytes there were."""
        sock, connection = raw
        sock.send(b"hello")
        assert connection.get_input_stream().readinto(buffer) == 5
        assert bytes(buffer) == b"hello\0\0\0\0"

    @pytest.mark.parametrize("count", [9, 100_000])
    def test_readinto_keeps_descriptors(self, raw, null, count):
        """It waits, ends after a byte with a descriptor, and receive_fd returns that next."""
        sock, connection = raw
        stream, buffer = connection.get_input_stream(), bytearray(count)
        reader = Background(stream.readinto, buffer)
        assert reader.is_waiting()
        rights = array.array("i", [null])
        sock.sendmsg([b"ab"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        sock.send(b"c")
        assert reader.outcome() == 2
        assert stream.readinto(memoryview(buffer)[2:]) == 1
        assert bytes(buffer[:4]) == b"abc\0"
        fd = connection.receive_fd()
        assert same(fd, null)
        os.close(fd)
        sock.close()
        assert stream.readinto(buffer) == 0

    def test_readinto_what_can_not_be_written(self, raw):
        """It is refused, nothing is consumed, and the stream is free."""
        sock, connection = raw
        sock.send(b"hello")
        connection.get_socket().set_timeout(1)
        stream = connection.get_input_stream()
        with pytest.raises((TypeError, ValueError, BufferError)):
            stream.readinto(b"constant")
        with pytest.raises(TypeError):
            stream.readinto("text")
        assert not stream.has_pending()
        assert stream.read(9) == b"hello"

    def test_nothing_at_all(self, raw):
        """Reading 0 bytes gives none, and takes none."""
        sock, connection = raw
        sock.send(b"x")
        stream = connection.get_input_stream()
        assert (stream.read(0), stream.read_all(0), stream.readinto(bytearray())) == (b"", b"", 0)
        assert stream.read(9) == b"x"

    def test_write_bytes(self, raw):
        """It takes Bytes, and nothing else."""
        sock, connection = raw
        stream = connection.get_output_stream()
        assert stream.write_bytes(Bytes(b"hello")) == 5
        assert sock.recv(9) == b"hello"
        with pytest.raises(TypeError):
            stream.write_bytes(b"hello")
        assert not stream.has_pending()

    def test_is_readable_and_is_writable(self, raw):
        """They tell whether one would have to wait."""
        sock, connection = raw
        reader, writer = connection.get_input_stream(), connection.get_output_stream()
        assert (reader.is_readable(), writer.is_writable()) == (False, True)
        sock.send(b"x")
        fill(connection)
        assert (reader.is_readable(), writer.is_writable()) == (True, False)


class TestAsynchronousReading:
    @each_background
    def test_read_all_in_pieces(self, raw, do):
        """It goes on until it has all."""
        sock, connection = raw
        data = os.urandom(BIG)
        senders = []

        def send():
            senders.append(Background(sock.sendall, data))

        assert do(connection.get_input_stream(), "read_all", BIG, meanwhile=send) == data
        assert senders[0].outcome() is None

    @each_background
    @each_read
    def test_reset(self, raw, do, name):
        """A peer that closes with data unread resets the connection."""
        sock, connection = raw
        connection.get_socket().send(b"x")
        expected = (44, "Error receiving data: Connection reset by peer")
        assert failure(do, connection.get_input_stream(), name, 9, meanwhile=sock.close) == expected

    @each_read
    def test_wrong_arguments(self, pair, name):
        """They are refused at once, and leave the stream free."""
        stream = pair[0].get_input_stream()
        start = getattr(stream, f"{name}_async")
        for arguments in (("9",), (None,), (9, "high"), (9, 0, 5), (9, 0, None, 5)):
            with pytest.raises(TypeError):
                start(*arguments)
        for arguments in ((-1,), (9, 1 << 40)):
            with pytest.raises(OverflowError):
                start(*arguments)
        assert not stream.has_pending()

    def test_cancelling_in_asyncio(self, raw):
        """wait_for and cancel() work as for asyncio's own futures, and nothing is consumed."""
        sock, connection = raw
        stream = connection.get_input_stream()

        async def main():
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.read_async(9), 0.01)
            future = stream.read_async(9)
            assert future.cancel() is True
            with pytest.raises(asyncio.CancelledError):
                await future
            assert future.cancelled()
            together = asyncio.gather(stream.read_async(9), asyncio.sleep(60))
            await asyncio.sleep(0)
            assert together.cancel()
            with pytest.raises(asyncio.CancelledError):
                await together
            sock.send(b"hello")
            return await stream.read_async(9)

        assert asyncio.run(main()) == b"hello"

    def test_cancelling_the_task(self, raw):
        """It ends the operation, leaves the stream free, and what had come to the next read."""
        sock, connection = raw
        stream = connection.get_input_stream()

        async def main():
            task = asyncio.ensure_future(asyncio.wait_for(stream.read_all_async(9), 60))
            sock.send(b"abc")
            while stream.is_readable():
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not stream.has_pending()
            assert stream.is_readable()
            sock.send(b"hello")
            return await stream.read_all_async(8)

        assert asyncio.run(main()) == b"abchello"


class TestAsynchronousWriting:
    @each_background
    def test_all_to_a_slow_reader(self, raw, do):
        """Everything arrives, in its order."""
        sock, connection = raw
        data = os.urandom(BIG)
        readers = []

        def read():
            readers.append(Background(received, sock, BIG))

        assert do(connection.get_output_stream(), "write_all", data, meanwhile=read) == (True, BIG)
        assert readers[0].outcome() == data

    def test_both_ends_in_one_loop(self, pair):
        """Who writes a lot and who reads it a little at a time need one thread only."""
        a, b = pair
        data = os.urandom(BIG)

        async def read():
            got = bytearray()
            while len(got) < BIG:
                got += await b.get_input_stream().read_async(50_000)
            return bytes(got)

        async def main():
            return await asyncio.wait_for(asyncio.gather(a.get_output_stream().write_all_async(data), read()), 60)

        written, got = asyncio.run(main())
        assert written == (True, BIG)
        assert written.bytes_written == BIG
        assert got == data

    @each_background
    def test_the_data_is_the_operations(self, raw, do):
        """An empty buffer is written at once."""
        _, connection = raw
        stream = connection.get_output_stream()
        assert do(stream, "write", b"") == 0
        assert do(stream, "write_all", b"") == (True, 0)

    @each_background
    def test_cancelled_in_the_middle(self, raw, do):
        """What has gone has gone."""
        sock, connection = raw
        cancellable = Cancellable()
        stream = connection.get_output_stream()
        data = os.urandom(BIG)
        expected = failure(do, stream, "write_all", data, cancellable=cancellable, meanwhile=cancellable.cancel)
        assert expected == CANCELLED
        connection.close()
        got = bytearray()
        while piece := sock.recv(1 << 20):
            got += piece
        assert 0 < len(got) < BIG
        assert data.startswith(bytes(got))

    @each_write
    def test_wrong_arguments(self, pair, name):
        """They are refused at once, and leave the stream free."""
        stream, data = pair[0].get_output_stream(), WRITES[name][0]
        start = getattr(stream, f"{name}_async")
        for arguments in (("text",), (None,), (data, "high"), (data, 0, 5), (data, 0, None, 5)):
            with pytest.raises(TypeError):
                start(*arguments)
        assert not stream.has_pending()


class TestSeveralPieces:
    @pytest.mark.parametrize("seconds", [0, 60])
    @each_background
    def test_packets(self, do, seconds):
        """A piece is a packet; with a timeout of the Socket, each has its own."""
        a, b = UnixConnection.create_pair(SocketType.SEQPACKET)
        with a, b:
            for each in (a, b):
                each.get_socket().set_timeout(seconds)
            sent = bytes(range(100))

            def send():
                for value in sent:
                    b.get_output_stream().write(bytes([value]))

            assert do(a.get_input_stream(), "read_all", len(sent), meanwhile=send) == sent
            assert do(a.get_output_stream(), "write_all", sent) == (True, len(sent))
            assert b.get_input_stream().read(999) == sent

    def test_others_have_their_turn(self):
        """One attempt takes not all of many pieces, though none of them has to wait."""
        a, b = UnixConnection.create_pair(SocketType.SEQPACKET)
        with a, b:
            for value in range(100):
                b.get_output_stream().write(bytes([value]))
            calls = Calls()
            a.get_input_stream().read_all_async(100, PRIORITY_DEFAULT, None, calls)
            assert a.get_socket().get_available_bytes()
            iterate(lambda: calls)
            assert a.get_input_stream().read_all_finish(calls.result) == bytes(range(100))

    @pytest.mark.parametrize("is_async", [False, True])
    def test_each_has_the_timeout(self, pair, is_async):
        """All of them together may take longer."""
        a, b = pair
        a.get_socket().set_timeout(2)
        stream = a.get_input_stream()
        while True:
            before = time.monotonic()
            reader = Background(stream.read_all_async(3).result, 60) if is_async else Background(stream.read_all, 3)
            steps = []
            for _ in range(3):
                time.sleep(0.8)
                b.get_output_stream().write(b"x")
                steps.append(time.monotonic() - before)
                before = time.monotonic()
            outcome = reader.outcome()
            if max(steps) < 1.5:
                break
            # The machine has stood still for so long that a step may have timed out.
            drain(a)
        assert outcome == b"xxx"


class TestPending:
    @each_background
    @pytest.mark.parametrize("second", READS)
    def test_a_second_operation(self, raw, do, second):
        """It is PENDING until the first has ended, which is not disturbed."""
        sock, connection = raw
        stream = connection.get_input_stream()
        first = stream.read_async(9)
        assert stream.has_pending()
        assert failure(do, stream, second, 9) == PENDING
        assert failure(getattr(stream, second), 9) == PENDING
        assert failure(stream.set_pending) == PENDING
        assert failure(stream.close) == PENDING
        assert stream.has_pending()
        sock.send(b"first")
        assert first.result(60) == b"first"
        assert not stream.has_pending()
        sock.send(b"hello")
        count, expected = READS[second]
        assert do(stream, second, count) == expected

    @each_background
    def test_a_second_writing(self, raw, do):
        """It is PENDING, too, and reading is not concerned."""
        sock, connection = raw
        stream = connection.get_output_stream()
        fill(connection)
        first = stream.write_async(b"x")
        for name in WRITES:
            assert failure(do, stream, name, WRITES[name][0]) == PENDING
        assert failure(do, stream, "flush") == PENDING
        sock.send(b"hello")
        assert do(connection.get_input_stream(), "read", 9) == b"hello"
        assert first.cancel()
        assert failure(first.result, 9) == CANCELLED
        assert do(stream, "flush") is True

    def test_in_the_callback(self, raw):
        """The first has ended there: the next one can be started."""
        sock, connection = raw
        stream = connection.get_input_stream()
        got = []

        def note(source, result):
            got.append(source.read_finish(result))
            if got[-1]:
                assert not source.has_pending()
                source.read_async(2, PRIORITY_DEFAULT, None, note)

        stream.read_async(2, PRIORITY_DEFAULT, None, note)
        sock.send(b"hello")
        sock.close()
        iterate(lambda: b"" in got)
        assert got == [b"he", b"ll", b"o", b""]

    def test_an_abandoned_future(self, raw):
        """A Future that nobody keeps still has its operation under way."""
        sock, connection = raw
        stream = connection.get_input_stream()
        stream.skip_async(2)
        gc.collect()
        sock.send(b"hello")
        end = time.monotonic() + 60
        while stream.has_pending() and time.monotonic() < end:
            time.sleep(0.001)
        assert stream.read(9) == b"llo"


class TestPriorities:
    def test_order_of_the_callbacks(self):
        """Of operations that have ended, the one of the highest priority is told first."""
        pairs = [UnixConnection.create_pair() for _ in range(3)]
        calls = Calls()
        try:
            for (a, b), priority in zip(pairs, (PRIORITY_LOW, PRIORITY_DEFAULT, PRIORITY_HIGH)):
                b.get_output_stream().write(b"x")
                a.get_input_stream().read_async(9, priority, None, calls, priority)
            iterate(lambda: len(calls) == 3)
            assert [each[2] for each in calls] == [PRIORITY_HIGH, PRIORITY_DEFAULT, PRIORITY_LOW]
            assert [each[1].get_priority() for each in calls] == [PRIORITY_HIGH, PRIORITY_DEFAULT, PRIORITY_LOW]
        finally:
            for each in pairs:
                each[0].close()
                each[1].close()


class TestClosingAsynchronously:
    def test_what_it_says_meanwhile(self, pair):
        """The Socket is closed at once, but the connection says so when the callback comes."""
        a, _ = pair
        calls = Calls()
        a.close_async(PRIORITY_DEFAULT, None, calls)
        assert a.get_socket().is_closed()
        assert (a.is_closed(), a.has_pending()) == (False, True)
        assert failure(a.close) == PENDING
        iterate(lambda: calls)
        assert (a.is_closed(), a.has_pending()) == (True, False)
        assert a.close_finish(calls[0][1]) is True

    def test_async_with(self):
        """`async with` closes a connection, a stream alone too."""
        a, b = UnixConnection.create_pair()

        async def main():
            async with a as given:
                assert given is a
                async with a.get_output_stream() as stream:
                    await stream.write_async(b"x")
                assert stream.is_closed()
                assert not a.is_closed()
            assert a.is_closed()
            async with b:
                assert await b.get_input_stream().read_async(9) == b"x"

        asyncio.run(main())
        assert b.is_closed()


def end(future, how):
    """Cancel *future*, and see that it is over."""
    assert not settle(future.done, 0.02)
    (future if how == "cancel" else future.cancellable).cancel()
    with pytest.raises(unixconn.CancelledError):
        future.result(60)
