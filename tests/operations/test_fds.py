"""send_fds and receive_fds, receive_descriptor and receive_descriptors."""

from __future__ import annotations

import array
import asyncio
import contextlib
import gc
import os
import random
import resource
import signal
import socket
import time

import internals
import pytest
from helpers import (
    MOST,
    Background,
    collect,
    come_to_rest,
    fill,
    forbid_option,
    needs_filters,
    needs_passed_pidfds,
    needs_refused_rights,
    open_descriptors,
    outcome_of_child,
    room,
    same,
    settle,
)
from internals import close_all
from ways import each_way, failure

import unixconn
from unixconn import Cancellable, Error, FileDescriptor, IOErrorEnum, SocketType, UnixConnection

CANCELLED = (19, "Operation was cancelled")
GONE = (18, "Connection closed by the peer")

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")


@pytest.fixture
def files(tmp_path):
    """Three open files, each another one."""
    made = [os.open(tmp_path / name, os.O_CREAT | os.O_RDWR) for name in "abc"]
    yield made
    for fd in made:
        os.close(fd)


@pytest.fixture
def roomy():
    """Room for the descriptors of several messages."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def send_rights(connection, fds, data=b"\0"):
    """Send descriptors by the standard library."""
    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def close(got):
    """Close what was received, be it numbers or FileDescriptors."""
    for each in got:
        if isinstance(each, FileDescriptor):
            each.close()
        else:
            os.close(each)


class TestMany:
    @each_way
    @pytest.mark.parametrize("name", ["receive_fds", "receive_descriptors"])
    def test_in_their_order(self, pair, files, do, name):
        """The receiver gets descriptors of its own, close-on-exec, in the order of the sender's."""
        a, b = pair
        assert do(a, "send_fds", files) is True
        got = do(b, name, None)
        assert [same(one, int_of(other)) for one, other in zip(files, got)] == [True] * 3
        assert not any(os.get_inheritable(int_of(each)) for each in got)
        close(got)

    @pytest.mark.parametrize("count", [1, 2, 3, 64, 251, MOST])
    def test_one_message(self, raw, null, count):
        """Up to 253, or what the C library has room for, go with one message of one byte, again and again."""
        sock, connection = raw
        for _ in range(3):
            connection.send_fds([null] * count)
            data, ancillary, flags, _ = sock.recvmsg(100, 4096)
            got = array.array("i", b"".join(each[2] for each in ancillary))
            assert (data, len(got), flags & socket.MSG_CTRUNC) == (b"\0", count, 0)
            close(got)
            send_rights(sock, [null] * count)
            got = connection.receive_fds()
            assert len(got) == len(set(got)) == count
            close(got)

    @each_way
    def test_one_of_many_that_is_not_open(self, pair, null, do):
        """Nothing is sent, also where it is not in the first message."""
        a, b = pair
        assert failure(do, a, "send_fds", [*[null] * MOST, 9999])[0] == IOErrorEnum.FAILED
        b.get_socket().set_blocking(False)
        assert failure(b.receive_fds)[0] == IOErrorEnum.WOULD_BLOCK

    @pytest.mark.usefixtures("roomy")
    @pytest.mark.parametrize("count", [MOST + 1, 2 * MOST, 2 * MOST + 1, 1000])
    def test_several_messages(self, pair, raw, null, count):
        """More are split, with the most in each message but the last, and received together."""
        a, b = pair
        a.send_fds([null] * count)
        got = b.receive_fds(count)
        assert len(set(got)) == count
        close(got)
        sock, connection = raw
        connection.send_fds([null] * count)
        sizes = []
        while sum(sizes) < count:
            _, ancillary, _, _ = sock.recvmsg(1, 4096)
            got = array.array("i", ancillary[0][2])
            sizes.append(len(got))
            close(got)
        assert sizes == [MOST] * (count // MOST) + [count % MOST] * (count % MOST > 0)

    def test_objects(self, pair, files):
        """Whatever has fileno() will do, and any iterable of such."""
        a, b = pair
        with open(files[0], closefd=False) as file, FileDescriptor(os.dup(files[1])) as descriptor:
            a.send_fds(each for each in (file, descriptor, files[2]))
        got = b.receive_fds(3)
        assert all(map(same, got, files))
        close(got)

    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    @each_way
    def test_made_on_the_way(self, pair, files, do):
        """What an iterable makes for the call alone stays open until it is sent."""
        a, b = pair
        assert do(a, "send_fds", (FileDescriptor(os.dup(each)) for each in files)) is True
        assert do(a, "send_message", b"\0", (FileDescriptor(os.dup(each)) for each in files), None) == 1
        got = b.receive_fds(6)
        assert all(map(same, got, [*files, *files]))
        close(got)
        collect()

    def test_a_file_is_no_list(self, pair, tmp_path):
        """It is not read for its lines, and what was in it stays."""
        path = tmp_path / "file"
        path.write_text("1\n", encoding="utf-8")
        with path.open(encoding="utf-8") as file:
            for call in (pair[0].send_fds, pair[0].send_fds_async, lambda fds: pair[0].send_message(b"x", fds)):
                with pytest.raises(TypeError, match="must be a list"):
                    call(file)
            assert file.read() == "1\n"

    @pytest.mark.parametrize(
        ("wrong", "error", "text"),
        [
            ([], ValueError, "at least one"),
            (5, TypeError, "5"),
            (None, TypeError, "None"),
            ("12", TypeError, "12"),
            (b"\0", TypeError, "must be a list"),
            (bytearray(b"\0\1"), TypeError, "must be a list"),
            (memoryview(b"\0\1"), TypeError, "must be a list"),
            ([0, -1], ValueError, r"fds\[1\].*-1"),
            ([0, "x"], TypeError, r"fds\[1\].*'x'"),
            ([True], TypeError, "True"),
            ([2**40], OverflowError, str(2**40)),
            ([2**32 - 1], OverflowError, f"{2**32 - 1} does not"),
        ],
    )
    def test_wrong_descriptors(self, pair, wrong, error, text):
        """They are named, and nothing is sent."""
        a, b = pair
        for call in (a.send_fds, a.send_fds_async):
            with pytest.raises(error, match=text):
                call(wrong)
        b.get_socket().set_blocking(False)
        assert failure(b.receive_fds)[0] == IOErrorEnum.WOULD_BLOCK

    @pytest.mark.parametrize("wrong", [0, -1])
    def test_wrong_counts(self, pair, wrong):
        """A count is one at least."""
        for name in ("receive_fds", "receive_descriptors", "receive_fds_async", "receive_descriptors_async"):
            with pytest.raises((ValueError, OverflowError), match=str(wrong)):
                getattr(pair[1], name)(wrong)
            with pytest.raises(TypeError):
                getattr(pair[1], name)("1")

    @each_way
    def test_one_that_is_not_open(self, pair, null, do):
        """It is FAILED, names the number, and nothing is sent."""
        a, b = pair
        number = 900
        with pytest.raises(Error) as caught:
            do(a, "send_fds", [null, number, null])
        assert (caught.value.code, caught.value.message) == (0, "dup: Bad file descriptor")
        assert str(number) in caught.value.__notes__[0]
        b.get_socket().set_blocking(False)
        assert failure(b.receive_fds)[0] == IOErrorEnum.WOULD_BLOCK

    @each_way
    def test_kept_while_it_waits(self, pair, files, do):
        """What waits keeps the files, whatever becomes of the numbers."""
        a, b = pair
        fill(a)
        left = b.get_socket().get_available_bytes()
        copies = [os.dup(each) for each in files]

        def meanwhile():
            for each in copies:
                os.close(each)
            others = [os.open(os.devnull, os.O_RDONLY) for _ in copies]
            for _ in range(left // 1000):
                drop(b, 1000)
            drop(b, left % 1000)
            close(others)

        if do.__name__ == "blocking":
            # Until it waits the numbers are the caller's to keep.
            running = Background(a.send_fds, copies)
            assert running.is_waiting()
            meanwhile()
            assert running.outcome() is True
        else:
            assert do(a, "send_fds", copies, meanwhile=meanwhile) is True
        got = b.receive_fds(3)
        assert all(map(same, got, files))
        close(got)

    @each_way
    @pytest.mark.parametrize("name", ["receive_fds", "receive_descriptors"])
    def test_over_several_messages(self, pair, null, do, name):
        """A count is reached by as many messages as it takes; what is after them stays."""
        a, b = pair
        a.send_fds([null])
        got = do(b, name, 6, meanwhile=lambda: [a.send_fds([null] * 3), a.send_fds([null] * 2), a.send_fd(null)])
        assert len({int_of(each) for each in got}) == 6
        close([*got, b.receive_fd()])

    @each_way
    @pytest.mark.parametrize("name", ["receive_fds", "receive_descriptors"])
    def test_too_many(self, pair, null, do, name):
        """A message that brings more than are missing is an error, and all that came is closed."""
        a, b = pair
        before = open_descriptors()
        a.send_fds([null] * 2)
        a.send_fds([null] * 3)
        assert failure(do, b, name, 4) == (0, "Expecting 4 fds, but got 5")
        assert settle(lambda: len(open_descriptors()) <= len(before))
        a.send_fd(null)
        close(b.receive_fds())

    @each_way
    def test_wrong_messages(self, pair, null, do):
        """Without descriptors it is consumed, and what came before it is closed."""
        a, b = pair
        a.send_credentials()
        assert failure(do, b, "receive_fds", None) == (0, "Expecting 1 control message, got 0")
        a.send_fds([null] * 2)
        a.send_credentials()
        assert failure(do, b, "receive_fds", 3) == (0, "Expecting 1 control message, got 0")
        a.send_fd(null)
        close(do(b, "receive_fds", 1))

    @each_way
    @pytest.mark.parametrize("count", [None, 3])
    def test_the_end(self, pair, null, do, count):
        """At the end of the stream it is CLOSED, and what came before it is closed."""
        a, b = pair
        if count:
            a.send_fds([null] * 2)
        a.close()
        assert failure(do, b, "receive_fds", count) == GONE

    @each_way
    @pytest.mark.parametrize("name", ["receive_fds", "receive_descriptors"])
    def test_cancelled_half_way(self, pair, files, do, name):
        """What has come is not lost: the next one who receives gets it, message by message."""
        a, b = pair
        a.send_fds(files[:2])
        a.send_fds(files[2:])
        cancellable = Cancellable()
        assert failure(do, b, name, 5, cancellable=cancellable, meanwhile=cancellable.cancel) == CANCELLED
        first = b.receive_fds()
        assert all(map(same, first, files[:2]))
        assert len(first) == 2
        assert failure(do, b, name, 5, cancellable=cancellable) == CANCELLED
        last = b.receive_fd()
        assert same(last, files[2])
        close([*first, last])

    def test_who_is_behind_gets_what_was_given_back(self, pair, files):
        """One that waits behind one that is cancelled half way gets what that had."""
        a, b = pair
        first, second = b.receive_fds_async(5), b.receive_fds_async()
        a.send_fds(files)
        assert not settle(second.done, 0.05)
        assert first.cancel()
        got = second.result(60)
        assert all(map(same, got, files))
        close(got)

    @pytest.mark.parametrize("first", ["receive_fds", "receive_fds_async", "stream"])
    @pytest.mark.parametrize("name", ["receive_fd", "receive_descriptors"])
    def test_who_waits_in_threads_gets_what_was_given_back(self, pair, null, first, name):
        """They sleep in poll(), to which no message comes for what another one had received."""
        a, b = pair
        cancellable = Cancellable()
        if first == "receive_fds_async":
            future = b.receive_fds_async(3, cancellable)
        elif first == "receive_fds":
            future = Background(b.receive_fds, 3, cancellable)
            assert future.is_waiting()
        sender = Background(drop, a, 1)
        if first != "stream":
            a.send_fd(null)
            a.send_fd(null)
            assert settle(lambda: not b.get_socket().get_available_bytes())
        receivers = [Background(getattr(b, name)) for _ in range(2)]
        assert all(each.is_waiting() for each in receivers)
        if first == "stream":
            # As of a thread that reads the bytes before those who wait are there.
            for _ in range(2):
                b._socket._handle.keep([[os.dup(null)]])
        cancellable.cancel()
        for each in receivers:
            got = each.outcome()
            close(got if isinstance(got, list) else [got])
        # Who waits for something else goes on waiting, and ends as ever.
        assert sender.is_waiting()
        b.send_message(b"x")
        assert sender.outcome() is None
        b.close()

    def test_who_waits_for_bytes_is_not_told(self, pair, null):
        """A descriptor that is given back is nothing for one who waits for bytes: it sleeps on, until its timeout."""
        b = pair[1]
        b.get_socket().set_timeout(1)
        reader = Background(b.get_socket().condition_wait, unixconn.IOCondition.IN)
        other = Background(b.get_socket().receive, 1)
        come_to_rest(reader)
        come_to_rest(other)
        b._socket._handle.keep([[os.dup(null)]])
        for each in (reader, other):
            assert isinstance(each.outcome(), unixconn.TimedOutError)
        os.close(b.receive_fd())
        b.get_socket().set_timeout(0)
        # A later wait has a new descriptor to be told by, and close() uses it.
        waiting = Background(b.receive_fd)
        assert waiting.is_waiting()
        b.close()
        assert isinstance(waiting.outcome(), unixconn.ClosedError)

    def test_nobody_receives_what_was_given_back(self, pair, files):
        """It is closed with the connection."""
        a, b = pair
        a.send_fds(files)
        b.get_socket().set_blocking(False)
        assert failure(b.receive_fds, 5)[0] == IOErrorEnum.WOULD_BLOCK
        b.close()

    def test_in_line(self, pair, files):
        """Receivers of all kinds end in the order of their starts, and none takes what another one needs."""
        a, b = pair
        futures = [b.receive_fds_async(2), b.receive_fd_async(), b.receive_descriptors_async(3), b.receive_fds_async()]
        for _ in range(7):
            a.send_fd(files[0])
        got = [future.result(60) for future in futures]
        assert [len(each) if isinstance(each, list) else each > 0 for each in got] == [2, True, 3, 1]
        close([*got[0], got[1], *got[2], *got[3]])

    def test_full_table(self, pair, null):
        """It is TOO_MANY_OPEN_FILES, with nothing left open, at each number of free descriptors."""
        a, b = pair
        before = open_descriptors()
        for free in range(3):
            with room(free):
                a.send_fds([null] * 3)
                assert failure(b.receive_fds)[0] == IOErrorEnum.TOO_MANY_OPEN_FILES
            assert open_descriptors() == before
        with room(3):
            a.send_fds([null] * 3)
            close(b.receive_fds())

    def test_another_family(self):
        """It would lose them: NOT_SUPPORTED."""
        with UnixConnection(socket=unixconn.Socket.new(2, 1, 0)) as other:
            assert failure(other.send_fds, [0, 1])[0] == IOErrorEnum.NOT_SUPPORTED

    @needs_passed_pidfds
    @each_way
    @pytest.mark.parametrize("name", ["receive_fds", "receive_descriptor", "receive_descriptors"])
    def test_with_credentials_and_a_pidfd(self, pair, null, do, name):
        """What else comes along is dropped, and closed."""
        a, b = pair
        b.pass_credentials()
        b.pass_pidfds()
        for _ in range(2):
            a.send_fd(null)
            got = do(b, name, *[None] * name.endswith("s"))
            close([got] if isinstance(got, FileDescriptor) else got)

    @needs_passed_pidfds
    @pytest.mark.parametrize("name", ["receive_fd", "receive_fds"])
    def test_a_pidfd_and_a_signal_handler_that_raises(self, pair, null, monkeypatch, name):
        """The pidfd that nobody has asked for is closed as well if a handler raises just before that."""

        class StopError(Exception):
            pass

        def stop(_):
            monkeypatch.undo()
            raise StopError

        a, b = pair
        b.pass_pidfds()
        before = open_descriptors()
        a.send_fd(null)
        monkeypatch.setattr(internals.receive, "close_unwanted", stop)
        with pytest.raises(StopError):
            getattr(b, name)()
        gc.collect()  # PyPy destroys the owner of the pidfd only now
        assert open_descriptors() == before

    @pytest.mark.parametrize(
        ("name", "count"), [("send_fd", 1), ("send_fds", 2), ("send_fds", 300), ("send_credentials", 0)]
    )
    def test_a_send_and_a_signal_handler_that_raises(self, pair, null, monkeypatch, name, count):
        """Where it waits in a loop of the main thread, what had gone just then does not go again."""

        def raising(handle, sent, *arguments):
            if sent == 1:
                monkeypatch.undo()
                raise ZeroDivisionError
            return check(handle, sent, *arguments)

        async def main():
            future = getattr(a, f"{name}_async")(*[null if name == "send_fd" else [null] * count] * bool(count))
            assert not future.done()
            asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
            monkeypatch.setattr(internals.send, "has_gone", raising)
            assert len(b.get_input_stream().read_all(left)) == left
            return await asyncio.wait_for(future, 60)

        a, b = pair
        check, seen = internals.send.has_gone, []
        fill(a)
        left = b.get_socket().get_available_bytes()
        assert asyncio.run(main()) is True
        assert [type(each) for each in seen] == [ZeroDivisionError]
        if count:
            close(b.receive_fds(count))
        else:
            b.receive_credentials()
        assert b.get_socket().get_available_bytes() == 0

    @each_way
    @pytest.mark.usefixtures("roomy")
    def test_how_far_it_came(self, pair, null, do):
        """What ends it after some messages went says how many descriptors these had."""
        a, b = pair
        a.get_socket().set_option(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for seconds in (0.2, 2, 20):
            with pytest.raises(unixconn.TimedOutError) as caught:
                do(a, "send_fds", [null] * MOST * 10, cancellable=Cancellable.with_timeout(seconds))
            sent = int(caught.value.__notes__[0].split()[0]) if caught.value.__notes__ else 0
            if sent:
                break
            # The machine was so slow that the deadline has passed before the first message.
        assert caught.value.__notes__ == [f"{sent} of {MOST * 10} descriptors had been sent"]
        close(b.receive_fds(sent))
        assert b.get_socket().get_available_bytes() == 0


def int_of(descriptor):
    """Return the number of one that was received."""
    return descriptor if isinstance(descriptor, int) else descriptor.fileno()


def drop(connection, size):
    """Read so many bytes, and no more."""
    while size:
        size -= len(connection.get_socket().receive(size))


class TestOwned:
    @each_way
    def test_receive_descriptor(self, pair, null, do):
        """It has an owner, which closes it."""
        a, b = pair
        a.send_fd(null)
        with do(b, "receive_descriptor") as got:
            assert isinstance(got, FileDescriptor)
            assert same(got.fileno(), null)
            number = got.fileno()
        assert number not in open_descriptors()

    @each_way
    def test_not_one(self, pair, null, do):
        """Several are refused, and closed."""
        a, b = pair
        a.send_fds([null] * 2)
        assert failure(do, b, "receive_descriptor") == (0, "Expecting one fd, but got 2\n")

    def test_dropped(self, pair, null):
        """One that nobody has kept is closed with a ResourceWarning."""
        a, b = pair
        a.send_fd(null)
        with pytest.warns(ResourceWarning, match="unclosed <FileDescriptor"):  # noqa: PT031 - PyPy warns when it collects
            b.receive_descriptor()
            collect()


@pytest.mark.breaks_off
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("name", "count", "rounds"), [("receive_descriptor", 1, 10_000), ("receive_descriptors", 10, 3000)]
)
def test_owners_and_interruption(pair, null, name, count, rounds, monkeypatch):
    """Receives that are broken off at a random moment, in the words of any program: nothing is left open."""
    a, b = pair
    monkeypatch.setattr("sys.unraisablehook", bool)
    before = open_descriptors()
    hits = 0

    class Stop(Exception):  # noqa: N818 - it is no error
        pass

    def handler(*_):
        if armed:
            raise Stop

    def receive(seconds):
        nonlocal armed
        armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)
        kept = getattr(b, name)()
        armed = False
        return kept

    armed = False
    old = signal.signal(signal.SIGALRM, handler)
    try:
        for number in range(rounds):
            a.send_fds([null] * count)
            try:
                got = receive(10e-6 + number % 60 * 1e-6)
                close(got if isinstance(got, list) else [got])
            except Stop:
                hits += 1
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            got = None
            drain(b)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert hits > 20
    collect()
    assert settle(lambda: open_descriptors() == before)


def drain(connection):
    """Take what is under way."""
    connection.get_socket().set_blocking(False)
    try:
        while True:
            close(connection.receive_fds())
    except unixconn.WouldBlockError:
        connection.get_socket().set_blocking(True)


class TestRefusing:
    @needs_refused_rights
    @each_way
    def test_the_sender_is_told(self, pair, null, do):
        """A peer that sends descriptors gets PERMISSION_DENIED, and bytes go through."""
        a, b = pair
        b.refuse_fds()
        with pytest.raises(unixconn.PermissionDeniedError) as caught:
            do(a, "send_fd", null)
        assert "refused descriptors by refuse_fds()" in caught.value.__notes__[0]
        assert failure(do, a, "send_fds", [null] * 2)[0] == IOErrorEnum.PERMISSION_DENIED
        assert a.send_message(b"x") == 1
        assert b.receive_message(9).data == b"x"
        b.refuse_fds(False)
        a.send_fd(null)
        os.close(b.receive_fd())

    @pytest.mark.parametrize("kind", [SocketType.STREAM, SocketType.SEQPACKET, SocketType.DATAGRAM])
    def test_what_is_under_way(self, null, kind):
        """Descriptors that were sent before are closed, and that is said."""
        a, b = UnixConnection.create_pair(kind)
        with a, b:
            for _ in range(3):
                a.send_message(b"x", [null] * 2)
            before = open_descriptors()
            b.refuse_fds()
            for name in ("receive_fd", "receive_descriptors"):
                code, text = failure(getattr(b, name))
                assert (code, "2 descriptors came and were closed" in text) == (IOErrorEnum.PERMISSION_DENIED, True)
            message = b.receive_message(9)
            assert (message.data, message.fds, message.refused) == (b"x", [], 2)
            assert open_descriptors() == before
            b.refuse_fds(False)
            a.send_fd(null)
            os.close(b.receive_fd())

    def test_a_signal_handler_that_raises(self, pair, null, monkeypatch):
        """What was closed is not closed again: the number may be another file's by then."""

        class StopError(Exception):
            pass

        def close_and_stop(owner):
            closed = list(owner)
            close_all(owner)
            opened.extend(os.dup(null) for _ in closed)
            raise StopError

        a, b = pair
        opened: list[int] = []
        a.send_message(b"x", [null] * 2)
        b.refuse_fds()
        with monkeypatch.context() as patch:
            patch.setattr(internals.message, "close_unwanted", close_and_stop)
            with pytest.raises(StopError):
                b.receive_message(9)
        for fd in opened:
            os.close(fd)
        assert len(opened) == 2

    def test_a_full_table(self, pair, null):
        """How many found a number is told, though they are refused."""
        a, b = pair
        a.send_message(b"x", [null] * 3)
        b.refuse_fds()
        with room(2), pytest.raises(unixconn.TooManyOpenFilesError) as caught:
            b.receive_message(9)
        assert caught.value.__notes__[0].startswith("2 of the message's descriptors")

    @needs_filters
    def test_where_the_kernel_can_not(self, null):
        """They come, and are closed; each receive says so."""
        assert outcome_of_child(lambda: self._refuses(null)) == 0

    def _refuses(self, null):
        forbid_option(83)
        a, b = UnixConnection.create_pair()
        before = open_descriptors()
        b.refuse_fds()
        for name in ("receive_fd", "receive_fds", "receive_descriptor", "receive_descriptors"):
            a.send_fds([null] * 2)
            code, text = failure(getattr(b, name))
            assert (code, "2 descriptors came and were closed" in text) == (IOErrorEnum.PERMISSION_DENIED, True)
            a.send_fd(null)
            code, text = failure(getattr(b, f"{name}_async")().result, 5)
            assert code == IOErrorEnum.PERMISSION_DENIED
        b.pass_credentials()
        a.send_message(b"xyz", [null] * 2)
        with b.receive_message(9) as message:
            found = message.data[-3:], message.fds, message.refused
        assert found == (b"xyz", [], 2), found
        assert settle(lambda: len(open_descriptors()) <= len(before) + 3)
        b.refuse_fds(False)
        a.send_fd(null)
        os.close(b.receive_fd())
        return True


@pytest.mark.usefixtures("roomy")
def test_threads_that_give_up(pair, null):
    """Many receivers in all ways, many of which give up half way: every descriptor comes to one of them, once."""
    a, b = pair
    sent, received = [], []
    over = time.monotonic() + 1.5

    def goes_on():
        return time.monotonic() < over or len(sent) <= 50

    def send(seed):
        chance = random.Random(seed)
        while goes_on():
            a.send_fd(null, Cancellable.with_timeout(60)) if chance.random() < 0.5 else a.send_fd(null)
            sent.append(1)
            time.sleep(chance.random() * 0.002)

    def receive(seed):
        chance = random.Random(seed)
        while goes_on():
            name = chance.choice(["receive_fd", "receive_descriptor", "receive_fds", "receive_descriptors"])
            arguments = [chance.choice([1, 2, 5])] * name.endswith("s")
            deadline = Cancellable.with_timeout(chance.random() * 0.01)
            try:
                if chance.random() < 0.5:
                    got = getattr(b, name)(*arguments, deadline)
                else:
                    got = getattr(b, f"{name}_async")(*arguments, deadline).result(60)
            except unixconn.TimedOutError:
                continue
            got = got if isinstance(got, list) else [got]
            received.extend(got)

    workers = [Background(send, seed) for seed in range(2)] + [Background(receive, seed) for seed in range(6)]
    for each in workers:
        assert each.outcome() is None
    b.get_socket().set_blocking(False)
    with contextlib.suppress(unixconn.WouldBlockError):
        while True:
            received.extend(b.receive_fds())
    assert len(received) == len(sent) > 50
    numbers = [int_of(each) for each in received]
    assert len(set(numbers)) == len(numbers)
    close(received)
