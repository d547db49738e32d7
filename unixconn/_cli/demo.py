"""``unixconn demo``: a second process receives an open file and credentials, and answers through a pipe."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO, TypedDict

import unixconn
from unixconn import BACKEND, Credentials, CredentialsSource, Error, TimedOutError, UnixConnection
from unixconn._cli.common import CommandError, Commands, Parser, add_command, output, print_lines
from unixconn._cli.ending import signals_of_children

IMPORTS = {"unixconn": "import unixconn as Gio", "gio": "from gi.repository import Gio"}
"""The only line of the second process's program that depends on the library that it uses."""

_PROGRAM = """
import json, os, sys

connection = Gio.UnixConnection(socket=Gio.Socket.new_from_fd(int(sys.argv[1])))
fd = connection.receive_fd()
sender = connection.receive_credentials()
with open(fd, "rb", buffering=0) as file:
    line = file.readline()

reader, writer = os.pipe()
connection.send_fd(reader)
connection.send_credentials()
os.close(reader)
with open(writer, "w") as answer:
    json.dump({"fd": fd, "line": line.decode(), "sender": sender.to_string()}, answer)
"""

_FIRST_LINE = "This file has no name: it is read by descriptor alone.\n"
_TIMEOUT = 60
"""Seconds after which a second process that does not answer is killed."""
_COLUMNS, _INDENT = 80, 17
"""The width of the output, and of its first column."""
_WIDE = 24
"""The width of the second column if it holds more than a word."""


class DemoError(Exception):
    """The demonstration failed; the text says how."""


class _Answer(TypedDict):
    """The second process's answer, which is JSON."""

    fd: int
    line: str
    sender: str


class _Options(argparse.Namespace):
    """The options of this command."""

    peer: str


def add(commands: Commands[Parser]) -> None:
    """Add this command to the parser."""
    about = "exchange an open file and credentials with a second process"
    text = "Start a second process, exchange an open file and credentials with it, and\nprint each step."
    codes = {
        1: "the demonstration has failed, or the reader of the output has closed it",
        os.EX_UNAVAILABLE: "PyGObject is missing (--peer gio)",
    }
    parser = add_command(commands, "demo", _run, about, text, "[--peer unixconn|gio]", codes)
    parser.add_argument(
        "--peer",
        choices=tuple(IMPORTS),
        default="unixconn",
        help="what the second process uses: this library (the default), or Gio of PyGObject",
    )


def _run(namespace: argparse.Namespace) -> int:
    options = _Options(**vars(namespace))
    python = sys.executable if options.peer == "unixconn" else find_gio()
    if python is None:
        candidates = ", ".join(gio_candidates())
        text = f"--peer gio needs PyGObject, and none of these can import it: {candidates}; install it for one of them"
        raise CommandError(text, os.EX_UNAVAILABLE)
    output()
    try:
        run(options.peer, python)
    except DemoError as error:
        text, *notes = str(error).splitlines()
        raise CommandError(text, 1, notes) from None
    return os.EX_OK


def gio_candidates() -> list[str]:
    """Return the interpreters that may have PyGObject, the running one first."""
    paths = (sys.executable, "/usr/bin/python3", shutil.which("python3"))
    return list(dict.fromkeys(path for path in paths if path))


def find_gio() -> str | None:
    """Return the first interpreter that can import PyGObject's Gio, None if there is none."""
    for python in gio_candidates():
        try:
            with signals_of_children():
                tried = subprocess.run(
                    [python, "-c", IMPORTS["gio"]], stdin=subprocess.DEVNULL, capture_output=True, check=False
                )
        except OSError:
            continue
        if tried.returncode == 0:
            return python
    return None


def run(peer: str, python: str) -> None:
    """
    Exchange a file and credentials with a new process of the interpreter *python*, and print each step.

    *peer* is a key of `IMPORTS`. The output fits a terminal of 80 columns and 24 lines.

    Raises DemoError if the process fails, or if anything that arrives differs from what was sent.
    """
    print("Two processes and a socket pair")
    try:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by the with statement below
        ours, theirs = UnixConnection.create_pair()
    except (Error, OSError) as error:
        raise DemoError(f"cannot create the file and the socket pair: {error}") from error
    with ours, file:
        ours.get_socket().set_timeout(_TIMEOUT)
        file.write(_FIRST_LINE.encode() + b"A second line.\n")
        file.seek(0)
        with theirs:
            process = _start(IMPORTS[peer], python, theirs.get_socket().get_fd())
        with process:
            try:
                _row("here", f"pid {os.getpid()}", f"unixconn's layer {BACKEND}, in")
                _row("", _shortened(sys.executable))
                _row("there", f"pid {process.pid}", f"{IMPORTS[peer]}, in")
                _row("", _shortened(python))
                _exchange(ours, file, process)
            finally:
                process.kill()


