"""Futures where only coroutines are taken, and awaits in what is cancelled already."""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import gc
import inspect
import os
import random
import sys
import threading
import time
import warnings

import pytest
from helpers import collect, open_descriptors, same
from loops.event_loops import OnAnyio, OnTrio, later, take, taken

import unixconn
from unixconn import Future

SCOPED = ["trio", "anyio on asyncio", "anyio on trio"]
"""Loops whose tasks may be in a scope that is cancelled before they wait."""


@pytest.fixture(params=SCOPED)
def scoped(request):
    """Make a loop with scopes."""
    kind, _, backend = request.param.partition(" on ")
    return OnAnyio(backend) if kind == "anyio" else OnTrio()


def scopes(loop):
    """Return the module that has the loop's scopes."""
    return loop.trio if isinstance(loop, OnTrio) else loop.anyio


def task_group(loop):
    """Return what runs tasks of *loop* in an ``async with`` block."""
    return loop.trio.open_nursery() if isinstance(loop, OnTrio) else loop.anyio.create_task_group()


def is_there(connection):
    """Take a message from *connection*; return whether there was one."""
    connection.get_socket().set_blocking(False)
    try:
        message = connection.receive_message(100)
    except BlockingIOError:
        return False
    finally:
        connection.get_socket().set_blocking(True)
    for each in message.fds:
        each.close()
    return True


@contextlib.contextmanager
def nothing_left():
    """Check that the block leaves no descriptor of /dev/null."""
    collect()
    before = open_descriptors().keys()
    yield
    collect()
    assert not [fd for fd, name in open_descriptors().items() if name == os.devnull and fd not in before]


class TestEveryLoop:
    def test_method_is_started_as_a_task(self, loop, pair):
        """start_soon of trio and anyio takes it, and create_task of asyncio takes what it returns."""
        a, b = pair

        async def main():
            await loop.start_soon(a.send_credentials_async, b.receive_credentials_async)
            assert not is_there(b)
            later(a.send_credentials)
            await loop.start_soon(b.receive_credentials_async)
            assert not is_there(b)

        loop.run(main)

    def test_group_is_cancelled(self, loop, pair, null):
        """That ends the operations of its tasks, and these take nothing."""
        a, b = pair

        async def main():
            assert await loop.within(0.02, lambda: loop.start_soon(b.receive_fd_async, b.receive_fd_async)) == "late"
            a.send_fd(null)
            assert await taken(b.receive_fd_async())

        loop.run(main)

    def test_close(self, loop, pair, null):
        """It cancels what waits, and closes what has come; a result that was taken stays open."""
        a, b = pair

        async def main():
            with nothing_left():
                future = b.receive_fd_async()
                future.close()
                future.close()
                assert future.cancelled() or not isinstance(loop, OnTrio)
                assert future.done()
                a.send_fd(null)
                future = b.receive_fd_async()
                future.close()
                a.send_fd(null)
                fd = await b.receive_fd_async()
                future = b.receive_credentials_async()
                later(a.send_credentials)
                credentials = await future
                future.close()
                assert future.result() is credentials
                assert same(fd, null)
                os.close(fd)

        loop.run(main)

    def test_close_ends_an_await(self, loop, pair):
        """A task that awaits the Future meanwhile is told."""
        _, b = pair

        async def main():
            future = b.receive_fd_async()

            async def wait():
                with pytest.raises((asyncio.CancelledError, unixconn.CancelledError)):
                    await future

            async def close():
                await loop.sleep(0.01)
                future.close()

            await loop.together(wait, close)

        loop.run(main)

    def test_is_a_coroutine(self, loop, pair):
        """For isinstance and for inspect; it is a Future nevertheless."""
        _, b = pair

        async def main():
            future = b.receive_fd_async()
            assert isinstance(future, collections.abc.Coroutine)
            assert isinstance(future, collections.abc.Awaitable)
            assert isinstance(future, Future)
            assert inspect.iscoroutine(future)
            assert inspect.isawaitable(future)
            assert asyncio.iscoroutine(future)
            assert not isinstance(future, (int, collections.abc.Iterator))
            assert type(future).__name__ == future.__class__.__name__ == "Future"
            assert repr(future).startswith("<Future ")
            future.close()

        loop.run(main)

    def test_left_alone(self, loop, pair, null, recwarn):
        """A Future that nobody awaits is no coroutine that was never awaited."""
        a, b = pair

        async def main():
            b.receive_fd_async().cancel()
            a.send_fd(null)
            b.receive_fd_async()
            collect()
            await loop.sleep(0)

        with nothing_left():
            loop.run(main)
        assert not [each for each in recwarn if "never awaited" in str(each.message)]


