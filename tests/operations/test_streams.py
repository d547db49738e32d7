"""The streams' other forms: asynchronous ones, splicing, and as Python's file objects."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import select
import socket
import time

import pytest
from helpers import Background, Calls, adopt, fill, settle
from ways import in_asyncio, iterate

import unixconn
from unixconn import (
    PRIORITY_DEFAULT,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    Bytes,
    Cancellable,
    Error,
    IOStreamSpliceFlags,
    OutputStreamSpliceFlags,
    UnixConnection,
)

READS = {"read": (9, b"hello"), "read_all": (5, b"hello"), "read_bytes": (9, Bytes(b"hello")), "skip": (9, 5)}
"""With what each is asked for, and what it gives where there is b"hello"."""
ENDS = {"read": b"", "read_all": b"", "read_bytes": Bytes(b""), "skip": 0}
WRITES = {"write": (b"hello", 5), "write_all": (b"hello", (True, 5)), "write_bytes": (Bytes(b"hello"), 5)}
BIG = 3_000_000


pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")


def by_callback(owner, name, *arguments, cancellable=None, meanwhile=lambda: None):
    """Do an operation, and *meanwhile*, in Gio's way."""
    calls = Calls()
    started = getattr(owner, f"{name}_async")(*arguments, PRIORITY_DEFAULT, cancellable, calls, "data")
    assert started is None
    assert calls == []
    meanwhile()
    iterate(lambda: calls)
    [(source, result, data)] = calls
    assert (source, data) == (owner, "data")
    return getattr(owner, f"{name}_finish")(result)


def by_future(owner, name, *arguments, cancellable=None, meanwhile=lambda: None):
    """Do an operation, and *meanwhile*, where no loop runs."""
    future = getattr(owner, f"{name}_async")(*arguments, PRIORITY_DEFAULT, cancellable)
    meanwhile()
    return future.result(5)


def by_await(owner, name, *arguments, cancellable=None, meanwhile=lambda: None):
    """Do an operation, and *meanwhile*, in asyncio."""

    async def main():
        future = getattr(owner, f"{name}_async")(*arguments, PRIORITY_DEFAULT, cancellable)
        await asyncio.sleep(0)
        meanwhile()
        return await asyncio.wait_for(future, 5)

    return in_asyncio(main())


WAYS = [by_callback, by_future, by_await]
each_way = pytest.mark.parametrize("do", WAYS, ids=lambda each: each.__name__[3:])
each_read = pytest.mark.parametrize("name", READS)
each_write = pytest.mark.parametrize("name", WRITES)


def failure(call, *arguments, **named):
    """Give code and text of the Error that a call raises."""
    with pytest.raises(Error) as caught:
        call(*arguments, **named)
    return caught.value.code, caught.value.message


CANCELLED = (19, "Operation was cancelled")
PENDING = (20, "Stream has outstanding operation")
TIMED_OUT = (24, "Socket I/O timed out")


def received(sock, size):
    """Take *size* bytes out of a plain socket."""
    got = bytearray()
    while len(got) < size:
        piece = sock.recv(1 << 20)
        assert piece, "the end came too early"
        got += piece
    return bytes(got)


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
    @each_way
    def test_read_all_in_pieces(self, raw, do):
        """It goes on until it has all."""
        sock, connection = raw
        data = os.urandom(BIG)
        senders = []

        def send():
            senders.append(Background(sock.sendall, data))

        assert do(connection.get_input_stream(), "read_all", BIG, meanwhile=send) == data
        assert senders[0].outcome() is None

    @each_way
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
            together = asyncio.gather(stream.read_async(9), asyncio.sleep(9))
            await asyncio.sleep(0)
            assert together.cancel()
            with pytest.raises(asyncio.CancelledError):
                await together
            sock.send(b"hello")
            return await stream.read_async(9)

        assert asyncio.run(main()) == b"hello"

    def test_cancelling_the_task(self, raw):
        """It ends the operation, and leaves the stream free."""
        sock, connection = raw
        stream = connection.get_input_stream()

        async def main():
            task = asyncio.ensure_future(asyncio.wait_for(stream.read_all_async(9), 9))
            sock.send(b"abc")
            while stream.is_readable():
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not stream.has_pending()
            sock.send(b"hello")
            return await stream.read_async(9)

        assert asyncio.run(main()) == b"hello"

