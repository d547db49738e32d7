"""The command line: ``unixconn demo`` and ``unixconn info``, also as ``python -m unixconn``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from unixconn import __version__, demo, info


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments*, by default this process's, and give the exit code."""
    parser = argparse.ArgumentParser(
        prog="unixconn", description="Pass file descriptors and credentials between processes over Unix sockets."
    )
    parser.add_argument("--version", action="version", version=f"unixconn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    show = commands.add_parser("demo", help="start a second process, exchange an open file and credentials with it")
    show.add_argument(
        "--peer",
        choices=tuple(demo.IMPORTS),
        default="unixconn",
        help="what the second process uses: this library (the default), or Gio of PyGObject",
    )
    commands.add_parser("info", help="show the layer in use, and what this machine's kernel can do")

    chosen = parser.parse_args(arguments)
    try:
        return _run(chosen, show)
    except BrokenPipeError:
        # Who reads our output has enough, like head(1). Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(chosen: argparse.Namespace, show: argparse.ArgumentParser) -> int:
    if chosen.command == "info":
        print(info.describe(), flush=True)
        return 0
    python = sys.executable if chosen.peer == "unixconn" else demo.find_gio()
    if python is None:
        show.error("--peer gio needs PyGObject, and none of these can import it: " + ", ".join(demo.gio_candidates()))
    try:
        demo.run(chosen.peer, python)
    except demo.DemoError as error:
        print(f"unixconn: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
