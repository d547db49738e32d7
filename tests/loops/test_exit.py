"""The end of the interpreter while operations wait."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import sys, unixconn
from unixconn import MainContext, MainLoop, UnixConnection, idle_add
a, b = UnixConnection.create_pair()
"""
PROGRAMS = {
    "no callback": "b.receive_fd_async(None, None)",
    "future": "future = b.receive_fd_async()",
    "a callback of the future": "b.receive_fd_async().add_done_callback(print)",
    "context": "b.receive_credentials_async(None, print)",
    "after an iteration": "b.receive_fd_async(None, print); MainContext.default().iteration(False)",
    "main loop": """
b.receive_fd_async(None, print)
b.receive_credentials_async(None, None)
idle_add(sys.exit)
MainLoop().run()
""",
    "a result that nobody has": """
a.send_fd(0)
b.receive_fd_async(None, print)
a.send_fd(0)
future = b.receive_fd_async()
""",
    "thousands": """
pairs = [UnixConnection.create_pair() for _ in range(100)]
futures = [each.receive_fd_async() for pair in pairs for each in pair for _ in range(10)]
""",
    "a thread that waits": """
import threading
future = b.receive_fd_async()
threading.Thread(target=future.result, daemon=True).start()
""",
    "busy": """
def again(future):
    b.receive_fd_async().add_done_callback(again)
    a.send_fd(0)
b.receive_fd_async().add_done_callback(again)
a.send_fd(0)
import time
time.sleep(0.1)
""",
    "sending": """
import socket
a.get_socket().set_blocking(False)
try:
    while True:
        a.get_socket().send(bytes(65536))
except BlockingIOError:
    pass
a.get_socket().set_blocking(True)
a.send_fd_async(0, None, print)
a.send_credentials_async(None, None)
""",
    "asyncio": """
import asyncio
async def main():
    task = asyncio.ensure_future(wait())
    b.receive_fd_async(None, print)
    future = b.receive_fd_async()
    await asyncio.sleep(0.01)
async def wait():
    await b.receive_credentials_async()
asyncio.run(main())
""",
    "asyncio, in the midst": """
import asyncio
async def main():
    asyncio.get_running_loop().call_later(0.01, sys.exit)
    await b.receive_credentials_async()
asyncio.run(main())
""",
    "threads": """
import threading, time
def run():
    context = MainContext()
    context.push_thread_default()
    b.receive_fd_async(None, print)
    MainLoop(context).run()
for _ in range(3):
    threading.Thread(target=run, daemon=True).start()
time.sleep(0.05)
""",
}


class TestExit:
    @pytest.mark.parametrize("names", [list(PROGRAMS)[start::3] for start in range(3)], ids="-".join)
    def test_while_something_waits(self, names):
        """The interpreter ends at once, without a word."""
        running = {
            name: subprocess.Popen(
                [sys.executable, "-c", START + PROGRAMS[name]],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in names
        }
        found = {}
        for name, process in running.items():
            with process:
                try:
                    found[name] = (*process.communicate(timeout=60), process.returncode)
                except subprocess.TimeoutExpired:
                    process.kill()
                    found[name] = "it hangs"
        assert found == dict.fromkeys(names, ("", "", 0))


CLEARED = """
import gc, os, sys, unixconn
from unixconn import Cancellable, FileDescriptor, UnixConnection, UnixFDList
listener = unixconn.listen(sys.argv[1])
kept = [listener, unixconn.connect(sys.argv[1]), listener.accept().connection, *UnixConnection.create_pair()]
kept += [UnixFDList.new_from_array([os.dup(0)]), Cancellable()]
kept[-1].get_fd()
kept[3].send_fd(0)
kept.append(kept[4].receive_descriptor())
for name, module in list(sys.modules.items()):
    if name.startswith("unixconn._") and type(module) is type(sys):
        vars(module).update((each, None) for each in list(vars(module)) if not each.startswith("__"))
del listener
while kept:
    kept.pop()
gc.collect()
"""


def test_when_names_are_cleared(tmp_path):
    """The last destructors run when the interpreter has set the names of modules to None: they print nothing."""
    ended = subprocess.run(
        [sys.executable, "-c", CLEARED, str(tmp_path / "socket")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("", "")
