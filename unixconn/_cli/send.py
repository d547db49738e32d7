"""``unixconn send``."""

from __future__ import annotations

import argparse
import errno
import math
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from unixconn._base.errors import Error, NotFoundError, PeerClosedError, PeerResetError, RefusedError
from unixconn._cli import fdnames
from unixconn._cli.common import PATIENCE, CommandError, Commands, Parser, add_command, add_verbose, explained, progress
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.client import connect
from unixconn._kernel.file_descriptor import FileDescriptor

if TYPE_CHECKING:
    from unixconn._gio.connection import UnixConnection

_TEXT = """\
Send open files to who listens on the socket file PATH: those of FILE, opened
for reading, "-" being standard input, then the descriptors that --fd names; with
none of them standard input. This process's credentials go with them.

The receiver gets descriptors of the same open files, and may use them as this
process could, whatever its own rights are. They are named after their files. It
is done when the kernel has them: what the receiver makes of them, and whether it
takes them, is told there. Options stand before PATH, or after the last FILE.

examples:
  unixconn send ./door LICENSE
  date | unixconn send ./door
  unixconn send --wait 10 ./door --fd 5 5<LICENSE\
"""
_AT_ONCE = 64
"""Descriptors in a message: their names must be in one piece, and a stream takes long messages in several."""
_PAUSE = 0.05
_STDIN = 0


class _Source(NamedTuple):
    descriptor: FileDescriptor
    name: str


def add(commands: Commands[Parser]) -> None:
    """Add the command."""
    usage = "[OPTIONS] PATH [FILE ...] [--fd N ...]"
    parser = add_command(commands, "send", _run, "send open files to who listens", _TEXT, usage)
    parser.add_argument("path", metavar="PATH", help="the socket file of who listens")
    parser.add_argument(
        "files", metavar="FILE", nargs="*", default=[], help="a file to open and send, - for standard input"
    )
    parser.add_argument(
        "--fd",
        metavar="N",
        type=_number,
        action="append",
        default=[],
        help="send this descriptor, which the shell has opened; may be repeated",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--write",
        dest="flags",
        action="store_const",
        const=os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
        default=os.O_RDONLY,
        help="open each FILE for writing instead, emptied or new",
    )
    how.add_argument(
        "--append",
        dest="flags",
        action="store_const",
        const=os.O_WRONLY | os.O_CREAT | os.O_APPEND,
        help="open each FILE for writing at its end instead",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="wait so long for somebody to listen, inf for ever; without it nobody there is an error at once",
    )
    add_verbose(parser)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a descriptor")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _run(options: argparse.Namespace) -> int:
    with ExitStack() as owned:
        sources = _open_all(options, owned)
        try:
            connection = owned.enter_context(_connect(options))
            for place in range(0, len(sources), _AT_ONCE):
                _send(connection, sources[place : place + _AT_ONCE])
        except (PeerClosedError, PeerResetError):
            text = f"{options.path}: closed by who listens, as is done to who is not allowed to send"
            raise CommandError(text, os.EX_IOERR) from None
        except Error as error:
            raise explained(options.path, error) from None
        progress(options)(f"sent {', '.join(each.name for each in sources)} to {options.path}")
    return os.EX_OK


def _open_all(options: argparse.Namespace, owned: ExitStack) -> list[_Source]:
    files = options.files if options.files or options.fd else ["-"]
    # First of all, while nothing that is opened here, duplicates too, can have the number of one that is closed.
    for number in [_STDIN] * ("-" in files) + options.fd:
        _check(number)
    given = [_given(number, f"fd{number}", owned) for number in options.fd]
    return [_opened(file, options.flags, owned) for file in files] + given


def _check(number: int) -> None:
    try:
        os.fstat(number)
    except OSError as error:
        raise CommandError(f"descriptor {number}: {error.strerror}", os.EX_NOINPUT) from None
    except OverflowError:
        raise CommandError(f"descriptor {number}: no descriptor has such a number", os.EX_NOINPUT) from None


def _given(number: int, name: str, owned: ExitStack) -> _Source:
    try:
        return _Source(owned.enter_context(FileDescriptor(os.dup(number))), name)
    except OSError as error:
        raise CommandError(f"descriptor {number}: {error.strerror}", os.EX_OSERR) from None


def _opened(file: str, flags: int, owned: ExitStack) -> _Source:
    if file == "-":
        return _given(_STDIN, "stdin", owned)
    try:
        # As open() of Python and the shell do: what the umask leaves.
        descriptor = FileDescriptor(os.open(file, flags, 0o666))
    except OSError as error:
        code = os.EX_NOINPUT if flags == os.O_RDONLY else os.EX_CANTCREAT
        if error.errno == errno.EMFILE:
            code = os.EX_OSERR
        raise CommandError(f"{file}: {error.strerror}", code) from None
    return _Source(owned.enter_context(descriptor), os.path.basename(file))  # noqa: PTH119 - of whatever was typed


def _connect(options: argparse.Namespace) -> UnixConnection:
    told = False
    end = time.monotonic() + options.wait
    while True:
        left = max(end - time.monotonic(), _PAUSE) if options.wait else PATIENCE
        try:
            return connect(options.path, Cancellable.with_timeout(left))
        except (NotFoundError, RefusedError):
            if time.monotonic() >= end:
                raise
        if not told:
            progress(options)(f"waiting for somebody to listen on {options.path} ...")
            told = True
        time.sleep(_PAUSE)


def _send(connection: UnixConnection, sources: list[_Source]) -> None:
    names = fdnames.joined([each.name for each in sources])
    connection.send_message(names, [each.descriptor for each in sources], credentials=True)
