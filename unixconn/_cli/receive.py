"""``unixconn receive``."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from unixconn import Error, FileDescriptor, UnixListener, listen, systemd
from unixconn._cli.common import (
    CANNOT_CREATE,
    LONGEST_NAME,
    NO_PERMISSION,
    NOT_THERE,
    OTHER_ERROR,
    CommandError,
    Commands,
    Parser,
    add_command,
    add_verbose,
    command_error,
    decoded,
    new_descriptor,
    output,
    path_argument,
    placeholder,
    progress,
    say,
    socket_name,
    user_argument,
    user_name,
)
from unixconn._cli.ending import Closer, undone_at_the_end
from unixconn._cli.execute import CANNOT_EXECUTE, LISTEN_FDS_START, MOST_NAMES, Numbers, execute, longest_name
from unixconn._cli.receiver import LEAST_ROOM, OWN_DESCRIPTORS, Receiver, free_descriptors
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unixconn._cli.receiver import ReceivedDescriptor

_TEXT = """\
Listen on the socket file PATH, receive open files, and copy the content of each
to standard output, one after the other.

With COMMAND, execute that program instead. It gets the files as a service of
systemd gets its sockets, see sd_listen_fds(3): as descriptors 3 and up, with
these variables:
  LISTEN_FDS        the number of the descriptors
  LISTEN_FDNAMES    their names, joined by colons
  LISTEN_PID        the pid of the program

PATH "@NAME" is an abstract name, and "./@NAME" a file. Without PATH, the
command listens on the socket that a service manager has passed (LISTEN_FDS).
The unit of that socket needs PassCredentials=yes, as the kernel adds the
sender's credentials when a message is sent.

The socket file has mode 0600. It is removed as soon as all descriptors have
arrived. A socket file that a dead process has left behind is replaced.

The kernel reports which user has connected, and which user sends a message.
Both must be the user of this process, or a user that --allow-uid names. This
holds for root, too. Other senders are reported on standard error, their
descriptors are closed, and the command keeps waiting.

Any program can send, with one or more messages on one or more connections. The
data of a message are the names of its descriptors, joined by colons. If they
are anything else, such as a single NUL, the descriptors are named "unknown".

These limits keep a sender from stopping the others:
  connections       256, and 64 of one user. With fewer than 1024 free
                    descriptors, a quarter of their number, and a quarter of
                    that for one user. If there is one too many, the one that
                    has been silent for longest is read to its end and closed.
  a message         253 descriptors, the most that the kernel takes. If there is
                    no room for them, the connection is closed.
  data              4096 bytes of a connection that come without descriptors.
                    They are dropped. A sender of more is refused.
  names             255 characters each. With COMMAND, all names have to fit
                    into 128 KiB: with --count 600, 217 characters each.
  lines             10 in 10 seconds about what is refused or closed. The others
                    are counted.

examples:
  unixconn receive ./door                       # copy the sender's file
  unixconn receive ./door --stdin -- wc -l
  unixconn receive ./door --count 2 -- sh -c 'cmp /dev/fd/3 /dev/fd/4'\
