"""``unixconn send``."""

from __future__ import annotations

import argparse
import errno
import math
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from unixconn import (
    Cancellable,
    Error,
    FileDescriptor,
    NotFoundError,
    PeerClosedError,
    PeerResetError,
    RefusedError,
    connect,
)
from unixconn._cli.common import (
    CANNOT_CREATE,
    CONNECT_TIMEOUT,
    NO_PERMISSION,
    NOBODY_LISTENS,
    NOT_THERE,
    OTHER_ERROR,
    CommandError,
    Commands,
    Parser,
    add_command,
    add_verbose,
    command_error,
    join_names,
    new_descriptor,
    path_argument,
    progress,
    socket_name,
    user_argument,
)
from unixconn._cli.ending import Closer

if TYPE_CHECKING:
    from collections.abc import Callable

    from unixconn import UnixConnection

_TEXT = """\
Send open files to the receiver that listens on the socket file PATH: each
FILE, opened for reading ("-" is standard input), then the descriptors that
--fd names. If neither is given, send standard input. The credentials of this
process are sent, too. PATH "@NAME" is an abstract name, and "./@NAME" a file.

The receiver gets descriptors of the same open files, named after these. It may
use them as this process could, whatever its own permissions are. The command
ends when the kernel has taken the descriptors. Whether the receiver accepts
them, only the receiver reports.

In a folder where others may create files, such as /tmp, anybody can listen on
PATH first. There, name the user who has to listen by --to-user. If another
one does, nothing is sent, and the exit code is 77.

Options stand before PATH, or after the last FILE.

examples:
  unixconn send ./door LICENSE
  date | unixconn send ./door
  unixconn send --to-user root /tmp/door LICENSE
  unixconn send --wait 10 ./door --fd 5 5<LICENSE\
"""
_MOST_IN_A_MESSAGE = 64
"""The most descriptors. The receiver must get all their names at once, and a stream may split long data."""
_RETRY_INTERVAL = 0.05
"""Seconds."""
_STDIN = 0


class _Options(argparse.Namespace):
    """The options of this command."""

    path: str
    to_uid: int | None
    files: list[str]
    fd: list[int]
    flags: int
    wait: float
    verbose: bool


class _NamedDescriptor(NamedTuple):
    descriptor: FileDescriptor
    name: str


def add(commands: Commands[Parser]) -> None:
    """Add this command to the parser."""
    usage = "[OPTIONS] PATH [FILE ...] [--fd N ...]"
    codes = {**NOT_THERE, **NOBODY_LISTENS, **OTHER_ERROR, **CANNOT_CREATE, **NO_PERMISSION}
    parser = add_command(commands, "send", _run, "send open files to a process that receives", _TEXT, usage, codes)
    parser.order = "options stand before PATH, or after the last FILE"
    about = "the socket file that the receiver listens on, or @NAME"
    parser.add_argument("path", metavar="PATH", type=path_argument, help=about)
    parser.add_argument(
        "files", metavar="FILE", nargs="*", default=[], help="a file to open and send, or - for standard input"
    )
    parser.add_argument(
        "--fd",
        metavar="N",
        type=_fd,
        action="append",
        default=[],
        help="send descriptor N, which the shell has opened; may be repeated",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--write",
        dest="flags",
        action="store_const",
        const=os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
        default=os.O_RDONLY,
        help="open each FILE for writing instead: create or empty it",
    )
    mode.add_argument(
        "--append",
        dest="flags",
        action="store_const",
        const=os.O_WRONLY | os.O_CREAT | os.O_APPEND,
        help="open each FILE for writing at its end instead: create it if needed",
    )
    parser.add_argument(
        "--to-uid",
        "--to-user",
        metavar="USER",
        type=user_argument,
        help="send only if this user listens, a name or a uid. It is compared with the credentials that the listening "
        "process had when it called listen(): for a socket of systemd's socket activation, these are root's",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="wait up to SECONDS for a receiver to listen, or inf for any time (default: 0)",
    )
    add_verbose(parser)


