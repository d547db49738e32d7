"""Future: awaited in asyncio, uvloop, trio and anyio, or waited for where no loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import warnings
import weakref

import pytest
from helpers import PYPY, Background, adopt, collect, fill, in_child, is_open, open_descriptors, same, threads

import unixconn
from unixconn import Cancellable, Credentials, Future, MainContext, Task, UnixConnection

LOOPS = ["asyncio", "uvloop", "trio", "anyio on asyncio", "anyio on trio"]


def optional(name):
    """Import a module that need not be there; what it warns of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, exc_type=ImportError)


class OnAsyncio:
    """What the tests need of a loop, by asyncio's own."""

    sleep = staticmethod(asyncio.sleep)

    def run(self, function):
        """Run a coroutine function in a new loop."""
        return asyncio.run(function())

    async def together(self, *functions):
        """Run coroutine functions at a time; give what they give."""
        return list(await asyncio.gather(*(each() for each in functions)))

    async def within(self, seconds, function):
        """Give what *function* gives; "late" if it was cancelled when the time was over."""
        try:
            return await asyncio.wait_for(function(), seconds)
        except asyncio.TimeoutError as error:
            if isinstance(error, unixconn.Error):
                raise
            return "late"


class OnUvloop(OnAsyncio):
    """The same by uvloop."""

    def __init__(self):
        self.uvloop = optional("uvloop")

    def run(self, function):
        """Run a coroutine function in a new loop."""
        with contextlib.closing(self.uvloop.new_event_loop()) as loop:
            return loop.run_until_complete(function())


class OnTrio:
    """The same by trio."""

    def __init__(self):
        self.trio = optional("trio")
        self.sleep = self.trio.sleep

    def run(self, function):
        """Run a coroutine function."""
        return self.trio.run(function)

    async def together(self, *functions):
        """Run coroutine functions at a time; give what they give."""
        results = {}

        async def one(index, function):
            results[index] = await function()

        async with self.trio.open_nursery() as nursery:
            for each in enumerate(functions):
                nursery.start_soon(one, *each)
        return [results[index] for index in range(len(functions))]

    async def within(self, seconds, function):
        """Give what *function* gives; "late" if it was cancelled when the time was over."""
        with self.trio.move_on_after(seconds):
            return await function()
        return "late"


class OnAnyio:
    """The same by anyio, on one of the others."""

    def __init__(self, backend):
        optional(backend)
        self.anyio = optional("anyio")
        self.sleep = self.anyio.sleep
        self.backend = backend

    def run(self, function):
        """Run a coroutine function."""
        return self.anyio.run(function, backend=self.backend)

    async def together(self, *functions):
        """Run coroutine functions at a time; give what they give."""
        results = {}

        async def one(index, function):
            results[index] = await function()

        async with self.anyio.create_task_group() as group:
            for each in enumerate(functions):
                group.start_soon(one, *each)
        return [results[index] for index in range(len(functions))]

    async def within(self, seconds, function):
        """Give what *function* gives; "late" if it was cancelled when the time was over."""
        with self.anyio.move_on_after(seconds):
            return await function()
        return "late"


@pytest.fixture(scope="module", autouse=True)
def libuv():
    """The first loop of uvloop's makes descriptors that the process keeps; not in one of the tests."""
    with contextlib.suppress(pytest.skip.Exception):
        optional("uvloop").new_event_loop().close()


@pytest.fixture(params=LOOPS)
def loop(request):
    """A loop of each kind."""
    kind, _, backend = request.param.partition(" on ")
    if kind == "anyio":
        return OnAnyio(backend)
    return {"asyncio": OnAsyncio, "uvloop": OnUvloop, "trio": OnTrio}[kind]()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine function in a loop of asyncio's kind."""
    return {"asyncio": OnAsyncio, "uvloop": OnUvloop}[request.param]().run


@pytest.fixture
def trio():
    """The module."""
    return optional("trio")


def pairs(count):
    """Make pairs of connections, and a stack that closes them."""
    stack = contextlib.ExitStack()
    made = [UnixConnection.create_pair() for _ in range(count)]
    for each in made:
        stack.enter_context(each[0])
        stack.enter_context(each[1])
    return made, stack


def later(call, *arguments):
    """Call in another thread, when this one had time to wait."""
    timer = threading.Timer(0.05, call, arguments)
    timer.start()
    return timer


