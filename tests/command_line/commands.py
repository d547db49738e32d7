"""What the tests of the commands share: processes that run one, and what these print."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest
from helpers import in_child

# main() loads this when it is called. The child of `as_other` may have no permission to read it.
import unixconn._cli.main  # noqa: F401
from unixconn.__main__ import main
from unixconn._cli.common import user_name

COMMAND = [sys.executable, "-m", "unixconn"]


@contextmanager
def started(*arguments, **others):
    """Start a command; it has come to its end after the block."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **others},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def receiving(door, *arguments, **others):
    """Start a receiver, and wait until it listens; what it says from then on is still to be read."""
    with started("receive", door, "--verbose", *arguments, **others) as process:
        assert process.stderr.readline() == f"unixconn: waiting for a sender on {door} ...\n"
        yield process


def run(*arguments, **others):
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        check=False,
        **{"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60, **others},
    )


def send(*arguments, **others):
    """Send, which is to go well."""
    done = run("send", *arguments, **others)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def end_of(process):
    """Wait for a command's end; return its exit code, and what it has written."""
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def received(name, number=1, count=1, uid=None):
    """Make the pattern of the line that tells of a descriptor."""
    uid = os.geteuid() if uid is None else uid
    return rf"unixconn: received {name} \({number} of {count}\) from process \d+ of user {user_name(uid)} \({uid}\)\n"


def closing(number):
    """Make what closes a descriptor in a new process, as ``<&-`` does."""
    return lambda: os.close(number)


def connected(door):
    """Connect a plain socket."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(door))
    return made


def as_other(*arguments):
    """Run a command as another user, in a forked child that has loaded it already."""

    def become():
        os.setgid(OTHER)
        os.setuid(OTHER)
        return main([*map(str, arguments)]) == 0

    return in_child(become)


@contextmanager
def crowded(door):
    """Listen on *door*, accept nobody, and fill the queue."""
    with ExitStack() as sockets:
        server = sockets.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(door))
        server.listen(0)
        with pytest.raises(BlockingIOError):  # PyPy makes 1 of a backlog of 0
            while True:
                waiting = sockets.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(door))
        yield


class Lines:
    """A regular expression for a whole text, in comparisons."""

    def __init__(self, *patterns):
        self.pattern = "".join(patterns)

    def __eq__(self, other):
        return re.fullmatch(self.pattern, other) is not None

    def __hash__(self):
        return hash(self.pattern)

    def __repr__(self):
        return self.pattern


OTHER = 65534
"""A uid that is not this process's."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
