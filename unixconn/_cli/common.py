"""What the commands share: how they end, and what they say on the way."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

from unixconn._base.errors import Error, IOErrorEnum

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_CODES = """\
exit codes, those of sysexits.h:
  0    done
  1    who reads the output has enough
  64   wrong options or arguments
  66   a file, descriptor or socket to be used is not there, or not readable
  69   nobody listens there, or takes connections
  71   the system refuses something else
  73   a file or socket can not be made
  74   reading or writing failed
  77   it is not permitted
  130  ended by Ctrl-C\
"""

INTERRUPTED = 130
PATIENCE = 5.0
"""Seconds that a server has to take a connection: one that has too many waiting may never do so."""


class CommandError(Exception):
    """A command can not go on; the text says why, and *code* is the exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Parser(argparse.ArgumentParser):
    """Ends with the code of sysexits.h for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and *message*, and end."""
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: error: {message}\n")


Commands = argparse._SubParsersAction


def add_command(
    commands: Commands[Parser], name: str, run: Callable[[argparse.Namespace], int], about: str, text: str, usage: str
) -> Parser:
    """Add the command *name*, which *run* runs; *about* is its line in the list, *text* the manual."""
    parser = commands.add_parser(
        name,
        help=about,
        usage=f"unixconn {name} {usage}".rstrip(),
        description=text,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_verbose(parser: Parser) -> None:
    """Add the option that `progress` looks for."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="tell of each step also where standard error is no terminal"
    )


def progress(options: argparse.Namespace) -> Callable[[str], None]:
    """Give what tells of a step, on standard error if somebody watches."""
    watched = options.verbose or (sys.stderr is not None and sys.stderr.isatty())
    return say if watched else lambda _text: None


def output() -> TextIO:
    """Give standard output. Raises OSError where it is closed, as a write to it would."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdout


def printable(name: bytes) -> str:
    """Give a file's name or the like as text that can be printed, whatever its bytes are."""
    return name.decode("utf-8", "backslashreplace")


def say(text: str) -> None:
    """Tell something on standard error, if anybody can be told: it is never what a command is for."""
    if sys.stderr is None:  # closed; print() would take standard output instead
        return
    try:
        print(f"unixconn: {text}", file=sys.stderr, flush=True)
    except OSError:
        # Python would try once more at the end, and make the failure the exit code.
        sys.stderr = None


_CODES = {
    IOErrorEnum.NOT_FOUND: os.EX_NOINPUT,
    IOErrorEnum.CONNECTION_REFUSED: os.EX_UNAVAILABLE,
    IOErrorEnum.TIMED_OUT: os.EX_UNAVAILABLE,
    IOErrorEnum.PERMISSION_DENIED: os.EX_NOPERM,
    IOErrorEnum.ADDRESS_IN_USE: os.EX_CANTCREAT,
    IOErrorEnum.FILENAME_TOO_LONG: os.EX_USAGE,
    IOErrorEnum.INVALID_FILENAME: os.EX_USAGE,
}


def explained(subject: str, error: Error) -> CommandError:
    """Make the error for the library's *error* about *subject*."""
    notes = "".join(f"\n{note}" for note in error.__notes__)
    return CommandError(f"{subject}: {error.message}{notes}", _CODES.get(IOErrorEnum(error.code), os.EX_OSERR))