def runs_asyncio():
    """Tell whether a loop of asyncio's kind runs, and not trio."""
    return asyncio._get_running_loop() is not None


def cancelled_error():
    """Give what a Future raises here that was cancelled by its cancel()."""
    return asyncio.CancelledError if runs_asyncio() else unixconn.CancelledError


async def wait_for(future):
    """Be a coroutine that awaits *future*."""
    return await future


async def taken(future):
    """Await *future*, close the descriptor that it gives, and tell whether it was of /dev/null."""
    fd = await future
    try:
        return os.path.sameopenfile(fd, fd) and os.readlink(f"/proc/self/fd/{fd}") == os.devnull
    finally:
        os.close(fd)


def take(connection):
    """Receive a descriptor without waiting, and close it."""
    connection.get_socket().set_blocking(False)
    try:
        os.close(connection.receive_fd())
    finally:
        connection.get_socket().set_blocking(True)


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
        os.close(receiving.result(5))

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

    def test_signal_handler_cancels(self, loop, pair):
        """A loop that sleeps is woken by a Cancellable that a signal handler sets."""
        a, b = pair
        cancellable = Cancellable()
        late = []
        before = signal.signal(signal.SIGALRM, lambda *_: cancellable.cancel())

        def rescue():
            late.append("the loop slept on")
            b.close()

        rescuer = threading.Timer(3, rescue)

        async def main():
            # Its end wakes the loop.
            other = a.receive_fd_async()
            rescuer.start()
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(unixconn.CancelledError):
                await b.receive_fd_async(cancellable)
            other.cancel()

        try:
            loop.run(main)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
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
        os.close(b.receive_fd_async().result(5))

    def test_result_when_the_loop_has_ended(self, loop, pair):
        """Nobody will end it any more, so who asks gets CANCELLED, and does not wait for ever."""
        _, b = pair

        async def begin():
            return b.receive_fd_async()

        future = loop.run(begin)
        gc.collect()
        with pytest.raises(unixconn.CancelledError):
            future.result(2)
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
                assert await loop.within(2, wait) == "CANCELLED"

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
            assert await loop.within(3, lambda: taken(future)) is True

        thread = Background(loop.run, first)
        assert started.wait(5)
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


