"""unixconn inside of GLib's own main loop: PyGObject and this library in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from peers.peer_gio import need_gio

import unixconn

BEGIN = """
import faulthandler, os, sys, threading, time
faulthandler.dump_traceback_later(60, exit=True)
from gi.repository import GLib
import unixconn, unixconn.gi

unixconn.gi.use_glib_loop()
unixconn.gi.use_glib_loop()
loop, seen, here = GLib.MainLoop(), [], threading.get_ident()
ours, theirs = unixconn.UnixConnection.create_pair()

def after(seconds, call, *arguments):
    threading.Timer(seconds, call, arguments).start()
"""
RECEIVE = """
def on_fd(connection, result, number):
    fd = connection.receive_fd_finish(result)
    seen.append((number, os.path.sameopenfile(fd, 0), threading.get_ident() == here))
    os.close(fd)
    if number == 3:
        loop.quit()
    else:
        connection.receive_fd_async(None, on_fd, number + 1)
        after(0.02, ours.send_fd, 0)

theirs.receive_fd_async(None, on_fd, 1)
GLib.timeout_add(10, lambda: ours.send_fd(0) and False)
loop.run()
assert seen == [(1, True, True), (2, True, True), (3, True, True)], seen
"""
SOURCES = """
def later():
    seen.append("timeout")
    after(0.02, unixconn.idle_add, end)

def end():
    seen.append("idle")
    loop.quit()

unixconn.timeout_add(20, later)
loop.run()
assert seen == ["timeout", "idle"], seen
# Nothing is ready now: GLib's loop waits, and does not spin.
theirs.receive_fd_async(None, lambda *_: None)
GLib.timeout_add(500, loop.quit)
before = time.process_time()
loop.run()
assert time.process_time() - before < 0.25
"""
WATCHES = """
reader, writer = os.pipe()

def on_readable(fd, condition):
    seen.append(os.read(fd, 9))
    os.close(writer)
    Due().attach()
    return False

class Due(unixconn.Source):
    def __init__(self):
        self.moment = time.monotonic() + 0.03

    def prepare(self):
        left = self.moment - time.monotonic()
        return left <= 0, int(left * 1000) + 1

    def check(self):
        return self.prepare()[0]

    def dispatch(self, callback, data):
        seen.append("due")
        loop.quit()
        return False

unixconn.io_add_watch(reader, unixconn.IO_IN, on_readable)
after(0.02, os.write, writer, b"word")
loop.run()
assert seen == [b"word", "due"], seen
os.close(reader)
"""
SERVICE = """
path = sys.argv[1]
service = unixconn.SocketService.new()
service.add_address(unixconn.UnixSocketAddress.new(path), 1, 0, None)

def on_incoming(service, connection, source):
    connection.get_output_stream().write_all(b"welcome", None)
    seen.append(connection)
    return True

def on_read(stream, result):
    seen.append(stream.read_bytes_finish(result).get_data())
    loop.quit()

def on_connected(client, result):
    seen.append(client.connect_finish(result))
    seen[-1].get_input_stream().read_bytes_async(7, 0, None, on_read)

service.connect("incoming", on_incoming)
unixconn.SocketClient.new().connect_async(unixconn.UnixSocketAddress.new(path), None, on_connected)
loop.run()
assert seen[-1] == b"welcome", seen
service.stop(); service.close()
for each in seen[:-1]:
    each.close()
"""
FUTURE = """
def on_fd(future):
    seen.append((os.path.sameopenfile(future.result(), 0), threading.get_ident() == here))
    os.close(future.result())
    loop.quit()

theirs.receive_fd_async().add_done_callback(lambda future: GLib.idle_add(on_fd, future))
GLib.timeout_add(10, lambda: ours.send_fd(0) and False)
loop.run()
assert seen == [(True, True)], seen
"""
END = """
ours.close(); theirs.close()
while unixconn.MainContext.default().iteration(False):
    pass
"""


PROGRAMS = {"receive": RECEIVE, "sources": SOURCES, "watches": WATCHES, "service": SERVICE, "future": FUTURE}


AWAIT = """
import asyncio, faulthandler, os, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
from gi.events import GLibEventLoopPolicy
from gi.repository import GLib
import unixconn

asyncio.set_event_loop_policy(GLibEventLoopPolicy())
events = asyncio.get_event_loop_policy().get_event_loop()
loop, seen, path = GLib.MainLoop(), [], sys.argv[1]

async def client():
    with await unixconn.connect_async(path) as connection:
        await connection.send_fd_async(0)

async def talk():
    ours, theirs = unixconn.UnixConnection.create_pair()
    GLib.idle_add(lambda: ours.send_fd(0) and False)
    fd = await theirs.receive_fd_async()
    seen.append(os.path.sameopenfile(fd, 0))
    os.close(fd)
    waiting = asyncio.ensure_future(theirs.receive_fd_async())
    await asyncio.sleep(0.01)
    waiting.cancel()
    try:
        await waiting
    except asyncio.CancelledError:
        seen.append("cancelled")
    with ours, theirs, unixconn.listen(path) as listener:
        task = events.create_task(client())
        with (await listener.accept_async()).connection as accepted:
            os.close(await accepted.receive_fd_async())
        await task
    seen.append(threading.active_count())
    loop.quit()

task = events.create_task(talk())
GLib.idle_add(seen.append, "idle")
loop.run()
task.result()
assert seen == ["idle", True, "cancelled", 1], seen
"""


def output_of(program: str, folder: Path) -> tuple[int, str]:
    """Run *program* where PyGObject is; return its exit code and what it wrote to stderr."""
    folders = [str(Path(unixconn.__file__).parents[1])]
    if sys.implementation.name == "cpython":  # PyPy's cffi is beside its standard library
        folders.append(str(Path(pytest.importorskip("cffi").__file__).parents[1]))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    environment.pop("UNIXCONN_BACKEND", None)  # PyPy's compiled layer is not for that Python
    interpreter = need_gio()
    found = subprocess.run(
        [interpreter, "-c", "import _cffi_backend"], env=environment, capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip("the Python that has PyGObject cannot load this Python's cffi")
    done = subprocess.run(
        [interpreter, "-W", "ignore::DeprecationWarning", "-c", program, str(folder / "s")],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_in_glibs_loop(program: str, tmp_path: Path) -> None:
    """The callbacks run in the thread of GLib's loop, which sleeps meanwhile."""
    assert output_of(BEGIN + program + END, tmp_path) == (0, "")


def test_await_in_glibs_loop(tmp_path: Path) -> None:
    """PyGObject runs asyncio in GLib's loop, and a Future is awaited there, without another thread."""
    if output_of("import gi.events", tmp_path)[0]:
        pytest.skip("gi.events is of PyGObject 3.50")
    assert output_of(AWAIT, tmp_path) == (0, "")
