"""send_message and receive_message, the other types of sockets, and datagrams with addresses."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import os
import resource
import socket
import sys
import time

import internals
import pytest
from helpers import (
    MOST,
    PASSCRED,
    Background,
    Calls,
    collect,
    fill,
    forbid_option,
    in_child,
    needs_filters,
    needs_passed_pidfds,
    open_descriptors,
    outcome_of_child,
    room,
    same,
    settle,
    take,
)
from ways import each_way, failure, iterate

import unixconn
from unixconn import (
    Cancellable,
    Credentials,
    CredentialsSource,
    Error,
    FileDescriptor,
    IOErrorEnum,
    Message,
    Socket,
    SocketFamily,
    SocketType,
    TooManyOpenFilesError,
    UnixConnection,
    UnixSocketAddress,
)

CANCELLED = (19, "Operation was cancelled")
GONE = (18, "Connection closed by the peer")
STREAM, DATAGRAM, SEQPACKET = SocketType.STREAM, SocketType.DATAGRAM, SocketType.SEQPACKET
each_type = pytest.mark.parametrize("kind", [STREAM, DATAGRAM, SEQPACKET], ids=lambda kind: kind.name)
each_record = pytest.mark.parametrize("kind", [DATAGRAM, SEQPACKET], ids=lambda kind: kind.name)

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")


@pytest.fixture
def ends(kind):
    """A pair of connections of the type."""
    a, b = UnixConnection.create_pair(kind)
    with a, b:
        yield a, b


@contextlib.contextmanager
def roomy():
    """Have room for the descriptors of several messages."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class TestMessages:
    @each_way
    @each_type
    def test_data_and_descriptors(self, ends, null, do, kind):
        """They come together, in their order, with owners."""
        a, b = ends
        assert do(a, "send_message", b"hello", [null, 0], None) == 5
        with do(b, "receive_message", 100) as message:
            assert isinstance(message, Message)
            assert (message.data, message.credentials, message.pidfd) == (b"hello", None, None) or kind == SEQPACKET
            assert message.end_of_record == (kind != STREAM)
            first, second = message.fds
            assert same(first.fileno(), null)
            assert same(second.fileno(), 0)
            assert not os.get_inheritable(first.fileno())
        assert first.closed
        assert second.closed
        assert message.fds == []

    @each_way
    @each_type
    def test_credentials(self, ends, do, kind):
        """They come with the message if they were asked for, and say where they are from."""
        a, b = ends
        b.pass_credentials()
        for attached in (True, Credentials(), None):
            do(a, "send_message", b"x", (), attached)
            found = do(b, "receive_message", 100).credentials
            assert (found.get_unix_pid(), found.get_unix_user()) == (os.getpid(), os.geteuid())
            assert found.source is CredentialsSource.MESSAGE
        b.pass_credentials(False)
        a.send_message(b"x", (), True)
        if kind != SEQPACKET:
            assert b.receive_message(9).credentials is None

    @each_type
    def test_nobody_s_credentials(self, ends, kind):
        """A message that was sent before they were asked for has none: the kernel's zeros are not believed."""
        a, b = ends
        a.send_message(b"x")
        b.pass_credentials()
        assert b.receive_message(9).credentials is None

    @each_type
    def test_others_credentials(self, ends, kind):
        """The kernel checks them: a process may not pose as another one."""

        def child():
            os.setuid(65534)
            other = Credentials()
            other.set_unix_user(0)
            return failure(ends[0].send_message, b"x", (), other)[0] == IOErrorEnum.PERMISSION_DENIED

        if os.geteuid():
            pytest.skip("needs root")
        assert outcome_of_child(child) == 0

    @needs_passed_pidfds
    @each_type
    def test_pidfd(self, ends, null, kind):
        """The sender's process comes as a descriptor of its own, and is not among the others."""
        a, b = ends
        b.pass_pidfds()
        for fds in ([], [null] * 2):
            a.send_message(b"x", fds)
            with b.receive_message(9) as message:
                assert len(message.fds) == len(fds)
                info = os.readlink(f"/proc/self/fd/{message.pidfd.fileno()}")
                assert "pidfd" in info
            assert message.pidfd.closed

    @needs_passed_pidfds
    @each_type
    def test_the_sender_s_process(self, ends, kind):
        """The credentials have the pidfd too, and keep it when the message is closed."""
        a, b = ends
        b.pass_credentials()
        b.pass_pidfds()
        assert in_child(lambda: a.send_message(b"x")) == 0
        with b.receive_message(9) as message:
            credentials = message.credentials
        assert credentials.is_alive() is False
        with credentials.get_pidfd() as pidfd:
            assert "pidfd" in os.readlink(f"/proc/self/fd/{pidfd.fileno()}")
        a.send_message(b"x")
        with b.receive_message(9) as message:
            assert message.credentials.is_alive() is True

    @needs_filters
    def test_no_pidfds(self):
        """A kernel that has none says which one does."""

        def child():
            forbid_option(76)
            code, text = failure(UnixConnection.create_pair()[0].pass_pidfds)
            return code == IOErrorEnum.NOT_SUPPORTED and "6.5" in text

        assert outcome_of_child(child) == 0

    def test_taking_descriptors(self, pair, null):
        """What is taken out of a Message is not closed with it."""
        a, b = pair
        a.send_message(b"x", [null] * 3)
        with b.receive_message(9) as message:
            taken = message.fds.pop(0)
            number = message.fds[0].detach()
        assert not taken.closed
        taken.close()
        os.close(number)

    @each_way
    def test_all_of_it(self, pair, null, do):
        """More than the queue holds goes in parts, the descriptors once."""
        a, b = pair
        data = bytes(range(256)) * 8000
        received, counts = bytearray(), []

        def receive():
            while len(received) < len(data):
                with b.receive_message(2**16) as message:
                    received.extend(message.data)
                    counts.append(len(message.fds))

        receiver = Background(receive)
        assert do(a, "send_message", data, [null] * 3, None) == len(data)
        receiver.outcome()
        assert received == data
        assert (counts[0], sum(counts)) == (3, 3)

    def test_the_data_are_copied(self, pair):
        """What is changed while it waits is sent as it was."""
        a, b = pair
        fill(a)
        left = b.get_socket().get_available_bytes()
        data = bytearray(b"as it was")
        future = a.send_message_async(data)
        data[:] = b"otherwise"
        while left:
            left -= len(b.get_socket().receive(left))
        assert future.result(60) == len(data)
        assert b.receive_message(100).data == b"as it was"

    @each_way
    def test_in_the_middle(self, pair, null, do):
        """An Error tells whether a part had gone."""
        a, b = pair
        for data, sent in ((bytes(10**6), True), (b"x", False)):
            cancellable = Cancellable()
            with pytest.raises(Error) as caught:
                do(a, "send_message", data, [null], None, cancellable=cancellable, meanwhile=cancellable.cancel)
            assert (caught.value.code, caught.value.message) == CANCELLED
            assert bool(caught.value.__notes__) is sent
        assert "of 1000000 bytes had been sent" in "".join(failing_notes(a, bytes(10**6), b))

    def test_where_descriptors_belong(self, pair, null):
        """On a stream a message ends with the bytes that were sent with descriptors."""
        a, b = pair
        a.send_message(b"one")
        a.send_message(b"two", [null])
        a.send_message(b"three", [null])
        a.send_message(b"four")
        found = []
        for _ in range(3):
            with b.receive_message(100) as message:
                found.append((message.data, len(message.fds)))
        assert found == [(b"onetwo", 1), (b"three", 1), (b"four", 0)]

    @each_way
    @pytest.mark.parametrize("kind", [STREAM, SEQPACKET], ids=lambda kind: kind.name)
    def test_the_end(self, ends, do, kind):
        """It is CLOSED, after all that was sent."""
        a, b = ends
        a.send_message(b"last")
        a.close()
        assert do(b, "receive_message", 9).data == b"last"
        assert failure(do, b, "receive_message", 9) == GONE
        assert failure(do, b, "receive_message", 9) == GONE

    def test_in_line(self, pair):
        """Those in one direction end in the order of their starts, and do not mix."""
        a, b = pair
        sent = [a.send_message_async(bytes([number]) * 300_000) for number in range(5)]
        received = bytearray()
        while len(received) < 1_500_000:
            received += b.receive_message(2**20).data
        assert [future.result(60) for future in sent] == [300_000] * 5
        assert received == b"".join(bytes([number]) * 300_000 for number in range(5))

    def test_full_table(self, pair, null):
        """It is TOO_MANY_OPEN_FILES, with the data, and nothing is left open (F15)."""
        a, b = pair
        before = open_descriptors()
        for free in range(3):
            with room(free):
                a.send_message(b"data", [null] * 3)
                with pytest.raises(TooManyOpenFilesError) as caught:
                    b.receive_message(9)
                assert caught.value.partial == caught.value.copy().partial == b"data"
            assert open_descriptors() == before

    @needs_passed_pidfds
    @pytest.mark.parametrize("kind", [STREAM, DATAGRAM, SEQPACKET], ids=lambda kind: kind.name)
    @pytest.mark.parametrize("count", [0, 2])
    def test_full_table_and_a_pidfd(self, ends, null, kind, count):
        """Without room for the pidfd, all that was sent is there, and who sent it; who asks for the pidfd is told."""
        a, b = ends
        b.pass_credentials()
        b.pass_pidfds()
        with room(count):
            a.send_message(b"data", [null] * count)
            with b.receive_message(9) as message:
                assert (message.data, len(message.fds), message.pidfd) == (b"data", count, None)
                sender = message.credentials
        assert (sender.get_unix_pid(), sender.get_unix_user(), sender.source) == (os.getpid(), os.geteuid(), "message")
        # A sender who lives is not said to have ended.
        for ask in (sender.get_pidfd, sender.is_alive):
            assert failure(ask)[0] == IOErrorEnum.TOO_MANY_OPEN_FILES
        a.send_message(b"data")
        with b.receive_message(9) as message:
            assert message.credentials.is_alive() is True

    @needs_passed_pidfds
    def test_full_table_in_each_form(self, pair):
        """The other forms that return credentials do the same."""
        a, b = pair
        b.pass_credentials()
        b.pass_pidfds()
        with room(0):
            a.send_message(b"data")
            with b.peek_message(9) as peeked, b.receive_exactly(4) as message:
                assert (peeked.data, message.data, peeked.pidfd, message.pidfd) == (b"data", b"data", None, None)
            a.send_credentials()
            senders = (peeked.credentials, message.credentials, b.receive_credentials())
        for sender in senders:
            assert sender.get_unix_user() == os.geteuid()
            assert failure(sender.is_alive)[0] == IOErrorEnum.TOO_MANY_OPEN_FILES

    @needs_passed_pidfds
    def test_full_table_and_only_a_pidfd(self, pair, null):
        """Who has asked for the pidfd alone gets None, and what was sent."""
        a, b = pair
        b.pass_pidfds()
        with room(1):
            a.send_message(b"data", [null])
            with b.receive_message(9) as message:
                assert (message.data, len(message.fds)) == (b"data", 1)
                assert (message.credentials, message.pidfd) == (None, None)

    @pytest.mark.parametrize(
        ("send", "data", "count", "credentials"),
        [
            (lambda a, null: a.send_message(b"first", [null]), b"first", 1, False),
            (lambda a, null: a.send_message(b"first", [null] * 2), b"first", 2, False),
            (lambda a, _null: a.send_message(b"first"), b"first", 0, False),
            (lambda a, _null: a.send_message(b"first", (), True), b"first", 0, True),
            (lambda a, null: a.send_message(b"first", [null], True), b"first", 1, True),
        ],
        ids=["a descriptor", "descriptors", "data", "credentials", "credentials and a descriptor"],
    )
    def test_a_signal_handler_that_raises(self, pair, null, send, data, count, credentials):
        """In the background what has come just then is the result, at each step, and not lost or another message's."""
        a, b = pair
        b.pass_credentials(credentials)
        seen = step = 0

        def files():
            return list(open_descriptors().values()).count(os.devnull)

        def stop(frame, event, _argument):
            nonlocal seen
            if frame.f_code.co_filename == internals.message.__file__ and event != "return":
                seen += 1
                if seen == step:
                    sys.setprofile(None)
                    raise StopError

        class StopError(BaseException):
            pass

        before = files()
        while seen == step:
            calls = Calls()
            b.receive_message_async(9, None, calls)
            send(a, null)
            seen, step = 0, step + 1
            try:
                sys.setprofile(stop)
                iterate(lambda: calls)  # noqa: B023 - called at once
            except StopError:
                iterate(lambda: calls)  # noqa: B023
            finally:
                sys.setprofile(None)
            with b.receive_message_finish(calls.result) as message:
                assert (message.data, len(message.fds), message.credentials is not None) == (data, count, credentials)
                assert files() == before + count
            assert files() == before
        assert step > 5
        a.send_message(b"second")
        assert b.receive_message(9).data == b"second"

    @pytest.mark.parametrize("name", ["send_message", "write_all"])
    def test_a_send_and_a_signal_handler_that_raises(self, pair, null, monkeypatch, name):
        """In a loop of the main thread what had gone just then does not go again."""

        class StopError(Exception):
            pass

        def raising(handle, data, sent, *arguments):
            gone = original(handle, data, sent, *arguments)
            if sent:
                monkeypatch.undo()
                raise StopError
            return gone

        a, b = pair
        module = internals.sending_data if name == "send_message" else internals.transfers
        place = (module, "send_message" if name == "send_message" else "send_data")
        original = getattr(*place)
        fill(a)
        left = b.get_socket().get_available_bytes()
        data = bytes(range(1, 101)) * 5000

        async def main():
            if name == "send_message":
                future = a.send_message_async(data, [null] * 2)
            else:
                future = a.get_output_stream().write_all_async(data, 0)
            monkeypatch.setattr(*place, raising)
            asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
            received, count = bytearray(), 0
            while len(received) < left + len(data):
                await asyncio.sleep(0)
                with contextlib.suppress(unixconn.WouldBlockError), b.receive_message(2**16) as message:
                    received += message.data
                    count += len(message.fds)
            await asyncio.wait_for(future, 60)
            return received, count

        seen = []
        b.get_socket().set_blocking(False)
        received, count = asyncio.run(main())
        assert [type(each) for each in seen] == [StopError]
        assert received[left:] == data
        assert count == (2 if name == "send_message" else 0)

    @pytest.mark.parametrize(
        ("size", "names"),
        [
            (9, "receive_data _keep_contents _keep_parts close_unwanted"),
            (100_000, "receive_data receive_recorded _record contents_of close_unwanted"),
        ],
    )
    def test_a_stream_and_a_signal_handler_that_raises(self, pair, null, monkeypatch, size, names):
        """The same holds for who reads from the stream: bytes and descriptor come, once."""

        class StopError(BaseException):
            pass

        def raising(target, name):
            original = getattr(target, name)

            def broken(*arguments):
                original(*arguments)
                monkeypatch.undo()
                raise StopError

            monkeypatch.setattr(target, name, broken)

        a, b = pair
        stream = b.get_input_stream()
        for name in names.split():
            target = internals.transfers if name == "receive_data" else internals.receive_data
            calls = Calls()
            stream.read_bytes_async(size, 0, None, calls)
            a.send_message(b"first", [null])
            raising(target, name)
            with pytest.raises(StopError):
                iterate(lambda: calls)  # noqa: B023 - called at once
            iterate(lambda: calls)  # noqa: B023
            assert stream.read_bytes_finish(calls.result).get_data() == b"first"
            fd = b.receive_fd()
            assert same(fd, null)
            os.close(fd)

    @pytest.mark.parametrize(
        ("kind", "target"),
        [(STREAM, internals.socket_connection), (SEQPACKET, internals.receiving_data)],
    )
    def test_a_signal_handler_that_raises_when_it_has_come(self, null, monkeypatch, kind, target):
        """The next call returns it: with the message lost, what follows would be taken for its answer."""
        original = target.receive_whole

        def broken(handle, size, found):
            came = original(handle, size, found)
            monkeypatch.undo()
            assert came
            raise KeyboardInterrupt

        a, b = UnixConnection.create_pair(kind)
        with a, b:
            a.send_message(b"first", [null])
            a.send_message(b"second")
            monkeypatch.setattr(target, "receive_whole", broken)
            with pytest.raises(KeyboardInterrupt):
                b.receive_message(100)
            with b.receive_message(100) as message:
                assert (message.data, len(message.fds)) == (b"first", 1)
            assert b.receive_message(100).data == b"second"

    def test_that_nobody_takes(self, pair, null):
        """Its descriptors are closed with the result."""
        a, b = pair
        a.send_message(b"x", [null])
        future = b.receive_message_async(9)
        assert settle(future.done)
        del future
        collect()

    @each_way
    @pytest.mark.parametrize("waits", [False, True])
    def test_descriptors_of_several_messages(self, pair, null, do, waits):
        """Each 253 go with a byte of a stream, and the last ones with the rest."""
        a, b = pair
        with roomy():
            if waits:
                fill(a)
            meanwhile = (lambda: take(b, b.get_socket().get_available_bytes())) if waits else None
            fds = [null] * (2 * MOST + 10)
            assert do(a, "send_message", b"hello", fds, None, meanwhile=meanwhile) == 5
            for data, count in ((b"h", MOST), (b"e", MOST), (b"llo", 10)):
                with b.receive_message(100) as message:
                    assert (message.data, len(message.fds)) == (data, count)

    @each_way
    def test_one_of_many_that_is_not_open(self, pair, null, do):
        """Nothing is sent, also where it is not in the first message."""
        a, b = pair
        assert failure(do, a, "send_message", b"hello", [*[null] * MOST, 9999], None)[0] == IOErrorEnum.FAILED
        assert b.get_socket().get_available_bytes() == 0

    @each_record
    def test_a_record_is_not_split(self, ends, null):
        """More than 253 descriptors are refused there, and the error says what to do."""
        a, _ = ends
        for call in (a.send_message, a.send_message_async):
            with pytest.raises(unixconn.InvalidArgumentError, match=f"a record carries {MOST}: send several"):
                call(b"hello", [null] * (MOST + 1))

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ((None,), TypeError, "None"),
            (("text",), TypeError, "text|str"),
            ((b"", [0]), unixconn.InvalidArgumentError, "a byte.*(0,)"),
            ((bytearray(), [0]), unixconn.InvalidArgumentError, "a byte.*(0,)"),
            ((b"", (), True), unixconn.InvalidArgumentError, "a byte.*True"),
            ((b"x", [0] * (MOST + 1)), ValueError, f"each {MOST} go with a byte, and data have 1"),
            ((b"x", [-1]), ValueError, "-1"),
            ((b"x", 5), TypeError, "5|int"),
            ((b"x", (), 5), TypeError, "5"),
        ],
    )
    def test_wrong_arguments(self, pair, arguments, error, text):
        """They are named, and nothing is sent, nor lost (F3)."""
        a, b = pair
        for call in (a.send_message, a.send_message_async):
            with pytest.raises(error, match=text):
                call(*arguments)
        b.get_socket().set_blocking(False)
        assert failure(b.receive_message, 9)[0] == IOErrorEnum.WOULD_BLOCK

    @pytest.mark.parametrize("wrong", [0, -1, 2**40])
    def test_wrong_sizes(self, pair, wrong):
        """At least one byte."""
        with pytest.raises((ValueError, OverflowError), match=str(wrong)):
            pair[1].receive_message(wrong)

    def test_no_bytes_on_a_stream(self, pair):
        """Nothing is sent."""
        a, _ = pair
        assert a.send_message(b"") == 0

    def test_one_that_is_not_open(self, pair):
        """It is FAILED, and nothing is sent."""
        a, b = pair
        assert failure(a.send_message, b"x", [0, 900]) == (0, "dup: Bad file descriptor")
        b.get_socket().set_blocking(False)
        assert failure(b.receive_message, 9)[0] == IOErrorEnum.WOULD_BLOCK

    def test_the_standard_library_s(self, raw, null):
        """Both understand each other."""
        sock, connection = raw
        connection.send_message(b"abc", [null] * 2)
        data, ancillary, _, _ = sock.recvmsg(100, 1000)
        got = array.array("i", ancillary[0][2])
        assert (data, len(got)) == (b"abc", 2)
        for each in got:
            os.close(each)
        socket.send_fds(sock, [b"de", b"f"], [null])
        with connection.receive_message(100) as message:
            assert (message.data, len(message.fds)) == (b"def", 1)