class TestAsyncio:
    def test_create_task(self, run, pair, null):
        """The task has the result of the operation that was started."""
        a, b = pair

        async def main():
            future = b.receive_fd_async()
            task = asyncio.create_task(future)
            assert "g_unix_connection_receive_fd_async()" in repr(task)
            later(a.send_fd, null)
            fd = await task
            assert same(fd, null)
            assert future.result() == fd
            os.close(fd)
            a.send_fd(null)
            task = asyncio.get_running_loop().create_task(b.receive_fd_async())
            assert await taken(task)

        run(main)

    @pytest.mark.parametrize("steps", [0, 1, 2])
    def test_task_is_cancelled(self, run, pair, null, steps):
        """Before its first step or later: the operation ends, and the message stays."""
        a, b = pair

        async def main():
            future = b.receive_fd_async()
            task = asyncio.create_task(future)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
            assert future.cancelled()
            a.send_fd(null)
            assert await taken(b.receive_fd_async())

        run(main)

    def test_task_is_cancelled_before_its_first_step_with_a_result(self, run, pair, null):
        """The descriptor that the operation has received is closed."""
        a, b = pair

        async def main():
            a.send_fd(null)
            task = asyncio.create_task(b.receive_fd_async())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        with nothing_left():
            run(main)

    def test_message_comes_with_the_cancellation(self, run, pair, null):
        """The loop has been told of it when the task is cancelled, and leaves it to the next one."""
        a, b = pair

        async def main():
            task = asyncio.create_task(b.receive_fd_async())
            await asyncio.sleep(0.01)
            a.send_fd(null)
            await asyncio.sleep(0)
            if not task.done():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                os.close(await task)
                a.send_fd(null)
            take(b)

        run(main)

    def test_errors(self, run, pair):
        """The task raises them."""
        _, b = pair

        async def main():
            task = asyncio.create_task(b.receive_fd_async())
            later(b.close)
            with pytest.raises(unixconn.ClosedError):
                await task
            with pytest.raises(unixconn.ClosedError):
                await asyncio.create_task(b.receive_fd_async())

        run(main)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is of Python 3.11")
    def test_task_group(self, run, pair, null):
        """It has tasks of Futures; one that fails cancels the others, and these take nothing."""
        a, b = pair

        async def main():
            async with asyncio.TaskGroup() as group:
                task = group.create_task(b.receive_fd_async())
                later(a.send_fd, null)
            assert same(task.result(), null)
            os.close(task.result())
            with pytest.raises(BaseException, match="TaskGroup"):
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(b.receive_fd_async())
                    group.create_task(a.send_fd_async(99999))
            assert task.cancelled()
            a.send_fd(null)
            take(b)

        run(main)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12")
    def test_eager_task(self, pair, null):
        """It makes its first step at once."""
        a, b = pair

        async def main():
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            a.send_fd(null)
            task = asyncio.create_task(b.receive_fd_async())
            assert task.done()
            os.close(task.result())
            task = asyncio.create_task(b.receive_fd_async())
            later(a.send_fd, null)
            assert await taken(task)

        asyncio.run(main())

    def test_run(self, pair, null):
        """asyncio.run() takes it like any coroutine."""
        a, b = pair
        later(a.send_fd, null)
        fd = asyncio.run(b.receive_fd_async())
        assert same(fd, null)
        os.close(fd)

    def test_from_another_thread(self, run, pair, null):
        """run_coroutine_threadsafe() takes one that belongs to no loop."""
        a, b = pair

        async def main():
            loop = asyncio.get_running_loop()
            fds = []

            def receive():
                fds.append(asyncio.run_coroutine_threadsafe(b.receive_fd_async(), loop).result(60))

            thread = threading.Thread(target=receive)
            thread.start()
            later(a.send_fd, null)
            await loop.run_in_executor(None, thread.join)
            assert same(fds[0], null)
            os.close(fds[0])

        run(main)

    def test_future_beside_tasks(self, run, pair):
        """asyncio.wait() refuses coroutines, but takes Futures, also when tasks were made of other ones."""
        a, b = pair

        async def main():
            task = asyncio.create_task(b.receive_credentials_async())
            future = b.receive_credentials_async()
            assert asyncio.isfuture(future)
            assert asyncio.ensure_future(future) is future
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                done, waiting = await asyncio.wait([future], timeout=0.01)
                assert (done, waiting) == (set(), {future})
                done, waiting = await asyncio.wait({task, future}, timeout=0.01)
                assert (done, waiting) == (set(), {task, future})
            later(a.send_credentials)
            later(a.send_credentials)
            one, other = await asyncio.gather(task, future)
            assert one is task.result()
            assert other is future.result()

        run(main)

    def test_dropped_task(self, run, pair, null):
        """The loop that ends closes it, and with it the operation."""
        a, b = pair

        async def main():
            left.append(asyncio.create_task(b.receive_fd_async()))
            await asyncio.sleep(0)
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        left = []
        run(main)
        left.clear()
        gc.collect()
        a.send_fd(null)
        take(b)

    def test_by_hand(self, run, pair, null):
        """send, throw and close do what they do for a coroutine."""
        a, b = pair

        async def main():
            future = b.receive_fd_async()
            assert asyncio.iscoroutine(future)
            assert future.cr_frame is None
            future.send(None)
            assert inspect.getcoroutinestate(future) == inspect.CORO_SUSPENDED
            with pytest.raises(KeyError, match="reason"):
                future.throw(KeyError("reason"))
            assert inspect.getcoroutinestate(future) == inspect.CORO_CLOSED
            assert future.cancelled()
            future = b.receive_fd_async()
            assert asyncio.iscoroutine(future)
            with pytest.raises(KeyError, match="reason"):
                future.throw(KeyError("reason"))
            assert future.cancelled()
            future = b.receive_fd_async()
            future.send(None)
            future.close()
            assert future.cancelled()
            a.send_fd(null)
            future = b.receive_fd_async()
            with pytest.raises(StopIteration) as caught:
                future.send(None)
            assert same(caught.value.value, null)
            os.close(caught.value.value)

        run(main)


