"""serve(): a task for each connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import sys

import pytest
from loops.event_loops import OnTrio, runs_asyncio

import unixconn
from unixconn import SocketListener, SocketProtocol, SocketType, UnixConnection, UnixSocketAddress


@pytest.fixture
def path(tmp_path):
    """Where to listen."""
    return tmp_path / "s"


class Handler:
    """A handler that tells what it has seen, and runs until it is told to end."""

    def __init__(self, loop):
        self.loop = loop
        self.running = 0
        self.most = 0
        self.ended = 0
        self.cancelled = 0
        self.connections = []
        self.is_released = False

    async def __call__(self, connection):
        """Wait in an operation of *connection*'s, as most handlers do."""
        self.connections.append(connection)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            while not self.is_released:
                await self.loop.sleep(0.001)
            self.ended += 1
        finally:
            self.running -= 1
            self.cancelled = len(self.connections) - self.ended - self.running


async def until(loop, condition):
    """Wait in *loop* until *condition* holds."""
    for _ in range(5000):
        if condition():
            return
        await loop.sleep(0.001)
    raise AssertionError("it does not come")


def is_refused(path):
    """Return whether nobody listens on *path*."""
    try:
        unixconn.connect(path).close()
    except (unixconn.NotFoundError, unixconn.RefusedError):
        return True
    return False


