"""Several interpreters in one process."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

import pytest
from helpers import PYPY

INTERPRETERS = """
import sys
try:
    import _interpreters as interpreters
    made = [interpreters.create("legacy") for _ in range(3)]
except ImportError:
    import _xxsubinterpreters as interpreters
    made = [interpreters.create(isolated=False) for _ in range(3)]
program = sys.stdin.read()
exec(program)
for each in made:
    interpreters.run_string(each, program)
for each in made:
    interpreters.destroy(each)
exec(program)
"""
IN_EACH = """
import _thread, os, sys, time, unixconn
a, b = unixconn.UnixConnection.create_pair()
a.send_fd(0)
os.close(b.receive_fd())
received = b.receive_fd_async()
a.send_fd(0)
os.close(received.result(60))
loop = unixconn.MainLoop()
b.receive_fd_async(None, lambda _, result: (os.close(b.receive_fd_finish(result)), loop.quit()))
a.send_fd(0)
loop.run()
if sys.version_info >= (3, 12):
    silent = a.receive_credentials_async()
while sys.version_info < (3, 12) and _thread._count():
    time.sleep(0.01)  # an interpreter with a thread is not ended there
print("done", flush=True)
"""


@pytest.mark.skipif(PYPY, reason="this Python has one interpreter")
@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="cffi loads in one interpreter there")
def test_several_interpreters():
    """Each has its own thread, loop and connections, and ends while an operation waits in it."""
    run = [sys.executable, "-c", INTERPRETERS]
    done = subprocess.run(run, input=IN_EACH, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.returncode) == (["done"] * 5, 0), done.stderr
