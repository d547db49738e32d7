"""Functions that the commands share: exit codes, output, users and groups, names of descriptors."""

from __future__ import annotations

import _socket as socket
import argparse
import errno
import grp
import os
import pwd
import sys
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from unixconn import Error, FileDescriptor, IOErrorEnum
from unixconn._kernel.connect import BINDING, NO_SOCKET
from unixconn._kernel.descriptors import adopt
from unixconn._kernel.sockets import SocketType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# --- descriptors -----------------------------------------------------------------------------------------------------


def new_descriptor(create: Callable[..., int], *arguments: Any) -> FileDescriptor:
    """Call *create*, and return the owner of the descriptor that it returns. The owner exists before the call."""
    made = FileDescriptor._empty()
    adopt(made._owned, create, *arguments)
    return made


def placeholder() -> FileDescriptor:
    """Make a descriptor that keeps a number for another one. It is no file: a bare chroot has not even /dev/null."""
    return new_descriptor(lambda: SocketType(socket.AF_UNIX).detach())


# --- options and exit codes ------------------------------------------------------------------------------------------

_EXIT_CODES = {
    os.EX_OK: "success",
    1: "the reader of the output has closed it",
    os.EX_USAGE: "wrong options or arguments",
    os.EX_IOERR: "reading or writing failed",
    130: "ended by SIGINT, as by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP",
}
"""Those of all commands, for their manuals."""
NOT_THERE = {os.EX_NOINPUT: "a file, descriptor or socket does not exist, or cannot be read"}
NOBODY_LISTENS = {os.EX_UNAVAILABLE: "nobody listens on the socket, or the listener accepts no connections"}
CANNOT_CREATE = {os.EX_CANTCREAT: "a file or socket cannot be created"}
OTHER_ERROR = {os.EX_OSERR: "another system error"}
NO_PERMISSION = {os.EX_NOPERM: "permission denied"}

INTERRUPTED = 130
CONNECT_TIMEOUT = 5.0
"""Seconds. A server whose queue of connections is full may never accept this one."""


