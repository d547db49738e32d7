"""Futures that are awaited: what holds in asyncio, uvloop, trio and anyio alike."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading

import pytest
from helpers import Background, collect, fill, open_descriptors, same, threads
from loops.event_loops import OnTrio, cancelled_error, later, pairs, runs_asyncio, take, taken

import unixconn
from unixconn import Cancellable, Credentials, Future


class TestEveryLoop:
    def test_roundtrip(self, loop, pair, null):
        """All five calls, without a callback, give Futures, and these give what the calls are for."""
        a, b = pair

        async def main():
            assert type(a.send_fd_async(null)) is Future
            fd = await b.receive_fd_async()
            assert same(fd, null)
            os.close(fd)
            assert await a.send_fd_async(fd=null, cancellable=None) is True
            assert await taken(b.receive_fd_async(None))
            assert await a.send_credentials_async() is True
            credentials = await b.receive_credentials_async(Cancellable())
            assert isinstance(credentials, Credentials)
            assert credentials.get_unix_pid() == os.getpid()
            assert await a.close_async() is True
            assert await b.close_async(0, None) is True
            assert (a.is_closed(), b.is_closed()) == (True, True)

        loop.run(main)

    @pytest.mark.parametrize("before", [True, False])
    def test_message_before_and_after_the_start(self, loop, pair, null, before):
        """What is there already, and what comes while the task waits."""
        a, b = pair

        async def send():
            await loop.sleep(0.05)
            return a.send_fd(null)

        async def main():
            if before:
                a.send_fd(null)
                future = b.receive_fd_async()
                assert future.done()
                assert await taken(future)
            else:
                future = b.receive_fd_async()
                assert not future.done()
                assert await loop.together(lambda: taken(future), send) == [True, True]

        loop.run(main)

    def test_comes_from_another_thread(self, loop, pair, null):
        """A loop that sleeps is woken by what arrives."""
        a, b = pair

        async def main():
            for _ in range(3):
                later(a.send_fd, null)
                assert await taken(b.receive_fd_async())
                later(a.send_credentials)
                assert isinstance(await b.receive_credentials_async(), Credentials)

        loop.run(main)

    def test_the_loop_goes_on(self, loop, pair, null):
        """Others run while a task waits."""
        a, b = pair
        steps = []

        async def others():
            for step in range(5):
                steps.append(step)
                await loop.sleep(0.001)
            a.send_fd(null)

        async def main():
            await loop.together(lambda: taken(b.receive_fd_async()), others)

        loop.run(main)
        assert steps == [0, 1, 2, 3, 4]

    def test_no_thread_waits(self, loop, pair, null):
        """The loop itself looks after the socket, also for a timeout."""
        a, b = pair
        b.get_socket().set_timeout(100)
        before = threads()

        async def look():
            await loop.sleep(0.05)
            assert threads() <= before
            a.send_fd(null)

        async def main():
            assert await loop.together(lambda: taken(b.receive_fd_async()), look) == [True, None]

        loop.run(main)

    def test_sending_waits_for_room(self, loop, pair, null):
        """A send that finds the queue full goes when there is room, with a copy of the descriptor."""
        a, b = pair
        fill(a)
        fd = os.dup(null)

        async def drain():
            await loop.sleep(0.02)
            assert not future.done()
            sock = b.get_socket()
            sock.set_blocking(False)
            with contextlib.suppress(unixconn.Error):
                while True:
                    got = sock.receive_message([bytearray(65536)], 0, None)
                    for each in got[2]:
                        arrived.extend(each.get_fd_list().steal_fds())
            sock.set_blocking(True)

        async def send():
            return await future

        arrived = []

        async def main():
            nonlocal future
            future = a.send_fd_async(fd)
            assert not future.done()
            os.close(fd)
            assert (await loop.together(send, drain))[0] is True
            if not arrived:
                arrived.append(await b.receive_fd_async())

        future = None
        loop.run(main)
        assert [same(each, null) for each in arrived] == [True]
        os.close(arrived[0])

    def test_awaited_several_times(self, loop, pair):
        """Each await, one after the other and at a time, gives the same object."""
        a, b = pair

        async def main():
            future = b.receive_credentials_async()

            async def wait():
                return await future

            async def send():
                a.send_credentials()

            one, other, _ = await loop.together(wait, wait, send)
            assert one is other is await future is await future is future.result()
            assert future.done()
            assert not future.cancelled()
            assert future.exception() is None

        loop.run(main)

    def test_errors_come_out(self, loop, raw):
        """Whatever the blocking calls raise, the await raises, each time."""
        peer, connection = raw

        async def main():
            peer.send(b"x")
            future = connection.receive_fd_async()
            for _ in range(2):
                with pytest.raises(unixconn.Error, match="Expecting 1 control message, got 0"):
                    await future
            assert str(future.exception()) == "g-io-error-quark: Expecting 1 control message, got 0 (0)"
            waiting = connection.receive_fd_async()
            later(peer.shutdown, socket.SHUT_WR)
            with pytest.raises(unixconn.ClosedError, match="Connection closed by the peer"):
                await waiting
            with pytest.raises(unixconn.Error, match="dup: Bad file descriptor"):
                await connection.send_fd_async(99999)
            peer.close()
            with pytest.raises(BrokenPipeError, match="Error sending credentials: "):
                await connection.send_credentials_async()

        loop.run(main)

    def test_a_late_end_consumes_nothing(self, loop, pair, null):
        """A task that is cancelled as its time is over ends the operation; the next one gets the message."""
        a, b = pair

        async def main():
            futures = []

            async def wait():
                futures.append(b.receive_fd_async())
                return await futures[0]

            assert await loop.within(0.03, wait) == "late"
            assert futures[0].done()
            assert futures[0].cancelled()
            a.send_fd(null)
            assert await taken(b.receive_fd_async())

        loop.run(main)

    def test_cancelled_when_it_has_arrived(self, loop, pair, null):
        """Between the arrival and the task's turn nothing is lost: the task has it, or it is closed."""
        a, b = pair
        before = open_descriptors().keys()

        async def main():
            future = b.receive_fd_async()
            got = []

            async def wait():
                fd = await future
                got.append(fd)
                os.close(fd)

            async def main_part():
                await loop.sleep(0.01)
                a.send_fd(null)
                while not future.done():
                    await loop.sleep(0)
                raise KeyError

            with contextlib.suppress(BaseException):
                await loop.together(wait, main_part)
            assert future.done()
            with pytest.raises(unixconn.Error, match="unavailable"):
                take(b)

        loop.run(main)
        gc.collect()
        left = {fd for fd, name in open_descriptors().items() if name == os.devnull and fd not in before}
        assert not left

    @pytest.mark.parametrize("own", [True, False])
    def test_cancellable(self, loop, pair, null, own):
        """The one that was given, or one that it makes, ends it from any thread, with Gio's error."""
        a, b = pair

        async def main():
            given = None if own else Cancellable()
            future = b.receive_fd_async(given)
            assert future.cancellable is future.cancellable
            assert isinstance(future.cancellable, Cancellable)
            assert own or future.cancellable is given
            later(future.cancellable.cancel)
            with pytest.raises(unixconn.CancelledError, match="Operation was cancelled") as caught:
                await future
            assert (caught.value.domain, caught.value.code) == ("g-io-error-quark", 19)
            # For asyncio a future that is cancelled() raises asyncio.CancelledError, and this one does not.
            assert future.cancelled() is (not runs_asyncio())
            a.send_fd(null)
            assert await taken(b.receive_fd_async())

        loop.run(main)

    def test_cancel(self, loop, pair, null):
        """cancel() on a Future gives True once; the await then raises the loop's error or Gio's."""
        a, b = pair

        async def main():
            given = Cancellable()
            future, other = b.receive_fd_async(given), b.receive_fd_async(given)
            assert future.cancel() is True
            assert future.cancel() is False
            assert future.done()
            assert not given.is_cancelled()
            assert future.cancelled()
            with pytest.raises(cancelled_error()):
                await future
            a.send_fd(null)
            assert await taken(other)
            assert other.cancel() is False
            assert not other.cancelled()

        loop.run(main)

    @pytest.mark.parametrize("from_thread", [True, False])
    def test_close_ends_it(self, loop, pair, from_thread):
        """Closing the connection, here or in another thread, ends all that wait with CLOSED."""
        _, b = pair

        async def wait():
            with pytest.raises(unixconn.ClosedError) as caught:
                await b.receive_fd_async()
            return caught.value.code

        async def close():
            await loop.sleep(0.02)
            if from_thread:
                Background(b.close).outcome()
            else:
                b.close()

        async def main():
            assert await loop.together(wait, wait, close) == [18, 18, None]
            assert await wait() == 18

        loop.run(main)

    def test_result_too_early(self, loop, pair):
        """Inside a loop result() and exception() do not wait; they raise what is the loop's custom."""
        _, b = pair
        early = RuntimeError if isinstance(loop, OnTrio) or "trio" in vars(loop).values() else asyncio.InvalidStateError

        async def main():
            future = b.receive_fd_async()
            for call in (future.result, future.exception):
                with pytest.raises(early, match="receive_fd_async"):
                    call()
            future.cancel()
            with pytest.raises(cancelled_error()):
                future.result()
            if runs_asyncio():
                with pytest.raises(cancelled_error()):
                    future.exception()
            else:
                assert isinstance(future.exception(), unixconn.CancelledError)

        loop.run(main)

    def test_many(self, loop, null):
        """Two hundred wait in one loop; each gets its own."""
        made, stack = pairs(200)

        async def wait(b):
            return (await b.receive_credentials_async()).get_unix_pid()

        async def send():
            await loop.sleep(0.01)
            for a, _ in reversed(made):
                a.send_credentials()

        async def main():
            waits = [lambda b=b: wait(b) for _, b in made]
            assert await loop.together(*waits, send) == [os.getpid()] * 200 + [None]

        with stack:
            loop.run(main)

    def test_order(self, loop, pair):
        """On one connection they end in the order of their starts, and get the messages in that order."""
        a, b = pair
        files = [os.memfd_create(f"number {index}") for index in range(8)]
        order = []

        async def main():
            futures = [b.receive_fd_async() for _ in files]

            async def wait(index):
                fd = await futures[index]
                order.append((index, os.path.sameopenfile(fd, files[index])))
                os.close(fd)

            async def send():
                await loop.sleep(0.01)
                for fd in files:
                    a.send_fd(fd)
                    os.close(fd)
                    files[files.index(fd)] = fd

            for index, fd in enumerate(files):
                a.send_fd(fd)
                await wait(index)

        loop.run(main)
        assert order == [(index, True) for index in range(8)]
        for fd in files:
            os.close(fd)

    def test_done_callback(self, loop, pair):
        """It is called once, later, in the loop's thread, with the Future; one that was removed is not."""
        a, b = pair
        calls = []
        thread = threading.get_ident()

        def note(future):
            calls.append((future, future.done(), threading.get_ident() == thread))

        def never(_future):
            calls.append("never")

        async def main():
            future = b.receive_credentials_async()
            future.add_done_callback(never)
            future.add_done_callback(note)
            future.add_done_callback(never)
            assert future.remove_done_callback(never) == 2
            assert future.remove_done_callback(never) == 0
            later(a.send_credentials)
            await future
            while not calls:
                await loop.sleep(0)
            assert calls == [(future, True, True)]
            future.add_done_callback(note)
            assert len(calls) == 1
            while len(calls) == 1:
                await loop.sleep(0)
            assert calls == [(future, True, True)] * 2
            assert future.remove_done_callback(note) == 0

        loop.run(main)

    def test_done_callback_fails(self, loop, pair, reports):
        """An exception in it is reported, and harms nobody."""
        a, b = pair
        calls = []

        async def main():
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().set_exception_handler(
                    lambda _, report: reports.append(report["exception"].with_traceback(None))
                )
            future = b.receive_credentials_async()
            future.add_done_callback(lambda _: 1 / 0)
            future.add_done_callback(calls.append)
            a.send_credentials()
            await future
            while not calls:
                await loop.sleep(0.001)
            assert calls == [future]

        loop.run(main)
        assert [type(each) for each in reports] == [ZeroDivisionError]

    @pytest.mark.parametrize("callback", [None, 5, "x"])
    def test_done_callback_that_can_not_be_called(self, loop, pair, callback):
        """It is a TypeError, which names it."""
        _, b = pair

        async def main():
            future = b.receive_fd_async()
            with pytest.raises(TypeError, match=repr(callback)):
                future.add_done_callback(callback)
            future.cancel()

        loop.run(main)

    def test_made_outside(self, loop, pair, null):
        """A Future that was made where no loop runs can be awaited in one, when it has ended."""
        a, b = pair
        receiving, sending = b.receive_fd_async(), a.send_fd_async(null)
        os.close(receiving.result(60))

        async def main():
            assert await sending is True
            assert await receiving == receiving.result()

        loop.run(main)

    def test_made_outside_and_still_waiting(self, loop, pair, null):
        """A task can wait for what a worker looks after."""
        a, b = pair
        waiting = b.receive_fd_async()

        async def main():
            later(a.send_fd, null)
            assert await taken(waiting)

        loop.run(main)

    def test_made_outside_and_abandoned(self, loop, pair, null):
        """The task's end cancels it, wherever it was made."""
        a, b = pair
        waiting = b.receive_fd_async()

        async def main():
            assert await loop.within(0.03, lambda: taken(waiting)) == "late"
            assert waiting.cancelled()
            a.send_fd(null)
            assert await taken(b.receive_fd_async())

        loop.run(main)

    def test_signal_handler_cancels(self, loop, pair, alarm_at_rest):
        """A loop that sleeps is woken by a Cancellable that a signal handler sets."""
        a, b = pair
        cancellable = Cancellable()
        late = []

        def rescue():
            late.append("the loop slept on")
            b.close()

        rescuer = threading.Timer(30, rescue)

        async def main():
            # Its end wakes the loop.
            other = a.receive_fd_async()
            rescuer.start()
            alarm_at_rest(lambda *_: cancellable.cancel())
            with pytest.raises(unixconn.CancelledError):
                await b.receive_fd_async(cancellable)
            other.cancel()

        try:
            loop.run(main)
        finally:
            rescuer.cancel()
            rescuer.join()
        assert not late

    def test_loop_ends_under_it(self, loop, pair, null):
        """What waited in a loop that is gone stands in nobody's way, neither in another loop nor without one."""
        a, b = pair
        futures = []

        async def begin():
            futures.append(b.receive_fd_async())
            await loop.sleep(0)

        async def go_on():
            later(a.send_fd, null)
            assert await taken(b.receive_fd_async())

        loop.run(begin)
        loop.run(go_on)
        assert isinstance(futures.pop().exception(), unixconn.CancelledError)
        loop.run(begin)
        a.send_fd(null)
        take(b)
        futures.clear()
        gc.collect()
        loop.run(begin)
        later(a.send_fd, null)
        os.close(b.receive_fd())
        loop.run(go_on)
        loop.run(begin)
        later(a.send_fd, null)
        os.close(b.receive_fd_async().result(60))

    def test_result_when_the_loop_has_ended(self, loop, pair):
        """Nobody will end it any more, so who asks gets CANCELLED, and does not wait for ever."""
        _, b = pair

        async def begin():
            return b.receive_fd_async()

        future = loop.run(begin)
        gc.collect()
        with pytest.raises(unixconn.CancelledError):
            future.result(60)
        assert future.done()

    def test_awaited_in_another_loop_when_its_own_has_ended(self, loop, pair):
        """The same for a task of another loop."""
        _, b = pair

        async def begin():
            return b.receive_fd_async()

        async def go_on():
            async def wait():
                return await future

            with pytest.raises(unixconn.CancelledError):
                assert await loop.within(60, wait) == "CANCELLED"

        future = loop.run(begin)
        gc.collect()
        loop.run(go_on)

    def test_loop_ends_before_another_s_turn(self, loop, pair, null):
        """What waits behind one whose loop is gone gets the message."""
        a, b = pair
        started, may_end = threading.Event(), threading.Event()
        kept = []

        async def first():
            kept.append(b.receive_fd_async())
            started.set()
            while not may_end.is_set():
                await loop.sleep(0.001)

        async def second():
            future = b.receive_fd_async()
            may_end.set()
            while thread.is_alive():
                await loop.sleep(0.001)
            a.send_fd(null)
            assert await loop.within(60, lambda: taken(future)) is True

        thread = Background(loop.run, first)
        assert started.wait(60)
        loop.run(second)
        thread.outcome()

    def test_two_loops_in_two_threads(self, loop, pair, null):
        """They wait on one connection, and each message goes to one of them."""
        a, b = pair
        count = 20

        async def receive():
            for _ in range(count):
                assert await taken(b.receive_fd_async())
            return count

        async def send():
            for _ in range(2 * count):
                assert await a.send_fd_async(null)
                await loop.sleep(0)

        threads = [Background(loop.run, receive) for _ in range(2)]
        loop.run(send)
        assert [each.outcome() for each in threads] == [count, count]

    def test_wrong_arguments(self, loop, pair):
        """They raise in the call, and name the value."""
        _, b = pair

        async def main():
            with pytest.raises(TypeError, match="'nonsense'"):
                b.receive_fd_async("nonsense")
            with pytest.raises(TypeError, match="5"):
                b.receive_credentials_async(None, 5)
            with pytest.raises((TypeError, ValueError), match="nonsense"):
                b.send_fd_async("nonsense")

        loop.run(main)

    def test_nobody_looks(self, loop, pair, null):
        """A descriptor in a Future that nobody asks is closed with it."""
        a, b = pair

        async def main():
            a.send_fd(null)
            future = b.receive_fd_async()
            assert future.done()
            collect()
            before = set(open_descriptors())
            del future
            collect()
            assert len(before - set(open_descriptors())) == 1

        loop.run(main)
