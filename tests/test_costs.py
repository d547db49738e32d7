"""What an operation costs in system calls, and the import in modules."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest
from costs import OWN
from helpers import PYPY

PROGRAM = """
import os
from unixconn import Cancellable, MainContext, UnixConnection
a, b = UnixConnection.create_pair()
null = os.open(os.devnull, os.O_RDONLY)
def fds(): os.close((a.send_fd(null), b.receive_fd())[1])
def cancellable_fds(c=Cancellable()): os.close((a.send_fd(null, c), b.receive_fd(c))[1])
def credentials(): (a.send_credentials(), b.receive_credentials())
def take(connection, result): os.close(connection.receive_fd_finish(result))
def called_back():
    a.send_fd_async(null, None, None)
    b.receive_fd_async(None, take)
    MainContext.default().iteration(False)
def called_back_later(cancellable=Cancellable()):
    b.receive_fd_async(cancellable, take)
    a.send_fd(null)
    MainContext.default().iteration(False)
waiting, silent = UnixConnection.create_pair()
def wait_on_and_on(): waiting.receive_fd_async(None, take)
def would_block():
    try:
        b.receive_fd()
    except BlockingIOError:
        pass
b.get_socket().set_blocking({blocking})
for _ in range(20):
    {call}()
os.access("/begin", 0)
for _ in range(100):
    {call}()
os.access("/end", 0)
"""


def count(call, *, blocking=True):
    """Count the system calls of 100 calls of the function *call* of PROGRAM."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    program = PROGRAM.format(call=call, blocking=blocking)
    done = subprocess.run(
        ["strace", "-f", sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    if "/end" not in done.stderr:
        pytest.skip(f"strace does not work here: {done.stderr[-300:]}")
    trace = re.split(r'.*"/(?:begin|end)".*\n', done.stderr)[1]
    # 32-bit machines have geteuid32() and the like: the first one had 16 bits.
    names = re.findall(r"^(?:\[pid +\d+\] )?(\w+?)(?:32)?\(", trace, re.MULTILINE)
    return Counter(name for name in names if not OWN.fullmatch(name))


def test_one_system_call_for_a_message():
    """A descriptor's round trip is sendmsg(), recvmsg(), and the caller's own close()."""
    assert count("fds") == {"sendmsg": 100, "recvmsg": 100, "close": 100}


def test_a_cancellable_costs_none():
    """The same with a Cancellable that is not needed."""
    assert count("cancellable_fds") == {"sendmsg": 100, "recvmsg": 100, "close": 100}


def test_credentials():
    """One for each message; whose they are, and SO_PASSCRED asked for, set, and set back."""
    assert count("credentials") == {
        "getpid": 100,
        "geteuid": 100,
        "getegid": 100,
        "sendmsg": 100,
        "getsockopt": 100,
        "setsockopt": 200,
        "recvmsg": 100,
    }


def test_a_try_that_would_block():
    """Without a message it is one recvmsg()."""
    assert count("would_block", blocking=False) == {"recvmsg": 100}


def test_a_callback_costs_none():
    """A message that is there is received in the call, and its callback needs nothing of the kernel."""
    assert count("called_back") == {"sendmsg": 100, "recvmsg": 100, "close": 100}


def test_waiting_in_the_background():
    """Arming is one call, waiting another; the default context keeps its epoll from one operation to the next."""
    found = count("called_back_later")
    assert found.pop("epoll_wait", 0) + found.pop("epoll_pwait", 0) == 100
    assert found == {"sendmsg": 100, "recvmsg": 200, "close": 100, "epoll_ctl": 100}


def test_waiting_behind_others():
    """Who joins a line that is armed arms it again, and that is all."""
    assert count("wait_on_and_on") == {"epoll_ctl": 100}


def test_the_import_stays_small():
    """The import brings in neither asyncio nor subprocess, nor typing, which would double its time, nor socket."""
    code = (
        "import sys; before = set(sys.modules); import unixconn; unixconn.UnixConnection; "
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:  # without site-packages on the path
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "unixconn._kernel.native" in loaded
    assert not loaded & {"asyncio", "subprocess", "logging", "socket", "selectors", "unixconn._cli.demo"}
    if not PYPY:  # whose own modules are partly Python
        assert not loaded & {"typing", "pathlib", "re", "inspect", "dataclasses"}