class TestAsyncio:
    def test_gather(self, run):
        """It takes Futures directly, also the same one twice."""
        made, stack = pairs(3)

        async def main():
            futures = [b.receive_credentials_async() for _, b in made]
            for a, _ in made:
                later(a.send_credentials)
            results = await asyncio.gather(*futures, futures[0])
            assert [each.get_unix_pid() for each in results] == [os.getpid()] * 4
            assert results[0] is results[3]

        with stack:
            run(main)

    def test_gather_with_errors(self, run, pair):
        """The first error comes out, or all of them as values."""
        _, b = pair

        async def main():
            one, other = b.receive_fd_async(), b.receive_fd_async()
            later(b.close)
            found = await asyncio.gather(one, other, return_exceptions=True)
            assert [type(each) for each in found] == [unixconn.ClosedError] * 2
            with pytest.raises(unixconn.ClosedError):
                await asyncio.gather(b.receive_fd_async(), b.receive_fd_async())

        run(main)

    def test_gather_is_cancelled(self, run, pair, null):
        """It cancels all that it waits for, and consumes nothing."""
        a, b = pair

        async def main():
            futures = [b.receive_fd_async() for _ in range(3)]
            gathered = asyncio.gather(*futures)
            await asyncio.sleep(0.01)
            gathered.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathered
            assert all(each.cancelled() for each in futures)
            a.send_fd(null)
            assert await taken(b.receive_fd_async())

        run(main)

    def test_wait_for(self, run, pair, null):
        """It gives the result, or TimeoutError, after which the message is still there for another."""
        a, b = pair

        async def main():
            with pytest.raises(asyncio.TimeoutError) as caught:
                await asyncio.wait_for(b.receive_fd_async(), 0.02)
            assert not isinstance(caught.value, unixconn.Error)
            later(a.send_fd, null)
            fd = await asyncio.wait_for(b.receive_fd_async(), 5)
            assert same(fd, null)
            os.close(fd)
            a.send_fd(null)
            take(b)

        run(main)

    @pytest.mark.parametrize("seconds", [0, -1])
    def test_wait_for_no_time(self, run, pair, null, seconds):
        """One that waits is cancelled, and leaves the message to the next."""
        a, b = pair

        async def main():
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(b.receive_fd_async(), seconds)
            gc.collect()
            later(a.send_fd, null)
            assert await asyncio.wait_for(taken(b.receive_fd_async()), 2)

        run(main)

    def test_task_is_cancelled_before_its_first_step(self, run, pair, null):
        """The operation has started already, and ends with the task."""
        a, b = pair

        async def main():
            task = asyncio.ensure_future(b.receive_fd_async())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            del task
            gc.collect()
            later(a.send_fd, null)
            assert await asyncio.wait_for(taken(b.receive_fd_async()), 3)

        run(main)

    def test_wait(self, run):
        """It takes Futures directly: the first that ends, and all."""
        made, stack = pairs(2)

        async def main():
            futures = [asyncio.ensure_future(b.receive_credentials_async()) for _, b in made]
            later(made[1][0].send_credentials)
            done, waiting = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            assert (done, waiting) == ({futures[1]}, {futures[0]})
            made[0][0].send_credentials()
            done, waiting = await asyncio.wait(futures)
            assert (len(done), len(waiting)) == (2, 0)
            plain = [b.receive_credentials_async() for _, b in made]
            for a, _ in made:
                later(a.send_credentials)
            done, waiting = await asyncio.wait(plain)
            assert [each.result().get_unix_pid() for each in done] == [os.getpid()] * 2
            assert not waiting
            plain = made[0][1].receive_fd_async()
            done, waiting = await asyncio.wait([plain], timeout=0.01)
            assert (len(done), len(waiting)) == (0, 1)
            for each in waiting:
                each.cancel()
            with contextlib.suppress(asyncio.CancelledError, unixconn.CancelledError):
                await waiting.pop()
            assert plain.cancelled()

        with stack:
            run(main)

    def test_as_completed(self, run):
        """The ones that end first come first."""
        made, stack = pairs(3)

        async def main():
            futures = [b.receive_fd_async() for _, b in made]
            files = [os.memfd_create(str(index)) for index in range(3)]
            turn = [2, 0, 1]
            made[2][0].send_fd(files[2])
            found = []
            for each in asyncio.as_completed(futures):
                fd = await each
                found.append([os.path.sameopenfile(fd, file) for file in files].index(True))
                os.close(fd)
                if len(found) < 3:
                    made[turn[len(found)]][0].send_fd(files[turn[len(found)]])
            for fd in files:
                os.close(fd)
            assert found == turn

        with stack:
            run(main)

    def test_shield(self, run, pair, null):
        """The outer one is cancelled, and the operation goes on."""
        a, b = pair

        async def main():
            future = b.receive_fd_async()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(future), 0.02)
            assert not future.done()
            later(a.send_fd, null)
            assert await taken(future)

        run(main)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is of Python 3.11")
    def test_task_group(self, run, pair, null):
        """Its tasks await; one that fails cancels the others, and these consume nothing."""
        a, b = pair

        async def main():
            async with asyncio.TaskGroup() as group:
                task = group.create_task(taken(b.receive_fd_async()))
                group.create_task(asyncio.sleep(0)).add_done_callback(lambda _: a.send_fd(null))
            assert task.result() is True
            future = b.receive_fd_async()

            async def fail():
                await asyncio.sleep(0.01)
                raise KeyError("fail")

            with pytest.raises(BaseException, match="TaskGroup") as caught:
                async with asyncio.TaskGroup() as group:
                    group.create_task(taken(future))
                    group.create_task(fail())
            assert [type(each) for each in caught.value.exceptions] == [KeyError]
            assert future.cancelled()
            a.send_fd(null)
            take(b)

        run(main)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is of Python 3.11")
    def test_timeout_block(self, run, pair, null):
        """`async with asyncio.timeout()` ends the operation."""
        a, b = pair

        async def main():
            future = b.receive_fd_async()
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.02):
                    await future
            assert not isinstance(caught.value, unixconn.Error)
            assert future.cancelled()
            a.send_fd(null)
            async with asyncio.timeout(5):
                assert await taken(b.receive_fd_async())

        run(main)

    def test_cancelled_with_a_message(self, run, pair):
        """It is the error's, as of asyncio's own futures."""

        async def main():
            future = pair[1].receive_fd_async()
            future.cancel("the reason")
            with pytest.raises(asyncio.CancelledError, match="the reason"):
                await future

        run(main)

    def test_task_is_cancelled(self, run, pair, null):
        """The await raises asyncio's CancelledError, and the message stays."""
        a, b = pair

        async def main():
            future = b.receive_fd_async()
            task = asyncio.ensure_future(future)
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
            assert future.cancelled()
            a.send_fd(null)
            take(b)

        run(main)

    def test_task_is_cancelled_when_it_has_arrived(self, run, null):
        """The result is there and the task has not had its turn: the descriptor is closed, and the stream is empty."""
        made, stack = pairs(2)
        tasks, futures, ends = [], [], []

        async def wait(index):
            try:
                os.close(await futures[index])
                ends.append("taken")
                # Both have arrived in one look, and this one was the first to go on.
                assert futures[1 - index].done()
                assert not tasks[1 - index].done()
                tasks[1 - index].cancel()
            except asyncio.CancelledError:
                ends.append("cancelled")
                with pytest.raises(unixconn.CancelledError):
                    await futures[index]

        async def main():
            before = set(open_descriptors())
            futures.extend(b.receive_fd_async() for _, b in made)
            tasks.extend(asyncio.ensure_future(wait(index)) for index in range(2))
            await asyncio.sleep(0.01)
            for a, _ in made:
                a.send_fd(null)
            await asyncio.gather(*tasks)
            assert ends == ["taken", "cancelled"]
            assert not [
                fd for fd in set(open_descriptors()) - before if os.readlink(f"/proc/self/fd/{fd}") == os.devnull
            ]
            for _, b in made:
                with pytest.raises(BlockingIOError):
                    take(b)

        with stack:
            run(main)

    @pytest.mark.parametrize("module", ["asyncio", "uvloop"])
    def test_a_task_ends_the_loop(self, module, null):
        """SystemExit in a task goes through the loop, and the tasks that were to go on with it do so when that does."""
        made, stack = pairs(3)
        loop = optional(module).new_event_loop()
        ends = []

        async def wait(connection):
            os.close(await connection.receive_fd_async())
            ends.append(connection)
            if len(ends) == 1:
                raise SystemExit("the reason")

        def send():
            for a, _ in made:
                a.send_fd(null)

        with stack, contextlib.closing(loop):
            tasks = [loop.create_task(wait(b)) for _, b in made]
            loop.call_later(0.02, send)
            with pytest.raises(SystemExit, match="the reason"):
                loop.run_until_complete(asyncio.sleep(5))
            loop.run_until_complete(asyncio.wait(tasks, timeout=5))
            assert len(ends) == 3
            assert sum(isinstance(each.exception(), SystemExit) for each in tasks) == 1

    def test_task_is_cancelled_and_another_has_it(self, run, pair, null):
        """A descriptor that another task was given already stays open when a second await is cancelled."""
        a, b = pair

        async def main():
            a.send_fd(null)
            future = b.receive_fd_async()
            fd = await future
            task = asyncio.ensure_future(wait_for(future))
            await asyncio.sleep(0)
            task.cancel()
            assert await task == fd
            assert is_open(fd)
            assert await future == fd
            os.close(fd)

        run(main)

    @pytest.mark.skipif(PYPY, reason="has no reference counts")
    def test_a_cancelled_task_leaves_nothing(self, run, pair):
        """What waited goes with its task, and a deadline with it: nothing waits for the garbage collector."""
        left = []

        async def wait(cancellable):
            left.append(weakref.ref(cancellable))
            await pair[0].receive_fd_async(cancellable)

        async def main():
            task = asyncio.ensure_future(wait(Cancellable.with_timeout(3600)))
            await asyncio.sleep(0.01)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        gc.disable()
        try:
            run(main)
            assert [each() for each in left] == [None]
        finally:
            gc.enable()

    def test_run_until_complete(self, pair):
        """A loop takes a Future that was made before it ran."""
        a, b = pair
        future = b.receive_credentials_async()
        later(a.send_credentials)
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            assert isinstance(loop.run_until_complete(future), Credentials)

    def test_error_that_nobody_looks_at(self, run, raw):
        """It is told to the loop's exception handler, with the Future; one that was looked at, or cancelled, is not."""
        peer, connection = raw
        reports = []

        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
            peer.send(b"xx")
            seen = connection.receive_fd_async()
            assert seen.exception() is not None
            cancelled = connection.receive_fd_async()
            del seen
            cancelled.exception()
            cancelled = connection.receive_fd_async()
            cancelled.cancel()
            del cancelled
            gc.collect()
            await asyncio.sleep(0)
            assert not reports
            peer.send(b"x")
            lost = connection.receive_fd_async()
            assert lost.done()
            del lost
            gc.collect()
            await asyncio.sleep(0)

        run(main)
        assert [str(each["exception"]) for each in reports] == [
            "g-io-error-quark: Expecting 1 control message, got 0 (0)"
        ]
        assert isinstance(reports[0]["future"], Future)
        reports.clear()

    def test_reader_of_the_user_s(self, run, pair, null):
        """The socket may have a reader in the same loop, which is called, and which stays."""
        a, b = pair
        calls = []

        async def main():
            loop = asyncio.get_running_loop()
            number = b.get_socket().get_fd()
            loop.add_reader(number, calls.append, "readable")
            for turn in range(3):
                calls.clear()
                future = b.receive_fd_async()
                while turn == 2 and not future.done() and not calls:
                    a.send_fd(null)
                    await asyncio.sleep(0.001)
                if turn < 2:
                    later(a.send_fd, null)
                assert await taken(future)
            assert calls
            loop.remove_reader(number)
            later(a.send_fd, null)
            assert await taken(b.receive_fd_async())

        run(main)

    def test_reader_goes_while_one_waits(self, run, pair, null):
        """Removing the user's reader does not end our waiting."""
        a, b = pair

        async def main():
            loop = asyncio.get_running_loop()
            number = b.get_socket().get_fd()
            loop.add_reader(number, print)
            future = b.receive_fd_async()
            loop.remove_reader(number)
            later(a.send_fd, null)
            assert await taken(future)

        run(main)

    def test_context_variables(self, run, pair):
        """A done callback can be given the context to run in."""
        contextvars = pytest.importorskip("contextvars")
        variable = contextvars.ContextVar("variable", default="outer")
        context = contextvars.copy_context()
        context.run(variable.set, "inner")
        a, b = pair
        found = []

        async def main():
            future = b.receive_credentials_async()
            future.add_done_callback(lambda _: found.append(variable.get()), context=context)
            a.send_credentials()
            await future
            await asyncio.sleep(0.01)

        run(main)
        assert found == ["inner"]

    def test_context_of_the_task(self, run, pair, null):
        """A task goes on in its own context, whoever has received the message."""
        contextvars = pytest.importorskip("contextvars")
        variable = contextvars.ContextVar("variable", default="outer")
        a, b = pair

        async def wait():
            variable.set("inner")
            os.close(await b.receive_fd_async())
            assert variable.get() == "inner"
            variable.set("innermost")

        async def main():
            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0.01)
            a.send_fd(null)
            await task
            assert variable.get() == "outer"

        run(main)

    def test_debug_mode(self, pair, null):
        """Its checks for wrong threads find nothing, wherever the message, the close and the cancel are from."""
        a, b = pair
        b.get_socket().set_timeout(50)

        async def main():
            later(a.send_fd, null)
            assert await taken(b.receive_fd_async())
            future = b.receive_fd_async()
            later(future.cancellable.cancel)
            with pytest.raises(unixconn.CancelledError):
                await future
            future = b.receive_fd_async()
            later(b.close)
            with pytest.raises(unixconn.ClosedError):
                await future

        asyncio.run(main(), debug=True)

    @pytest.mark.parametrize("how", ["cancel", "close"])
    def test_timers_belong_to_the_loop_s_thread(self, pair, how):
        """The timer of an operation that another thread ends is cancelled by the loop: others may not touch it."""
        _, b = pair
        b.get_socket().set_timeout(50)
        threads = []

        class Loop(asyncio.SelectorEventLoop):
            def _timer_handle_cancelled(self, handle):
                threads.append(threading.get_ident())
                super()._timer_handle_cancelled(handle)

        async def main():
            future = b.receive_fd_async()
            later(future.cancellable.cancel if how == "cancel" else b.close)
            with pytest.raises(unixconn.Error):
                await future
            await asyncio.sleep(0.01)

        with contextlib.closing(Loop()) as loop:
            loop.run_until_complete(main())
        assert set(threads) == {threading.get_ident()}

    def test_descriptors_of_a_loop(self, run, pair, null):
        """The loop has one for all that waits, which goes with it."""
        a, b = pair
        collect()
        before = set(open_descriptors())

        async def main():
            inside = set(open_descriptors())
            futures = [b.receive_fd_async() for _ in range(10)]
            assert len(set(open_descriptors()) - inside) == 1
            for each in futures:
                each.cancel()
            later(a.send_fd, null)
            assert await taken(b.receive_fd_async())

        run(main)
        collect()
        assert set(open_descriptors()) == before

    def test_storm(self, run):
        """Tasks that are cancelled at any moment lose nothing, and close nothing twice."""
        made, stack = pairs(1)
        ((a, b),) = made
        fd = os.memfd_create("storm")

        async def main():
            received = 0
            for round_ in range(60):
                tasks = [asyncio.ensure_future(b.receive_fd_async()) for _ in range(4)]
                for _ in range(1 + round_ % 4):
                    await asyncio.sleep(0)
                a.send_fd(fd)
                a.send_fd(fd)
                for _ in range(round_ % 5):
                    await asyncio.sleep(0)
                for each in tasks[round_ % 3 :]:
                    each.cancel()
                for each in tasks[: round_ % 3]:
                    os.close(await each)
                    received += 1
                for each in await asyncio.gather(*tasks[round_ % 3 :], return_exceptions=True):
                    if isinstance(each, int):  # it came before the cancelling
                        os.close(each)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        take(b)
            assert received == sum(round_ % 3 for round_ in range(60))

        with stack:
            run(main)
        os.close(fd)