class TestAsynchronousWriting:
    @each_way
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
            return await asyncio.wait_for(asyncio.gather(a.get_output_stream().write_all_async(data), read()), 20)

        written, got = asyncio.run(main())
        assert written == (True, BIG)
        assert written.bytes_written == BIG
        assert got == data

    @each_way
    def test_the_data_is_the_operations(self, raw, do):
        """An empty buffer is written at once."""
        _, connection = raw
        stream = connection.get_output_stream()
        assert do(stream, "write", b"") == 0
        assert do(stream, "write_all", b"") == (True, 0)

    @each_way
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


@pytest.mark.parametrize("limited", ["source", "target"])
@pytest.mark.parametrize("way", ["splice", "splice_async", "both"])
def test_timeouts_of_a_splice(way, limited):
    """Reading has that of the Socket it reads from, writing that of the other one."""
    a, b = UnixConnection.create_pair()
    c, d = UnixConnection.create_pair()
    with a, b, c, d:
        (a if limited == "source" else c).get_socket().set_timeout(1)
        source, target = a.get_input_stream(), c.get_output_stream()
        if way == "both":
            assert failure(a.splice_async(c).result, 9) == TIMED_OUT
            return
        if limited == "target":
            fill(c)
            b.get_socket().send(b"x")
        if way == "splice":
            assert failure(target.splice, source) == TIMED_OUT
        else:
            assert failure(target.splice_async(source).result, 9) == TIMED_OUT


class TestPending:
    @each_way
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
        assert first.result(9) == b"first"
        assert not stream.has_pending()
        sock.send(b"hello")
        count, expected = READS[second]
        assert do(stream, second, count) == expected

    @each_way
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
        end = time.monotonic() + 5
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


NOTHING, SOURCE, TARGET = OutputStreamSpliceFlags.NONE, OutputStreamSpliceFlags.CLOSE_SOURCE, 2
each_flag = pytest.mark.parametrize("flags", [NOTHING, SOURCE, TARGET, 3])


@pytest.fixture
def chain():
    """A plain socket, the connection that it talks to, another connection, and the plain socket that this talks to."""
    first, left = socket.socketpair()
    right, last = socket.socketpair()
    with first, adopt(left) as a, adopt(right) as b, last:
        yield first, a, b, last


