"""Futures in trio."""

from __future__ import annotations

import asyncio
import weakref

import pytest
from helpers import Background, collect, in_child, settle
from loops.event_loops import later, taken

from unixconn import MainContext


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
        """Also where nothing has to wait: others have their turn, and a scope that is cancelled already is seen."""
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

    def test_result_is_there_before_the_scope_is_cancelled(self, trio, pair, null):
        """The await returns it: an operation that has ended cannot be undone."""
        a, b = pair

        async def main():
            a.send_fd(null)
            future = b.receive_fd_async()
            with trio.CancelScope() as scope:
                scope.cancel()
                assert await taken(future)
            assert not scope.cancelled_caught

        trio.run(main)

    def test_result_comes_before_the_scope_is_cancelled(self, trio, pair, null):
        """The same for a task that waits, and is about to resume when its scope is cancelled."""
        a, b = pair
        results = []

        async def wait(future):
            results.append(await taken(future))

        async def main():
            future = b.receive_fd_async()
            # The library's thread serves this one, and whatever stands before it, while trio's thread is busy below.
            behind = Background(b.receive_fd_async).outcome()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, future)
                await trio.sleep(0.01)
                a.send_fd(null)
                assert settle(future.done)
                nursery.cancel_scope.cancel()
            behind.cancel()

        trio.run(main)
        assert results == [True]

    def test_two_tasks_await_one(self, trio, pair):
        """A nursery that is cancelled ends both, with trio's exception."""
        _, b = pair

        async def main():
            future = b.receive_fd_async()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(taken, future)
                nursery.start_soon(taken, future)
                await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            assert future.cancelled()

        trio.run(main)

    def test_call_where_no_task_runs(self, trio, pair, null):
        """A callback of trio's can start an operation."""
        a, b = pair
        futures = []

        async def main():
            a.send_fd(null)
            trio.lowlevel.current_trio_token().run_sync_soon(lambda: futures.append(b.receive_fd_async()))
            while not futures:
                await trio.sleep(0)
            assert await taken(futures.pop())

        trio.run(main)

    def test_run_ends_under_it(self, trio, pair):
        """What waits at the run's end is cancelled then."""
        _, b = pair

        async def main():
            return b.receive_fd_async()

        future = trio.run(main)
        assert future.done()
        assert future.cancelled()

    @pytest.mark.parametrize("waits", [False, True])
    def test_nothing_of_a_run_is_kept(self, trio, pair, null, waits):
        """It is garbage after its end, whether or not an operation had to wait in it."""
        a, b = pair

        async def main():
            if waits:
                later(a.send_fd, null)
            else:
                a.send_fd(null)
            assert await taken(b.receive_fd_async())
            return weakref.ref(trio.lowlevel.current_trio_token())

        token = trio.run(main)
        collect()
        assert token() is None

    def test_timeout_of_the_socket_is_taken_back(self, trio, pair, null):
        """Of an operation that has ended no task is left that waits for its timeout."""
        a, b = pair

        async def receive():
            future = b.receive_fd_async()
            later(a.send_fd, null)
            assert await taken(future)

        def living():
            return trio.lowlevel.current_statistics().tasks_living

        async def main():
            await receive()
            await trio.sleep(0.01)
            without = living()
            b.get_socket().set_timeout(1000)
            await receive()
            with trio.fail_after(60):
                while living() > without:
                    await trio.sleep(0.001)

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
