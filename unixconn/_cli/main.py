"""The argument parser of ``unixconn COMMAND``, and the function that runs the command."""

from __future__ import annotations

import _socket as socket
import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from unixconn import __version__
from unixconn._cli import common, demo, info, peer, receive, send
from unixconn._kernel.sockets import kernel_pair


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command of *arguments*, by default of sys.argv, and return the exit code.

    Raises SystemExit after printing the usage for a wrong command line, and after printing the help for one without a
    command: no script should mistake that for success.
    """
    given, program = receive.split_command(sys.argv[1:] if arguments is None else list(arguments))
    parser = _parser()
    options, others = parser.parse_known_args(given, argparse.Namespace(program=program))
    if others:
        _refuse(others, parser, options)
    if options.command is None:
        parser.exit(os.EX_USAGE, parser.format_help())
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except common.CommandError as failed:
        common.say(str(failed), *failed.notes)
        return failed.code
    except BrokenPipeError:  # the reader of the output has closed it, like head(1)
        _discard_output()
        return 1
    except OSError as error:
        _discard_output()
        common.say(f"standard output: {error.strerror}")
        return os.EX_IOERR
    except KeyboardInterrupt:
        return common.INTERRUPTED


def _refuse(arguments: Sequence[str], parser: common.Parser, options: argparse.Namespace) -> NoReturn:
    """Print the usage of the command, and exit. argparse would print that of ``unixconn`` without a command."""
    own: common.Parser = options.parser if options.command else parser
    hint = "" if arguments[0].startswith("-") or not own.order else f": {own.order}"
    own.error(f"unrecognized arguments: {' '.join(arguments)}{hint}")


def _discard_output() -> None:
    # Python flushes standard output at exit, and would print a second error.
    if sys.stdout is not None:
        try:
            sink = os.open(os.devnull, os.O_WRONLY)
        except OSError:  # a bare chroot: the rest goes to a socket that nobody reads, and that has room for it
            sink, _ = (end.detach() for end in kernel_pair(socket.SOCK_STREAM))
        os.dup2(sink, sys.stdout.fileno())


def _parser() -> common.Parser:
    parser = common.Parser(
        prog="unixconn",
        description="Pass file descriptors and credentials between processes over Unix sockets.",
        epilog="unixconn COMMAND --help prints the manual of a command.",
    )
    parser.add_argument("--version", action="version", version=f"unixconn {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    receive.add(commands)
    send.add(commands)
    peer.add(commands)
    demo.add(commands)
    info.add(commands)
    return parser
