"""Callbacks of operations that were started in a loop of asyncio's kind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading

from helpers import same, threads
from loops.event_loops import later, take

from unixconn import Cancellable, Credentials, MainContext, Task


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

    def test_signal_handler_cancels(self, run, pair, alarm_at_rest):
        """A loop that sleeps is woken for the callback of what a signal handler has cancelled."""
        _, b = pair
        cancellable = Cancellable()
        late = []

        async def main():
            loop = asyncio.get_running_loop()
            ended = loop.create_future()
            rescue = threading.Timer(
                30, lambda: (late.append("the loop slept on"), loop.call_soon_threadsafe(lambda: None))
            )
            rescue.start()
            b.receive_fd_async(cancellable, lambda _, result: ended.set_result(result.had_error()))
            alarm_at_rest(lambda *_: cancellable.cancel())
            assert await ended is True
            rescue.cancel()
            rescue.join()

        run(main)
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
