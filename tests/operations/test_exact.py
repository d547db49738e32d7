"""receive_exactly and peek_message, and what is kept between two calls."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import sys
import termios

import pytest
import storms
from helpers import (
    Background,
    collect,
    in_child,
    needs_passed_pidfds,
    needs_refused_rights,
    open_descriptors,
    room,
    same,
    settle,
)
from ways import each_way, failure

import unixconn
from unixconn import Cancellable, Error, IOErrorEnum, JoinedMessage, SocketType, TooManyOpenFilesError, UnixConnection

STREAM, DATAGRAM, SEQPACKET = SocketType.STREAM, SocketType.DATAGRAM, SocketType.SEQPACKET

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")


@pytest.fixture
def files():
    """Three files, each another one."""
    made = [os.memfd_create(name) for name in "abc"]
    yield made
    for fd in made:
        os.close(fd)


def are(descriptors, files):
    """Return whether FileDescriptors are of *files*, in their order."""
    return len(descriptors) == len(files) and all(map(same, (each.fileno() for each in descriptors), files))


def soon():
    """Return a Cancellable whose deadline is near."""
    return Cancellable.with_timeout(0.02)


def take_and_give_back(connection, size):
    """Have an operation take what is there, which is not enough, and time out."""
    for seconds in (0.02, 0.2, 2, 20):
        deadline = Cancellable.with_timeout(seconds)
        assert failure(connection.receive_exactly, size, deadline)[0] == IOErrorEnum.TIMED_OUT
        if fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)) == bytes(4):
            return
        # The machine was so slow that the time was over before it began.
    raise AssertionError("it has taken nothing")


class TestExactly:
    @each_way
    def test_bytes_of_several_messages(self, pair, files, do):
        """No more than asked for, with the descriptors that have come with them, and the offsets of the reads."""
        a, b = pair
        a.send_message(b"ab")
        a.send_message(b"c", files[:1])
        a.send_message(b"defg", files[1:])
        with do(b, "receive_exactly", 5) as message:
            assert isinstance(message, JoinedMessage)
            assert (message.data, message.end_of_record, message.refused) == (b"abcde", False, 0)
            # Linux joins the first two messages, and does not say which byte has the descriptor.
            assert message.offsets == (range(3), range(3, 5), range(3, 5))
            assert are(message.fds, files)
        assert do(b, "receive_exactly", 2).data == b"fg"

    @each_way
    def test_what_comes_bit_by_bit(self, pair, files, do):
        """It waits for the last byte."""
        a, b = pair

        def meanwhile():
            for each in files:
                a.send_message(b"xy", [each])

        with do(b, "receive_exactly", 6, meanwhile=meanwhile) as message:
            assert (message.data, are(message.fds, files)) == (b"xyxyxy", True)
            assert message.offsets == (range(2), range(2, 4), range(4, 6))

    def test_more_than_the_queue_has_room_for(self, pair, null):
        """Also as many parts as a peer likes to make of them."""
        a, b = pair
        sending = Background(lambda: [a.send_message(b"x") for _ in range(2000)])
        message = b.receive_exactly(2000)
        assert (message.data, sending.outcome()[-1]) == (b"x" * 2000, 1)
        data = os.urandom(2_000_000)
        sending = Background(a.send_message, data, [null])
        with b.receive_exactly(len(data)) as message:
            assert (message.data == data, len(message.fds)) == (True, 1)
        sending.outcome()
        sending = Background(lambda: [a.send_message(b"y", [null]) for _ in range(300)])
        with b.receive_exactly(300) as message:
            assert message.offsets == tuple(range(each, each + 1) for each in range(300))
        sending.outcome()

    def test_none(self, pair):
        """No bytes are there at once."""
        _, b = pair
        message = b.receive_exactly(0)
        assert (message.data, message.fds, message.offsets) == (b"", [], ())

    @each_way
    @pytest.mark.parametrize("how", ["cancelled", "timed out", "not blocking"])
    def test_nothing_is_lost(self, pair, files, do, how):
        """What has come when the wait ends is for the next call, which adds the rest."""
        a, b = pair
        a.send_message(b"abc", files[:1])
        cancellable = Cancellable() if how == "cancelled" else soon()
        b.get_socket().set_blocking(how != "not blocking")
        meanwhile = {"cancelled": cancellable.cancel, "timed out": lambda: None, "not blocking": None}[how]
        code, _ = failure(do, b, "receive_exactly", 5, cancellable=cancellable, meanwhile=meanwhile)
        assert code in (IOErrorEnum.CANCELLED, IOErrorEnum.TIMED_OUT, IOErrorEnum.WOULD_BLOCK)
        b.get_socket().set_blocking(True)
        a.send_message(b"def", files[1:])
        with do(b, "receive_exactly", 5) as message:
            assert (message.data, message.offsets) == (b"abcde", (range(3), range(3, 5), range(3, 5)))
            assert are(message.fds, files)

    @each_way
    def test_the_end_comes_too_early(self, pair, files, do):
        """The error has the bytes; the next calls get them again, with the descriptors, and then there is the end."""
        a, b = pair
        a.send_message(b"abc", files)
        a.close()
        for _ in range(2):
            with pytest.raises(unixconn.ClosedError) as caught:
                do(b, "receive_exactly", 5)
            assert caught.value.partial == b"abc"
            assert any("3 of 5 bytes had come" in note for note in caught.value.__notes__)
        with do(b, "receive_message", 100) as message:
            assert (message.data, are(message.fds, files)) == (b"abc", True)
        with pytest.raises(unixconn.ClosedError) as caught:
            do(b, "receive_exactly", 5)
        assert caught.value.partial == b""

    def test_who_takes_what_is_kept(self, pair, files):
        """Messages and streams do, in parts of any size; and closing closes the descriptors."""
        a, b = pair
        a.send_message(b"abcdefgh", files)
        take_and_give_back(b, 9)
        with b.peek_message(2) as message:
            assert (message.data, are(message.fds, files)) == (b"ab", True)
        with b.receive_message(2) as message:
            assert (message.data, are(message.fds, files)) == (b"ab", True)
        assert b.receive_exactly(1).data == b"c"
        assert b.get_input_stream().read(1) == b"d"
        assert b.get_input_stream().read_all(2) == b"ef"
        take_and_give_back(b, 3)
        a.send_message(b"ijk", files)
        # Its descriptors belong to a byte of which the kernel does not say more.
        with b.receive_exactly(3) as message:
            assert (message.data, message.offsets) == (b"ghi", (range(2, 3),) * 3)
        assert b.get_input_stream().read(9) == b"jk"
        a.send_message(b"xyz", files)
        take_and_give_back(b, 9)
        with b.receive_exactly(1) as message:
            assert (message.data, message.offsets) == (b"x", (range(3),) * 3)
        assert b.get_input_stream().read(9) == b"yz"
        a.send_message(b"xyz", files)
        take_and_give_back(b, 9)
        assert b.get_input_stream().read(9) == b"xyz"
        for fd in b.receive_fds():
            os.close(fd)
        a.send_message(b"xyz", files)
        take_and_give_back(b, 9)
        before = len(open_descriptors())
        b.close()
        assert settle(lambda: len(open_descriptors()) == before - 4)

    def test_the_next_in_the_line(self, pair, files):
        """Who waits behind one that is cancelled gets its bytes at once."""
        a, b = pair

        async def main():
            first, second = b.receive_exactly_async(6), b.receive_message_async(6)
            a.send_message(b"abc", files)
            await asyncio.sleep(0.01)
            first.cancel()
            with await second as message:
                assert (message.data, are(message.fds, files)) == (b"abc", True)
            # A task that is cancelled when the bytes have just come.
            task = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            a.send_message(b"abc", files)
            while b.get_socket().get_available_bytes():
                await asyncio.sleep(0)
                if not b.get_socket().get_available_bytes():
                    task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result().close()
                return False
            with await b.receive_exactly_async(3) as message:
                assert (message.data, are(message.fds, files)) == (b"abc", True)
            return True

        async def receive():
            return await b.receive_exactly_async(3)

        asyncio.run(main())

    @pytest.mark.parametrize("kind", [DATAGRAM, SEQPACKET], ids=lambda kind: kind.name)
    @each_way
    def test_records(self, kind, do):
        """There the rest of a record would be lost."""
        for each in UnixConnection.create_pair(kind):
            with each:
                assert failure(do, each, "receive_exactly", 5)[0] == IOErrorEnum.NOT_SUPPORTED

    @pytest.mark.parametrize(
        ("wrong", "error"), [(-1, OverflowError), (None, TypeError), ("1", TypeError), (2**31, OverflowError)]
    )
    def test_wrong_arguments(self, pair, wrong, error):
        """They are named."""
        _, b = pair
        for call in (b.receive_exactly, b.receive_exactly_async):
            with pytest.raises(error, match=str(wrong)):
                call(wrong)

    def test_a_full_table(self, pair, files):
        """The descriptors of that message are lost, and no byte: the error has them, and the next call, too."""
        a, b = pair
        a.send_message(b"ab", files[:1])
        a.send_message(b"cd", files)
        a.send_message(b"ef")
        with room(2), pytest.raises(TooManyOpenFilesError) as caught:
            b.receive_exactly(6)
        assert caught.value.partial == b"abcd"
        with b.receive_exactly(6) as message:
            assert (message.data, message.offsets) == (b"abcdef", (range(2),))

    @needs_passed_pidfds
    @pytest.mark.parametrize("full", [0, 1, 2])
    def test_a_full_table_and_a_pidfd(self, pair, full):
        """One part had no room for its pidfd: that of another part does not stand for it."""
        a, b = pair
        b.pass_credentials()
        b.pass_pidfds()
        future = b.receive_exactly_async(6)
        for part, data in enumerate((b"ab", b"cd", b"ef")):
            with room(0) if part == full else contextlib.nullcontext():
                a.send_message(data)
                assert settle(lambda: not b.get_socket().get_available_bytes())
        with future.result(5) as message:
            assert (message.data, message.pidfd) == (b"abcdef", None)
            assert message.credentials.get_unix_pid() == os.getpid()
            with pytest.raises(TooManyOpenFilesError):
                message.credentials.get_pidfd()
        del future
        collect()
        assert not any("pidfd" in name for name in open_descriptors().values())

    @needs_passed_pidfds
    @pytest.mark.parametrize("credentials", [False, True])
    def test_two_senders(self, pair, credentials):
        """With a pidfd alone, two processes are two senders, too."""
        a, b = pair
        b.pass_credentials(credentials)
        b.pass_pidfds()
        a.send_message(b"ab")
        assert in_child(lambda: a.send_message(b"cd") == 2) == 0
        with b.receive_exactly(4) as message:
            assert (message.data, message.credentials, message.pidfd) == (b"abcd", None, None)

    @needs_passed_pidfds
    def test_the_sender(self, pair, files):
        """Its credentials and pidfd are there if all bytes have one sender, and are not invented if not."""
        a, b = pair
        b.pass_credentials()
        b.pass_pidfds()
        a.send_message(b"ab", files)
        a.send_message(b"cd", files)
        with b.receive_exactly(4) as message:
            assert message.credentials.get_unix_pid() == os.getpid()
            assert message.pidfd is not None
            assert message.credentials.is_alive()
        if os.geteuid() == 0:
            claimed = unixconn.Credentials()
            claimed.set_unix_user(12345)
            a.send_message(b"ab", files, claimed)
            a.send_message(b"cd", files)
            with b.receive_exactly(4) as message:
                assert (message.credentials, message.pidfd) == (None, None)

    @needs_refused_rights
    def test_refused(self, pair, files):
        """Descriptors that were sent before they were refused are counted."""
        a, b = pair
        a.send_message(b"ab", files)
        a.send_message(b"cd", files[1:])
        b.refuse_fds()
        with b.peek_message(100) as message:
            assert (message.refused, message.fds) == (3, [])
        message = b.receive_exactly(4)
        assert (message.data, message.refused, message.fds) == (b"abcd", 5, [])


class TestPeek:
    @pytest.mark.parametrize("kind", [STREAM, DATAGRAM, SEQPACKET], ids=lambda kind: kind.name)
    @each_way
    def test_it_stays(self, files, do, kind):
        """The Message has descriptors of its own, and the next call gets it once more."""
        a, b = UnixConnection.create_pair(kind)
        with a, b:
            a.send_message(b"hello", files)
            for name in ("peek_message", "peek_message", "receive_message"):
                with do(b, name, 100) as message:
                    assert (message.data, are(message.fds, files)) == (b"hello", True)
                    assert message.end_of_record == (kind != STREAM)
                    assert not any(os.get_inheritable(each.fileno()) for each in message.fds)
            assert b.get_socket().get_available_bytes() == 0

    @pytest.mark.parametrize("kind", [DATAGRAM, SEQPACKET], ids=lambda kind: kind.name)
    def test_records(self, files, kind):
        """A long one shows its beginning, an empty one is there, and is not the end."""
        a, b = UnixConnection.create_pair(kind)
        with a, b:
            a.send_message(b"hello", files)
            with b.peek_message(3) as message:
                assert (message.data, message.end_of_record, are(message.fds, files)) == (b"hel", False, True)
            b.receive_message(5).close()
            a.send_message(b"", files)
            for name in ("peek_message", "receive_message"):
                with getattr(b, name)(3) as message:
                    assert (message.data, message.end_of_record, are(message.fds, files)) == (b"", True, True)
            if kind == SEQPACKET:
                a.close()
                assert failure(b.peek_message, 3) == (IOErrorEnum.CLOSED, "Connection closed by the peer")

    def test_a_full_table(self, pair, files):
        """The error says so, and the message is still there."""
        a, b = pair
        a.send_message(b"abc", files)
        with room(2), pytest.raises(TooManyOpenFilesError) as caught:
            b.peek_message(100)
        assert "still in the socket" in caught.value.__notes__[0]
        with b.receive_message(100) as message:
            assert (message.data, are(message.fds, files)) == (b"abc", True)

    @needs_passed_pidfds
    def test_the_sender(self, pair, null):
        """Credentials and pidfd come as with a receipt."""
        a, b = pair
        b.pass_credentials()
        b.pass_pidfds()
        a.send_message(b"ab", [null])
        for name in ("peek_message", "receive_message"):
            with getattr(b, name)(100) as message:
                assert message.credentials.get_unix_pid() == os.getpid()
                assert message.credentials.is_alive()
                assert (len(message.fds), message.pidfd is not None) == (1, True)

    def test_over_tcp(self, null):
        """Any stream has messages of data; descriptors do not go there."""
        with unixconn.SocketListener() as listener:
            import socket

            server = socket.create_server(("127.0.0.1", 0))
            address = server.getsockname()
            listener.add_socket(unixconn.Socket.new_from_fd(server.detach()))
            client = socket.create_connection(address)
            a = unixconn.SocketConnection(socket=unixconn.Socket.new_from_fd(client.detach()))
            b = listener.accept().connection
            with a, b:
                assert a.send_message(b"hello") == 5
                assert settle(lambda: b.get_socket().get_available_bytes() == 5)
                assert b.peek_message(3).data == b"hel"
                assert b.receive_exactly(4).data == b"hell"
                assert b.receive_message(9).data == b"o"
                with pytest.raises(Error) as caught:
                    a.send_message(b"hello", [null])
                assert caught.value.code == IOErrorEnum.NOT_SUPPORTED


@pytest.mark.skipif(not storms.RETURN_IS_ATOMIC, reason="a result may be lost between the return and the list")
def test_an_exception_at_each_step(pair, files, monkeypatch):
    """A signal handler that raises loses no byte, wherever it does: the next call has what this one had."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    a, b = pair
    seen, step, lost = [], 0, []
    while len(seen) >= step:
        step += 1
        a.send_message(b"abc", files)
        a.send_message(b"def")
        results = []
        try:
            seen = storms.stop_at(step)
            results.extend(itertools.starmap(b.receive_exactly, ((6,),)))
        except storms.Interruption:
            pass
        finally:
            sys.setprofile(None)
        b.get_socket().set_blocking(False)
        if not results:
            try:
                results.append(b.receive_exactly(6))
            except unixconn.WouldBlockError:
                lost.append(seen[step - 1])
        b.get_socket().set_blocking(True)
        for each in results:
            with each:
                assert (each.data, are(each.fds, files)) == (b"abcdef", True)
    assert (lost, step > 20) == ([], True)
