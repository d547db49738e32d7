"""What the command peer prints of a process at the other end."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from command_line.commands import run

import unixconn
from unixconn.__main__ import main
from unixconn._cli.common import group_name, user_name, with_name


@pytest.fixture
def served(door):
    """A socket file that another process serves."""
    program = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(door)!r}); s.listen(); print(); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        assert process.stdout.readline() == "\n"
        yield process
        process.stdin.close()


def names_of_facts(output):
    """Return what the command has printed, by its names."""
    return dict(line.split(maxsplit=1) for line in output.splitlines())


def test_peer(door, served):
    """It tells who serves a socket."""
    done = run("peer", door)
    assert (done.returncode, done.stderr) == (0, "")
    told = names_of_facts(done.stdout)
    assert list(told) == ["pid", "user", "group", "groups", "label", "executable", "alive"]
    assert told["pid"] == str(served.pid)
    assert told["user"] == f"{user_name(os.geteuid())} ({os.geteuid()})"


def test_peer_in_detail(door, served):
    """Group, groups, executable and life are of the process that serves."""
    told = names_of_facts(run("peer", door).stdout)
    gid = os.getegid()
    assert told["group"] == f"{group_name(gid)} ({gid})"
    assert told["groups"] == (", ".join(with_name(each, group_name(each)) for each in os.getgroups()) or "none")
    assert told["executable"] == os.readlink(f"/proc/{served.pid}/exe")
    assert told["alive"] == "yes"


def test_peer_as_json(door, served):
    """With --json it is one object."""
    done = run("peer", "--json", door)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    told.pop("label")
    uid, gid = os.geteuid(), os.getegid()
    assert told == {
        "pid": served.pid,
        "uid": uid,
        "user": user_name(uid),
        "gid": gid,
        "group": group_name(gid),
        "groups": [{"gid": each, "group": group_name(each)} for each in os.getgroups()],
        "executable": os.readlink(f"/proc/{served.pid}/exe"),
        "alive": True,
    }


class Peer:
    """Credentials of which some can not be told."""

    def __init__(self, pid=1, alive=True):
        self.get_unix_pid = lambda: pid
        self.is_alive = lambda: alive
        self.get_unix_user = self.get_unix_group = lambda: 4294967294
        self.get_security_label = lambda: b"system_u:\xff"

    def get_groups(self):
        """Say that there are none to be had."""
        raise unixconn.NotSupportedError("not here", "g-io-error-quark", unixconn.IOErrorEnum.NOT_SUPPORTED)


@pytest.mark.parametrize(
    ("peer", "executable", "alive"),
    [
        (Peer(os.getpid()), os.readlink("/proc/self/exe"), "yes"),
        (Peer(os.getpid(), alive=False), "unknown (the process has ended)", "no"),
        (Peer(2**31 - 1), "unknown (not readable: No such file or directory)", "yes"),
    ],
)
def test_peer_of_whom_not_all_is_known(peer, executable, alive, door, monkeypatch, capsys):
    """What is not known is named so, with the reason; the executable is believed of who lives only."""
    monkeypatch.setattr(unixconn.UnixConnection, "get_peer_credentials", lambda _: peer)
    with unixconn.listen(door):
        assert main(["peer", str(door)]) == 0
        told = names_of_facts(capsys.readouterr().out)
        assert told == {
            "pid": str(peer.get_unix_pid()),
            "user": "4294967294",
            "group": "4294967294",
            "groups": "unknown (not here)",
            "label": r"system_u:\xff",
            "executable": executable,
            "alive": alive,
        }
        assert main(["peer", "--json", str(door)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["user"], told["group"], told["groups"], told["label"]) == (None, None, None, r"system_u:\xff")
        assert told["executable"] == (executable if executable.startswith("/") else None)
        assert told["alive"] == (alive == "yes")
