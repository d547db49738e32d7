"""The order in which operations on one socket end, and what becomes of a descriptor that waits to be sent."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from typing import ClassVar

import pytest
from helpers import Background, Calls, drain, fill, open_descriptors, tag, take
from operations.kinds import RECEIVING, SENDING, check, finish, start
from ways import iterate, pushed, rest

import unixconn
from unixconn import Cancellable, MainContext, UnixConnection

pytestmark = pytest.mark.usefixtures("no_linger")


class TestSending:
    def test_the_caller_closes_it_at_once(self, pair, calls, tagged):
        """What arrives is the file of the call, though its number belongs to another one by then."""
        a, b = pair
        fill(a)
        waiting = b.get_socket().get_available_bytes()
        for number in range(5):
            fd = tagged(number)
            a.send_fd_async(fd, None, calls)
            os.dup2(0, fd)
            os.close(fd)
        take(b, waiting)
        iterate(lambda: len(calls) == 5)
        assert [a.send_fd_finish(result) for _, result in calls] == [True] * 5
        assert [tag(b.receive_fd()) for _ in range(5)] == list("01234")

    @pytest.mark.parametrize("end", ["success", "cancelled", "closed", "peer gone"])
    def test_the_copy_is_closed(self, pair, calls, null, end):
        """However the wait ends, the duplicate that was kept for it goes with it, before the callback."""
        a, b = pair
        fill(a)
        cancellable = Cancellable()

        def copies():
            return sum(name == os.devnull for name in open_descriptors().values())

        before = copies()
        a.send_fd_async(null, cancellable, calls)
        assert copies() == before + 1
        if end == "success":
            drain(b)
        elif end == "cancelled":
            cancellable.cancel()
        else:
            {"closed": a, "peer gone": b}[end].close()
        iterate(lambda: calls)
        assert copies() == before

    @pytest.mark.parametrize("kind", SENDING)
    def test_does_not_need_the_context(self, pair, calls, kind):
        """What waits for room goes when there is some, though nobody iterates: the peer waits for it."""
        a, b = pair
        fill(a)
        waiting = b.get_socket().get_available_bytes()
        with pushed(MainContext()) as context:
            start(a, kind, None, calls)
        take(b, waiting)
        check(kind.replace("send", "receive"), getattr(b, kind.replace("send", "receive"))())
        assert calls == []
        iterate(lambda: calls, context)
        assert finish(a, kind, calls.result) is True


class TestOrder:
    def test_of_receiving(self, pair, tagged):
        """Those that receive on a connection have the messages in the order of their starts, whatever their form."""
        a, b = pair
        got = {}

        def called(connection, result, number):
            got[number] = tag(connection.receive_fd_finish(result))

        futures = {}
        for number in range(90):
            if number % 3:
                b.receive_fd_async(None, called, number)
            else:
                futures[number] = b.receive_fd_async()
        for number in range(90):
            a.send_fd(tagged(number))
            if number % 10 == 0:
                MainContext.default().iteration(False)
        iterate(lambda: len(got) == 60)
        got.update((number, tag(future.result(60))) for number, future in futures.items())
        assert got == {number: str(number) for number in range(90)}

    def test_of_sending(self, pair, calls, tagged):
        """Those that wait to send go in the order of their starts, whatever their form."""
        a, b = pair
        fill(a)
        waiting = b.get_socket().get_available_bytes()
        futures = []
        for number in range(30):
            if number % 3 == 0:
                a.send_fd_async(tagged(number), None, calls, number)
            elif number % 3 == 1:
                a.send_fd_async(tagged(number), None, None)
            else:
                futures.append(a.send_fd_async(tagged(number)))
        take(b, waiting)
        assert [tag(b.receive_fd()) for _ in range(30)] == [str(number) for number in range(30)]
        assert all(future.result(60) for future in futures)
        iterate(lambda: len(calls) == 10)
        assert [number for _, _, number in calls] == list(range(0, 30, 3))

    def test_of_the_callbacks(self, pair):
        """In one context they come in the order of the starts, of those that were ready and those that were not."""
        a, b = pair
        order = []

        def called(connection, result, number):
            os.close(connection.receive_fd_finish(result))
            order.append(number)

        for _ in range(3):
            a.send_fd(0)
        for number in range(6):
            b.receive_fd_async(None, called, number)
        for _ in range(3):
            a.send_fd(0)
        iterate(lambda: len(order) == 6)
        assert order == list(range(6))

    def test_nobody_overtakes(self, pair, calls, tagged):
        """Who starts when a message is there, and another one waits, comes behind that one."""
        a, b = pair
        first = Calls()
        with pushed(MainContext()) as context:
            b.receive_fd_async(None, first)
        a.send_fd(tagged("first"))
        b.receive_fd_async(None, calls)
        iterate(lambda: b.get_socket().get_available_bytes() == 0)
        rest()
        assert calls == []
        a.send_fd(tagged("second"))
        iterate(lambda: calls)
        assert tag(b.receive_fd_finish(calls.result)) == "second"
        iterate(lambda: first, context)
        assert tag(b.receive_fd_finish(first.result)) == "first"

    def test_a_message_that_came_before_the_iteration(self, pair, calls, tagged):
        """Started behind one of another context, with all messages there already, it does not miss its own."""
        a, b = pair
        first = Calls()
        with pushed(MainContext()) as context:
            b.receive_fd_async(None, first)
        a.send_fd(tagged("first"))
        a.send_fd(tagged("second"))
        b.receive_fd_async(None, calls)
        iterate(lambda: calls)
        assert tag(b.receive_fd_finish(calls.result)) == "second"
        iterate(lambda: first, context)
        assert tag(b.receive_fd_finish(first.result)) == "first"

    def test_directions_are_independent(self, pair, calls):
        """Who waits to receive does not hold up who sends, nor the other way round."""
        a, b = pair
        got = Calls()
        b.receive_fd_async(None, got)
        b.send_fd_async(0, None, calls)
        iterate(lambda: calls)
        assert b.send_fd_finish(calls.result) is True
        os.close(a.receive_fd())
        calls.clear()
        fill(b)
        b.send_fd_async(0, None, calls)
        a.send_fd(0)
        iterate(lambda: got)
        os.close(b.receive_fd_finish(got.result))
        assert calls == []
        drain(a)
        iterate(lambda: calls)
        assert b.send_fd_finish(calls.result) is True

    @pytest.mark.parametrize("gone", [0, 2, 4])
    def test_one_leaves_the_line(self, pair, tagged, gone):
        """Who is cancelled takes no message, and the others keep their places."""
        a, b = pair
        cancellables = [Cancellable() for _ in range(5)]
        got, cancelled = [], []

        def called(connection, result, number):
            try:
                got.append((number, tag(connection.receive_fd_finish(result))))
            except unixconn.CancelledError:
                cancelled.append(number)

        for number, cancellable in enumerate(cancellables):
            b.receive_fd_async(cancellable, called, number)
        cancellables[gone].cancel()
        left = [number for number in range(5) if number != gone]
        for number in left:
            a.send_fd(tagged(number))
        iterate(lambda: len(got) == 4)
        assert got == [(number, str(number)) for number in left]
        assert cancelled == [gone]

    def test_kinds_share_a_line(self, pair, calls):
        """Descriptors and credentials are received in the order of the starts, too."""
        a, b = pair
        for kind in RECEIVING * 3:
            start(b, kind, None, calls, kind)
        for _ in range(3):
            a.send_fd(0)
            a.send_credentials()
        iterate(lambda: len(calls) == 6)
        assert [kind for _, _, kind in calls] == RECEIVING * 3
        for _, result, kind in calls:
            check(kind, finish(b, kind, result))

    def test_two_connections_of_one_socket(self, tagged):
        """They have one line: it is the socket's."""
        a, b = UnixConnection.create_pair()
        with a, b:
            other = UnixConnection(socket=b.get_socket())
            got = []

            def called(connection, result, number):
                got.append((number, tag(connection.receive_fd_finish(result))))

            for number in range(6):
                (b, other)[number % 2].receive_fd_async(None, called, number)
            for number in range(6):
                a.send_fd(tagged(number))
            iterate(lambda: len(got) == 6)
            assert got == [(number, str(number)) for number in range(6)]