def _fd(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"invalid file descriptor {text!r}: expected a number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"invalid number of seconds {text!r}: expected 0 or more, or inf")
    return seconds


def _run(namespace: argparse.Namespace) -> int:
    options = _Options(**vars(namespace))
    report = progress(options.verbose)
    with Closer() as closer, ExitStack() as owned:
        sources = _open_all(options, owned)
        try:
            connection = _connect(options, report)
            # The receiver may have sent something, too.
            owned.callback(closer.close, connection)
            for place in range(0, len(sources), _MOST_IN_A_MESSAGE):
                _send(connection, sources[place : place + _MOST_IN_A_MESSAGE])
        except (PeerClosedError, PeerResetError):
            text = f"{options.path}: closed by the receiver, which may not allow this user; see its --allow-uid"
            raise CommandError(text, os.EX_IOERR) from None
        except Error as error:
            raise command_error(options.path, error) from None
        report(f"sent {', '.join(each.name for each in sources)} to {options.path}")
    return os.EX_OK


def _open_all(options: _Options, owned: ExitStack) -> list[_NamedDescriptor]:
    files = options.files if options.files or options.fd else ["-"]
    # Check this before anything is opened or duplicated, as that could take the number of a closed descriptor.
    for number in [_STDIN] * ("-" in files) + options.fd:
        _check_open(number)
    duplicates = [_duplicate(number, f"fd{number}", owned) for number in options.fd]
    return [_open(file, options.flags, owned) for file in files] + duplicates


def _check_open(number: int) -> None:
    try:
        os.fstat(number)
    except OSError as error:
        raise CommandError(f"descriptor {number}: {error.strerror}", os.EX_NOINPUT) from None
    except OverflowError:
        raise CommandError(f"descriptor {number}: the number is too large for a descriptor", os.EX_NOINPUT) from None


def _duplicate(number: int, name: str, owned: ExitStack) -> _NamedDescriptor:
    try:
        return _NamedDescriptor(owned.enter_context(new_descriptor(os.dup, number)), name)
    except OSError as error:
        raise CommandError(f"descriptor {number}: {error.strerror}", os.EX_OSERR) from None


def _open(file: str, flags: int, owned: ExitStack) -> _NamedDescriptor:
    if file == "-":
        return _duplicate(_STDIN, "stdin", owned)
    try:
        # The umask applies to this mode, as with open() and the shell's >.
        descriptor = new_descriptor(os.open, file, flags, 0o666)
    except OSError as error:
        code = os.EX_NOINPUT if flags == os.O_RDONLY else os.EX_CANTCREAT
        if error.errno == errno.EMFILE:
            code = os.EX_OSERR
        raise CommandError(f"{file}: {error.strerror}", code) from None
    name = os.path.basename(file)  # noqa: PTH119 - pathlib would drop a slash at the end
    return _NamedDescriptor(owned.enter_context(descriptor), name)


def _connect(options: _Options, report: Callable[[str], None]) -> UnixConnection:
    """Connect to the receiver. If none listens, keep trying for the seconds of ``--wait``."""
    reported = False
    end = time.monotonic() + options.wait
    while True:
        left = max(end - time.monotonic(), _RETRY_INTERVAL) if options.wait else CONNECT_TIMEOUT
        try:
            return connect(socket_name(options.path), Cancellable.with_timeout(left), peer_uid=options.to_uid)
        except (NotFoundError, RefusedError):
            if time.monotonic() >= end:
                raise
        if not reported:
            report(f"waiting for a receiver on {options.path} ...")
            reported = True
        time.sleep(_RETRY_INTERVAL)


def _send(connection: UnixConnection, sources: list[_NamedDescriptor]) -> None:
    names = join_names([each.name for each in sources])
    connection.send_message(names, [each.descriptor for each in sources], credentials=True)
