"""Where the commands meet besides a socket file: abstract names, and the socket of a service manager."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
from command_line.commands import end_of, receiving, run, send, started
from helpers import PASSCRED

import unixconn

EXECUTE_WITH_IT = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
    "os.execv(sys.executable, [sys.executable, '-m', 'unixconn', *sys.argv[2:]])"
)


@pytest.fixture
def name(tmp_path):
    """An abstract name that nobody else uses, as the commands take it."""
    return f"@unixconn test {os.getpid()} {tmp_path.name}"


def activated(listening, *arguments):
    """Start a command as a service manager does, with the socket *listening*."""
    command = [sys.executable, "-c", EXECUTE_WITH_IT, str(listening.fileno()), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=[listening.fileno()]
    )


@pytest.fixture
def listening(door):
    """A socket that listens, as a service manager makes it."""
    with socket.socket(socket.AF_UNIX) as made:
        made.setsockopt(*PASSCRED, 1)  # PassCredentials=yes
        made.bind(str(door))
        made.listen()
        yield made


class TestAbstractNames:
    def test_send_and_receive(self, name, tmp_path):
        """Both take a name, and there is no file."""
        (tmp_path / "file").write_text("content\n")
        with receiving(name, cwd=tmp_path) as receiver:
            send(name, tmp_path / "file")
            code, output, _ = end_of(receiver)
        assert (code, output) == (0, "content\n")
        assert os.listdir(tmp_path) == ["file"]

    def test_peer(self, name):
        """It shows who listens there."""
        with unixconn.listen("\0" + name[1:]):
            done = run("peer", "--json", name)
        assert json.loads(done.stdout)["pid"] == os.getpid()

    @pytest.mark.parametrize("command", ["peer", "send"])
    def test_nobody_listens(self, name, command):
        """That is said in one line, which has the name."""
        done = run(command, name)
        assert (done.returncode, done.stdout) == (69, "")
        assert done.stderr == f"unixconn: {name}: Could not connect: Connection refused\n"

    def test_no_such_file(self, tmp_path):
        """So is that a file is missing."""
        done = run("peer", tmp_path / "none")
        assert (done.returncode, done.stdout) == (66, "")
        assert done.stderr == f"unixconn: {tmp_path / 'none'}: Could not connect: No such file or directory\n"

    def test_file_with_an_at_sign(self, tmp_path):
        """A folder before it makes it a file."""
        with unixconn.listen(tmp_path / "@file"):
            done = run("peer", "--json", "./@file", cwd=tmp_path)
        assert json.loads(done.stdout)["pid"] == os.getpid()


class TestSocketOfAServiceManager:
    @pytest.mark.parametrize("count", [1, 3])
    def test_receive(self, door, listening, tmp_path, count):
        """The command serves it, those too who have connected before; the socket file stays."""
        (tmp_path / "file").write_text("content\n")
        with started("send", door, *[tmp_path / "file"] * count) as early:
            assert early.wait(60) == 0
            with activated(
                listening, "receive", "--count", count, "--", "sh", "-c", "echo $LISTEN_FDNAMES; cat <&3"
            ) as it:
                code, output, errors = end_of(it)
        assert (code, output, errors) == (0, ":".join(["file"] * count) + "\ncontent\n", "")
        assert door.exists()

    def test_without_credentials(self, door, listening, tmp_path):
        """The command asks for them, and says what that takes; who sends afterwards is identified."""
        listening.setsockopt(*PASSCRED, 0)
        (tmp_path / "file").write_text("content\n")
        with activated(listening, "receive", "--json", "--verbose") as it:
            assert "PassCredentials=yes" in it.stderr.readline()
            assert it.stderr.readline() == "unixconn: waiting for a sender on the socket of the service manager ...\n"
            send(door, tmp_path / "file")
            code, output, _ = end_of(it)
        assert code == 0
        assert json.loads(output)["uid"] == os.geteuid()

    def test_what_is_no_listener(self, tmp_path):
        """It is refused, and nothing waits."""
        with open(os.devnull, "rb") as file, activated(file, "receive") as it:  # noqa: PTH123
            code, _, errors = end_of(it)
        assert code == 64
        assert "a service manager has passed no listening Unix sockets" in errors
