"""The pidfds in Credentials that a program drops are closed before the descriptor table is full."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers import collect, needs_passed_pidfds, open_descriptors

ROUNDS = 500
pytestmark = needs_passed_pidfds


PROGRAM = """
import resource
from unixconn import UnixConnection
resource.setrlimit(resource.RLIMIT_NOFILE, (150, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
a, b = UnixConnection.create_pair()
b.pass_credentials()
b.pass_pidfds()
for _ in range({rounds}):
    {receive}
    assert found.is_alive()
"""


@pytest.mark.parametrize(
    "receive",
    [
        "a.send_credentials(); found = b.receive_credentials()",
        "a.send_message(b'x'); message = b.receive_message(9); message.close(); found = message.credentials",
        "found = b.get_peer_credentials()",
    ],
)
def test_dropped(receive):
    """Those of many messages, with a small table, on an interpreter that collects when there is enough garbage."""
    program = PROGRAM.format(rounds=ROUNDS, receive=receive)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_kept(pair):
    """Those that the program keeps stay open, and their number doubles between two collections."""
    a, b = pair
    b.pass_pidfds()
    before = len(open_descriptors())
    kept = []
    for _ in range(ROUNDS):
        a.send_credentials()
        kept.append(b.receive_credentials())
    assert len(open_descriptors()) == before + ROUNDS
    assert all(each.is_alive() for each in kept)
    kept.clear()
    collect()
    assert len(open_descriptors()) == before