class TestEveryLoop:
    def test_handlers(self, loop, path):
        """Each connection has a handler, which gets a UnixConnection; it is closed afterwards, and by the end of it."""
        seen = []

        async def handler(connection):
            seen.append(connection)
            await connection.send_fd_async(0)

        async def ask():
            await until(loop, path.exists)
            for _ in range(3):
                async with await unixconn.connect_async(path, timeout=60) as client:
                    os.close(await client.receive_fd_async())
                    assert await client.get_input_stream().read_async(1) == b""
            raise DoneError

        with served(loop):
            loop.run(lambda: both(loop, lambda: unixconn.serve(handler, path), ask))
        assert [type(each) for each in seen] == [UnixConnection] * 3
        assert all(each.is_closed() for each in seen)
        assert not path.exists()

    def test_limit(self, loop, path):
        """No more run at a time; the others wait in the kernel's queue, and have their turn."""
        handler = Handler(loop)

        async def ask(listener):
            clients = [unixconn.connect(path) for _ in range(5)]
            try:
                await until(loop, lambda: handler.running == 2)
                await loop.sleep(0.02)
                assert len(handler.connections) == 2
                handler.is_released = True
                await until(loop, lambda: handler.ended == 5)
            finally:
                listener.close()
                for each in clients:
                    each.close()

        async def main():
            with unixconn.listen(path) as listener:
                await loop.together(lambda: unixconn.serve(handler, listener, limit=2), lambda: ask(listener))

        loop.run(main)
        assert handler.most == 2

    def test_closed_listener(self, loop, path):
        """The call waits for the handlers that run, and returns."""
        handler = Handler(loop)

        async def ask(listener):
            with unixconn.connect(path):
                await until(loop, lambda: handler.running)
                listener.close()
                await loop.sleep(0.01)
                assert handler.running
                handler.is_released = True

        async def main():
            with unixconn.listen(path) as listener:
                await loop.together(lambda: unixconn.serve(handler, listener), lambda: ask(listener))

        loop.run(main)
        assert (handler.ended, handler.cancelled) == (1, 0)
        assert handler.connections[0].is_closed()

    def test_cancelled(self, loop, path):
        """That cancels the handlers, waits for them, and closes what was accepted and the listener that was made."""
        handler = Handler(loop)
        refused = []

        async def slow(connection):
            try:
                await handler(connection)
            finally:
                if not runs_asyncio():  # trio resumes all cancelled tasks in one turn
                    trio = pytest.importorskip("trio")
                    with trio.CancelScope(shield=True):
                        await trio.sleep(0.01)
                refused.append(is_refused(path))

        async def connect():
            await until(loop, path.exists)
            clients = [await unixconn.connect_async(path, timeout=60) for _ in range(3)]
            await until(loop, lambda: handler.running == 3)
            for each in clients:
                each.close()
            raise DoneError

        with served(loop):
            loop.run(lambda: both(loop, lambda: unixconn.serve(slow, path), connect))
        assert (handler.cancelled, handler.running) == (3, 0)
        assert refused == [True] * 3
        assert all(each.is_closed() for each in handler.connections)
        assert not path.exists()

    def test_cancelled_by_a_deadline(self, loop, path):
        """A listener of the caller's stays open, with what is in its queue; a handler that never ran is cancelled."""
        handler = Handler(loop)

        async def main():
            with unixconn.listen(path) as listener, unixconn.connect(path), unixconn.connect(path):
                seconds = 0.05
                while not handler.connections:  # a slow machine comes to none before the deadline
                    assert await loop.within(seconds, lambda: unixconn.serve(handler, listener, limit=1)) == "late"
                    seconds *= 4
                assert handler.connections[0].is_closed()
                assert len(handler.connections) == 1
                listener.accept().connection.close()

        loop.run(main)

    def test_handler_closes_its_connection(self, loop, path):
        """It may do so, or give the connection's descriptor away."""

        async def handler(connection):
            connection.close()
            await loop.sleep(0)

        async def main():
            with unixconn.listen(path) as listener, unixconn.connect(path) as client:

                async def ask():
                    assert await client.get_input_stream().read_async(1) == b""
                    listener.close()

                await loop.together(lambda: unixconn.serve(handler, listener), ask)

        loop.run(main)

    def test_no_descriptor_left(self, loop, path, monkeypatch):
        """The Error is reported, and the connection is accepted when there is one."""
        handler = Handler(loop)
        handler.is_released = True
        reports = []
        monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _trace: reports.append(error))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

        async def ask(listener):
            if runs_asyncio():
                context_of = asyncio.get_running_loop().set_exception_handler
                context_of(lambda _loop, context: reports.append(context["exception"]))
            # The loop and the reactor have their own by now.
            await loop.sleep(0.02)
            client = unixconn.Socket.new(unixconn.SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT)
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            try:
                client.connect(UnixSocketAddress.new(path))
                await until(loop, lambda: reports)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(loop, lambda: handler.ended)
            listener.close()
            client.close()

        async def main():
            with unixconn.listen(path) as listener:
                await loop.together(lambda: unixconn.serve(handler, listener), lambda: ask(listener))

        loop.run(main)
        assert {type(each) for each in reports} == {unixconn.TooManyOpenFilesError}

    @pytest.mark.parametrize(
        ("arguments", "options", "error"),
        [
            (("no", "s"), {}, (TypeError, "handler must be a coroutine function, not 'no'")),
            ((print, "s"), {"limit": 0}, (OverflowError, "limit")),
            ((print, "s"), {"limit": 1.5}, (TypeError, "limit")),
            ((print, 5), {}, (TypeError, "path must be .*, not 5")),
            ((print, ""), {}, (unixconn.Error, "must not be empty")),
            ((print, "no/such/folder"), {}, (FileNotFoundError, "no/such/folder")),
        ],
    )
    def test_wrong_arguments(self, loop, arguments, options, error):
        """They are refused at once, with an error that names the value."""
        kind, text = error

        async def main():
            with pytest.raises(kind, match=text):
                await unixconn.serve(*arguments, **options)

        loop.run(main)


class DoneError(Exception):
    """Ends a test: it cancels the tasks beside it."""


async def both(loop, *functions):
    """Run both; what one raises cancels the other, in each kind of loop."""
    if runs_asyncio() and not hasattr(loop, "anyio"):
        tasks = [asyncio.create_task(each()) for each in functions]
        try:
            await asyncio.gather(*tasks)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.wait(tasks)
    else:
        await loop.together(*functions)