class TestAnyio:
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_cancelled_at_once(self, backend, pair, null):
        """A group that is cancelled before its task has begun ends the operation, too."""
        a, b = pair
        loop = OnAnyio(backend)

        async def main():
            async with loop.anyio.create_task_group() as group:
                group.start_soon(b.receive_fd_async)
                group.cancel_scope.cancel()
            a.send_fd(null)
            assert await taken(b.receive_fd_async())

        loop.run(main)


METHODS = {
    "receive_fd": (),
    "receive_fds": (),
    "receive_descriptor": (),
    "receive_message": (5,),
    "receive_credentials": (),
}


def scope_of_each_kind(loop):
    """Make scopes that are cancelled, or whose time is over."""
    module = scopes(loop)
    cancelled = module.CancelScope()
    cancelled.cancel()
    yield cancelled
    yield module.move_on_after(0)
    yield module.move_on_after(0.001)


class TestCancelledScopes:
    """trio's rule: a call that raises Cancelled has had no effect."""

    @pytest.mark.parametrize("method", METHODS)
    def test_message_stays(self, scoped, pair, null, method):
        """A receive in a scope that is cancelled already makes no attempt."""
        a, b = pair
        if method == "receive_credentials":
            b.pass_credentials()

        async def main():
            for scope in scope_of_each_kind(scoped):
                if method == "receive_credentials":
                    a.send_credentials()
                else:
                    a.send_fd(null)
                with scope:
                    time.sleep(0.002)  # the time is over, and the loop does not know it yet
                    await getattr(b, f"{method}_async")(*METHODS[method])
                    raise AssertionError("it was cancelled")
                assert is_there(b)

        with nothing_left():
            scoped.run(main)

    def test_socket_that_does_not_block(self, scoped, pair, null):
        """It makes no attempt either."""
        a, b = pair

        async def main():
            a.send_fd(null)
            b.get_socket().set_blocking(False)
            for scope in scope_of_each_kind(scoped):
                with scope:
                    time.sleep(0.002)
                    await b.receive_fd_async()
                    raise AssertionError("it was cancelled")
            take(b)

        scoped.run(main)

    def test_stream(self, scoped, pair):
        """An operation of a stream does not begin, and the stream can be used at once."""
        a, b = pair
        reader, writer = b.get_input_stream(), a.get_output_stream()
        methods = {
            "write": (writer, b"never"),
            "write_all": (writer, b"never"),
            "read": (reader, 5),
            "read_bytes": (reader, 5),
            "read_all": (reader, 5),
            "skip": (reader, 5),
        }

        async def main():
            writer.write_all(b"stays")
            for name, (stream, argument) in methods.items():
                for scope in scope_of_each_kind(scoped):
                    with scope:
                        time.sleep(0.002)
                        await getattr(stream, f"{name}_async")(argument)
                        raise AssertionError("it was cancelled")
                    assert not stream.has_pending()
            assert reader.read_all(5) == b"stays"
            assert not is_there(b)

        scoped.run(main)

    def test_send(self, scoped, pair, null):
        """Nothing is sent."""
        a, b = pair

        async def main():
            for scope in scope_of_each_kind(scoped):
                with scope:
                    time.sleep(0.002)
                    await a.send_fd_async(null)
                    raise AssertionError("it was cancelled")
                assert not is_there(b)

        scoped.run(main)

    def test_awaited_elsewhere(self, scoped, pair, null):
        """What was started in a scope that is cancelled goes on where it is awaited in another one."""
        a, b = pair

        async def main():
            with scopes(scoped).CancelScope() as scope:
                scope.cancel()
                a.send_fd(null)
                future = b.receive_fd_async()
                assert not future.done()
                writing = a.get_output_stream().write_all_async(b"later")
            assert await taken(future)
            await writing
            assert b.get_input_stream().read_all(5) == b"later"

        scoped.run(main)

    def test_scope_is_cancelled_with_the_message(self, scoped, pair, null):
        """The message that has just been sent stays: the task was cancelled before the loop has looked."""
        a, b = pair

        async def main():
            for _ in range(20):  # the order in which trio runs the tasks that are ready is random
                async with task_group(scoped) as group:
                    group.start_soon(b.receive_fd_async)
                    await scoped.sleep(0.001)
                    a.send_fd(null)
                    group.cancel_scope.cancel()
                assert is_there(b)

        with nothing_left():
            scoped.run(main)

    @pytest.mark.parametrize("comes", ["before", "meanwhile"])
    def test_random_timeouts(self, scoped, pair, null, comes):
        """Each descriptor that was sent is either received or still there."""
        a, b = pair
        chance = random.Random(14)
        sent = []

        async def send():
            await scoped.sleep(chance.uniform(0, 0.0006))
            sent.append(a.send_fd(null))

        async def main():
            for _ in range(400):
                received = []
                async with task_group(scoped) as group:
                    if comes == "before":
                        sent.append(a.send_fd(null))
                    else:
                        group.start_soon(send)
                    with scopes(scoped).move_on_after(chance.uniform(0, 0.0006)):
                        received.append(await b.receive_fd_async())
                assert sent.pop()
                assert bool(received) is not is_there(b)
                for fd in received:
                    os.close(fd)

        with nothing_left():
            scoped.run(main)
