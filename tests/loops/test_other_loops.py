"""
The loops of gevent, eventlet, tornado and Twisted: each form works there, and the loop's other work goes on meanwhile.

Each case is a program of its own, as these libraries change the interpreter. The tests are skipped where the library is
not installed: tox installs all of them in the environment "loops".
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap

import pytest

PATCHED = {
    "gevent": """
        from gevent import monkey
        monkey.patch_all()
        from gevent import sleep, spawn
        def outcome(task):
            return task.get(timeout=50)
    """,
    "eventlet": """
        import eventlet
        eventlet.monkey_patch()
        from eventlet import sleep, spawn
        def outcome(task):
            with eventlet.Timeout(50):
                return task.wait()
    """,
}
"""How a program begins that replaces what blocks a thread."""

GREENLETS = """
    import os
    import unixconn
    from unixconn import Cancellable, MainLoop

    def tick():
        while True:
            ticks.append(None)
            sleep(0.001)

    ticks = []
    spawn(tick)
    ours, theirs = unixconn.UnixConnection.create_pair()
    {wait}
    task = spawn(wait)
    sleep(0.02)
    before = len(ticks)
    while len(ticks) < before + 10:
        sleep(0.001)
    {act}
    os.close(outcome(task))
    ours.close()
    theirs.close()
    print("ok", flush=True)
    os._exit(0)
"""
"""Waits in one greenlet while others run."""

WAITS = {
    "plain": "def wait(): return theirs.receive_fd()",
    "Future.result": "def wait(): return theirs.receive_fd_async().result(60)",
    "Future.done": """
    def wait():
        future = theirs.receive_fd_async()
        while not future.done():
            sleep(0.001)
        return future.result()
    """,
    "callback": """
    def wait():
        loop, got = MainLoop(), []
        theirs.receive_fd_async(None, lambda c, result: (got.append(c.receive_fd_finish(result)), loop.quit()))
        loop.run()
        return got[0]
    """,
    "done callback": """
    def wait():
        got = []
        theirs.receive_fd_async().add_done_callback(lambda future: got.append(future.result()))
        while not got:
            sleep(0.001)
        return got[0]
    """,
    "deadline": """
    def wait():
        try:
            theirs.receive_fd(Cancellable.with_timeout(0.001))
        except TimeoutError:
            return theirs.receive_fd()
    """,
    "notify_barrier": """
    import socket, tempfile
    from unixconn import UnixConnection, systemd
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(tempfile.mkdtemp() + "/s")
    os.environ["NOTIFY_SOCKET"] = manager.getsockname()
    def answer():
        with UnixConnection.borrow(manager) as borrowed, borrowed.receive_message(100):
            sleep(0.001)
    def wait():
        spawn(answer)
        assert systemd.notify_barrier(20)
        return theirs.receive_fd()
    """,
    "accept": """
    import tempfile
    listener = unixconn.listen(tempfile.mkdtemp() + "/s")
    def wait():
        with next(listener) as connection:
            return connection.receive_fd()
    """,
}

TWISTED = """
from twisted.internet import {reactor}reactor
{reactor}reactor.install()
from twisted.internet import defer, reactor
import os, unixconn

ours, theirs = unixconn.UnixConnection.create_pair()

{body}

async def main():
    try:
        for _ in range(2):
            reactor.callLater(0.01, ours.send_fd, 0)
            await body()
        print("ok")
    finally:
        ours.close()
        theirs.close()
        reactor.callLater(0, reactor.stop)

reactor.callWhenRunning(lambda: defer.ensureDeferred(main()))
reactor.run()
"""
TWISTED_BODIES = {
    "await": """
        async def body():
            os.close(await theirs.receive_fd_async())
    """,
    "await of what is there": """
        async def body():
            ours.send_fd(0)
            for _ in range(2):
                os.close(await theirs.receive_fd_async())
    """,
    "Deferred.fromFuture": """
        async def body():
            os.close(await defer.Deferred.fromFuture(theirs.receive_fd_async()))
    """,
    "cancel": """
        async def receive():
            return await theirs.receive_fd_async()

        async def body():
            waiting = defer.ensureDeferred(receive())
            waiting.cancel()
            try:
                await waiting
            except defer.CancelledError:
                os.close(await theirs.receive_fd_async())
    """,
}

TWISTED_SERVER = """
    from twisted.logger import globalLogPublisher

    async def handler(connection):
        await connection.send_fd_async(0)
        os.close(await connection.receive_fd_async())
        raise ZeroDivisionError

    async def slow(connection):
        try:
            await connection.receive_fd_async()
        finally:
            cancelled.append(connection)

    async def ask():
        async with await unixconn.connect_async(name, timeout=50) as client:
            os.close(await client.receive_fd_async())
            await client.send_fd_async(0)
            assert await client.get_input_stream().read_async(1) == b""

    name = "\\0unixconn-%d" % os.getpid()
    log, cancelled = [], []
    globalLogPublisher._observers[:] = []
    globalLogPublisher.addObserver(log.append)

    async def body():
        listener = unixconn.listen(name)
        server = defer.ensureDeferred(unixconn.serve(handler, listener, limit=1))
        await defer.gatherResults([defer.ensureDeferred(ask()) for _ in range(3)])
        listener.close()
        await server
        assert [each["log_failure"].type for each in log if "log_failure" in each] == [ZeroDivisionError] * 3
        log.clear()
        server = defer.ensureDeferred(unixconn.serve(slow, name))
        async with await unixconn.connect_async(name, timeout=50) as client:
            for _ in range(5):
                await pause(0.01)
            server.cancel()
            try:
                await server
            except defer.CancelledError:
                pass
            assert [each.is_closed() for each in cancelled] == [True]
            cancelled.clear()

    def pause(seconds):
        waiting = defer.Deferred()
        reactor.callLater(seconds, waiting.callback, None)
        return waiting
