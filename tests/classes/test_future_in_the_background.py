"""Future where no event loop runs: who waits for it, and its done callbacks."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time

import pytest
from helpers import close, open_descriptors, settle
from ways import failure

import unixconn
from unixconn import Cancellable


class TestFuture:
    def test_cancel(self, pair):
        """It ends the operation, and consumes nothing; after the end it has no effect."""
        a, b = pair
        future, other = b.receive_fd_async(), b.receive_fd_async()
        assert future.cancel() is True
        assert future.done()
        assert future.cancelled()
        assert failure(future.result)[0] == 19
        assert future.cancel() is False
        a.send_fd(0)
        fd = other.result(60)
        assert other.cancel() is False
        assert not other.cancelled()
        assert other.result() == fd
        close(fd)

    def test_cancel_leaves_the_cancellable_alone(self, pair):
        """Others may have been given the same; its own one is made when it is asked for."""
        a, b = pair
        cancellable = Cancellable()
        one, other, third = b.receive_fd_async(cancellable), b.receive_fd_async(cancellable), b.receive_fd_async()
        one.cancel()
        assert not cancellable.is_cancelled()
        assert not other.done()
        assert one.cancellable is cancellable
        cancellable.cancel()
        assert other.cancelled()
        assert not third.done()
        third.cancellable.cancel()
        assert third.cancelled()
        a.send_fd(0)
        close(b.receive_fd())

    def test_done_callbacks(self, pair):
        """They are called in another thread, once each, with the Future."""
        a, b = pair
        future, got = b.receive_fd_async(), []

        def called(which):
            got.append((which, threading.get_ident()))

        def removed(which):
            got.append("removed")

        future.add_done_callback(called)
        future.add_done_callback(called)
        future.add_done_callback(removed)
        assert future.remove_done_callback(removed) == 1
        assert future.remove_done_callback(removed) == 0
        assert got == []
        a.send_fd(0)
        assert settle(lambda: len(got) == 2)
        future.add_done_callback(called)
        assert settle(lambda: len(got) == 3)
        time.sleep(0.02)
        assert [which for which, _ in got] == [future] * 3
        assert threading.get_ident() not in {thread for _, thread in got}
        close(future.result())
        with pytest.raises(TypeError, match="callback"):
            future.add_done_callback(5)

    def test_a_done_callback_s_exception(self, pair, monkeypatch):
        """It is reported, and the worker goes on."""
        a, b = pair
        found, got = [], []
        monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: found.append(kind))
        future = b.receive_fd_async()
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(got.append)
        a.send_fd(0)
        assert settle(lambda: got)
        assert found == [ZeroDivisionError]
        close(future.result())
        following = b.receive_fd_async()
        a.send_fd(0)
        close(following.result(60))

    def test_a_done_callback_starts_the_next(self, pair):
        """The worker's thread may start operations, cancel, and close."""
        a, b = pair
        got = []

        def called(future):
            close(future.result())
            got.append(1)
            if len(got) < 50:
                b.receive_fd_async().add_done_callback(called)
                a.send_fd(0)
            else:
                b.close()

        waiting = a.receive_fd_async()
        b.receive_fd_async().add_done_callback(called)
        a.send_fd(0)
        assert failure(waiting.result, 60) == (18, "Connection closed by the peer")
        assert len(got) == 50

    def test_nobody_keeps_it(self, pair):
        """The operation goes on, and a descriptor that comes for nobody is closed."""
        a, b = pair
        before = open_descriptors()
        b.receive_fd_async()
        following = b.receive_fd_async()
        gc.collect()
        a.send_fd(0)
        assert settle(lambda: b.get_socket().get_available_bytes() == 0)
        assert not following.done()
        a.send_fd(0)
        close(following.result(60))
        assert settle(lambda: (gc.collect(), open_descriptors().items() <= before.items())[1])

    def test_seen_descriptors_are_the_reader_s(self, pair):
        """What result() has given is not closed with the Future."""
        a, b = pair
        a.send_fd(0)
        fd = b.receive_fd_async().result()
        for _ in range(3):
            gc.collect()
        close(fd)


def test_result_leaves_nothing(pair):
    """Who asks for the result again and again does not pile up anything."""
    future = pair[1].receive_fd_async()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            future.result(0)
    assert not future._wakers
    future.cancel()


def test_result_while_the_loop_is_closed(pair):
    """Who waits in another thread gets CANCELLED when the loop is closed meanwhile."""
    _, b = pair
    made = []

    async def main():
        made.append(b.receive_fd_async())
        thread.start()
        await asyncio.sleep(0.05)

    ended = []

    def wait():
        try:
            made[0].result(60)
        except unixconn.Error as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    asyncio.run(main())
    thread.join()
    assert [type(each) for each in ended] == [unixconn.CancelledError]