class TestTrio:
    def test_nursery(self, trio, pair, null):
        """A nursery that is cancelled ends the waits of its tasks."""
        a, b = pair

        async def main():
            futures = [b.receive_fd_async() for _ in range(3)]
            async with trio.open_nursery() as nursery:
                for each in futures:
                    nursery.start_soon(taken, each)
                await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            assert all(each.cancelled() for each in futures)
            a.send_fd(null)
            assert await taken(b.receive_fd_async())

        trio.run(main)

    def test_fail_after(self, trio, pair):
        """The scope's own error comes out, not ours."""
        _, b = pair

        async def main():
            with pytest.raises(trio.TooSlowError), trio.fail_after(0.02):
                await b.receive_fd_async()

        trio.run(main)

    def test_shielded(self, trio, pair, null):
        """A shield protects the wait."""
        a, b = pair

        async def main():
            with trio.CancelScope() as outer:
                outer.cancel()
                with trio.CancelScope(shield=True):
                    later(a.send_fd, null)
                    assert await taken(b.receive_fd_async())

        trio.run(main)

    def test_await_is_a_checkpoint(self, trio, pair):
        """Also of what has ended: cancellation is seen, and others have their turn."""
        a, _ = pair
        turns = []

        async def other():
            turns.append("other")

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                assert await a.send_credentials_async() is True
                turns.append("main")
            with trio.CancelScope() as scope:
                scope.cancel()
                await a.send_credentials_async()
                turns.append("never")
            assert scope.cancelled_caught

        trio.run(main)
        assert sorted(turns) == ["main", "other"]

    def test_cancelled_with_a_descriptor_that_is_there(self, trio, pair, null):
        """The await is cancelled at its checkpoint, and the descriptor is closed."""
        a, b = pair

        async def main():
            a.send_fd(null)
            before = set(open_descriptors())
            with trio.CancelScope() as scope:
                scope.cancel()
                await b.receive_fd_async()
            assert scope.cancelled_caught
            assert set(open_descriptors()) <= before

        trio.run(main)

    def test_run_ends_under_it(self, trio, pair):
        """What waits at the run's end is cancelled then."""
        _, b = pair

        async def main():
            return b.receive_fd_async()

        future = trio.run(main)
        assert future.done()
        assert future.cancelled()

    def test_timeout_of_the_socket_is_taken_back(self, trio, pair, null):
        """The run does not wait for the timeout of an operation that has ended."""
        a, b = pair
        b.get_socket().set_timeout(1000)

        async def main():
            later(a.send_fd, null)
            assert await taken(b.receive_fd_async())

        trio.run(main)

    def test_callback_form(self, trio, pair):
        """In trio there are no callbacks: the MainContext calls it."""
        a, _ = pair
        calls = []

        async def main():
            a.send_credentials_async(None, lambda *got: calls.append(got[0]))
            await trio.sleep(0.01)
            assert calls == []

        trio.run(main)
        while not calls:
            MainContext.default().iteration()
        assert calls == [a]

    def test_guest_of_asyncio(self, trio, pair, null):
        """A trio in an asyncio loop is what the tasks of trio wait by."""
        a, b = pair

        async def in_trio():
            later(a.send_fd, null)
            return await taken(b.receive_fd_async())

        async def main():
            loop = asyncio.get_running_loop()
            ended = loop.create_future()
            trio.lowlevel.start_guest_run(
                in_trio, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=ended.set_result
            )
            return (await ended).unwrap()

        # In a child: trio keeps its helping thread for ten seconds.
        assert in_child(lambda: asyncio.run(main()) is True) == 0


