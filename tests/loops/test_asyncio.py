"""Futures in asyncio and uvloop: its own ways to wait, and the loop's own affairs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import weakref

import pytest
from helpers import PYPY, collect, is_open, open_descriptors, same, settle
from loops.event_loops import later, pairs, take, taken, wait_for
from ways import optional

import unixconn
from unixconn import Cancellable, Credentials, Future


async def ask_for_the_loop():
    """Start and end an operation."""
    a, b = unixconn.UnixConnection.create_pair()
    with a, b:
        a.send_credentials()
        await b.receive_credentials_async()


async def cancel_the_other(futures, send, have, cancelled):
    """
    Await two *futures* in tasks, and cancel the task whose result is there, and that has not had its turn.

    *send* brings both results in one look. *have* is called with the first one, and *cancelled* with the other's index.
    """
    tasks, ends = [], []

    async def wait(index):
        try:
            have(await futures[index])
            ends.append("taken")
            # Both have arrived in one look, and this one was the first to go on.
            assert futures[1 - index].done()
            assert not tasks[1 - index].done()
            tasks[1 - index].cancel()
        except asyncio.CancelledError:
            ends.append("cancelled")
            await cancelled(index)

    tasks.extend(asyncio.ensure_future(wait(index)) for index in range(2))
    await asyncio.sleep(0.01)
    send()
    await asyncio.gather(*tasks)
    assert ends == ["taken", "cancelled"]


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
            fd = await asyncio.wait_for(b.receive_fd_async(), 60)
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
            assert await asyncio.wait_for(taken(b.receive_fd_async()), 60)

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
            assert await asyncio.wait_for(taken(b.receive_fd_async()), 60)

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
            async with asyncio.timeout(60):
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
        futures = []

        async def cancelled(index):
            with pytest.raises(unixconn.CancelledError):
                await futures[index]

        def send():
            for a, _ in made:
                a.send_fd(null)

        async def main():
            before = set(open_descriptors())
            futures.extend(b.receive_fd_async() for _, b in made)
            await cancel_the_other(futures, send, os.close, cancelled)
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
                loop.run_until_complete(asyncio.sleep(60))
            loop.run_until_complete(asyncio.wait(tasks, timeout=60))
            assert len(ends) == 3
            assert sum(isinstance(each.exception(), SystemExit) for each in tasks) == 1

    @pytest.mark.parametrize(
        ("name", "arguments", "buffered"),
        [
            ("read", (4,), False),
            ("read_bytes", (4,), False),
            ("read_all", (4,), False),
            ("skip", (4,), False),
            ("read", (4,), True),
            ("read_all", (4,), True),
            ("skip", (4,), True),
            ("read_line", (), True),
            ("read_upto", ("\n", 1), True),
        ],
    )
    def test_bytes_have_arrived_when_the_task_is_cancelled(self, run, name, arguments, buffered):
        """The result is there, and the task has not had its turn: the next read gets the bytes, or the line."""
        made, stack = pairs(2)
        streams = [b.get_input_stream() for _, b in made]
        if buffered:
            streams = [unixconn.DataInputStream(each, close_base_stream=False) for each in streams]

        async def cancelled(index):
            assert streams[index].read_all(9) == b"one\ntwo\n!"

        def send():
            for a, _ in made:
                a.send_message(b"one\ntwo\n!")
                a.get_socket().shutdown(False, True)

        async def main():
            futures = [getattr(each, f"{name}_async")(*arguments) for each in streams]
            await cancel_the_other(futures, send, lambda _: None, cancelled)

        with stack:
            run(main)

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

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_closed_loop_in_which_something_waits(self):
        """When another loop has come, it is garbage with all that waits in it, and so are their descriptors."""
        before, loops = open_descriptors(), []

        def leave_waiting():
            loop = asyncio.new_event_loop()
            loop.set_exception_handler(lambda *_: None)
            a, b = unixconn.UnixConnection.create_pair()

            async def receive():
                await b.receive_fd_async()
                a.close()

            async def main():
                a.receive_fd_async().add_done_callback(lambda _: loop.stop())
                return loop.create_task(receive()), await asyncio.sleep(0.01)

            loop.run_until_complete(main())
            loop.close()
            loops.append(weakref.ref(loop))

        leave_waiting()
        leave_waiting()
        collect()
        assert loops[0]() is None
        with contextlib.closing(asyncio.new_event_loop()) as last:
            last.run_until_complete(ask_for_the_loop())
        del last
        collect()
        assert loops[1]() is None
        assert settle(lambda: collect() or open_descriptors() == before)

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
