"""Other users, namespaces, and pidfds: for tests of who a process is."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

import pytest
from helpers import in_child, settle

NEW_PID, NEW_USER, NEW_MOUNT = 0x20000000, 0x10000000, 0x00020000
NOT_PERMITTED = 77
PRIVATE = 0x44000
"""MS_PRIVATE and MS_REC: what is mounted in this namespace is not there in others."""


def unshare(flags):
    """Enter new namespaces, or end this process with NOT_PERMITTED."""
    if ctypes.CDLL(None).unshare(flags):
        os._exit(NOT_PERMITTED)


def check(code):
    """Look at the exit code of a child that has called `unshare`."""
    if code == NOT_PERMITTED:
        pytest.skip("no such namespace can be made here")
    assert code == 0


def in_pid_namespace(function):
    """Run *function* in a child that is the first process of a new pid namespace; give the exit code."""

    def child():
        unshare(NEW_PID)
        os._exit(in_child(function))

    return in_child(child)


def hide_devices():
    """Have an empty /dev, as a bare chroot has."""
    unshare(NEW_MOUNT)
    libc = ctypes.CDLL(None)
    if libc.mount(b"none", b"/", None, PRIVATE, None) or libc.mount(b"none", b"/dev", b"tmpfs", 0, None):
        os._exit(NOT_PERMITTED)


def enter_user_namespace(uid_map, gid_map):
    """Be in a new user namespace, with these maps, each of the form "inside outside count"."""
    unshare(NEW_USER)
    # As bytes: who has become another user may not be able to load a codec any more.
    Path("/proc/self/setgroups").write_bytes(b"deny")
    Path("/proc/self/uid_map").write_bytes(uid_map.encode())
    Path("/proc/self/gid_map").write_bytes(gid_map.encode())


def become(user, groups=()):
    """Be *user*, in a group of the same number and in *groups*."""
    os.setgroups(groups)
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # Or the process's files in /proc, its maps of ids among them, would be the superuser's.
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)


def pid_of(pidfd):
    """Return the pid that a pidfd is of, -1 if the process has ended."""
    [line] = [
        line
        for line in Path(f"/proc/self/fdinfo/{pidfd.fileno()}").read_text(encoding="ascii").splitlines()
        if line.startswith("Pid:")
    ]
    return int(line.split()[1])


def end(pid):
    """Have a child ended, and wait until it is a zombie, with no thread left: qemu's user mode has one of its own."""
    os.kill(pid, signal.SIGKILL)
    assert settle(lambda: Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z")
    assert settle(lambda: os.listdir(f"/proc/{pid}/task") == [str(pid)])
