"""What the commands here have in common: their arguments."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from unixconn._cli.demo import find_gio


def parse(description: str, picture: str) -> argparse.Namespace:
    """Give the chosen arguments of a command with that *description*, which can draw that *picture*."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure on (default: this one)")
    parser.add_argument("--gio-python", default=find_gio(), help="one that has PyGObject (default: the first found)")
    parser.add_argument("--pypy", default=shutil.which("pypy3"), help="PyPy (default: pypy3 on the PATH)")
    parser.add_argument("--quick", action="store_true", help="a few short rounds: a look, not a measurement")
    parser.add_argument("--svg", type=Path, metavar="FILE", help=f"write a picture: {picture}")
    return parser.parse_args()


def interpreters(chosen: argparse.Namespace) -> list[str]:
    """Give the interpreters to measure on."""
    return list(dict.fromkeys(python for python in (chosen.python, chosen.gio_python, chosen.pypy) if python))