"""
_COMMAND_NOT_FOUND = 127
_EXIT_CODES = {
    **NOT_THERE,
    **OTHER_ERROR,
    **CANNOT_CREATE,
    **NO_PERMISSION,
    CANNOT_EXECUTE: "COMMAND cannot be executed",
    _COMMAND_NOT_FOUND: "COMMAND was not found",
}
_PASSED = "the socket of the service manager"
_MOST_READ_AT_ONCE = 65536
# PyPy has no name for it. This is the number on all machines that PyPy runs on.
_ENDS = getattr(select, "POLLRDHUP", 0x2000 if sys.platform == "linux" else 0) | select.POLLHUP
"""What poll(2) reports where no more data can come."""
_PAUSE = 0.05
"""Seconds until data are looked for again, where poll(2) has reported some, and read(2) has found none."""


class _Options(argparse.Namespace):
    """The options of this command."""

    parser: Parser
    path: str | None
    count: int
    allow_uid: list[int]
    stdin: bool
    json: bool
    verbose: bool
    program: list[str] | None
    passed: FileDescriptor | None = None
    """The socket of the service manager, if there is no path."""


def split_command(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """
    Return the *arguments* before the first ``--`` of this command, and COMMAND, the arguments after it.

    COMMAND is None if there is no ``--``. argparse treats ``--`` differently from version to version.
    """
    if arguments[:1] != ["receive"] or "--" not in arguments:
        return arguments, None
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def add(commands: Commands[Parser]) -> None:
    """Add this command to the parser."""
    about = "receive open files: copy them out, or run a command with them"
    usage = "[OPTIONS] [PATH] [-- COMMAND [ARGUMENT ...]]"
    parser = add_command(commands, "receive", _run, about, _TEXT, usage, _EXIT_CODES)
    parser.epilog = f"{parser.epilog}\nOnce COMMAND runs, the exit code is its own."
    parser.order = "COMMAND stands after --"
    about = "the socket file to listen on, or @NAME (default: the socket that a service manager has passed)"
    parser.add_argument("path", metavar="PATH", nargs="?", type=path_argument, help=about)
    parser.add_argument(
        "--count",
        metavar="N",
        type=_count,
        default=1,
        help="end after N descriptors (default: 1), and close further ones",
    )
    parser.add_argument(
        "--allow-uid",
        "--allow-user",
        metavar="USER",
        type=user_argument,
        action="append",
        default=[],
        help="also accept descriptors from this user, a name or a uid; may be repeated. The socket file then has mode "
        "0666: other users can connect, and are refused then",
    )
    parser.add_argument(
        "--stdin", action="store_true", help="pass the descriptor to COMMAND as its standard input instead"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="instead of copying, print a line with a JSON object for each descriptor: its name and file, and the pid, "
        "uid and user of its sender",
    )
    add_verbose(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"invalid number of descriptors {text!r}: expected 1 or more")
    return int(text)


def _run(namespace: argparse.Namespace) -> int:
    options = _Options(**vars(namespace))
    _check(options)
    with Closer() as closer, ExitStack() as owned:
        if options.path is None:
            options.passed = owned.enter_context(_passed_socket(options))
        if options.program is not None:
            _execute(options, options.program, closer)
        _check_room(options)
        received = _receive(options, closer, lambda each: each, LONGEST_NAME, free_descriptors() - options.count)
        try:
            return _print_json(received) if options.json else _copy(received)
        finally:
            for each in received:
                closer.close(each.descriptor)


def _execute(options: _Options, command: list[str], closer: Closer) -> NoReturn:
    _check_room(options)
    numbers = Numbers(options.count, stdin=options.stdin, closer=closer)
    received = _receive(options, closer, numbers.place, longest_name(options.count), free_descriptors())
    execute(command, numbers, [] if options.stdin else [each.name for each in received], closer)


def _check(options: _Options) -> None:
    """Check all that can be checked before any descriptor is received, and raise the error."""
    if options.program is None:
        if options.stdin:
            options.parser.error("--stdin needs a COMMAND after --")
        output()
        return
    if not options.program:
        options.parser.error("there is no COMMAND after --")
    if options.json:
        options.parser.error("--json cannot be used with a COMMAND")
    if options.count > MOST_NAMES:
        text = f"--count is at most {MOST_NAMES} with a COMMAND, as more names do not fit into its environment"
        options.parser.error(text)
    if options.stdin and options.count != 1:
        options.parser.error("--stdin takes one descriptor, and cannot be used with --count")
    command = options.program[0]
    if shutil.which(command) is None:
        if "/" in command and Path(command).exists():
            raise CommandError(f"{command}: not an executable file", CANNOT_EXECUTE)
        raise CommandError(f"{command}: command not found", _COMMAND_NOT_FOUND)


# --- receiving -------------------------------------------------------------------------------------------------------


def _receive(
    options: _Options, closer: Closer, place: Callable[[FileDescriptor], FileDescriptor], longest: int, room: int
) -> list[ReceivedDescriptor]:
    """Receive as many descriptors as the options say. The parameters are those of `Receiver`."""
    report = progress(options.verbose)
    path = _PASSED if options.path is None else options.path
    with ExitStack() as owned:
        try:
            with undone_at_the_end() as to_undo:
                listener = _listen(options)
                to_undo.append(listener.close)
                # So that its close() is not the last one, which closes what is in its queue: that may take long.
                queue = new_descriptor(os.dup, listener._entries[0].socket.get_fd())
                owned.callback(closer.close, queue)
                owned.callback(_remove, listener)
            report(f"waiting for a sender on {path} ...")
            receiver = Receiver(
                listener,
                {os.geteuid(), *options.allow_uid},
                options.count,
                place=place,
                room=room,
                longest_name=longest,
                closer=closer,
                say=say,
                report=report,
            )
            return receiver.run()
        except Error as error:
            raise command_error(path, error) from None


def _passed_socket(options: _Options) -> FileDescriptor:
    """Take over the listening socket that the service manager has passed. Close all else that it has passed."""
    try:
        passed = systemd.listen_fds()
    except Error as error:
        raise command_error(_PASSED, error) from None
    listeners = [each.owner for each in passed if isinstance(each.owner, UnixListener)]
    with ExitStack() as owned:
        for each in passed:
            owned.enter_context(each.owner)
        if len(listeners) != 1:
            text = f"PATH is missing, and a service manager has passed {len(listeners) or 'no'} listening Unix sockets"
            options.parser.error(text)
        # Above the numbers that COMMAND gets.
        number = listeners[0]._entries[0].socket.get_fd()
        # PyPy has no F_DUPFD_CLOEXEC.
        descriptor = new_descriptor(fcntl.fcntl, number, fcntl.F_DUPFD, LISTEN_FDS_START + options.count)
        os.set_inheritable(descriptor.fileno(), False)
        return descriptor


def _listen(options: _Options) -> UnixListener:
    if options.passed is not None:
        listener = UnixListener.from_socket(options.passed)
        passed = listener._entries[0].socket
        option = SYSTEM.credentials_option
        if option is not None and not passed.get_option(*option).value:
            # Newer kernels add them to no message that was sent before.
            passed.set_option(*option, True)
            say("who has sent before now is refused, unless the unit of the socket has PassCredentials=yes")
        return listener
    assert options.path is not None
    name = socket_name(options.path)
    mode = None if name.startswith("\0") else 0o666 if options.allow_uid else 0o600
    return listen(name, mode=mode, pass_credentials=True)


def _remove(listener: UnixListener) -> None:
    """Remove the socket file."""
    with undone_at_the_end() as to_undo:
        to_undo.clear()
        listener.close()


def _check_room(options: _Options) -> None:
    """Fail now if there are too few descriptors, before any is received and lost."""
    needed = options.count + OWN_DESCRIPTORS + LEAST_ROOM
    try:
        with ExitStack() as tried:
            for _ in range(needed):
                tried.enter_context(placeholder())
    except OSError as error:
        text = f"--count {options.count} needs {needed} free descriptors: {error.strerror}; raise the limit (ulimit -n)"
        raise CommandError(text, os.EX_OSERR) from None


# --- printing --------------------------------------------------------------------------------------------------------


def _print_json(received: list[ReceivedDescriptor]) -> int:
    for each in received:
        facts = {
            "name": each.name,
            "file": decoded(os.readlink(f"/proc/self/fd/{each.descriptor.fileno()}".encode())),
            "pid": each.pid,
            "uid": each.uid,
            "user": user_name(each.uid),
        }
        print(json.dumps(facts), file=output(), flush=True)
    return os.EX_OK


def _copy(received: list[ReceivedDescriptor]) -> int:
    """Copy all that can be read, as cat(1) does."""
    code = os.EX_OK
    for each in received:
        try:
            for data in _contents(each):
                output().buffer.write(data)
                output().buffer.flush()
        except CommandError as unreadable:
            say(str(unreadable))
            code = unreadable.code
    return code


def _contents(received: ReceivedDescriptor) -> Iterator[bytes]:
    number = received.descriptor.fileno()
    has_ended = was_empty = False
    while True:
        try:
            data = os.read(number, _MOST_READ_AT_ONCE)
        except BlockingIOError:  # the sender has set O_NONBLOCK on the open file
            if has_ended:  # a datagram socket that is shut down has no end of file
                return
            if was_empty:  # somebody else has read the data, or there were none
                time.sleep(_PAUSE)
            has_ended = _wait_until_readable(number)
            was_empty = True
            continue
        except OSError as error:
            raise CommandError(f"cannot read {received.name}: {error.strerror}", os.EX_IOERR) from None
        if not data:
            return
        was_empty = False
        yield data


def _wait_until_readable(number: int) -> bool:
    """Wait for data, or for the end of all data; return whether it is the end."""
    poll = select.poll()
    poll.register(number, select.POLLIN | _ENDS)
    return bool(poll.poll()[0][1] & _ENDS)
