"""The command line: ``unixconn receive``, ``send``, ``peer``, ``demo``, ``info``, also as ``python -m unixconn``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from unixconn import __version__, cli, cli_peer, cli_receive, cli_send, demo, info


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line *arguments*, by default this process's, and return the exit code.

    Raise SystemExit after the usage for a wrong command line, and after the help for one without a command: no script
    should take that for a success.
    """
    given, program = cli_receive.split(sys.argv[1:] if arguments is None else list(arguments))
    parser = _parser()
    options = parser.parse_args(given, argparse.Namespace(program=program))
    if options.command is None:
        parser.exit(os.EX_USAGE, parser.format_help())
    try:
        return options.run(options)  # type: ignore[no-any-return]
    except cli.CommandError as failed:
        cli.say(str(failed))
        return failed.code
    except BrokenPipeError:  # the reader of the output has ended, as head(1) does
        _give_up_output()
        return 1
    except OSError as error:
        _give_up_output()
        cli.say(f"standard output: {error.strerror}")
        return os.EX_IOERR
    except KeyboardInterrupt:
        return cli.INTERRUPTED


def _give_up_output() -> None:
    # Python would complain once more when it flushes at the end.
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> cli.Parser:
    parser = cli.Parser(
        prog="unixconn",
        description="Pass file descriptors and credentials between processes over Unix sockets.",
        epilog="unixconn COMMAND --help is the manual of a command.",
    )
    parser.add_argument("--version", action="version", version=f"unixconn {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    cli_receive.add(commands)
    cli_send.add(commands)
    cli_peer.add(commands)

    about = "exchange an open file and credentials with a second process"
    text = "Start a second process, exchange an open file and credentials with it, and print each step."
    show = cli.add_command(commands, "demo", _demo, about, text, "[--peer unixconn|gio]")
    show.add_argument(
        "--peer",
        choices=tuple(demo.IMPORTS),
        default="unixconn",
        help="what the second process uses: this library (the default), or Gio of PyGObject",
    )
    about = "show the layer in use, and the features of this machine's kernel"
    text = "Show the layer in use, and try on a socket pair which options this machine's kernel has."
    cli.add_command(commands, "info", _info, about, text, "")
    return parser


def _demo(options: argparse.Namespace) -> int:
    python = sys.executable if options.peer == "unixconn" else demo.find_gio()
    if python is None:
        candidates = ", ".join(demo.gio_candidates())
        text = f"--peer gio needs PyGObject, and none of these can import it: {candidates}"
        raise cli.CommandError(text, os.EX_UNAVAILABLE)
    cli.output()
    try:
        demo.run(options.peer, python)
    except demo.DemoError as error:
        raise cli.CommandError(str(error), 1) from None
    return os.EX_OK


def _info(_options: argparse.Namespace) -> int:
    print(info.describe(), file=cli.output(), flush=True)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