def failing_notes(sender, data, receiver):
    """Send what nobody reads, and give the notes of the Error."""
    while True:
        receiver.get_socket().set_blocking(False)
        try:
            receiver.receive_message(2**20).close()
        except unixconn.WouldBlockError:
            break
    sender.get_socket().set_blocking(False)
    with pytest.raises(unixconn.WouldBlockError) as caught:
        sender.send_message(data)
    return caught.value.__notes__


class TestRecords:
    @each_way
    @each_record
    def test_of_no_bytes(self, ends, null, do, kind):
        """A record may have no bytes, with descriptors or without."""
        a, b = ends
        do(a, "send_message", b"", [null], None)
        do(a, "send_message", b"", (), None)
        do(a, "send_message", b"x", (), None)
        found = []
        for _ in range(3):
            with do(b, "receive_message", 9) as message:
                found.append((message.data, len(message.fds), message.end_of_record))
        assert found == [(b"", 1, True), (b"", 0, True), (b"x", 0, True)]

    def test_the_end_and_a_record_of_no_bytes(self):
        """They are told from each other, also where the sender has gone meanwhile; the option is left as it was."""
        a, b = UnixConnection.create_pair(SEQPACKET)
        with b:
            with a:
                a.send_message(b"")
            assert b.receive_message(9).data == b""
            assert failure(b.receive_message, 9) == GONE
            assert b.get_socket().get_option(*PASSCRED).value == 0

    @each_way
    @pytest.mark.parametrize("name", ["receive_fd", "receive_fds", "receive_descriptor", "receive_descriptors"])
    def test_descriptors_and_a_record_of_no_bytes(self, null, do, name):
        """Who wants descriptors is told that it has none, and not that it is the end, which comes at the end."""
        a, b = UnixConnection.create_pair(SEQPACKET)
        arguments = [None] if name.endswith("s") else []
        none = (IOErrorEnum.FAILED, "Expecting 1 control message, got 0")
        with b:
            with a:
                a.send_message(b"")
                assert failure(do, b, name, *arguments) == none
                a.send_message(b"")
                a.send_message(b"x", [null])
            assert failure(do, b, name, *arguments) == none
            got = do(b, name, *arguments)
            for each in got if isinstance(got, list) else [got]:
                FileDescriptor(each).close()
            assert failure(do, b, name, *arguments) == GONE

    @each_way
    @each_record
    def test_too_long(self, ends, null, do, kind):
        """
        What does not fit is an error that tells its length, and has its beginning.

        Its descriptors are closed, and the next one comes (F15).
        """
        a, b = ends
        a.send_message(b"0123456789", [null])
        a.send_message(b"next")
        with pytest.raises(Error, match=r"10 bytes.*4") as caught:
            do(b, "receive_message", 4)
        assert (caught.value.code, caught.value.partial) == (IOErrorEnum.MESSAGE_TOO_LARGE, b"0123")
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == errno.EMSGSIZE
        assert do(b, "receive_message", 4).data == b"next"

    @each_record
    def test_more_than_the_kernel_takes(self, ends, kind):
        """It is MESSAGE_TOO_LARGE, and not sent in parts."""
        assert failure(ends[0].send_message, bytes(10**7))[0] == IOErrorEnum.MESSAGE_TOO_LARGE

    @each_type
    def test_descriptors_and_credentials(self, ends, null, kind):
        """The other methods work on each type."""
        a, b = ends
        a.send_fd(null)
        os.close(b.receive_fd())
        a.send_fds([null] * 2)
        for each in b.receive_fds():
            os.close(each)
        a.send_credentials()
        assert b.receive_credentials().get_unix_pid() == os.getpid()

    @pytest.mark.parametrize("wrong", [SocketType.INVALID, 9, None, "STREAM"])
    def test_no_such_type(self, wrong):
        """There are three types."""
        with pytest.raises(TypeError):
            UnixConnection.create_pair(wrong)

    def test_seqpacket_by_a_name(self, tmp_path):
        """A service may be of another type, under an abstract name too."""
        for address in (
            UnixSocketAddress.new(tmp_path / "s"),
            UnixSocketAddress.new_with_type(f"unixconn-test-{os.getpid()}", unixconn.UnixSocketAddressType.ABSTRACT),
        ):
            with unixconn.SocketListener() as listener:
                listener.add_address(address, SEQPACKET, unixconn.SocketProtocol.DEFAULT)
                client = unixconn.SocketClient()
                client.set_socket_type(SEQPACKET)
                with client.connect(address) as one, listener.accept().connection as other:
                    one.get_socket().send(b"record")
                    one.get_socket().send(b"two")
                    assert other.get_socket().receive(100) == b"record"
                    assert other.get_socket().receive(100) == b"two"


