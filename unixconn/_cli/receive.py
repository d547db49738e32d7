"""``unixconn receive``."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from unixconn import ClosedError, Error, FileDescriptor, MainLoop, PeerResetError, UnixConnection, listen
from unixconn._cli.common import (
    CommandError,
    Commands,
    Parser,
    add_command,
    add_verbose,
    block_signals,
    command_error,
    exit_on_signals,
    output,
    printable,
    progress,
    say,
    split_names,
    uid_of,
    unblock_signals,
    user_name,
    wake_on_signals,
    with_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from unixconn import AsyncResult, Credentials, Message, UnixListener

_TEXT = """\
Listen on the socket file PATH, receive file descriptors from verified senders,
and copy what each of them reads to standard output, one after the other, each
until end of file.

With COMMAND, execute that program instead. It gets the descriptors as a service
of systemd does: as numbers 3 and up, with the variables LISTEN_FDS (their
count), LISTEN_PID (the pid of the program) and LISTEN_FDNAMES (their names,
joined by colons). See sd_listen_fds(3).

The socket file has mode 0600, and is removed as soon as all descriptors have
arrived. A socket file that a dead process has left behind is replaced.

The kernel reports which user has connected, and which user sends a message.
Both must be the user of this process, or a user that --allow-uid names; this
holds for root too. Other senders are reported on standard error, their
descriptors are closed, and the command keeps waiting.

Any program can send, with one or more messages on one or more connections. The
data of a message are the names of its descriptors, joined by colons. If they
are anything else, such as a single NUL, the descriptors are named "unknown".

examples:
  unixconn receive ./door                       # copy the sender's file
  unixconn receive ./door --stdin -- wc -l
  unixconn receive ./door --count 2 -- sh -c 'cmp /dev/fd/3 /dev/fd/4'\
"""
_EXIT_CODES = """
  143  ended by SIGTERM (129 by SIGHUP)
  126  COMMAND cannot be executed
  127  COMMAND was not found
