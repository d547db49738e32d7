"""Functions that the commands share: exit codes, output, signals, users and groups, names of descriptors."""

from __future__ import annotations

import argparse
import errno
import grp
import os
import pwd
import signal
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from unixconn import Error, IOCondition, IOErrorEnum, Socket
from unixconn._gio.socket_source import SocketSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

# --- options and exit codes ------------------------------------------------------------------------------------------

EXIT_CODES = """\
exit codes (64 to 77 as in sysexits.h):
  0    success
  1    the reader of the output has closed it, or "unixconn demo" has failed
  64   wrong options or arguments
  66   a file, descriptor or socket does not exist, or cannot be read
  69   nobody listens on the socket, the listener accepts no connections, or
       PyGObject is missing (demo --peer gio)
  71   another system error
  73   a file or socket cannot be created
  74   reading or writing failed
  77   permission denied
  130  interrupted by Ctrl-C\
"""

INTERRUPTED = 130
CONNECT_TIMEOUT = 5.0
"""Seconds. A server whose queue of connections is full may never accept this one."""


class CommandError(Exception):
    """Ends a command: `main` prints *text* on standard error, and returns the exit code *code*."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Parser(argparse.ArgumentParser):
    """An argument parser that exits with EX_USAGE of sysexits.h, where argparse exits with 2."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and *message* on standard error, and exit."""
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: error: {message}\n")


Commands = argparse._SubParsersAction


def add_command(
    commands: Commands[Parser], name: str, run: Callable[[argparse.Namespace], int], about: str, text: str, usage: str
) -> Parser:
    """
    Add the command *name* to the parser, and return the command's own parser.

    *run* gets the parsed options, and returns the exit code. *about* describes the command in the list of commands,
    *text* in its own manual, and *usage* shows its arguments.
    """
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
    """Add the option ``--verbose``, whose value `progress` takes."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="report each step, even if standard error is not a terminal"
    )


_EXIT_CODES_OF_ERRORS = {
    IOErrorEnum.NOT_FOUND: os.EX_NOINPUT,
    IOErrorEnum.CONNECTION_REFUSED: os.EX_UNAVAILABLE,
    IOErrorEnum.TIMED_OUT: os.EX_UNAVAILABLE,
    IOErrorEnum.PERMISSION_DENIED: os.EX_NOPERM,
    IOErrorEnum.ADDRESS_IN_USE: os.EX_CANTCREAT,
    IOErrorEnum.FILENAME_TOO_LONG: os.EX_USAGE,
    IOErrorEnum.INVALID_FILENAME: os.EX_USAGE,
}


def command_error(subject: str, error: Error) -> CommandError:
    """Return the CommandError for the library's *error* and its notes; its text begins with *subject*."""
    notes = "".join(f"\n{note}" for note in error.__notes__)
    code = _EXIT_CODES_OF_ERRORS.get(IOErrorEnum(error.code), os.EX_OSERR)
    return CommandError(f"{subject}: {error.message}{notes}", code)


# --- output ----------------------------------------------------------------------------------------------------------


def output() -> TextIO:
    """Return standard output. Raises OSError if it is closed, as a write would."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdout


def say(text: str) -> None:
    """Print a message on standard error. A failure is ignored, as no command's result is printed there."""
    if sys.stderr is None:  # closed; print() would take standard output instead
        return
    try:
        print(f"unixconn: {text}", file=sys.stderr, flush=True)
    except OSError:
        # Python flushes it once more at exit, and a failure there would change the exit code.
        sys.stderr = None


def progress(verbose: bool) -> Callable[[str], None]:
    """Return the function that reports a step: `say` if *verbose* or on a terminal, otherwise one that does nothing."""
    watched = verbose or (sys.stderr is not None and sys.stderr.isatty())
    return say if watched else lambda _text: None


