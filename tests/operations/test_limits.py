"""What a peer can make this process hold: descriptors that come with a stream's bytes, and what waits."""

from __future__ import annotations

import errno
import os
import resource
import socket
from pathlib import Path

import pytest
from helpers import MOST, adopt, fill, open_descriptors, outcome_of_child, room, settle
from ways import each_background, each_way

import unixconn
from unixconn import Bytes, Error, MainContext, TooManyOpenFilesError, UnixConnection

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")

KEPT = 253
"""How many descriptors a connection keeps before its stream reads no more."""
each_read = pytest.mark.parametrize(
    ("name", "count", "result"),
    [("read", 9, b"x"), ("read_bytes", 100_000, Bytes(b"x")), ("read_all", 1, b"x")],
)


class TestKeptDescriptors:
    @each_way
    @each_read
    def test_limit(self, pair, null, do, name, count, result):
        """S6: a stream keeps at most two messages' descriptors, then raises, and what was sent is still there."""
        a, b = pair
        stream = b.get_input_stream()
        before = open_descriptors()
        messages = KEPT // MOST + 1
        for _ in range(messages + 3):
            a.send_message(b"x", [null] * MOST)
        for _ in range(messages):
            assert do(stream, name, count) == result
        for _ in range(2):
            with pytest.raises(TooManyOpenFilesError, match="refuse_fds") as caught:
                do(stream, name, count)
            assert str(messages * MOST) in str(caught.value)
        assert len(open_descriptors()) == len(before) + messages * MOST <= len(before) + 2 * KEPT
        for _ in range(messages):
            unixconn.close_fds(b.receive_fds())
        assert do(stream, name, count) == result
        for _ in range(3):
            unixconn.close_fds(b.receive_fds())
        assert open_descriptors() == before

    def test_single_descriptors(self, pair, null):
        """S6: many messages with one descriptor each count alike, and the buffer of a file object may be large."""
        a, b = pair
        stream, buffer = b.get_input_stream(), bytearray(100_000)
        for _ in range(KEPT + 1):
            a.send_message(b"x", [null])
            assert stream.readinto(buffer) == 1
        a.send_message(b"y")
        with pytest.raises(TooManyOpenFilesError):
            stream.readinto(buffer)
        b.receive_descriptor().close()
        assert stream.read(9) == b"y"

    @each_way
    def test_datagrams(self, null, do):
        """S6: the same of a Socket's bytes with their sender's address."""
        a, b = UnixConnection.create_pair(unixconn.SocketType.DATAGRAM)
        with a, b:
            socket = b.get_socket()
            for _ in range(KEPT // MOST + 1):
                a.send_message(b"x", [null] * MOST)
                assert do(socket, "receive_from", 9) == (b"x", None)
            a.send_message(b"y")
            with pytest.raises(TooManyOpenFilesError, match="refuse_fds"):
                do(socket, "receive_from", 9)
            unixconn.close_fds(b.receive_fds())
            assert do(socket, "receive_from", 9) == (b"y", None)

    def test_refused(self, pair, null):
        """S6: none are kept once they are refused, and the bytes arrive."""
        a, b = pair
        stream = b.get_input_stream()
        for _ in range(KEPT // MOST + 3):
            a.send_message(b"x", [null] * MOST)
        for _ in range(KEPT // MOST + 1):
            stream.read(9)
        b.refuse_fds()
        before = open_descriptors()
        assert stream.read_all(2) == b"xx"
        assert open_descriptors() == before

    def test_splice(self, pair, null):
        """S6: what copies a stream stops with the same error."""
        a, b = pair
        target, far = UnixConnection.create_pair()
        with target, far:
            for _ in range(KEPT // MOST + 2):
                a.send_message(b"x", [null] * MOST)
            with pytest.raises(TooManyOpenFilesError):
                target.get_output_stream().splice(b.get_input_stream(), unixconn.OutputStreamSpliceFlags.NONE)


def resident():
    """Return the number of bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_wait_has_no_buffer(many):
    """S9: a receive of many bytes takes no memory for them while its peer is silent."""
    waiting = [many[0][1].receive_message_async(1 << 20)]
    before = resident()
    waiting += [b.receive_message_async(1 << 20) for _, b in many[1:]]
    assert resident() - before < 20 << 20
    for each in waiting:
        each.cancel()


def test_waiting_sends(pair, null):
    """S9: each send that waits holds one duplicate of each of its descriptors, and those without room send nothing."""
    a, _ = pair
    fill(a)
    before = open_descriptors()
    sends = [a.send_fds_async([null, null]) for _ in range(10)]
    assert settle(lambda: len(open_descriptors()) >= len(before) + 20)
    with room(0), pytest.raises(TooManyOpenFilesError):
        a.send_fd_async(null).result(60)
    for each in sends:
        each.cancel()
    assert settle(lambda: open_descriptors() == before)


@each_background
@pytest.mark.parametrize("is_plain", [True, False])
def test_splice_of_a_socket_that_is_shut_down(pair, do, is_plain):
    """S10: a non-blocking datagram socket that is shut down ends a splice, which does not try again and again."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.shutdown(socket.SHUT_RD)
    one.setblocking(False)
    with other, adopt(one) as source, pytest.raises(unixconn.ClosedError):
        arguments = (source.get_input_stream(), unixconn.OutputStreamSpliceFlags.NONE)
        if is_plain:
            pair[0].get_output_stream().splice(*arguments)
        else:
            do(pair[0].get_output_stream(), "splice", *arguments)


class TestMemory:
    @pytest.mark.parametrize("form", ["callback", "future"])
    def test_none_for_a_waiting_receive(self, form):
        """The operation ends with an Error, once, and the message is there for the next one."""

        def child():
            a, b = UnixConnection.create_pair()
            results = []
            if form == "callback":
                b.receive_message_async(1 << 30, None, lambda _, result: results.append(result))
            else:
                future = b.receive_message_async(1 << 30)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20), -1))
            a.send_message(b"x")
            with pytest.raises(Error) as caught:
                if form == "callback":
                    while not results:
                        MainContext.default().iteration(True)
                    b.receive_message_finish(results[0])
                else:
                    future.result(60)
            assert caught.value.errno == errno.ENOMEM
            return b.receive_message(9).data == b"x"

        assert outcome_of_child(child, 60) == 0