@contextlib.contextmanager
def served(loop):
    """Take the `DoneError` that ends the block, which trio and anyio put into a group."""
    try:
        yield
    except DoneError:
        return
    except Exception as error:  # noqa: BLE001 - a group, which Python 3.9 has no name for
        assert [type(each) for each in error.exceptions] == [DoneError]
        return
    raise AssertionError("it did not end")


class TestManners:
    def test_asyncio_runs_on(self, run, path):
        """What a handler raises goes to the loop's exception handler; its connection is closed, others are served."""
        reports = []

        async def handler(connection):
            raise ValueError("the handler's")

        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reports.append(context))
            with unixconn.listen(path) as listener:
                task = asyncio.create_task(unixconn.serve(handler, listener))
                for count in (1, 2):
                    with await unixconn.connect_async(path) as client:
                        assert await client.get_input_stream().read_async(1) == b""
                    assert len(reports) == count
                assert not task.done()
                listener.close()
                await task

        run(main)
        assert [str(each["exception"]) for each in reports] == ["the handler's"] * 2
        assert "the handler of <UnixConnection" in reports[0]["message"]

    def test_a_plain_function(self, run, path):
        """The TypeError names it, and what it returned."""
        reports = []

        def handler(connection):
            return 7

        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reports.append(context))
            with unixconn.listen(path) as listener:
                task = asyncio.create_task(unixconn.serve(handler, listener))
                with await unixconn.connect_async(path) as client:
                    assert await client.get_input_stream().read_async(1) == b""
                listener.close()
                await task

        run(main)
        [report] = reports
        assert re.fullmatch(r"handler must be a coroutine function, but <.*> returned 7", str(report["exception"]))

    def test_trio_raises(self, trio, path):
        """What a handler raises cancels the others, and is raised in a group."""
        handler = Handler(OnTrio())

        async def second_fails(connection):
            if handler.running:
                raise ValueError("the handler's")
            await handler(connection)

        async def main():
            with unixconn.listen(path) as listener, unixconn.connect(path), unixconn.connect(path):
                try:
                    await unixconn.serve(second_fails, listener)
                except Exception as error:  # noqa: BLE001 - a group
                    assert [str(each) for each in error.exceptions] == ["the handler's"]
                else:
                    raise AssertionError("it did not raise")

        trio.run(main)
        assert handler.cancelled == 1

    def test_asyncio_task_that_never_ran(self, run, path):
        """A handler that is cancelled before its first step: its connection is closed."""
        started = []

        async def handler(connection):
            started.append(connection)

        async def main():
            with unixconn.listen(path) as listener, unixconn.connect(path) as client:
                serving = asyncio.create_task(unixconn.serve(handler, listener))
                while len(asyncio.all_tasks()) < 3:
                    await asyncio.sleep(0)
                for each in asyncio.all_tasks() - {asyncio.current_task()}:
                    each.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await serving
                assert client.get_input_stream().read(1) == b""

        run(main)
        assert started == []

    def test_a_listener_of_addresses(self, run, tmp_path):
        """A SocketListener with several sockets is served, too."""
        seen = []

        async def main():
            with SocketListener() as listener:
                for name in "ab":
                    address = UnixSocketAddress.new(tmp_path / name)
                    listener.add_address(address, SocketType.STREAM, SocketProtocol.DEFAULT)

                async def handler(connection):
                    seen.append(connection)
                    if len(seen) == 2:
                        listener.close()

                with unixconn.connect(tmp_path / "a"), unixconn.connect(tmp_path / "b"):
                    await unixconn.serve(handler, listener)

        run(main)
        assert len(seen) == 2

    def test_without_a_loop(self, path):
        """The error says what is missing."""
        with pytest.raises(RuntimeError, match=r"in asyncio, trio or Twisted, and .* ThreadedSocketService"):
            unixconn.serve(print, path).send(None)
        assert not path.exists()
