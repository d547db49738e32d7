"""The thread that waits for all operations that no context and no event loop waits for."""

from __future__ import annotations

import _thread
import contextlib
import gc
import os
import random
import time

import pytest
from helpers import Background, close, fill, is_on, more_threads, open_descriptors, room, settle
from ways import failure, iterate

import unixconn
from unixconn import Cancellable, MainLoop, UnixConnection, timeout_add


class TestThread:
    def test_thousands_wait_in_one(self, many, pair):
        """Two thousand that wait cost one thread, which goes with the last of them; nobody is delayed by them."""
        a, b = pair
        cancellable = Cancellable()
        with more_threads() as threads:
            futures = [connection.receive_fd_async(cancellable) for _, connection in many for _ in range(5)]
            for _, connection in many:
                for _ in range(15):
                    connection.receive_credentials_async(cancellable, None)
            assert len(threads()) == 1
            ready = b.receive_fd_async()
            a.send_fd(0)
            close(ready.result(60))
            a.send_fd(0)
            close(b.receive_fd_async().result(60))
            many[50][0].send_fd(0)
            close(futures[250].result(60))
            assert [future.done() for future in futures].count(True) == 1
            assert all(is_on(connection) for _, connection in many)
            assert len(threads()) == 1
            cancellable.cancel()
            assert [future.cancelled() for future in futures].count(False) == 1
            assert not any(is_on(connection) for _, connection in many)
            assert settle(lambda: not threads())

    def test_what_ends_at_once_needs_none(self, pair, calls):
        """Neither does what waits for a context that is iterated."""
        a, b = pair
        with more_threads() as threads:
            assert a.send_fd_async(0).result() is True
            a.send_fd_async(0, None, None)
            a.send_credentials_async(None, calls)
            close(b.receive_fd_async().result())
            b.receive_fd_async(None, calls)
            b.receive_credentials_async(None, calls)
            b.receive_fd_async(None, calls)
            a.send_fd(0)
            iterate(lambda: len(calls) == 4)
            assert not threads()
        for _, result in calls:
            with contextlib.suppress(ValueError):
                close(result.propagate_int())

    def test_comes_again(self, pair, quick):
        """After it has gone there is a new one, as often as it is needed; it leaves no descriptor."""
        a, b = pair
        before = open_descriptors()
        with more_threads() as threads:
            seen = set()
            for _ in range(5):
                future = b.receive_fd_async()
                seen |= threads()
                a.send_fd(0)
                close(future.result(60))
                assert settle(lambda: not threads())
                assert open_descriptors() == before
        assert len(seen) == 5

    def test_stays_while_something_waits(self, pair, quick):
        """However long it takes."""
        a, b = pair
        with more_threads() as threads:
            future = b.receive_fd_async()
            [thread] = threads()
            for _ in range(5):
                close_it = a.receive_fd_async()
                b.send_fd(0)
                close(close_it.result(60))
            assert settle(lambda: not future.done(), 0.1)
            assert threads() == {thread}
            a.send_fd(0)
            close(future.result(60))

    def test_goes_and_comes_in_the_same_moment(self, pair, quick):
        """What starts just as the thread ends is looked after all the same."""
        a, b = pair
        chance = random.Random(3)
        for _ in range(300):
            future = b.receive_fd_async()
            a.send_fd(0)
            close(future.result(60))
            if chance.random() < 0.5:
                time.sleep(chance.random() * 0.0005)

    def test_does_not_wait_for_the_timeout_of_what_has_ended(self, no_linger, often):
        """However the end and its look for what is left fall together."""
        with more_threads() as threads:
            for _ in range(50):
                for _ in range(10):
                    a, b = UnixConnection.create_pair()
                    with a, b:
                        b.get_socket().set_timeout(60)
                        b.receive_fd_async()
                assert settle(lambda: not threads())

    def test_many_start_at_once(self, many, quick):
        """Of many threads that start operations, each has its own, by the one worker."""

        def run(pairs):
            for a, b in pairs * 5:
                future = b.receive_fd_async()
                a.send_fd(0)
                close(future.result(60))

        threads = [Background(run, many[number::4]) for number in range(4)]
        assert [thread.outcome() for thread in threads] == [None] * 4

    def test_no_thread_to_be_had(self, pair, monkeypatch, calls):
        """It is the operation's result, and nothing is left of it."""
        a, b = pair
        before = open_descriptors()

        def refuse(*_):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(_thread, "start_new_thread", refuse)
            future = b.receive_fd_async()
            assert failure(future.result)[0] == 0
        assert open_descriptors() == before
        future = b.receive_fd_async()
        a.send_fd(0)
        close(future.result(60))