def printable(name: bytes) -> str:
    """Return *name*, such as a file name, as text, with a backslash escape for each byte that is not UTF-8."""
    return name.decode("utf-8", "backslashreplace")


# --- signals ---------------------------------------------------------------------------------------------------------

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def exit_on_signals() -> None:
    """
    Make SIGTERM and SIGHUP raise SystemExit, so that context managers remove what the command has created.

    A signal that is ignored stays ignored: nohup(1) ignores SIGHUP.
    """

    def exit_with_signal(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    ignored = _ignored_signals()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if not ignored >> (number - 1) & 1:
            signal.signal(number, exit_with_signal)


def _ignored_signals() -> int:
    """Return the kernel's mask of ignored signals. PyPy's signal.getsignal() does not ask the kernel."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))


@contextmanager
def block_signals() -> Iterator[set[int]]:
    """
    Block the signals that end a command, and yield the previous signal mask.

    Without this, a signal between bind(2) and the store of its result would leave the socket file behind.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def unblock_signals(before: set[int]) -> Iterator[None]:
    """Unblock the signals inside `block_signals`: restore the previous signal mask, *before*, for the block."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)


@contextmanager
def wake_on_signals() -> Iterator[None]:
    """
    Make every signal wake the default main context from its wait.

    Python runs a signal handler between two bytecodes. If a signal arrives after the last bytecode before the system
    call that waits, its handler runs only when something else ends that call. Raises OSError if there are too many
    open descriptors.
    """
    reader, writer = socket.socketpair()
    with writer, Socket.new_from_fd(reader.detach()) as woken:
        writer.setblocking(False)
        source = SocketSource(woken, IOCondition.IN, None)
        # One wake-up is enough: the exception raised by the signal handler ends the command.
        source.set_callback(lambda *_: False)
        source.attach()
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            source.destroy()


# --- users and groups ------------------------------------------------------------------------------------------------

_HIGHEST_UID = 2**32 - 2
"""The highest uid. The next number, which the kernel reads as -1, means no user."""


def user_name(uid: int) -> str | None:
    """Return the name of a user, None if the user has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def group_name(gid: int) -> str | None:
    """Return the name of a group, None if the group has no name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def uid_of(user: str) -> int:
    """Return the uid of *user*, a name or a number. Raises ValueError for an unknown name, or too large a number."""
    if user.isdecimal():
        if int(user) > _HIGHEST_UID:
            raise ValueError(f"uid {user} is out of range: the highest is {_HIGHEST_UID}")
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"unknown user {user!r}: expected the name of a user, or a uid") from None


def with_name(number: int, name: str | None) -> str:
    """Return a uid or gid as text, with its name if it has one: ``root (0)``."""
    return f"{name} ({number})" if name is not None else str(number)


# --- names of descriptors --------------------------------------------------------------------------------------------
# The data of a message names its descriptors, in the form of LISTEN_FDNAMES: joined by colons. UnixConnection.send_fds
# and most other senders put a single NUL there, and name nothing.

UNKNOWN_NAME = "unknown"
"""systemd's own name for a descriptor that has none."""
_LONGEST_NAME = 255


def clean_name(name: str) -> str:
    """Return *name* as sd_listen_fds_with_names(3) allows it: at most 255 printable ASCII characters, and no colon."""
    allowed = (each if " " <= each <= "~" and each != ":" else "_" for each in name[:_LONGEST_NAME])
    return "".join(allowed) or UNKNOWN_NAME


def join_names(names: Sequence[str]) -> bytes:
    """Return the data of a message whose descriptors have *names*."""
    return ":".join(map(clean_name, names)).encode("ascii")


def split_names(data: bytes, count: int) -> list[str]:
    """Return the names of *count* descriptors from their message's *data*; "unknown" for each if these are no names."""
    names = data.strip(b"\0").decode("ascii", "replace").split(":")
    return [clean_name(name) for name in names] if len(names) == count else [UNKNOWN_NAME] * count
