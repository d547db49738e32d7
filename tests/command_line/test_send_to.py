"""Sending to one user alone: --to-uid and --to-user."""

from __future__ import annotations

import os
import signal

import pytest
from command_line.commands import OTHER, Lines, end_of, needs_root, received, receiving, run, send
from helpers import forked

from unixconn.__main__ import main
from unixconn._cli.common import user_name

OPTIONS = ["--to-uid", "--to-user"]


@pytest.fixture
def others_door(door):
    """A socket file in a folder like /tmp, on which another user receives, and allows root to send."""
    door.parent.chmod(0o1777)

    def receive():
        os.setgid(OTHER)
        os.setuid(OTHER)
        return main(["receive", "--allow-uid", "0", "--json", str(door)]) == 0

    receiver = forked(receive)
    try:
        yield door
    finally:
        os.kill(receiver, signal.SIGKILL)
        os.waitpid(receiver, 0)


@needs_root
@pytest.mark.parametrize("option", OPTIONS)
def test_another_user_gets_nothing(option, others_door, file):
    """S8: who has taken the name first gets nothing, and goes on waiting; the exit code is that of no permission."""
    done = run("send", option, 0, "--wait", 60, others_door, file)
    text = f"unixconn: {others_door}: Could not connect: uid {OTHER} listens there, and not uid 0\n"
    assert (done.returncode, done.stdout, done.stderr) == (os.EX_NOPERM, "", text)
    assert others_door.exists()


@needs_root
@pytest.mark.parametrize("user", [OTHER, user_name(OTHER)])
def test_the_user(user, others_door, file):
    """S8: the user who is meant gets it, by uid or by name."""
    send("--to-user", user, "--wait", 60, others_door, file)


@pytest.mark.parametrize("option", OPTIONS)
def test_this_user(option, door, file):
    """S8: a receiver of this process's user."""
    with receiving(door) as receiver:
        send(option, os.geteuid(), door, file)
        assert end_of(receiver) == (0, "Dear reader\n", Lines(received("letter.txt")))


def test_an_unknown_user(door, file):
    """S8: is an error of usage."""
    done = run("send", "--to-user", "no such", door, file)
    assert done.returncode == os.EX_USAGE
    expected = "argument --to-uid/--to-user: unknown user 'no such': expected the name of a user, or a uid"
    assert done.stderr.splitlines()[-1] == f"unixconn send: error: {expected}"
