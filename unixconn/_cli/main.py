"""The argument parser of ``unixconn COMMAND``, and what runs the command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from unixconn import __version__
from unixconn._cli import common, demo, info, peer, receive, send


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of *arguments*, by default of sys.argv, and return the exit code."""
    given, program = receive.split_command(sys.argv[1:] if arguments is None else list(arguments))
    options = _parser().parse_args(given, argparse.Namespace(program=program))
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except common.CommandError as failed:
        common.say(str(failed))
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


def _discard_output() -> None:
    # Python flushes standard output at exit, and would print a second error.
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> common.Parser:
    parser = common.Parser(
        prog="unixconn",
        description="Pass file descriptors and credentials between processes over Unix sockets.",
        epilog="unixconn COMMAND --help prints the manual of a command.",
    )
    parser.add_argument("--version", action="version", version=f"unixconn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    receive.add(commands)
    send.add(commands)
    peer.add(commands)

    about = "start a second process, exchange an open file and credentials with it"
    text = "Starts a second process, exchanges an open file and credentials with it, and tells each step."
    show = common.add_command(commands, "demo", _demo, about, text, "[--peer unixconn|gio]")
    show.add_argument(
        "--peer",
        choices=tuple(demo.IMPORTS),
        default="unixconn",
        help="what the second process uses: this library (the default), or Gio of PyGObject",
    )
    about = "show the layer in use, and what this machine's kernel can do"
    text = "Shows the layer in use, and tries on a socket pair which of its options this machine's kernel has."
    common.add_command(commands, "info", _info, about, text, "")
    return parser


def _demo(options: argparse.Namespace) -> int:
    python = sys.executable if options.peer == "unixconn" else demo.find_gio()
    if python is None:
        candidates = ", ".join(demo.gio_candidates())
        text = f"--peer gio needs PyGObject, and none of these can import it: {candidates}"
        raise common.CommandError(text, os.EX_UNAVAILABLE)
    common.output()
    try:
        demo.run(options.peer, python)
    except demo.DemoError as error:
        raise common.CommandError(str(error), 1) from None
    return os.EX_OK


def _info(_options: argparse.Namespace) -> int:
    print(info.describe(), file=common.output(), flush=True)
    return os.EX_OK
