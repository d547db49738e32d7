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


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_in_glibs_loop(program: str, tmp_path: Path) -> None:
    """The callbacks run in the thread of GLib's loop, which sleeps meanwhile."""
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
        [interpreter, "-W", "ignore::DeprecationWarning", "-c", BEGIN + program + END, str(tmp_path / "s")],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
