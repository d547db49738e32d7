"""Asynchronous operations and their Cancellables."""

from __future__ import annotations

import gc
import os
import random
import time
import weakref

import pytest
from helpers import Background, Calls, is_on, same, settle
from operations.kinds import RECEIVING, finish, start
from ways import CANCELLED, failure, iterate, iterated, pushed, rest

import unixconn
from unixconn import Cancellable, MainContext, MainLoop, UnixConnection

pytestmark = pytest.mark.usefixtures("no_linger")


class TestCancelling:
    def test_one_ends_a_thousand(self, calls):
        """One cancel() ends all, each once, on one connection and on many; nothing was consumed."""
        cancellable = Cancellable()
        pairs = [UnixConnection.create_pair() for _ in range(20)]
        for _, b in pairs:
            for number in range(50):
                start(b, RECEIVING[number % 2], cancellable, calls, RECEIVING[number % 2])
        assert not MainContext.default().iteration(False)
        cancellable.cancel()
        assert calls == []
        iterate(lambda: len(calls) == 1000)
        assert {failure(finish, b, kind, result) for b, result, kind in calls} == {CANCELLED}
        rest(times=3)
        assert len(calls) == 1000
        for a, b in pairs:
            assert not is_on(b)
            a.send_fd(0)
            os.close(b.receive_fd())
            a.close()
            b.close()

    def test_from_another_thread(self, pair, calls):
        """A loop that sleeps is woken."""
        cancellable, loop = Cancellable(), MainLoop()

        def called(*arguments):
            calls(*arguments)
            loop.quit()

        def cancel():
            time.sleep(0.05)
            cancellable.cancel()

        pair[0].receive_fd_async(cancellable, called)
        other = Background(cancel)
        loop.run()
        other.outcome()
        assert failure(pair[0].receive_fd_finish, calls.result) == CANCELLED

    def test_reset_while_waiting(self, pair, calls):
        """A reset of one that was not cancelled changes nothing, and it still ends the wait."""
        cancellable = Cancellable()
        pair[0].receive_fd_async(cancellable, calls)
        cancellable.reset()
        rest()
        assert calls == []
        cancellable.cancel()
        cancellable.reset()
        iterate(lambda: calls)
        assert failure(pair[0].receive_fd_finish, calls.result) == CANCELLED

    def test_used_again_after_reset(self, pair):
        """The same one serves the next operation."""
        a, b = pair
        cancellable = Cancellable()
        for _ in range(5):
            calls = Calls()
            b.receive_fd_async(cancellable, calls)
            cancellable.cancel()
            cancellable.reset()
            iterate(lambda calls=calls: calls)
            assert failure(b.receive_fd_finish, calls.result) == CANCELLED
        calls = Calls()
        b.receive_fd_async(cancellable, calls)
        a.send_fd(0)
        iterate(lambda: calls)
        os.close(b.receive_fd_finish(calls.result))

    def test_in_a_handler_of_it(self, pair, calls):
        """A handler of the Cancellable finds the operations ended, and may reset it, or start another."""
        a, b = pair
        cancellable = Cancellable()

        def handler():
            cancellable.reset()
            b.receive_fd_async(cancellable, calls, "second")

        cancellable.connect(handler)
        b.receive_fd_async(cancellable, calls, "first")
        cancellable.cancel()
        iterate(lambda: calls)
        rest()
        assert [word for *_, word in calls] == ["first"]
        assert failure(b.receive_fd_finish, calls[0][1]) == CANCELLED
        a.send_fd(0)
        iterate(lambda: len(calls) == 2)
        os.close(b.receive_fd_finish(calls[1][1]))

    def test_is_not_held_after_the_end(self, pair, calls):
        """A Cancellable does not keep the operations that it could have ended."""
        a, b = pair
        cancellable = Cancellable()
        for _ in range(50):
            b.receive_fd_async(cancellable, calls)
            a.send_fd(0)
        iterate(lambda: len(calls) == 50)
        there = [weakref.ref(result) for _, result in calls]
        calls.clear()
        assert settle(lambda: (gc.collect(), not any(each() for each in there))[1])

    def test_races_with_the_message(self, pair):
        """Either the operation is cancelled, or it has its message; no message is lost, and none is had twice."""
        a, b = pair
        chance = random.Random(1)
        with iterated() as context:
            for _ in range(100):
                calls, cancellable = Calls(), Cancellable()
                with pushed(context):
                    b.receive_fd_async(cancellable, calls)
                actions = [lambda: a.send_fd(0), cancellable.cancel]
                chance.shuffle(actions)
                other = Background(actions[0])
                actions[1]()
                other.outcome()
                assert settle(lambda calls=calls: calls)
                try:
                    fd = b.receive_fd_finish(calls.result)
                except unixconn.CancelledError:
                    fd = b.receive_fd()
                assert same(fd, 0)
                os.close(fd)
                assert b.get_socket().get_available_bytes() == 0
