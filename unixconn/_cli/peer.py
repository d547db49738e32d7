"""``unixconn peer``."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from unixconn._base.errors import Error
from unixconn._cli.common import PATIENCE, Commands, Parser, add_command, explained, output, printable
from unixconn._cli.users import group_name, named, user_name
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from unixconn._kernel.credentials import Credentials

T = TypeVar("T")

_TEXT = """\
Connect to the socket file PATH, and tell which process serves it, by what the
kernel says: its number, user, group, supplementary groups, security label and
executable, and whether it still lives.

It is the process that has called listen(), as it was then. That may have handed
the socket on: sockets that systemd listens on are its own, process 1.

What can not be told is "unknown", with the reason. The executable is that of the
process with this number, and told only if the one that serves lives still after
it was read; of other users' processes it is not readable.

The server sees a connection that is closed without a word.

examples:
  unixconn peer /run/dbus/system_bus_socket
  unixconn peer --json ./door\
"""


class _Unknown(NamedTuple):
    """In the place of what can not be told."""

    reason: str


class _Facts(NamedTuple):
    pid: int | _Unknown
    uid: int | _Unknown
    gid: int | _Unknown
    groups: list[int] | _Unknown
    label: str | _Unknown
    executable: str | _Unknown
    alive: bool | _Unknown


def add(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = add_command(commands, "peer", _run, "tell which process serves a socket", _TEXT, "[OPTIONS] PATH")
    parser.add_argument("path", metavar="PATH", help="the socket file")
    parser.add_argument("--json", action="store_true", help="print an object, null being what can not be told")


def _run(options: argparse.Namespace) -> int:
    try:
        with connect(options.path, Cancellable.with_timeout(PATIENCE)) as connection:
            facts = _look(connection.get_peer_credentials())
    except Error as error:
        raise explained(options.path, error) from None
    if options.json:
        print(json.dumps(_object(facts)), file=output(), flush=True)
    else:
        print("\n".join(f"{name:<12}{value}" for name, value in _lines(facts)), file=output(), flush=True)
    return os.EX_OK


def _look(credentials: Credentials) -> _Facts:
    pid = _ask(credentials.get_unix_pid)
    executable = pid if isinstance(pid, _Unknown) else _executable(pid)
    # Asked after that was read: only if it still lives, the number was its own meanwhile.
    alive = _ask(credentials.is_alive)
    if alive is False:
        executable = _Unknown("the process is gone")
    elif isinstance(alive, _Unknown) and isinstance(executable, str):
        executable = alive
    return _Facts(
        pid,
        _ask(credentials.get_unix_user),
        _ask(credentials.get_unix_group),
        _ask(credentials.get_groups),
        _ask(lambda: printable(credentials.get_security_label())),
        executable,
        alive,
    )


def _ask(question: Callable[[], T]) -> T | _Unknown:
    try:
        return question()
    except Error as error:
        return _Unknown(error.message)


def _executable(pid: int) -> str | _Unknown:
    try:
        return printable(os.readlink(f"/proc/{pid}/exe".encode()))
    except OSError as error:
        return _Unknown(f"not readable: {error.strerror}")


def _object(facts: _Facts) -> dict[str, object]:
    return {
        "pid": _value(facts.pid),
        "uid": _value(facts.uid),
        "user": _value(facts.uid, user_name),
        "gid": _value(facts.gid),
        "group": _value(facts.gid, group_name),
        "groups": _value(facts.groups, lambda groups: [{"gid": gid, "group": group_name(gid)} for gid in groups]),
        "label": _value(facts.label),
        "executable": _value(facts.executable),
        "alive": _value(facts.alive),
    }


def _value(value: T | _Unknown, describe: Callable[[T], object] = lambda value: value) -> object:
    return None if isinstance(value, _Unknown) else describe(value)


def _lines(facts: _Facts) -> list[tuple[str, str]]:
    return [
        ("pid", _text(facts.pid, str)),
        ("user", _text(facts.uid, lambda uid: named(uid, user_name(uid)))),
        ("group", _text(facts.gid, _group)),
        ("groups", _text(facts.groups, lambda groups: ", ".join(map(_group, groups)) or "none")),
        ("label", _text(facts.label, str)),
        ("executable", _text(facts.executable, str)),
        ("alive", _text(facts.alive, lambda alive: "yes" if alive else "no")),
    ]


def _text(value: T | _Unknown, describe: Callable[[T], str]) -> str:
    return f"unknown ({value.reason})" if isinstance(value, _Unknown) else describe(value)


def _group(gid: int) -> str:
    return named(gid, group_name(gid))
