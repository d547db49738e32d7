"""``unixconn peer``."""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from unixconn import Cancellable, Error, connect
from unixconn._cli.common import (
    CONNECT_TIMEOUT,
    NO_PERMISSION,
    NOBODY_LISTENS,
    NOT_THERE,
    OTHER_ERROR,
    Commands,
    Parser,
    add_command,
    command_error,
    decoded,
    group_name,
    output,
    path_argument,
    print_lines,
    socket_name,
    user_name,
    with_name,
)
from unixconn._cli.ending import Closer

if TYPE_CHECKING:
    from collections.abc import Callable

    from unixconn import Credentials, FileDescriptor

T = TypeVar("T")

_TEXT = """\
Connect to the socket file PATH, and print what the kernel knows about the
process that serves it: pid, user, group, supplementary groups, security label
and executable, and whether it is alive. PATH "@NAME" is an abstract name, and
"./@NAME" a file.

This is the process that called listen(), with the credentials that it had then.
It may have passed the socket on. For a socket of systemd's socket activation,
this is systemd, process 1.

Facts that cannot be determined are printed as "unknown", with the reason. The
executable needs Linux 6.5: the command checks by a pidfd that it belongs to
this process, and not to another one with the same pid. The executables of
other users' processes are often not readable.

The server sees a connection that is closed without any data.

examples:
  unixconn peer /run/dbus/system_bus_socket
  unixconn peer @/tmp/.X11-unix/X0
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
    codes = {**NOT_THERE, **NOBODY_LISTENS, **OTHER_ERROR, **NO_PERMISSION}
    parser = add_command(commands, "peer", _run, "show which process serves a socket", _TEXT, "[OPTIONS] PATH", codes)
    parser.add_argument("path", metavar="PATH", type=path_argument, help="the socket file, or @NAME")
    parser.add_argument("--json", action="store_true", help="print a JSON object, with null for each unknown fact")


def _run(namespace: argparse.Namespace) -> int:
    options = _Options(**vars(namespace))
    try:
        with Closer() as closer, ExitStack() as owned:
            connection = connect(socket_name(options.path), Cancellable.with_timeout(CONNECT_TIMEOUT))
            # The server may have sent something.
            owned.callback(closer.close, connection)
            facts = _facts_of(connection.get_peer_credentials())
    except Error as error:
        raise command_error(options.path, error) from None
    if options.json:
        print(json.dumps(_object(facts)), file=output(), flush=True)
    else:
        print_lines(*(f"{name:<12}{value}" for name, value in _lines(facts)))
    return os.EX_OK


def _facts_of(credentials: Credentials) -> _Facts:
    pid = _ask(credentials.get_unix_pid)
    executable = _executable(credentials)
    # This comes after the executable was read: if the process is still alive, no other process had its pid meanwhile.
    alive = _ask(credentials.is_alive)
    if alive is False:
        executable = _Unknown("the process has ended")
    return _Facts(
        pid,
        _ask(credentials.get_unix_user),
        _ask(credentials.get_unix_group),
        _ask(credentials.get_groups),
        _ask(lambda: decoded(credentials.get_security_label())),
        executable,
        alive,
    )


def _ask(question: Callable[[], T]) -> T | _Unknown:
    try:
        return question()
    except Error as error:
        return _Unknown(error.message)


def _executable(credentials: Credentials) -> str | _Unknown:
    try:
        with credentials.get_pidfd() as pidfd:
            pid = _pid_in_proc(pidfd)
        if pid <= 0:
            return _Unknown("the process is in a pid namespace that /proc does not show")
        return decoded(os.readlink(f"/proc/{pid}/exe".encode()))
    except Error as error:  # there is no pidfd
        return _Unknown(error.message)
    except OSError as error:
        return _Unknown(f"not readable: {error.strerror}")


def _pid_in_proc(pidfd: FileDescriptor) -> int:
    """
    Return the pid of a process as /proc numbers it: 0 if it does not show the process, -1 if the process has ended.

    /proc may be that of another pid namespace, where the pid in the credentials is another process's.
    """
    information = Path(f"/proc/self/fdinfo/{pidfd.fileno()}").read_text(encoding="ascii")
    return next((int(line.split()[1]) for line in information.splitlines() if line.startswith("Pid:")), 0)


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