Once COMMAND runs, the exit code is its own.\
"""
_CANNOT_EXECUTE = 126
_COMMAND_NOT_FOUND = 127
_MOST_READ_AT_ONCE = 65536
_OWN_DESCRIPTORS = 16
"""The most descriptors that this process needs for itself while it waits."""


class _Options(argparse.Namespace):
    """The options of this command."""

    parser: Parser
    path: str
    count: int
    allow_uid: list[int]
    stdin: bool
    json: bool
    verbose: bool
    program: list[str] | None


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
    parser = add_command(commands, "receive", _run, about, _TEXT, "[OPTIONS] PATH [-- COMMAND [ARGUMENT ...]]")
    parser.epilog = f"{parser.epilog}{_EXIT_CODES}"
    parser.add_argument("path", metavar="PATH", help="the socket file to listen on")
    parser.add_argument(
        "--count",
        metavar="N",
        type=_count,
        default=1,
        help="end after N descriptors (default: 1); further ones are closed",
    )
    parser.add_argument(
        "--allow-uid",
        metavar="USER",
        type=_uid,
        action="append",
        default=[],
        help="also accept descriptors from this user, a name or a uid; may be repeated. The socket file then has mode "
        "0666, and other users are refused after they have connected",
    )
    parser.add_argument(
        "--stdin", action="store_true", help="pass the one descriptor to COMMAND as its standard input instead"
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


def _uid(text: str) -> int:
    try:
        return uid_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(namespace: argparse.Namespace) -> int:
    options = _Options(**vars(namespace))
    _check(options)
    exit_on_signals()
    with ExitStack() as owned:
        if options.program is None:
            received = _receive(options, owned)
            code = _print_json(received) if options.json else _copy(received)
        else:
            code = _execute(options, options.program, owned)
    return code


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
    if options.stdin and options.count != 1:
        options.parser.error("--stdin takes one descriptor, and cannot be used with --count")
    command = options.program[0]
    if shutil.which(command) is None:
        if "/" in command and Path(command).exists():
            raise CommandError(f"{command}: not an executable file", _CANNOT_EXECUTE)
        raise CommandError(f"{command}: command not found", _COMMAND_NOT_FOUND)


# --- receiving -------------------------------------------------------------------------------------------------------


class ReceivedDescriptor(NamedTuple):
    """A descriptor, its name, and the process and user that sent it."""

    descriptor: FileDescriptor
    name: str
    pid: int | None
    uid: int


def _receive(options: _Options, owned: ExitStack) -> list[ReceivedDescriptor]:
    report = progress(options.verbose)
    allowed = {os.geteuid(), *options.allow_uid}
    path, mode = options.path, 0o666 if options.allow_uid else 0o600
    try:
        with wake_on_signals(), block_signals() as before, listen(path, mode=mode, pass_credentials=True) as listener:
            report(f"waiting for a sender on {path} ...")
            with unblock_signals(before):
                return Receiver(listener, allowed, options.count, owned, say, report).run()
    except Error as error:
        raise command_error(path, error) from None
    except OSError as error:
        raise CommandError(f"no descriptors left to wait with: {error.strerror}", os.EX_OSERR) from None


class Receiver:
    """
    Receives *count* descriptors from any number of senders at the same time, so that a silent sender delays no other.

    *owned* closes the descriptors at its end. Both the process that connects and the process that sends must run as a
    user in *allowed*. *warn* is called with a message about senders that do not, and about descriptors that are closed.
    *report* is called with a message about each step.
    """

    def __init__(
        self,
        listener: UnixListener,
        allowed: Collection[int],
        count: int,
        owned: ExitStack,
        warn: Callable[[str], None],
        report: Callable[[str], None],
    ) -> None:
        self._listener = listener
        self._allowed = allowed
        self._count = count
        self._owned = owned
        self._warn = warn
        self._report = report
        self._loop = MainLoop()
        self._connections: set[UnixConnection] = set()
        self._received: list[ReceivedDescriptor] = []
        self._failure: Exception | None = None

    def run(self) -> list[ReceivedDescriptor]:
        """Wait for all descriptors, and return them. Raises the error of accept() or of receiving."""
        try:
            self._listener.accept_async(None, self._accepted)
            self._loop.run()
            if self._failure is not None:
                raise self._failure
            return self._received
        finally:
            for connection in self._connections:
                connection.close()

    def _accepted(self, listener: UnixListener, result: AsyncResult) -> None:
        with self._ending_on_failure():
            connection = listener.accept_finish(result).connection
            assert isinstance(connection, UnixConnection)
            self._connections.add(connection)
            listener.accept_async(None, self._accepted)
            if self._is_allowed(connection.get_socket().get_credentials()):
                self._wait_for_message(connection)
            else:
                self._close(connection)

    def _wait_for_message(self, connection: UnixConnection) -> None:
        connection.receive_message_async(_MOST_READ_AT_ONCE, None, self._message_received)

    def _message_received(self, connection: UnixConnection, result: AsyncResult) -> None:
        with self._ending_on_failure():
            try:
                message = connection.receive_message_finish(result)
            except (ClosedError, PeerResetError):
                self._close(connection)
                return
            with message:
                if self._is_allowed(message.credentials):
                    self._take_descriptors(message)
                    self._wait_for_message(connection)
                else:
                    self._close(connection)

    def _is_allowed(self, credentials: Credentials | None) -> bool:
        uid = _uid_or_none(credentials)
        if uid in self._allowed:
            return True
        self._warn(f"refused {_description(_pid_or_none(credentials), uid)}")
        return False

    def _take_descriptors(self, message: Message) -> None:
        pid, uid = _pid_or_none(message.credentials), _uid_or_none(message.credentials)
        assert uid is not None
        sender = _description(pid, uid)
        for name in split_names(message.data, len(message.fds)):
            if len(self._received) == self._count:
                break
            descriptor = self._owned.enter_context(message.fds.pop(0))
            self._received.append(ReceivedDescriptor(descriptor, name, pid, uid))
            self._report(f"received {name} ({len(self._received)} of {self._count}) from {sender}")
        if message.fds:
            self._warn(f"closed {len(message.fds)} more than the {self._count} expected, from {sender}")
        if len(self._received) == self._count:
            self._loop.quit()

    def _close(self, connection: UnixConnection) -> None:
        self._connections.discard(connection)
        connection.close()

    @contextmanager
    def _ending_on_failure(self) -> Iterator[None]:
        """Make `run` raise what a callback raises. The main loop would only report it, and keep waiting."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again by run()
            self._failure = error
            self._loop.quit()


