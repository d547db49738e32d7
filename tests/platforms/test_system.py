"""What differs between systems: as far as it can be told on one of them, from the declarations of all."""

from __future__ import annotations

import array
import errno
import fcntl
import importlib
import os
import select
import socket
import struct
import termios

import pytest
from helpers import open_descriptors

import unixconn
from unixconn._kernel.platform import SYSTEM, System, set_close_on_exec
from unixconn._kernel.wakeup import Wakeup

NAMES = [name for _, _, name in importlib.import_module("unixconn._abi").PLATFORMS]


def system(name):
    """Make what the package would have on the platform *name*."""
    module = importlib.import_module(f"unixconn._abi_{name}")
    return System(module.ffi, module.ffi.dlopen(None)), module.ffi


@pytest.mark.parametrize("name", NAMES)
def test_every_platform(name):
    """Each has flags that do not block, a name that Gio has, and an answer to each question."""
    found, _ = system(name)
    kin = name.partition("_")[0]
    assert found.send_flags & found.receive_flags & (0x40 if kin == "linux" else 0x80)
    expected = {
        "linux": "linux-ucred",
        "freebsd": "freebsd-cmsgcred",
        "kfreebsd": "freebsd-cmsgcred",
        "dragonfly": "freebsd-cmsgcred",
        "hurd": "freebsd-cmsgcred",
        "netbsd": "netbsd-unpcbid",
        "openbsd": "openbsd-sockpeercred",
        "macos": "apple-xucred",
        "solaris": "solaris-ucred",
    }
    assert found.native_name == expected[kin]
    assert found.has_credentials_messages == (kin not in ("openbsd", "macos"))
    assert found.attaches_credentials == (found.native_name in ("linux-ucred", "freebsd-cmsgcred"))
    assert found.several_in_one_send == (kin not in ("macos", "solaris"))
    assert found.closes_on_exec == (kin in ("linux", "freebsd", "netbsd", "openbsd"))
    assert found.knows_peers == (kin not in ("kfreebsd", "dragonfly", "hurd"))
    assert (found.credentials_option is not None) == (kin in ("linux", "netbsd", "solaris"))
    assert found.full_is_emsgsize == (kin in ("openbsd", "macos"))
    assert found.has_address_size == (kin not in ("linux", "solaris"))
    assert found.path_room == (108 if kin in ("linux", "solaris") else 104)
    assert found.unpack_address(found.pack_address(1, b"/a\0")) == (1, b"/a\0")
    assert found.unpack_address(b"") == (0, b"")
    if found.has_address_size:
        assert found.pack_address(1, b"/a\0") == b"\x05\x01/a\0"


def test_this_one():
    """The system that runs is the one of its entry."""
    assert SYSTEM.is_linux
    assert SYSTEM.native_name in unixconn.Credentials().to_string()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("linux", "linux-ucred:pid=1,uid=2,gid=3"),
        ("hurd", "freebsd-cmsgcred:pid=1,uid=2,gid=3"),
        ("macos", "apple-xucred:version=0,uid=2,gid=3"),
    ],
)
def test_description(name, text):
    """It is GLib's."""
    assert system(name)[0].describe((1, 2, 3)) == text
    assert system(name)[0].describe((1, 2**32 - 1, 3)) == text.replace("uid=2,", "")


@pytest.mark.parametrize("name", ["freebsd", "kfreebsd", "dragonfly", "hurd"])
def test_cmsgcred(name):
    """The pid, the effective uid and the gid are read, and nothing of one that is cut."""
    found, ffi = system(name)
    made = ffi.new("struct cmsgcred *", (11, 12, 13, 14, 2, [14, 15]))
    data = bytes(ffi.buffer(made))
    kind = found.credentials_type
    assert found.read_credentials(kind, data) == (11, 13, 14)
    assert len(data) == found.credentials.size == 84
    for size in range(len(data)):
        assert found.read_credentials(kind, data[:size]) is None
    assert found.read_credentials(1, data) is None


def test_sockcred2():
    """What FreeBSD 13 adds where the receiver asks for it is read, too."""
    found, ffi = system("freebsd")
    data = bytes(ffi.buffer(ffi.new("struct sockcred2 *", (0, 11, 12, 13, 14, 15, 1, [16]))))
    assert found.read_credentials(8, data + struct.pack("I", 17)) == (11, 13, 15)
    assert found.read_credentials(8, data[:-1]) is None


@pytest.mark.parametrize("groups", [0, 1, 5])
def test_sockcred(groups):
    """NetBSD's has as many groups as there are."""
    found, ffi = system("netbsd")
    data = bytes(ffi.buffer(ffi.new("struct sockcred *", (11, 12, 13, 14, 15, groups))))[:24]
    assert found.read_credentials(0x10, data + bytes(4 * groups)) == (11, 13, 15)
    assert found.read_credentials(0x10, data[:19]) is None


@pytest.mark.parametrize("name", ["openbsd", "macos"])
def test_no_credentials_messages(name):
    """Where there are none, nothing is taken for one."""
    found, _ = system(name)
    for kind in range(-2, 20):
        assert found.read_credentials(kind, bytes(84)) is None


def test_ucred_of_linux():
    """Only the exact length counts."""
    data = struct.pack("iII", 11, 12, 13)
    assert SYSTEM.read_credentials(2, data) == (11, 12, 13)
    for wrong in (data[:-1], data + b"\0", b""):
        assert SYSTEM.read_credentials(2, wrong) is None


def test_peer():
    """The kernel's answer, or None with the errno: a descriptor that is no socket has no peer, and no zeros."""
    one, other = socket.socketpair()
    with one, other:
        assert SYSTEM.peer(one.fileno()) == (os.getpid(), os.geteuid(), os.getegid())
    reader, writer = os.pipe()
    try:
        assert SYSTEM.peer(reader) is None
        assert SYSTEM._ffi.errno == errno.ENOTSOCK
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("name", ["freebsd", "netbsd", "openbsd", "macos"])
def test_peer_that_the_kernel_does_not_tell(name):
    """Each asks by its own option, which this kernel refuses: None, with the errno, and no structure of zeros."""
    found, ffi = system(name)
    one, other = socket.socketpair()
    with one, other:
        assert found.peer(one.fileno()) is None
        assert ffi.errno in (errno.EOPNOTSUPP, errno.ENOPROTOOPT, errno.EINVAL)


def test_close_on_exec_afterwards(null):
    """What other systems need after each receipt."""
    copy = os.dup(null)
    try:
        os.set_inheritable(copy, True)
        set_close_on_exec((copy,))
        assert not os.get_inheritable(copy)
    finally:
        os.close(copy)


def test_wakeup_by_a_pipe():
    """Where there is no eventfd: it can be set often, is readable until it is cleared, and closes both ends."""
    before = open_descriptors()
    made = Wakeup()
    made._make_pipe()
    poller = select.poll()
    poller.register(made.open(), select.POLLIN)
    assert not poller.poll(0)
    for _ in range(20_000):
        made.set()
    assert poller.poll(0)
    while poller.poll(0):
        made.clear()
    made.clear()
    made.set()
    assert poller.poll(0)
    assert len(open_descriptors()) == len(before) + 2
    made.close_unless([])
    assert open_descriptors() == before


def test_a_wakeup_that_nobody_clears():
    """Each time something new comes, for who is told by edges, however often it was set: a pipe has an end."""
    made = Wakeup()
    made._make_pipe()
    available = array.array("i", [0])
    for _ in range(20_000):
        before = available[0]
        made.set()
        fcntl.ioctl(made.open(), termios.FIONREAD, available)
        assert available[0] in (before + 8, 8)
