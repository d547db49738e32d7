"""``unixconn info``: the layer in use, and the features of this machine's kernel."""

from __future__ import annotations

import argparse
import errno
import os
import platform
import socket
import sys
from collections.abc import Callable

from unixconn import BACKEND, __version__
from unixconn._cli.common import Commands, Parser, add_command, output
from unixconn._kernel.native import lib

_LAYERS = {"api": "api (compiled)", "abi": "abi (plain Python)"}


def add(commands: Commands[Parser]) -> None:
    """Add this command to the parser."""
    about = "show the layer in use, and the features of this machine's kernel"
    text = "Show the layer in use, and try on a socket pair which options this machine's\nkernel has."
    add_command(commands, "info", _run, about, text, "", {})


def _run(_namespace: argparse.Namespace) -> int:
    print(describe(), file=output(), flush=True)
    return os.EX_OK


def describe() -> str:
    """
    Return version, layer, machine and kernel features as lines of text.

    They fit a terminal of 80 columns and 24 lines, even with the longest release name that a kernel can have.
    """
    lines = [
        ("unixconn", __version__),
        ("layer", _LAYERS[BACKEND]),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("platform", f"{sys.platform}, {platform.machine()}"),
        ("kernel", f"{os.uname().sysname} {os.uname().release}"),
    ]
    table = [f"{name:<10}{value}" for name, value in lines]
    table += ["", "Tried on a socket pair just now:"]
    known = [each for each in _FEATURES if hasattr(lib, each[0]) or each[0] == "abstract sockets"]
    outcomes = [(name, _outcome(probe), use) for name, use, probe in known]
    width = max(len(outcome) for _, outcome, _ in outcomes)
    table += [f"{name:<18}{outcome:<{width}}  {use}" for name, outcome, use in outcomes]
    return "\n".join(table)


def _outcome(probe: Callable[[socket.socket, socket.socket], None]) -> str:
    """Return "yes", or "no" with the reason."""
    one, other = socket.socketpair()
    with one, other:
        try:
            probe(one, other)
        except OSError as error:
            return f"no ({error.strerror})"
    return "yes"


def _passcred(one: socket.socket, other: socket.socket) -> None:
    other.setsockopt(socket.SOL_SOCKET, lib.SO_PASSCRED, 1)
    one.send(b"\0")
    _expect(other, lib.SCM_CREDENTIALS)


def _passpidfd(one: socket.socket, other: socket.socket) -> None:
    other.setsockopt(socket.SOL_SOCKET, lib.SO_PASSPIDFD, 1)
    one.send(b"\0")
    pidfd = int.from_bytes(_expect(other, lib.SCM_PIDFD), sys.byteorder, signed=True)
    if pidfd < 0:  # the kernel's -errno, such as -EMFILE
        raise OSError(-pidfd, os.strerror(-pidfd))
    os.close(pidfd)


def _passrights(one: socket.socket, other: socket.socket) -> None:
    other.setsockopt(socket.SOL_SOCKET, lib.SO_PASSRIGHTS, 0)
    try:
        socket.send_fds(one, [b"\0"], [other.fileno()])
    except PermissionError:
        return
    raise OSError(errno.EPROTO, "descriptors still pass")


def _peercred(one: socket.socket, _: socket.socket) -> None:
    one.getsockopt(socket.SOL_SOCKET, lib.SO_PEERCRED, 12)


def _peerpidfd(one: socket.socket, _: socket.socket) -> None:
    os.close(one.getsockopt(socket.SOL_SOCKET, lib.SO_PEERPIDFD))


def _peergroups(one: socket.socket, _: socket.socket) -> None:
    _ask_for_long_value(one, lib.SO_PEERGROUPS)


def _peersec(one: socket.socket, _: socket.socket) -> None:
    _ask_for_long_value(one, lib.SO_PEERSEC)


def _abstract(_one: socket.socket, _other: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        # For an empty name the kernel chooses a free abstract one (autobind, unix(7)).
        bound.bind("")
        if bytes(bound.getsockname())[:1] != b"\0":
            raise OSError(errno.EPROTO, "no name from bind")


def _expect(receiver: socket.socket, kind: int) -> bytes:
    """Receive a message and return the data of its control message of type *kind*."""
    for level, found, data in receiver.recvmsg(1, 256)[1]:
        if (level, found) == (socket.SOL_SOCKET, kind):
            return data
    raise OSError(errno.EPROTO, "no control message")


def _ask_for_long_value(asked: socket.socket, option: int) -> None:
    try:
        asked.getsockopt(socket.SOL_SOCKET, option, 1024)
    except OSError as error:
        # ERANGE: the kernel has an answer, but it is longer than getsockopt() of the standard library allows.
        if error.errno != errno.ERANGE:
            raise


_FEATURES = (
    ("SO_PASSCRED", "sender of a message", _passcred),
    ("SO_PASSPIDFD", "pidfd of the sender", _passpidfd),
    ("SO_PASSRIGHTS", "refusal of descriptors", _passrights),
    ("SO_PEERCRED", "peer: pid, uid, gid", _peercred),
    ("SO_PEERPIDFD", "peer: pidfd", _peerpidfd),
    ("SO_PEERGROUPS", "peer: other groups", _peergroups),
    ("SO_PEERSEC", "peer: security label", _peersec),
    ("abstract sockets", "names without a file", _abstract),
)