class TestCallbackInALoop:
    def test_the_loop_calls(self, run, pair, null):
        """Later, not inside the call, in the loop's thread, with the data."""
        a, b = pair
        calls = []
        thread = threading.get_ident()

        def note(source, result, *data):
            calls.append((source, source.receive_fd_finish(result), data, threading.get_ident() == thread))

        async def main():
            for come in (a.send_fd, later):
                assert come(*((null,) if come is not later else (a.send_fd, null)))
                assert b.receive_fd_async(None, note, 1, "two") is None
                assert calls == []
                while not calls:
                    await asyncio.sleep(0.001)
                source, fd, data, here = calls.pop()
                assert (source, data, here) == (b, (1, "two"), True)
                assert same(fd, null)
                os.close(fd)

        run(main)

    def test_result(self, run, pair):
        """It is a Task without a context, which is completed after the callback, and says so."""
        a, _ = pair
        found = []

        def note(_source, result):
            found.append((type(result), result.get_completed(), result.get_context()))
            result.connect("notify::completed", lambda task, changed: found.append((task, changed.name)))

        async def main():
            a.send_credentials_async(None, note)
            while len(found) < 2:
                await asyncio.sleep(0)
            assert found[1][0].get_completed()

        run(main)
        assert found[0] == (Task, False, None)
        assert found[1][1] == "completed"

    def test_waits_without_a_thread(self, run, pair):
        """The loop looks after it."""
        a, b = pair
        calls = []

        async def main():
            before = threads()
            b.receive_credentials_async(None, lambda _, result: calls.append(result.propagate_pointer()))
            await asyncio.sleep(0.02)
            assert threads() <= before
            a.send_credentials()
            while not calls:
                await asyncio.sleep(0.001)

        run(main)
        assert [type(each) for each in calls] == [Credentials]

    def test_exception_in_it(self, run, pair):
        """It goes to the loop's exception handler, and the loop goes on."""
        a, _ = pair
        reports, calls = [], []

        async def main():
            asyncio.get_running_loop().set_exception_handler(
                lambda _, report: reports.append(report["exception"].with_traceback(None))
            )
            a.send_credentials_async(None, lambda *_: 1 / 0)
            a.send_credentials_async(None, lambda *_: calls.append(1))
            while not calls:
                await asyncio.sleep(0)

        run(main)
        assert [type(each) for each in reports] == [ZeroDivisionError]

    def test_pushed_context_wins(self, run, pair):
        """Who has pushed a MainContext has the callback called there."""
        a, _ = pair
        calls = []
        context = MainContext.new()

        async def main():
            context.push_thread_default()
            try:
                a.send_credentials_async(None, lambda *_: calls.append(MainContext.get_thread_default()))
            finally:
                context.pop_thread_default()
            await asyncio.sleep(0.02)
            assert calls == []

        run(main)
        while not calls:
            context.iteration()
        assert calls == [context]

    def test_loop_closes_under_it(self, run, pair, null):
        """It is never called; the descriptor that nobody takes is closed, and the connection goes on."""
        a, b = pair
        calls = []

        async def main():
            b.receive_fd_async(None, lambda *_: calls.append(1))

        async def there():
            a.send_fd(null)
            b.receive_fd_async(None, lambda *_: calls.append(1))
            asyncio.get_running_loop().stop()

        run(main)
        a.send_fd(null)
        os.close(b.receive_fd())
        with contextlib.suppress(RuntimeError):
            run(there)
        gc.collect()
        a.send_fd(null)
        take(b)
        assert len(calls) <= 1

    def test_signal_handler_cancels(self, run, pair):
        """A loop that sleeps is woken for the callback of what a signal handler has cancelled."""
        _, b = pair
        cancellable = Cancellable()
        late = []
        before = signal.signal(signal.SIGALRM, lambda *_: cancellable.cancel())

        async def main():
            loop = asyncio.get_running_loop()
            ended = loop.create_future()
            rescue = threading.Timer(
                3, lambda: (late.append("the loop slept on"), loop.call_soon_threadsafe(lambda: None))
            )
            rescue.start()
            b.receive_fd_async(cancellable, lambda _, result: ended.set_result(result.had_error()))
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            assert await ended is True
            rescue.cancel()
            rescue.join()

        try:
            run(main)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert not late

    def test_close_async(self, run, pair):
        """The connection is pending until the callback, as without a loop."""
        a, _ = pair
        found = []

        async def main():
            a.close_async(0, None, lambda source, result: found.append(source.close_finish(result)))
            assert a.has_pending()
            while not found:
                await asyncio.sleep(0)
            assert (a.is_closed(), a.has_pending()) == (True, False)

        run(main)
        assert found == [True]