class TestSplice:
    """OutputStream.splice and its asynchronous form."""

    @each_flag
    def test_blocking(self, chain, flags):
        """It writes all until the end, gives how much, and closes what the flags say."""
        first, a, b, last = chain
        data = os.urandom(BIG)
        sender = Background(lambda: (first.sendall(data), first.close()))
        reader = Background(received, last, BIG)
        source, target = a.get_input_stream(), b.get_output_stream()
        assert target.splice(source, flags) == BIG
        assert reader.outcome() == data
        sender.outcome()
        assert source.is_closed() == bool(flags & 1)
        assert target.is_closed() == bool(flags & 2)
        assert not (source.has_pending())
        assert not (target.has_pending())
        assert not (a.is_closed())
        assert not (b.is_closed())

    @each_way
    @each_flag
    def test_asynchronous(self, chain, do, flags):
        """So does it in the background."""
        first, a, b, last = chain
        source, target = a.get_input_stream(), b.get_output_stream()
        first.send(b"hel")

        def rest():
            first.send(b"lo")
            first.close()

        assert do(target, "splice", source, flags, meanwhile=rest) == 5
        assert received(last, 5) == b"hello"
        assert (source.is_closed(), target.is_closed()) == (bool(flags & 1), bool(flags & 2))

    @each_way
    def test_both_are_pending(self, chain, do):
        """Whoever uses either meanwhile gets PENDING; cancelled, they are free."""
        _, a, b, _ = chain
        source, target = a.get_input_stream(), b.get_output_stream()
        cancellable, found = Cancellable(), []

        def look():
            found.extend((failure(source.read, 9), failure(target.write, b"x")))
            cancellable.cancel()

        assert failure(do, target, "splice", source, NOTHING, cancellable=cancellable, meanwhile=look) == CANCELLED
        assert found == [PENDING, PENDING]
        assert not (source.has_pending())
        assert not (target.has_pending())

    @each_way
    def test_of_a_busy_source(self, chain, do):
        """It is PENDING, and the one that reads goes on."""
        first, a, b, _ = chain
        source, target = a.get_input_stream(), b.get_output_stream()
        reading = source.read_async(9)
        assert failure(do, target, "splice", source, NOTHING) == PENDING
        assert not target.has_pending()
        first.send(b"x")
        assert reading.result(9) == b"x"

    @each_way
    @each_flag
    def test_to_a_peer_that_has_gone(self, chain, do, flags):
        """It is BROKEN_PIPE, and the flags are heeded."""
        first, a, b, last = chain
        last.close()
        first.send(b"x")
        source, target = a.get_input_stream(), b.get_output_stream()
        assert failure(do, target, "splice", source, flags) == (44, "Error sending data: Broken pipe")
        assert (source.is_closed(), target.is_closed()) == (bool(flags & 1), bool(flags & 2))

    @pytest.mark.parametrize("wrong", [None, b"x", 5])
    def test_wrong_types(self, pair, wrong):
        """The source is an InputStream, and nothing becomes pending else."""
        target = pair[0].get_output_stream()
        for splice in (target.splice, target.splice_async):
            with pytest.raises(TypeError):
                splice(wrong)
        with pytest.raises(TypeError):
            target.splice(target)
        assert not target.has_pending()