def _start(import_line: str, python: str, fd: int) -> subprocess.Popen[str]:
    try:
        with signals_of_children():
            return subprocess.Popen(
                [python, "-c", import_line + _PROGRAM, str(fd)],
                pass_fds=[fd],
                # In the current folder, if that is a clone, Python would find the source before the installed package.
                cwd="/",
                env=_environment() if import_line == IMPORTS["unixconn"] else None,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
    except OSError as error:
        raise DemoError(f"cannot start {python}: {error}") from error


def _environment() -> dict[str, str]:
    """Return an environment in which Python finds the package that is running."""
    folders = [str(Path(unixconn.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}


def _exchange(ours: UnixConnection, file: BinaryIO, process: subprocess.Popen[str]) -> None:
    """
    Exchange everything with *process*.

    If that fails, the error says how *process* ended, as that is often the reason.
    """
    try:
        _send(ours, file)
        answer, credentials = _receive(ours)
    except (Error, ValueError) as error:
        # Otherwise *process* could wait for a message while this process waits for its end.
        ours.close()
        if isinstance(error, TimedOutError):
            process.kill()
        raise DemoError(f"{error}; {_end_of(process)}") from error
    ended = _end_of(process)
    if process.returncode:
        raise DemoError(ended)
    _conclude(ours, file, answer, credentials, process.pid)


def _send(ours: UnixConnection, file: BinaryIO) -> None:
    print()
    ours.send_fd(file.fileno())
    _row("here -> there", "a descriptor", f"{file.fileno()}, a file without a name, at offset {file.tell()}")
    ours.send_credentials()
    _row("here -> there", "credentials", _ids(Credentials().to_string()))


def _receive(ours: UnixConnection) -> tuple[_Answer, Credentials]:
    fd = ours.receive_fd()
    with os.fdopen(fd, encoding="utf-8") as pipe:
        _row("there -> here", "a descriptor", f"{fd}, the read end of a pipe")
        credentials = ours.receive_credentials()
        _row("there -> here", "credentials", _ids(credentials.to_string()))
        answer: _Answer = json.load(pipe)
        _row("there -> here", "an answer", f"{len(json.dumps(answer))} bytes through descriptor {fd}")
    return answer, credentials


def _conclude(ours: UnixConnection, file: BinaryIO, answer: _Answer, credentials: Credentials, pid: int) -> None:
    peer = ours.get_socket().get_credentials()
    print("\nThe kernel vouches for each sender, and for the maker of the pair")
    _row("read there", _ids(answer["sender"]), "message from here", _WIDE)
    _row("read here", _ids(credentials.to_string()), f"{credentials.source.value} from there", _WIDE)
    _row("SO_PEERCRED", _ids(peer.to_string()), f"{peer.source.value}, made here", _WIDE)
    print("\nThe file arrived")
    _row("number", f"{file.fileno()} here, {answer['fd']} there", "each process has its own", _WIDE)
    _row("offset", f"{file.tell()} here, was 0", "moved by the reader: one open file", _WIDE)
    _row("first line", answer["line"].rstrip())

    wrong = [
        what
        for what, right in (
            ("the line that was read", answer["line"] == _FIRST_LINE),
            ("the offset", file.tell() == len(_FIRST_LINE)),
            ("the sender that was read there", answer["sender"] == Credentials().to_string()),
            ("the sender that was read here", credentials.get_unix_pid() == pid),
            ("the source of its credentials", credentials.source is CredentialsSource.MESSAGE),
        )
        if not right
    ]
    if wrong:
        raise DemoError("these are not as they should be: " + ", ".join(wrong))


def _end_of(process: subprocess.Popen[str]) -> str:
    """Wait for *process* to end, and return a description of its end."""
    complaint = process.communicate()[1].strip()
    return f"the second process ended with exit code {process.returncode}" + (f":\n{complaint}" if complaint else "")


def _ids(description: str) -> str:
    """Return ``pid 1, uid 2, gid 3`` for the text that Credentials.to_string() returns."""
    return description.rpartition(":")[2].replace("=", " ").replace(",", ", ")


def _shortened(path: str) -> str:
    """Return *path*, or its end if it is too long for its line."""
    room = _COLUMNS - _INDENT
    return path if len(path) <= room else f"...{path[3 - room :]}"


def _row(first: str, second: str, third: str = "", width: int = 13) -> None:
    # Flushed, so that each step is visible when it happens, even at the other end of a pipe.
    print_lines(f"  {first:<{_INDENT - 2}}{second:<{width}}  {third}".rstrip())