class TestDatagrams:
    @pytest.fixture
    def bound(self, tmp_path):
        """Two sockets with names of their own."""
        made = [Socket.new(SocketFamily.UNIX, DATAGRAM, unixconn.SocketProtocol.DEFAULT) for _ in range(2)]
        addresses = [UnixSocketAddress.new(tmp_path / name) for name in "ab"]
        for each, address in zip(made, addresses):
            each.bind(address, False)
        yield made, addresses
        for each in made:
            each.close()

    @each_way
    def test_there_and_back(self, bound, do):
        """Who receives learns who has sent."""
        (a, b), (at_a, at_b) = bound
        assert do(a, "send_to", at_b, b"question") == 8
        data, sender = do(b, "receive_from", 100)
        assert (data, sender.get_path()) == (b"question", at_a.get_path())
        answer = lambda: b.send_to(sender, b"answer")  # noqa: E731 - for *meanwhile*
        assert do(a, "receive_from", 100, meanwhile=answer).data == b"answer"
        assert at_b.get_path() != at_a.get_path()

    @each_way
    def test_room_that_is_made(self, bound, do):
        """Who sends to a receiver that is full waits for it; who is cancelled has sent and received nothing."""
        (a, b), (_, at_b) = bound
        a.set_blocking(False)
        with pytest.raises(unixconn.WouldBlockError):
            while True:
                a.send_to(at_b, b"x")
        a.set_blocking(True)
        assert do(a, "send_to", at_b, b"last", meanwhile=lambda: b.receive(9)) == 4
        cancellable = Cancellable()
        found = failure(do, a, "receive_from", 9, cancellable=cancellable, meanwhile=cancellable.cancel)
        assert found == (IOErrorEnum.CANCELLED, "Operation was cancelled")

    def test_without_a_name(self, bound):
        """A sender without one has no address."""
        (_, b), (_, at_b) = bound
        with UnixConnection(
            socket=Socket.new(SocketFamily.UNIX, DATAGRAM, unixconn.SocketProtocol.DEFAULT)
        ) as nameless:
            nameless.get_socket().send_to(at_b, b"x")
        assert b.receive_from(9) == (b"x", None)

    def test_to_the_peer(self, pair):
        """None is the peer of a connected one."""
        a, b = pair
        assert a.get_socket().send_to(None, b"x") == 1
        assert b.get_socket().receive_from(9).data == b"x"

    @pytest.mark.parametrize("name", ["send_to", "send_message"])
    def test_a_receiver_that_is_full(self, bound, name):
        """It is waited for, without a connection too: not in a loop, and no longer than the timeout."""
        (a, b), (_, at_b) = bound
        arguments = (at_b, b"x") if name == "send_to" else (at_b, [b"x"], None, 0)
        a.set_blocking(False)
        with pytest.raises(unixconn.WouldBlockError):
            while True:
                a.send_to(at_b, b"x")
        a.set_blocking(True)
        a.set_timeout(1)
        started = time.thread_time()
        assert failure(getattr(a, name), *arguments)[0] == IOErrorEnum.TIMED_OUT
        assert time.thread_time() - started < 0.5
        a.set_timeout(60)
        waiting = Background(getattr(a, name), *arguments)
        assert waiting.is_waiting()
        b.receive(1)
        assert waiting.outcome() == 1

    @each_way
    def test_one_that_was_shut_down(self, do):
        """Who waits is told the end; what was there before is received."""
        a, b = UnixConnection.create_pair(DATAGRAM)
        with a, b:
            sock = b.get_socket()
            shut = lambda: sock.shutdown(True, False)  # noqa: E731 - for *meanwhile*
            assert failure(do, b, "receive_message", 9, meanwhile=shut) == GONE
            assert failure(b.receive_fd) == GONE
            assert failure(sock.receive, 9) == GONE
        a, b = UnixConnection.create_pair(DATAGRAM)
        with a, b:
            a.send_message(b"")
            b.get_socket().shutdown(True, False)
            assert do(b, "receive_message", 9).data == b""
            assert failure(do, b, "receive_message", 9) == GONE

    def test_to_an_empty_path(self, bound):
        """It is nobody's address, and not the abstract name of no bytes."""
        (a, _), _ = bound
        with Socket.new(SocketFamily.UNIX, DATAGRAM, unixconn.SocketProtocol.DEFAULT) as other:
            empty = UnixSocketAddress.new_with_type("", unixconn.UnixSocketAddressType.ABSTRACT)
            other.bind(empty, False)
            assert failure(a.send_to, UnixSocketAddress.new(""), b"x")[0] == IOErrorEnum.INVALID_ARGUMENT
            assert a.send_to(empty, b"x") == 1

    def test_errors(self, bound, tmp_path):
        """Nobody there, and what is no address."""
        (a, b), (_, at_b) = bound
        assert failure(a.send_to, UnixSocketAddress.new(tmp_path / "none"), b"x")[0] == IOErrorEnum.NOT_FOUND
        b.close()
        assert failure(a.send_to, at_b, b"x")[0] == IOErrorEnum.CONNECTION_REFUSED
        with pytest.raises(TypeError):
            a.send_to("path", b"x")
        a.set_blocking(False)
        assert failure(a.receive_from, 9)[0] == IOErrorEnum.WOULD_BLOCK
