"""The arguments that the commands here share."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from unixconn._cli.demo import find_gio


def parse(description: str, picture: str) -> argparse.Namespace:
    """Parse the arguments of a command. *description* and *picture* are for its help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure with (default: this one)")
    parser.add_argument(
        "--gio-python", default=find_gio(), help="an interpreter that has PyGObject (default: the first found)"
    )
    parser.add_argument("--pypy", default=shutil.which("pypy3"), help="PyPy (default: pypy3 on the PATH)")
    parser.add_argument("--quick", action="store_true", help="run a few short rounds, for a rough idea only")
    parser.add_argument("--svg", type=Path, metavar="FILE", help=f"write a picture: {picture}")
    return parser.parse_args()


def interpreters(chosen: argparse.Namespace) -> list[str]:
    """Return the interpreters to measure with."""
    return list(dict.fromkeys(python for python in (chosen.python, chosen.gio_python, chosen.pypy) if python))
