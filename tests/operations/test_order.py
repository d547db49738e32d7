"""The order in which operations on one socket end, and what becomes of a descriptor that waits to be sent."""

from __future__ import annotations

import os

import pytest
from helpers import Calls, drain, fill, open_descriptors, tag, take
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
        got.update((number, tag(future.result(10))) for number, future in futures.items())
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
        assert all(future.result(10) for future in futures)
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