class TestIOStreamSplice:
    """IOStream.splice_async: what comes at one connection goes out at the other, both ways."""

    @each_way
    @pytest.mark.parametrize("flags", [0, 1, 2, 3])
    def test_until_one_ends(self, chain, do, flags):
        """The end of one ends it, and the flags say what is closed then."""
        first, a, b, last = chain

        def talk():
            first.send(b"ping")
            last.send(b"pong")
            if do is by_future:
                assert received(last, 4) == b"ping"
                assert received(first, 4) == b"pong"
            first.shutdown(socket.SHUT_WR)

        assert do(a, "splice", b, IOStreamSpliceFlags(flags), meanwhile=talk) is True
        assert (a.is_closed(), b.is_closed()) == (bool(flags & 1), bool(flags & 2))
        for each in (a, b):
            assert not each.get_input_stream().has_pending()
            assert not each.get_output_stream().has_pending()

    def test_waiting_for_both(self, chain):
        """With WAIT_FOR_BOTH the other direction goes on until it ends, too."""
        first, a, b, last = chain
        future = a.splice_async(b, IOStreamSpliceFlags.WAIT_FOR_BOTH | IOStreamSpliceFlags.CLOSE_STREAM1)
        first.send(b"ping")
        assert received(last, 4) == b"ping"
        first.shutdown(socket.SHUT_WR)
        for _ in range(3):
            last.send(b"pong")
            assert received(first, 4) == b"pong"
        assert not future.done()
        assert not a.is_closed()
        last.shutdown(socket.SHUT_WR)
        assert future.result(5) is True
        assert (a.is_closed(), b.is_closed()) == (True, False)

    @each_way
    def test_cancelled(self, chain, do):
        """It is CANCELLED, closes what the flags say, and leaves nothing pending."""
        _, a, b, _ = chain
        cancellable = Cancellable()
        flags = IOStreamSpliceFlags.CLOSE_STREAM2
        assert failure(do, a, "splice", b, flags, cancellable=cancellable, meanwhile=cancellable.cancel) == CANCELLED
        assert (a.is_closed(), b.is_closed()) == (False, True)
        assert not a.get_input_stream().has_pending()
        assert not a.get_output_stream().has_pending()

    @each_way
    @pytest.mark.parametrize("flags", [0, IOStreamSpliceFlags.WAIT_FOR_BOTH])
    def test_an_error_ends_both(self, chain, do, flags):
        """Where one direction fails it is the result, also of one that waits for both."""
        first, a, b, _ = chain
        a.get_socket().send(b"unread")
        flags |= 3
        expected = (44, "Error receiving data: Connection reset by peer")
        assert failure(do, a, "splice", b, flags, meanwhile=first.close) == expected
        assert a.is_closed()
        assert b.is_closed()

    @each_way
    def test_with_a_stream_that_is_busy(self, chain, do):
        """It is PENDING, and the other direction ends, too."""
        first, a, b, _ = chain
        reading = a.get_input_stream().read_async(9)
        assert failure(do, a, "splice", b, IOStreamSpliceFlags.NONE) == PENDING
        assert not a.get_output_stream().has_pending()
        assert not b.get_input_stream().has_pending()
        first.send(b"x")
        assert reading.result(9) == b"x"

    @pytest.mark.parametrize("do", WAYS[:2], ids=["callback", "future"])
    def test_of_one_that_can_not_be_closed(self, chain, do):
        """What closing it raises is the result: PENDING, as a user has set it."""
        first, a, b, _ = chain
        a.set_pending()
        flags = IOStreamSpliceFlags.CLOSE_STREAM1 | IOStreamSpliceFlags.CLOSE_STREAM2
        assert failure(do, a, "splice", b, flags, meanwhile=lambda: first.shutdown(socket.SHUT_WR)) == PENDING
        assert (a.is_closed(), b.is_closed()) == (False, True)
        a.clear_pending()

    @each_way
    def test_closed_meanwhile(self, chain, do):
        """It ends with CLOSED."""
        _, a, b, _ = chain
        assert failure(do, a, "splice", b, IOStreamSpliceFlags.NONE, meanwhile=a.close)[0] == 18

    def test_cancelling_the_future(self, chain):
        """It ends both directions."""
        _, a, b, _ = chain
        future = a.splice_async(b)
        assert future.cancel()
        assert failure(future.result, 9) == CANCELLED
        assert not a.get_input_stream().has_pending()
        assert not b.get_input_stream().has_pending()

    def test_a_lot_both_ways(self, chain):
        """Nothing is lost or mixed up."""
        first, a, b, last = chain
        there, back = os.urandom(BIG), os.urandom(BIG)
        threads = [Background(first.sendall, there), Background(last.sendall, back)]
        threads += [Background(received, last, BIG), Background(received, first, BIG)]
        future = a.splice_async(b, IOStreamSpliceFlags.WAIT_FOR_BOTH)
        assert [each.outcome() for each in threads] == [None, None, there, back]
        first.shutdown(socket.SHUT_WR)
        last.shutdown(socket.SHUT_WR)
        assert future.result(5) is True

    @pytest.mark.parametrize("wrong", [None, 5, "x"])
    def test_wrong_types(self, pair, wrong):
        """The other one is an IOStream."""
        with pytest.raises(TypeError):
            pair[0].splice_async(wrong)


