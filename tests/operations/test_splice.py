"""OutputStream.splice and IOStream.splice_async."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest
from helpers import Background, Calls, adopt, fill, received
from ways import CANCELLED, PENDING, by_callback, by_future, each_background, failure, iterate

from unixconn import Cancellable, IOStream, IOStreamSpliceFlags, OutputStreamSpliceFlags, UnixConnection

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")

BIG = 3_000_000
TIMED_OUT = (24, "Socket I/O timed out")


def test_timeouts():
    """Reading has that of the Socket it reads from, writing that of the other one."""
    waiting = []
    with contextlib.ExitStack() as stack:
        for limited in ("source", "target"):
            for way in ("splice", "splice_async", "both"):
                a, b, c, _ = (stack.enter_context(each) for _ in range(2) for each in UnixConnection.create_pair())
                (a if limited == "source" else c).get_socket().set_timeout(1)
                source, target = a.get_input_stream(), c.get_output_stream()
                if limited == "target" and way != "both":
                    fill(c)
                    b.get_socket().send(b"x")
                if way == "splice":
                    waiting.append(Background(target.splice, source))
                else:
                    future = a.splice_async(c) if way == "both" else target.splice_async(source)
                    waiting.append(Background(future.result, 60))
        found = [each.outcome() for each in waiting]
        assert [(each.code, each.message) for each in found] == [TIMED_OUT] * 6


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

    @each_background
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

    @each_background
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

    @each_background
    def test_of_a_busy_source(self, chain, do):
        """It is PENDING, and the one that reads goes on."""
        first, a, b, _ = chain
        source, target = a.get_input_stream(), b.get_output_stream()
        reading = source.read_async(9)
        assert failure(do, target, "splice", source, NOTHING) == PENDING
        assert not target.has_pending()
        first.send(b"x")
        assert reading.result(60) == b"x"

    @each_background
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

    @each_background
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

    def test_finish_without_an_instance(self, chain):
        """splice_finish belongs to the class, as in Gio; to call it of an instance does no harm (F17)."""
        first, a, b, _ = chain
        calls = Calls()
        a.splice_async(b, IOStreamSpliceFlags.NONE, 0, None, calls)
        first.close()
        iterate(lambda: calls)
        b.close_async(0, None, calls)
        iterate(lambda: len(calls) > 1)
        (_, spliced), (_, closed) = calls
        for finish in (IOStream.splice_finish, UnixConnection.splice_finish, a.splice_finish, b.splice_finish):
            with pytest.raises(ValueError, match="g_io_stream_close_async"):
                finish(closed)
            with pytest.raises(TypeError, match="AsyncResult"):
                finish(None)
        assert IOStream.splice_finish(result=spliced) is True
        with pytest.raises(ValueError, match=r"taken|returned"):
            a.splice_finish(spliced)

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
        assert future.result(60) is True
        assert (a.is_closed(), b.is_closed()) == (True, False)

    @each_background
    def test_cancelled(self, chain, do):
        """It is CANCELLED, closes what the flags say, and leaves nothing pending."""
        _, a, b, _ = chain
        cancellable = Cancellable()
        flags = IOStreamSpliceFlags.CLOSE_STREAM2
        assert failure(do, a, "splice", b, flags, cancellable=cancellable, meanwhile=cancellable.cancel) == CANCELLED
        assert (a.is_closed(), b.is_closed()) == (False, True)
        assert not a.get_input_stream().has_pending()
        assert not a.get_output_stream().has_pending()

    @each_background
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

    @each_background
    def test_with_a_stream_that_is_busy(self, chain, do):
        """It is PENDING, and the other direction ends, too."""
        first, a, b, _ = chain
        reading = a.get_input_stream().read_async(9)
        assert failure(do, a, "splice", b, IOStreamSpliceFlags.NONE) == PENDING
        assert not a.get_output_stream().has_pending()
        assert not b.get_input_stream().has_pending()
        first.send(b"x")
        assert reading.result(60) == b"x"

    @pytest.mark.parametrize("do", [by_callback, by_future], ids=["callback", "future"])
    def test_of_one_that_can_not_be_closed(self, chain, do):
        """What closing it raises is the result: PENDING, as a user has set it."""
        first, a, b, _ = chain
        a.set_pending()
        flags = IOStreamSpliceFlags.CLOSE_STREAM1 | IOStreamSpliceFlags.CLOSE_STREAM2
        assert failure(do, a, "splice", b, flags, meanwhile=lambda: first.shutdown(socket.SHUT_WR)) == PENDING
        assert (a.is_closed(), b.is_closed()) == (False, True)
        a.clear_pending()

    @each_background
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
        assert future.result(60) is True

    @pytest.mark.parametrize("wrong", [None, 5, "x"])
    def test_wrong_types(self, pair, wrong):
        """The other one is an IOStream."""
        with pytest.raises(TypeError):
            pair[0].splice_async(wrong)
