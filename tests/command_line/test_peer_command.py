"""What the command peer prints of a process at the other end."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys

import namespaces
import pytest
from command_line.commands import needs_root, run
from helpers import in_child

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

    def __init__(self):
        self.get_unix_pid = self.get_groups = self.get_pidfd = self.is_alive = self.fail
        self.get_unix_user = self.get_unix_group = lambda: 4294967294
        self.get_security_label = lambda: b"system_u:\xff"

    def fail(self):
        """Say that there are none to be had."""
        raise unixconn.NotSupportedError("not here", "g-io-error-quark", unixconn.IOErrorEnum.NOT_SUPPORTED)


def test_peer_of_whom_not_all_is_known(door, monkeypatch, capsys):
    """What is not known is named so, with the reason."""
    monkeypatch.setattr(unixconn.UnixConnection, "get_peer_credentials", lambda _: Peer())
    with unixconn.listen(door):
        assert main(["peer", str(door)]) == 0
        told = names_of_facts(capsys.readouterr().out)
        assert told == {
            "pid": "unknown (not here)",
            "user": "4294967294",
            "group": "4294967294",
            "groups": "unknown (not here)",
            "label": r"system_u:\xff",
            "executable": "unknown (not here)",
            "alive": "unknown (not here)",
        }
        assert main(["peer", "--json", str(door)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["user"], told["group"], told["groups"], told["label"]) == (None, None, None, r"system_u:\xff")
        assert (told["executable"], told["alive"]) == (None, None)


def test_peer_that_has_ended(door):
    """The executable is that of a process that lives, and never that of a later one with the same pid."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(door))
    with listening:
        assert in_child(lambda: listening.listen() is None) == 0
        told = json.loads(run("peer", "--json", door).stdout)
    assert (told["executable"], told["alive"]) == (None, False)


def served_inside(door):
    """Serve a socket file here, and return what the command says of it here, both in this pid namespace."""
    with subprocess.Popen([sys.executable, "-c", SERVE.format(door=str(door))], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"\n"
            told = json.loads(run("peer", "--json", door).stdout)
        finally:
            process.kill()
    return process.pid, told


SERVE = """
import socket, time
s = socket.socket(socket.AF_UNIX)
s.bind({door!r})
s.listen()
print(flush=True)
time.sleep(600)
"""


@needs_root
def test_proc_of_another_pid_namespace(door):
    """S10: where /proc numbers the processes differently, the executable is that of the process all the same."""

    def inside():
        pid, told = served_inside(door)
        assert told["pid"] == pid < 100
        return told["executable"] == os.path.realpath("/proc/self/exe")

    namespaces.check(namespaces.in_pid_namespace(inside))


@needs_root
def test_peer_outside_of_the_pid_namespace(door):
    """S10: of a process that has no number here neither pid nor executable are told, nor those of another one."""

    def inside():
        libc = ctypes.CDLL(None)
        namespaces.unshare(namespaces.NEW_MOUNT)
        if libc.mount(b"none", b"/", None, namespaces.PRIVATE, None) or libc.mount(b"proc", b"/proc", b"proc", 0, None):
            os._exit(namespaces.NOT_PERMITTED)
        told = json.loads(run("peer", "--json", door).stdout)
        return (told["pid"], told["executable"], told["alive"]) == (None, None, True)

    with unixconn.listen(door):
        namespaces.check(namespaces.in_pid_namespace(inside))
