"""``unixconn receive``."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from unixconn import handover
from unixconn.cli import (
    CommandError,
    Commands,
    Parser,
    add_command,
    add_verbose,
    explained,
    output,
    printable,
    progress,
    say,
)
from unixconn.cli_signals import end_orderly, held, let_through, waking
from unixconn.errors import Error
from unixconn.paths import listen
from unixconn.receiver import Received, Receiver
from unixconn.users import uid_of, user_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEXT = """\
Listen on the socket file PATH, take file descriptors from verified senders, and
copy what they give to standard output, one after the other, each to its end.

With COMMAND become that program instead, which gets the descriptors as systemd
hands them over: from number 3 on, LISTEN_FDS being how many they are, LISTEN_PID
its own process, and LISTEN_FDNAMES their names, joined by colons. See
sd_listen_fds(3).

The socket file is made with mode 0600, and removed as soon as all descriptors
are there; one that a dead process has left is replaced. The kernel tells who
connects and who sends: both must be of this process's user or of one that
--allow-uid names, root too, else the descriptors are closed, which is told, and
the wait goes on.

Any program can send, with one or more messages over one or more connections.
The bytes of a message are the names of its descriptors, joined by colons; if
they are not, as with a single NUL, the descriptors are called "unknown".

examples:
  unixconn receive ./door                       # what the sender's file has
  unixconn receive ./door --stdin -- wc -l
  unixconn receive ./door --count 2 -- sh -c 'cmp /dev/fd/3 /dev/fd/4'\
"""
_CODES = """
  143  ended by SIGTERM, and 129 by SIGHUP
  126  COMMAND can not be run
  127  COMMAND was not found
  else, with COMMAND, its own\
"""
_CAN_NOT_BE_RUN = 126
_NOT_FOUND = 127
_AT_ONCE = 65536
_OF_OUR_OWN = 16
"""Descriptors, at most, with which to wait for those that are to come."""


def split(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """Give the *arguments* before, and for this command those after the first ``--``, None where there is no such."""
    # argparse takes it in another way in each version.
    if arguments[:1] != ["receive"] or "--" not in arguments:
        return arguments, None
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def add(commands: Commands[Parser]) -> None:
    """Add the command."""
    about = "receive open files: copy them out, or run a command with them"
    parser = add_command(commands, "receive", _run, about, _TEXT, "[OPTIONS] PATH [-- COMMAND [ARGUMENT ...]]")
    parser.epilog = f"{parser.epilog}{_CODES}"
    parser.add_argument("path", metavar="PATH", help="the socket file to listen on")
    parser.add_argument(
        "--count", metavar="N", type=_count, default=1, help="end after N descriptors (1); what is more is closed"
    )
    parser.add_argument(
        "--allow-uid",
        metavar="USER",
        type=_uid,
        action="append",
        default=[],
        help="take descriptors of this user too, a number or a name; may be repeated. The socket file has mode 0666 "
        "then, and who is not allowed is refused after having connected",
    )
    parser.add_argument(
        "--stdin", action="store_true", help="give the one descriptor to COMMAND as its standard input instead"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="instead of copying print a line for each descriptor: its name and file, and the pid, uid and user of "
        "its sender",
    )
    add_verbose(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of descriptors")
    return int(text)


def _uid(text: str) -> int:
    try:
        return uid_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(options: argparse.Namespace) -> int:
    _check(options)
    end_orderly()
    with ExitStack() as owned:
        if options.program is None:
            received = _receive(options, owned)
            code = _list(received) if options.json else _copy(received)
        else:
            code = _become(options, owned)
    return code


def _check(options: argparse.Namespace) -> None:
    # All of it now, and not when the descriptors were taken already.
    if options.program is None:
        if options.stdin:
            options.parser.error("--stdin needs a COMMAND")
        output()
        return
    if not options.program:
        options.parser.error("after -- there must be a COMMAND")
    if options.json:
        options.parser.error("--json and COMMAND exclude each other")
    if options.stdin and options.count != 1:
        options.parser.error("--stdin takes one descriptor")
    command = options.program[0]
    if shutil.which(command) is None:
        if "/" in command and Path(command).exists():
            raise CommandError(f"{command}: it can not be run", _CAN_NOT_BE_RUN)
        raise CommandError(f"{command}: there is no such command", _NOT_FOUND)


def _receive(options: argparse.Namespace, owned: ExitStack) -> list[Received]:
    tell = progress(options)
    allowed = {os.geteuid(), *options.allow_uid}
    mode = 0o666 if options.allow_uid else 0o600
    try:
        with waking(), held() as before, listen(options.path, mode=mode, pass_credentials=True) as listener:
            tell(f"waiting for a sender on {options.path} ...")
            with let_through(before):
                received = Receiver(listener, allowed, options.count, say, tell).run()
    except Error as error:
        raise explained(options.path, error) from None
    except OSError as error:
        raise CommandError(f"no room to wait: {error.strerror}", os.EX_OSERR) from None
    for each in received:
        owned.enter_context(each.descriptor)
    return received


def _become(options: argparse.Namespace, owned: ExitStack) -> int:
    first = 0 if options.stdin else handover.FIRST
    try:
        # They come while their places are taken, and so take twice their number: known now, and not when some are lost.
        handover.release(handover.reserve(first, 2 * options.count + _OF_OUR_OWN))
        owned.callback(handover.release, handover.reserve(first, options.count))
    except OSError as error:
        raise CommandError(f"no room for {options.count} descriptors: {error.strerror}", os.EX_OSERR) from None
    received = _receive(options, owned)
    variables = handover.environment([] if options.stdin else [each.name for each in received])
    try:
        handover.execute(options.program, [each.descriptor for each in received], first, variables)
    except OSError as error:
        raise CommandError(f"{options.program[0]}: {error.strerror}", _CAN_NOT_BE_RUN) from None


def _list(received: list[Received]) -> int:
    for each in received:
        told = {
            "name": each.name,
            "file": printable(os.readlink(f"/proc/self/fd/{each.descriptor.fileno()}".encode())),
            "pid": each.pid,
            "uid": each.uid,
            "user": user_name(each.uid),
        }
        print(json.dumps(told), file=output(), flush=True)
    return os.EX_OK


def _copy(received: list[Received]) -> int:
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


def _contents(received: Received) -> Iterator[bytes]:
    number = received.descriptor.fileno()
    while True:
        try:
            data = os.read(number, _AT_ONCE)
        except BlockingIOError:  # the sender's O_NONBLOCK
            _wait_for(number)
            continue
        except OSError as error:
            raise CommandError(f"{received.name} can not be read: {error.strerror}", os.EX_IOERR) from None
        if not data:
            return
        yield data


def _wait_for(number: int) -> None:
    poll = select.poll()
    poll.register(number, select.POLLIN)
    poll.poll()