"""

OTHER_CELLS = """
    import threading

    def in_a_thread():
        got.append(theirs.receive_fd_async().result(60))

    def received(connection, result):
        got.append(connection.receive_fd_finish(result))

    got = []
"""
"""What the table of loops says of callbacks, and of Future.result() in another thread."""

TWISTED_CELLS = """
    async def until(count):
        while len(got) < count:
            waiting = defer.Deferred()
            reactor.callLater(0.001, waiting.callback, None)
            await waiting

    async def body():
        theirs.receive_fd_async().add_done_callback(lambda future: got.append(future.result()))
        await until(1)
        thread = threading.Thread(target=in_a_thread)
        thread.start()
        ours.send_fd(0)
        await until(2)
        thread.join()
        if "{reactor}" == "asyncio":
            theirs.receive_fd_async(None, received)
            ours.send_fd(0)
            await until(3)
        while got:
            os.close(got.pop())
"""

TORNADO = """
    import asyncio, datetime, os, unixconn
    from tornado import gen, ioloop

    ours, theirs = unixconn.UnixConnection.create_pair()

    async def main():
        for _ in range(2):
            ioloop.IOLoop.current().call_later(0.01, ours.send_fd, 0)
            {body}
        print("ok")

    ioloop.IOLoop.current().run_sync(main, timeout=50)
    ours.close()
    theirs.close()
"""
TORNADO_BODIES = {
    "await": "os.close(await theirs.receive_fd_async())",
    "with_timeout": "os.close(await gen.with_timeout(datetime.timedelta(seconds=20), theirs.receive_fd_async()))",
    "convert_yielded": "os.close(await gen.convert_yielded(theirs.receive_fd_async()))",
    "multi": "os.close((await gen.multi([theirs.receive_fd_async()]))[0])",
    "callback": """
        got = []
        theirs.receive_fd_async(None, lambda connection, result: got.append(connection.receive_fd_finish(result)))
        while not got:
            await gen.sleep(0.001)
        os.close(got[0])""",
    "result in a thread": """
        loop = ioloop.IOLoop.current()
        os.close(await loop.run_in_executor(None, lambda: theirs.receive_fd_async().result(60)))""",
    "serve": """
        os.close(await theirs.receive_fd_async())
        name = "\\0unixconn-%d" % os.getpid()
        with unixconn.listen(name) as listener:
            async def handler(connection):
                await connection.send_fd_async(0)
            server = asyncio.ensure_future(unixconn.serve(handler, listener))
            with await unixconn.connect_async(name) as client:
                os.close(await client.receive_fd_async())
            listener.close()
            await server""",
}


def run(library, *parts):
    """Run a program of several parts; it has to print "ok" and nothing else."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    program = "\n".join(textwrap.dedent(each) for each in parts)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ok\n", b"")


@pytest.mark.parametrize("case", WAITS)
@pytest.mark.parametrize("library", PATCHED)
def test_greenlets(library, case):
    """F13: after patching, what waits lets other greenlets run."""
    wait = textwrap.dedent(WAITS[case])
    act = "unixconn.connect(os.fsdecode(listener._path)).send_fd(0)" if case == "accept" else "ours.send_fd(0)"
    program = textwrap.dedent(GREENLETS).replace("{wait}", wait).replace("{act}", act)
    run(library, PATCHED[library], program)


@pytest.mark.parametrize("case", TWISTED_BODIES)
@pytest.mark.parametrize("reactor", ["asyncio", "epoll", "select"])
def test_twisted(reactor, case):
    """Coroutines of ensureDeferred() await Futures, and Deferreds are made of them, whichever reactor runs."""
    run("twisted", TWISTED.replace("{reactor}", reactor).replace("{body}", textwrap.dedent(TWISTED_BODIES[case])))


@pytest.mark.parametrize("case", ["serve", "other cells"])
@pytest.mark.parametrize("reactor", ["asyncio", "epoll", "select"])
def test_the_other_cells_of_twisted(reactor, case):
    """serve() has a coroutine for each connection; done callbacks and threads; callbacks in asyncio's reactor."""
    parts = [TWISTED_SERVER] if case == "serve" else [OTHER_CELLS, TWISTED_CELLS]
    body = "\n".join(textwrap.dedent(each) for each in parts)
    run("twisted", TWISTED.replace("{body}", body).replace("{reactor}", reactor))


@pytest.mark.parametrize("case", TORNADO_BODIES)
def test_tornado(case):
    """F24: tornado takes a Future for one of its own."""
    body = textwrap.indent(textwrap.dedent(TORNADO_BODIES[case]), " " * 8).strip()
    run("tornado", textwrap.dedent(TORNADO).replace("{body}", body))