class CommandError(Exception):
    """Ends a command: `main` prints *text*, then each of *notes*, on standard error, and returns *code*."""

    def __init__(self, text: str, code: int, notes: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.code = code
        self.notes = notes


class Parser(argparse.ArgumentParser):
    """An argument parser that exits with EX_USAGE of sysexits.h, where argparse exits with 2."""

    order = ""
    """What a user may have got wrong who has passed too many arguments."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and *message* on standard error, and exit."""
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: error: {escaped(message)}\n")


Commands = argparse._SubParsersAction


def add_command(
    commands: Commands[Parser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    about: str,
    text: str,
    usage: str,
    codes: Mapping[int, str],
) -> Parser:
    """
    Add the command *name* to the parser, and return the command's own parser.

    *run* gets the parsed options, and returns the exit code. *about* describes the command in the list of commands,
    *text* in its own manual, and *usage* shows its arguments. *codes* are its exit codes beside those of all commands.
    """
    parser = commands.add_parser(
        name,
        help=about,
        usage=f"unixconn {name} {usage}".rstrip(),
        description=text,
        epilog=_manual_of_codes({**_EXIT_CODES, **codes}),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def _manual_of_codes(codes: Mapping[int, str]) -> str:
    lines = (f"  {code:<5}{text}" for code, text in sorted(codes.items()))
    return "\n".join(["exit codes (64 to 77 as in sysexits.h):", *lines])


def add_verbose(parser: Parser) -> None:
    """Add the option ``--verbose``, whose value `progress` takes."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="report each step, even if standard error is not a terminal"
    )


def path_argument(text: str) -> str:
    """Return *text*, the argument PATH: its type. Raises ArgumentTypeError for an abstract name without characters."""
    if text == "@":
        raise argparse.ArgumentTypeError("there is no abstract name after the @; a file of this name is ./@")
    return text


def socket_name(path: str) -> str:
    """Return what `connect` and `listen` take for the argument *path*, where "@name" is an abstract name."""
    return f"\0{path[1:]}" if path.startswith("@") else path


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
    code = _EXIT_CODES_OF_ERRORS.get(IOErrorEnum(error.code), os.EX_OSERR)
    text = error.message.replace(BINDING, "Could not listen: ")  # without Gio's name for a class
    if NO_SOCKET in error.__notes__:
        return CommandError(f"{subject}: not a socket", code)
    return CommandError(f"{subject}: {text}", code, error.__notes__)


# --- output ----------------------------------------------------------------------------------------------------------


def output() -> TextIO:
    """Return standard output. Raises OSError if it is closed, as a write would."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdout


def escaped(text: str) -> str:
    """
    Return *text* with a backslash escape for each character that is not printable, as repr() has.

    A name that somebody else has chosen could otherwise control the terminal, or forge a line: by a control character,
    a line separator, or a character that changes the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def print_lines(*lines: str) -> None:
    """Print each of *lines*, `escaped`, on standard output. Raises OSError if that fails."""
    file = output()
    encoding = file.encoding or "utf-8"
    # The file would refuse a character that its encoding lacks.
    text = "\n".join(map(escaped, lines)).encode(encoding, "backslashreplace").decode(encoding)
    print(text, file=file, flush=True)


def say(*lines: str) -> None:
    """Print a message on standard error, `escaped`. A failure is ignored, as no command's result is printed there."""
    if sys.stderr is None:  # closed; print() would take standard output instead
        return
    try:
        print("unixconn:", "\n".join(map(escaped, lines)), file=sys.stderr, flush=True)
    except OSError:
        # Python flushes it once more at exit, and a failure there would change the exit code.
        sys.stderr = None


def progress(verbose: bool) -> Callable[[str], None]:
    """Return the function that reports a step: `say` if *verbose* or on a terminal, otherwise one that does nothing."""
    watched = verbose or (sys.stderr is not None and sys.stderr.isatty())
    return say if watched else lambda _text: None


def decoded(name: bytes) -> str:
    """Return *name*, such as a file name, as text, with a backslash escape for each byte that is not UTF-8."""
    return name.decode("utf-8", "backslashreplace")


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


def user_argument(user: str) -> int:
    """
    Return the uid of *user*, a name or a number: the type of an argument.

    Raises ArgumentTypeError for an unknown name, or too large a number.
    """
    if user.isdecimal():
        if int(user) > _HIGHEST_UID:
            raise argparse.ArgumentTypeError(f"uid {user} is out of range: the highest is {_HIGHEST_UID}")
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise argparse.ArgumentTypeError(f"unknown user {user!r}: expected the name of a user, or a uid") from None


def with_name(number: int, name: str | None) -> str:
    """Return a uid or gid as text, with its name if it has one: ``root (0)``."""
    return f"{name} ({number})" if name is not None else str(number)


# --- names of descriptors --------------------------------------------------------------------------------------------
# The data of a message names its descriptors, in the form of LISTEN_FDNAMES: joined by colons. UnixConnection.send_fds
# and most other senders put a single NUL there, and name nothing.

UNKNOWN_NAME = "unknown"
"""systemd's own name for a descriptor that has none."""
LONGEST_NAME = 255


def clean_name(name: str, longest: int = LONGEST_NAME) -> str:
    """
    Return *name* as sd_listen_fds_with_names(3) allows it: printable ASCII characters, and no colon.

    It is cut off after *longest* characters.
    """
    allowed = (each if " " <= each <= "~" and each != ":" else "_" for each in name[:longest])
    return "".join(allowed) or UNKNOWN_NAME


def join_names(names: Sequence[str]) -> bytes:
    """Return the data of a message whose descriptors have *names*."""
    return ":".join(map(clean_name, names)).encode("ascii")


def split_names(data: bytes, count: int, longest: int = LONGEST_NAME) -> list[str]:
    """
    Return the names of *count* descriptors from their message's *data*; "unknown" for each if these are no names.

    *longest* is the most characters of a name.
    """
    names = data.strip(b"\0").decode("ascii", "replace").split(":")
    return [clean_name(name, longest) for name in names] if len(names) == count else [UNKNOWN_NAME] * count
