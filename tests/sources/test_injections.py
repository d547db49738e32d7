"""System calls that fail: a sample of what tests/injections.py tries. Here it runs in one environment alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import injected_closes
import pytest
from injections import EACH_TIME, Case, Injection, attempt, can_inject, cases, injections, is_good

pytestmark = [
    pytest.mark.skipif(not can_inject(), reason="strace is not there, or may not trace"),
    # The children that are tried end by themselves, and fork() beside strace takes long on a busy machine.
    pytest.mark.timeout(300),
]


@pytest.mark.parametrize("case", list(cases([]))[::17], ids="-".join(["{0.operation}", "{0.way}", "{0.later}"]).format)
def test_a_call_that_fails(case):
    """F16: an Error of the library comes of it, or success; all goes on, and nothing is left or printed."""
    outcomes = {injection: attempt(case, injection)[0] for injection in list(injections(case))[::5]}
    assert not {injection: outcome for injection, outcome in outcomes.items() if not is_good(outcome)}


def test_the_call_is_the_operation_s():
    """What the sample rests on: the failure comes where the operation makes its call."""
    receives = Case("UnixConnection.receive_fd", "plain", later=False)
    outcome, calls = attempt(receives, Injection("recvmsg", "ECONNRESET", 1))
    assert outcome.startswith("Error ")
    assert "recvmsg" in calls
    assert attempt(receives, Injection("recvmsg", "ECONNRESET", 2))[0] == "ok"


@pytest.mark.parametrize("way", ["plain", "cancellable"])
def test_switching_back_before_a_wait(way):
    """F16: nothing has come yet, and SO_PASSCRED, which is still needed, cannot be switched off: it waits."""
    waits = Case("UnixConnection.receive_credentials", way, later=True)
    assert attempt(waits, Injection("setsockopt", "EPERM", 2))[0] == "ok"


def test_looking_at_a_descriptor_that_is_given_away():
    """F16: fstat(2) fails for an open file, such as one of a server that is gone: the descriptor is closed."""
    gives = Case("give_fd cancelled", "call", later=False)
    [look] = {"fstat", "newfstatat"}.intersection(attempt(gives)[1])
    assert attempt(gives, Injection(look, "EIO", EACH_TIME))[0].startswith("Error 19: ")


def test_giving_a_socket_back():
    """F16: the socket cannot be made non-blocking, nor given its mode back: the first of the two failures counts."""
    takes = Case("from_socket", "call", later=False)
    assert attempt(takes, Injection("ioctl", "EPERM", EACH_TIME))[0].startswith("Error 14: ")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_a_close_that_fails(tmp_path):
    """F16: close(2) has done its work before it reports a failure, so nothing comes of that."""
    program = [sys.executable, Path(__file__).parents[1] / "injections.py", "--closes", "UnixListener"]
    done = subprocess.run(
        program, env=injected_closes.environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
