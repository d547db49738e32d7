"""``unixconn peer``."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from unixconn import Cancellable, Error, connect
from unixconn._cli.common import (
    CONNECT_TIMEOUT,
    Commands,
    Parser,
    add_command,
    command_error,
    group_name,
    output,
    printable,
    user_name,
    with_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from unixconn import Credentials

T = TypeVar("T")

_TEXT = """\
Connect to the socket file PATH, and print which process serves it, according to
the kernel: its pid, user, group, supplementary groups, security label and
executable, and whether it is still alive.

This is the process that called listen(), with the credentials that it had then.
It may have passed the socket on since: for a socket of systemd's socket
activation, this is systemd, process 1.

Facts that cannot be determined are printed as "unknown", with the reason. The
executable is that of the process with this pid. It is printed only if the
process was alive after it was read, and is often not readable for processes of
other users.

The server sees a connection that is closed without any data.

examples:
  unixconn peer /run/dbus/system_bus_socket
  unixconn peer --json ./door\
"""


class _Options(argparse.Namespace):
    """The options of this command."""

    path: str
    json: bool


class _Unknown(NamedTuple):
    """The value of a fact that cannot be determined."""

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
    """Add this command to the parser."""
    parser = add_command(commands, "peer", _run, "show which process serves a socket", _TEXT, "[OPTIONS] PATH")
    parser.add_argument("path", metavar="PATH", help="the socket file")
    parser.add_argument("--json", action="store_true", help="print a JSON object, with null for each unknown fact")


def _run(namespace: argparse.Namespace) -> int:
    options = _Options(**vars(namespace))
    try:
        with connect(options.path, Cancellable.with_timeout(CONNECT_TIMEOUT)) as connection:
            facts = _facts_of(connection.get_peer_credentials())
    except Error as error:
        raise command_error(options.path, error) from None
    if options.json:
        print(json.dumps(_object(facts)), file=output(), flush=True)
    else:
        print("\n".join(f"{name:<12}{value}" for name, value in _lines(facts)), file=output(), flush=True)
    return os.EX_OK


def _facts_of(credentials: Credentials) -> _Facts:
    pid = _ask(credentials.get_unix_pid)
    executable = pid if isinstance(pid, _Unknown) else _executable(pid)
    # This comes after the executable was read: if the process is still alive, no other process had its pid meanwhile.
    alive = _ask(credentials.is_alive)
    if alive is False:
        executable = _Unknown("the process has ended")
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
        ("user", _text(facts.uid, lambda uid: with_name(uid, user_name(uid)))),
        ("group", _text(facts.gid, _group)),
        ("groups", _text(facts.groups, lambda groups: ", ".join(map(_group, groups)) or "none")),
        ("label", _text(facts.label, str)),
        ("executable", _text(facts.executable, str)),
        ("alive", _text(facts.alive, lambda alive: "yes" if alive else "no")),
    ]


def _text(value: T | _Unknown, describe: Callable[[T], str]) -> str:
    return f"unknown ({value.reason})" if isinstance(value, _Unknown) else describe(value)


def _group(gid: int) -> str:
    return with_name(gid, group_name(gid))