class TestWithoutALoop:
    def test_exception(self, raw):
        """exception() gives the error that result() raises."""
        peer, connection = raw
        future = connection.receive_fd_async()
        later(peer.send, b"x")
        error = future.exception(5)
        assert isinstance(error, unixconn.Error)
        with pytest.raises(unixconn.Error) as caught:
            future.result()
        assert caught.value is error

    @pytest.mark.parametrize("seconds", [0, 0.02, -0.5])
    def test_result_takes_too_long(self, pair, null, seconds):
        """TimeoutError, as of other futures, and the operation goes on."""
        a, b = pair
        future = b.receive_fd_async()
        for call in (future.result, future.exception):
            with pytest.raises(TimeoutError) as caught:
                call(timeout=seconds)
            assert not isinstance(caught.value, unixconn.Error)
        assert not future.done()
        a.send_fd(null)
        os.close(future.result(5))

    def test_several_threads_wait(self, pair):
        """All of them get the same."""
        a, b = pair
        future = b.receive_credentials_async()
        threads = [Background(future.result, 10) for _ in range(5)]
        assert threads[0].is_waiting()
        a.send_credentials()
        found = {id(each.outcome()) for each in threads}
        assert found == {id(future.result())}

    def test_cancel(self, pair, null):
        """It ends the wait of another thread, and the message stays."""
        a, b = pair
        future = b.receive_fd_async()
        waiting = Background(future.result)
        assert waiting.is_waiting()
        assert future.cancel() is True
        assert isinstance(waiting.outcome(), unixconn.CancelledError)
        a.send_fd(null)
        take(b)

    def test_done_callback(self, pair, reports):
        """Another thread calls it; its exception is reported, and the next one is called."""
        a, b = pair
        called = threading.Event()
        found = []

        def note(future):
            found.append((future, threading.get_ident()))
            called.set()

        future = b.receive_credentials_async()
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(note)
        a.send_credentials()
        assert called.wait(5)
        assert [each[0] for each in found] == [future]
        assert found[0][1] != threading.get_ident()
        assert [type(each) for each in reports] == [ZeroDivisionError]
        called.clear()
        future.add_done_callback(note)
        assert called.wait(5)
        future.result()

    def test_await_needs_a_loop(self, pair):
        """Elsewhere it raises, and the operation goes on."""
        a, b = pair
        future = b.receive_credentials_async()

        async def wait():
            return await future

        coroutine = wait()
        with pytest.raises(RuntimeError, match="asyncio or trio"):
            coroutine.send(None)
        assert not future.done()
        a.send_credentials()
        assert isinstance(future.result(5), Credentials)

    def test_keyboard_interrupt(self, pair, null):
        """A signal handler's exception comes out of result(), and the operation goes on."""
        a, b = pair
        future = b.receive_fd_async()

        def handler(*_):
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                future.result()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert not future.done()
        a.send_fd(null)
        os.close(future.result(5))

    def test_connection_in_the_future(self):
        """A Future keeps the connection that it is of."""
        one, other = socket.socketpair()
        with one:
            future = adopt(other).receive_fd_async()
            gc.collect()
            one.close()
            with pytest.raises(unixconn.ClosedError, match="by the peer"):
                future.result(5)
        future.get_source_object().close()

    def test_subscript(self):
        """Annotations name what it gives."""
        assert Future[int] is not None
        assert issubclass(Future, Task)