class TestFileObjects:
    def test_what_they_say_of_themselves(self, pair):
        """What io's classes ask a raw file."""
        a, _ = pair
        reader, writer = a.get_input_stream(), a.get_output_stream()
        assert [(each.readable(), each.writable(), each.seekable(), each.isatty()) for each in (reader, writer)] == [
            (True, False, False, False),
            (False, True, False, False),
        ]
        assert reader.fileno() == writer.fileno() == a.get_socket().get_fd()
        assert not (reader.closed)
        assert not (writer.closed)
        assert select.select([reader], [writer], [], 0) == ([], [writer], [])
        a.close()
        assert reader.closed
        assert writer.closed
        with pytest.raises(ValueError, match="closed"):
            reader.fileno()

    def test_buffered_reader(self, raw):
        """Lines, looking ahead, reading until the end."""
        sock, connection = raw
        sock.sendall(b"one\ntwo\nthree\nfour" * 10)
        sock.close()
        reader = io.BufferedReader(connection.get_input_stream())
        assert reader.readline() == b"one\n"
        assert reader.peek(3).startswith(b"two")
        assert [next(reader), next(reader)] == [b"two\n", b"three\n"]
        assert len(reader.read(4)) == 4
        assert reader.read() == b"one\ntwo\nthree\nfour" * 9
        reader.close()
        assert connection.get_input_stream().is_closed()
        assert not connection.is_closed()

    def test_buffered_writer(self, raw):
        """It keeps small pieces together until it is flushed, and writes large ones as a whole."""
        sock, connection = raw
        writer = io.BufferedWriter(connection.get_output_stream())
        for each in (b"a", b"b", b"c"):
            writer.write(each)
        with pytest.raises(BlockingIOError):
            sock.recv(9, socket.MSG_DONTWAIT)
        writer.flush()
        assert sock.recv(9) == b"abc"
        data = os.urandom(BIG)
        reader = Background(received, sock, BIG)
        assert writer.write(data) == BIG
        writer.close()
        assert reader.outcome() == data
        assert connection.get_output_stream().is_closed()
        with pytest.raises(ValueError):
            writer.write(b"x")

    def test_both_in_one(self, raw):
        """io.BufferedRWPair reads and writes."""
        sock, connection = raw
        file = io.BufferedRWPair(connection.get_input_stream(), connection.get_output_stream())
        sock.send(b"question\n")
        assert file.readline() == b"question\n"
        file.write(b"answer\n")
        file.flush()
        assert sock.recv(99) == b"answer\n"
        file.close()
        assert connection.get_input_stream().is_closed()
        assert connection.get_output_stream().is_closed()

    def test_text(self, pair):
        """io.TextIOWrapper over the two of them: characters, lines and print()."""
        a, b = pair
        writer = io.TextIOWrapper(io.BufferedWriter(a.get_output_stream()), encoding="utf-8", line_buffering=True)
        reader = io.TextIOWrapper(io.BufferedReader(b.get_input_stream()), encoding="utf-8")
        print("grün", 1, file=writer)
        assert reader.readline() == "grün 1\n"
        writer.write("two\nthree")
        writer.close()
        a.close()
        assert list(reader) == ["two\n", "three"]
        reader.close()

    def test_a_wrapper_that_is_collected(self, raw):
        """It closes its stream, as it would any other file, and not the connection."""
        sock, connection = raw
        io.BufferedReader(connection.get_input_stream())
        gc.collect()
        assert not connection.is_closed()
        connection.get_output_stream().write(b"x")
        assert sock.recv(9) == b"x"

    def test_while_an_operation_is_under_way(self, raw):
        """It is PENDING for a wrapper, too."""
        sock, connection = raw
        stream = connection.get_input_stream()
        reader = io.BufferedReader(stream)
        first = stream.read_async(9)
        with pytest.raises(unixconn.PendingError):
            reader.read(1)
        sock.send(b"xy")
        assert first.result(9) == b"xy"
        sock.send(b"z")
        assert reader.read(1) == b"z"


def end(future, how):
    """Cancel *future*, and see that it is over."""
    assert not settle(future.done, 0.02)
    (future if how == "cancel" else future.cancellable).cancel()
    with pytest.raises(unixconn.CancelledError):
        future.result(5)