def splice(data, connection):
    """Write *data* to a connection by a splice."""
    one, other = UnixConnection.create_pair()
    with one, other:
        one.get_output_stream().write_all(data)
        one.get_socket().shutdown(False, True)
        assert connection.get_output_stream().splice(other.get_input_stream()) == len(data)


class TestPlainBetweenBackground:
    """A plain send goes between the messages of others, though these are of its own thread's context or loop."""

    FIRST, LAST = b"A" * 1_000_000, b"C" * 300_000

    @pytest.fixture
    def background(self, pair):
        """A message of the background that is half sent, one that waits, and a thread that receives all of them."""
        a, b = pair
        received, places = bytearray(), []

        def receive(size):
            while len(received) < size:
                with b.receive_message(2**16) as message:
                    if message.fds or message.credentials is not None:
                        places.append((len(received), len(message.data)))
                    received.extend(message.data)
            return received, places

        return a, receive

    SENDS: ClassVar = {
        "send_fd": (lambda a, null: a.send_fd(null), b"\0"),
        "send_fds": (lambda a, null: a.send_fds([null] * 2), b"\0"),
        "send_credentials": (lambda a, _null: a.send_credentials(), b"\0"),
        "send_message": (lambda a, null: a.send_message(b"B" * 500_000, [null]), b"B" * 500_000),
        "with a Cancellable": (
            lambda a, null: a.send_message(b"B" * 500_000, [null], None, Cancellable()),
            b"B" * 500_000,
        ),
        "Socket.send_message": (lambda a, _null: a.get_socket().send_message(None, [b"B"], None, 0), b"B"),
        "Socket.send": (lambda a, _null: a.get_socket().send(b"B"), b"B"),
        "write": (lambda a, _null: a.get_output_stream().write(b"B"), b"B"),
        "write_all": (lambda a, _null: a.get_output_stream().write_all(b"B" * 500_000), b"B" * 500_000),
        "splice": (lambda a, _null: splice(b"B" * 50_000, a), b"B" * 50_000),
    }

    @pytest.mark.parametrize("name", SENDS)
    @pytest.mark.parametrize("where", ["context", "thread", "loop"])
    def test_it_stands_behind_what_is_half_sent(self, background, null, calls, name, where):
        """And behind nothing else: it is sent before the message that has not begun."""
        a, receive = background
        send, data = self.SENDS[name]
        size = len(self.FIRST) + len(data) + len(self.LAST)

        def plainly(start):
            started = [start(self.FIRST), start(self.LAST)]
            receiver = Background(receive, size)
            send(a, null)
            return started, receiver

        if where == "context":
            _, receiver = plainly(lambda data: a.send_message_async(data, (), None, None, calls))
            assert calls == []
            iterate(lambda: len(calls) == 2)
            assert [a.send_message_finish(result) for _, result in calls] == [len(self.FIRST), len(self.LAST)]
        elif where == "thread":
            futures, receiver = plainly(a.send_message_async)
            assert [future.result(60) for future in futures] == [len(self.FIRST), len(self.LAST)]
        else:

            async def main():
                futures, receiver = plainly(a.send_message_async)
                return [await asyncio.wait_for(future, 60) for future in futures], receiver

            counts, receiver = asyncio.run(main())
            assert counts == [len(self.FIRST), len(self.LAST)]
        received, places = receiver.outcome()
        if where != "loop" and received.startswith(self.FIRST + self.LAST):
            # The thread that sends what nobody else sends was faster than this one.
            assert received == self.FIRST + self.LAST + data
        else:
            assert received == self.FIRST + data + self.LAST
            # A read may join the last bytes of the first message and the beginning of the second.
            assert all(place <= len(self.FIRST) < place + count + 1 for place, count in places)

    @pytest.mark.parametrize("end", ["cancelled", "timed out", "not blocking", "closed"])
    def test_its_wait_ends(self, pair, null, end):
        """It has sent nothing then, and what it stood behind goes on."""
        a, b = pair
        future = a.send_message_async(self.FIRST)
        cancellable = Cancellable.with_timeout(0.05) if end == "timed out" else Cancellable()
        errors = {"not blocking": unixconn.WouldBlockError, "timed out": unixconn.TimedOutError}
        if end == "not blocking":
            a.get_socket().set_blocking(False)
        elif end in ("cancelled", "closed"):
            threading.Timer(0.05, cancellable.cancel if end == "cancelled" else a.close).start()
        before = open_descriptors()
        with pytest.raises(errors.get(end, unixconn.CancelledError if end == "cancelled" else unixconn.ClosedError)):
            a.send_message(b"B", [null], None, cancellable)
        if end == "closed":
            with pytest.raises(unixconn.ClosedError):
                future.result(60)
            return
        assert open_descriptors().keys() <= before.keys()
        received = bytearray()
        while len(received) < len(self.FIRST):
            received += b.receive_message(2**20).data
        assert future.result(60) == len(self.FIRST)
        assert received == self.FIRST
        b.get_socket().set_blocking(False)
        with pytest.raises(unixconn.WouldBlockError):
            b.receive_message(9)

    def test_what_waits_for_room_goes_between_messages(self, pair, null):
        """One that finds no room before a message of the background begins is not in the midst of it either."""
        a, b = pair
        fill(a)
        left = b.get_socket().get_available_bytes()
        plain = Background(a.send_message, b"B" * 500_000, [null])
        assert plain.is_waiting()
        future = a.send_message_async(self.FIRST)
        received = bytearray()
        while len(received) < left + len(self.FIRST) + 500_000:
            with b.receive_message(2**16) as message:
                received += message.data
        assert plain.outcome() == 500_000
        assert future.result(60) == len(self.FIRST)
        runs = [(key, sum(1 for _ in group)) for key, group in itertools.groupby(received[left:])]
        assert sorted(runs) == [(ord("A"), len(self.FIRST)), (ord("B"), 500_000)]

    def test_it_stands_behind_a_stream(self, background, null):
        """What a stream writes in the background is a message, too."""
        a, receive = background
        writing = a.get_output_stream().write_all_async(self.FIRST)
        receiver = Background(receive, len(self.FIRST) + 500_000)
        a.send_message(b"B" * 500_000, [null])
        assert writing.result(60) == (True, len(self.FIRST))
        assert receiver.outcome()[0] == self.FIRST + b"B" * 500_000