class TestEnds:
    @pytest.mark.parametrize("how", ["cancel", "close"])
    def test_by_another_thread(self, many, how):
        """Whatever waits for the worker ends with CANCELLED or CLOSED."""
        cancellable = Cancellable()
        futures = [b.receive_fd_async(cancellable) for _, b in many]
        futures += [b.receive_credentials_async(cancellable) for _, b in many]
        for _, b in many:
            b.receive_credentials_async(cancellable, None)

        def end():
            for _, b in many:
                b.close()

        Background(cancellable.cancel if how == "cancel" else end).outcome()
        assert {failure(future.result, 60)[0] for future in futures} == {19 if how == "cancel" else 18}

    def test_timeouts_of_many(self, many):
        """All have their time, and no more; nothing was consumed."""
        futures, ends = [], []
        start = time.monotonic()
        for _, b in many:
            b.get_socket().set_timeout(1)
            futures += [b.receive_fd_async(), b.receive_credentials_async()]
            b.receive_fd_async(None, None)
        for future in futures:
            future.add_done_callback(lambda _: ends.append(time.monotonic()))
        assert settle(lambda: len(ends) == len(futures))
        assert min(ends) >= start + 1
        assert {failure(future.result, 60) for future in futures} == {(24, "Socket I/O timed out")}
        for a, b in many:
            a.send_fd(0)
            close(b.receive_fd())
            assert not is_on(b)

    def test_a_shorter_timeout_comes_later(self, many):
        """Who starts last and has the least time ends first."""
        (_, none), (_, long), (_, short) = many[:3]
        waits = none.receive_fd_async()
        long.get_socket().set_timeout(60)
        later = long.receive_fd_async()
        time.sleep(0.02)
        short.get_socket().set_timeout(1)
        assert failure(short.receive_fd_async().result, 60)[0] == 24
        assert not waits.done()
        assert not later.done()

    def test_a_timeout_that_poll_does_not_take(self, many, calls):
        """One of months is waited for like any other, in the worker and in a context."""
        (a, b), (c, d) = many[:2]
        for each in (b, d):
            each.get_socket().set_timeout(2**32 - 1)
        future = b.receive_fd_async()
        d.receive_fd_async(None, calls)
        timeout_add(100, lambda: not c.send_fd(0))
        iterate(lambda: calls)
        close(d.receive_fd_finish(calls.result))
        a.send_fd(0)
        close(future.result(60))

    def test_the_descriptor_s_number_is_used_again(self, calls):
        """Who waits on a new socket under the number of a closed one is not taken for another."""
        for _ in range(50):
            a, b = UnixConnection.create_pair()
            number = b.get_socket().get_fd()
            future = b.receive_fd_async()
            b.receive_fd_async(None, calls)
            b.close()
            a.close()
            c, d = UnixConnection.create_pair()
            assert number in {c.get_socket().get_fd(), d.get_socket().get_fd()}
            one, other = c.receive_fd_async(), d.receive_fd_async()
            c.send_fd(0)
            close(other.result(60))
            d.send_fd(0)
            close(one.result(60))
            assert failure(future.result) == (18, "Socket is already closed")
            c.close()
            d.close()
        iterate(lambda: len(calls) == 50)
        assert {failure(connection.receive_fd_finish, result)[0] for connection, result in calls} == {18}


class TestNoFreeDescriptor:
    @pytest.mark.parametrize("count", [0, 1])
    @pytest.mark.parametrize("kind", ["receive_fd", "receive_credentials"])
    def test_future(self, pair, kind, count):
        """Where there is none to wait with, that is the result; afterwards all goes on."""
        a, b = pair
        before = open_descriptors()
        start = getattr(b, f"{kind}_async")
        with room(count):
            found = [failure(start().result, 60) for _ in range(3)]
            start(None, None)
            at_once = a.send_credentials_async()
        assert at_once.result() is True
        b.receive_credentials()
        assert {code for code, _ in found} == {31}
        assert not is_on(b)
        assert settle(lambda: (gc.collect(), open_descriptors().items() <= before.items())[1])
        future = b.receive_fd_async()
        a.send_fd(0)
        close(future.result(60))

    def test_callback(self, pair, calls):
        """It is the result in a context, too."""
        a, b = pair
        cancellable = Cancellable()
        before = open_descriptors()
        with room(0):
            b.receive_fd_async(cancellable, calls)
            b.receive_credentials_async(None, calls)
            iterate(lambda: len(calls) == 2)
        assert failure(b.receive_fd_finish, calls[0][1])[0] == 31
        assert failure(b.receive_credentials_finish, calls[1][1])[0] == 31
        assert not is_on(b)
        assert open_descriptors() == before
        calls.clear()
        b.receive_fd_async(cancellable, calls)
        a.send_fd(0)
        iterate(lambda: calls)
        close(b.receive_fd_finish(calls[0][1]))

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_loop_that_sleeps(self, pair, calls, count):
        """A loop that can not have what wakes it does not fail for that: its operations end, one way or the other."""
        a, b = pair
        loop = MainLoop()

        def called(*arguments):
            calls(*arguments)
            loop.quit()

        def send():
            a.send_credentials()

        with room(count):
            b.receive_credentials_async(None, called)
            timeout_add(50, send)
            loop.run()
        with contextlib.suppress(unixconn.TooManyOpenFilesError):
            assert b.receive_credentials_finish(calls[0][1]).get_unix_pid() == os.getpid()
        b.close()

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_sending(self, pair, calls, count):
        """A descriptor that has to wait needs a copy, and somebody to look after it."""
        a, b = pair
        fill(a)
        before = open_descriptors()
        with room(count):
            a.send_fd_async(0, None, calls)
            future = a.send_fd_async(0)
            iterate(lambda: calls)
            assert failure(future.result, 60)[0] == 31
        assert failure(a.send_fd_finish, calls[0][1])[0] == 31
        assert settle(lambda: (gc.collect(), open_descriptors().items() <= before.items())[1])
        del b

    def test_those_that_wait_already(self, pair, calls):
        """They can be cancelled, and have what needs no descriptor."""
        a, b = pair
        cancellable = Cancellable()
        future = b.receive_credentials_async()
        b.receive_credentials_async(cancellable, None)
        a.receive_fd_async(cancellable, calls)
        with room(0):
            a.send_credentials()
            assert future.result(60).get_unix_pid() == os.getpid()
            cancellable.cancel()
            iterate(lambda: calls)
        assert failure(a.receive_fd_finish, calls[0][1])[0] == 19
        assert not is_on(b)