def _uid_or_none(credentials: Credentials | None) -> int | None:
    try:
        return credentials.get_unix_user() if credentials is not None else None
    except Error:
        return None


def _pid_or_none(credentials: Credentials | None) -> int | None:
    """Return the pid, None for a process outside this process's pid namespace."""
    try:
        return credentials.get_unix_pid() if credentials is not None else None
    except Error:
        return None


def _description(pid: int | None, uid: int | None) -> str:
    process = "a process without a pid here" if pid is None else f"process {pid}"
    return f"{process} of {'an unknown user' if uid is None else f'user {with_name(uid, user_name(uid))}'}"


# --- printing --------------------------------------------------------------------------------------------------------


def _print_json(received: list[ReceivedDescriptor]) -> int:
    for each in received:
        facts = {
            "name": each.name,
            "file": printable(os.readlink(f"/proc/self/fd/{each.descriptor.fileno()}".encode())),
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
    while True:
        try:
            data = os.read(number, _MOST_READ_AT_ONCE)
        except BlockingIOError:  # the sender has set O_NONBLOCK on the open file
            _wait_until_readable(number)
            continue
        except OSError as error:
            raise CommandError(f"cannot read {received.name}: {error.strerror}", os.EX_IOERR) from None
        if not data:
            return
        yield data


def _wait_until_readable(number: int) -> None:
    poll = select.poll()
    poll.register(number, select.POLLIN)
    poll.poll()


# --- executing COMMAND -----------------------------------------------------------------------------------------------

_LISTEN_FDS_START = 3
"""SD_LISTEN_FDS_START of systemd."""
_LISTEN_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def _execute(options: _Options, command: list[str], owned: ExitStack) -> NoReturn:
    first = 0 if options.stdin else _LISTEN_FDS_START
    needed = 2 * options.count + _OWN_DESCRIPTORS
    try:
        # The received descriptors cannot have the reserved numbers, so twice as many numbers are needed. If there are
        # too few, fail now, before any descriptor is received and lost.
        _reserve_numbers(first, needed).close()
        owned.enter_context(_reserve_numbers(first, options.count))
    except OSError as error:
        text = f"--count {options.count} needs {needed} free descriptors: {error.strerror}; raise the limit (ulimit -n)"
        raise CommandError(text, os.EX_OSERR) from None
    received = _receive(options, owned)
    environment = _environment([] if options.stdin else [each.name for each in received])
    try:
        _replace_process(command, [each.descriptor for each in received], first, environment)
    except OSError as error:
        raise CommandError(f"{command[0]}: {error.strerror}", _CANNOT_EXECUTE) from None


def _reserve_numbers(first: int, count: int) -> ExitStack:
    """
    Open /dev/null at each free one of the *count* numbers from *first* on; return an ExitStack that closes these.

    Otherwise a descriptor of the library, or a received one, could have one of these numbers, and be overwritten when
    the received descriptors are moved there.
    """
    with ExitStack() as reserved:
        while True:
            descriptor = FileDescriptor(os.open(os.devnull, os.O_RDONLY))
            if descriptor.fileno() >= first + count:
                descriptor.close()
                return reserved.pop_all()
            reserved.enter_context(descriptor)


def _environment(names: Sequence[str]) -> dict[str, str]:
    """
    Return this process's environment, with the LISTEN_ variables for descriptors of these *names*.

    The LISTEN_ variables that this process was started with are removed, even if there are no *names*.
    """
    others = {name: value for name, value in os.environ.items() if name not in _LISTEN_VARIABLES}
    if not names:
        return others
    values = (str(len(names)), str(os.getpid()), ":".join(names))
    return {**others, **dict(zip(_LISTEN_VARIABLES, values))}


def _replace_process(
    command: list[str], descriptors: Sequence[FileDescriptor], first: int, environment: dict[str, str]
) -> NoReturn:
    """
    Execute *command* with *descriptors* at the numbers from *first* on, which `_reserve_numbers` has reserved.

    All other descriptors that this process has opened are close-on-exec. Raises OSError if exec fails.
    """
    for number, descriptor in enumerate(descriptors, first):
        os.dup2(descriptor.fileno(), number)
    # Python ignores these signals, and exec does not change that. It only resets signals that have a handler.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execvpe(command[0], command, environment)
