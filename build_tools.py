"""
What it takes to compile unixconn's compiled layer, and whether it is installed.

Imports the standard library alone: build_ffi.py uses it in a build, toxfile.py in tox, which has neither cffi nor
setuptools. ``python build_tools.py`` prints what this interpreter lacks, and nothing if it lacks nothing.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Tool(NamedTuple):
    """A compiler or a set of headers."""

    name: str
    """What it is, in words."""
    packages: str
    """The packages of Debian that contain it."""


_C_HEADERS = Tool("the C library's headers (sys/socket.h)", "libc6-dev")

# The preprocessor answers for the flags and folders that it is given, wherever these come from.
_QUESTION = """
#if !__has_include(<sys/socket.h>)
no sys/socket.h
#endif
#if !__has_include(<Python.h>)
no Python.h
#endif
"""


def missing(folders: Sequence[str] | None = None) -> list[Tool]:
    """
    Return what the compiled layer needs and this machine does not have.

    *folders* are those where the compiler looks for Python's headers, by default this interpreter's. A compiler that
    fails here is not missing: its complaint about the real source says more.
    """
    command = _compiler()
    folders = [sysconfig.get_path(name) for name in ("include", "platinclude")] if folders is None else folders
    try:
        answer = _preprocess([*command, *(f"-I{folder}" for folder in folders)])
    except OSError:
        compiler = Tool(f"a C compiler ({command[0]})", f"gcc {_C_HEADERS.packages}")
        found = any(Path(folder, "Python.h").exists() for folder in folders)
        return [compiler] if found else [compiler, _python_headers()]
    tools = {"no sys/socket.h": _C_HEADERS, "no Python.h": _python_headers()}
    return [tool for line, tool in tools.items() if line in answer.splitlines()]


def explain(tools: Sequence[Tool]) -> str:
    """Return one line that names *tools*, and says how to install them."""
    packages = " ".join(tool.packages for tool in tools)
    return (
        f"unixconn's compiled layer needs {' and '.join(tool.name for tool in tools)}, not found here. "
        f'On Debian and Ubuntu: "apt-get install {packages}". '
        "Elsewhere: a C compiler, and the development packages of the C library and of Python (such as python3-devel)."
    )


def _compiler() -> list[str]:
    """Return the compiler and its flags, as setuptools puts them together."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    flags = (sysconfig.get_config_var("CFLAGS"), os.environ.get("CFLAGS"), os.environ.get("CPPFLAGS"))
    return shlex.split(" ".join([compiler, *filter(None, flags)]))


def _python_headers() -> Tool:
    major, minor = sys.version_info[:2]
    if sys.implementation.name == "pypy":
        return Tool("PyPy's headers (Python.h)", "pypy3-dev")
    return Tool(f"the headers of Python {major}.{minor} (Python.h)", f"python{major}.{minor}-dev")


def _preprocess(command: Sequence[str]) -> str:
    """Return the answer of the compiler *command*, "" if it fails. Raise OSError if it can not be run."""
    done = subprocess.run(
        [*command, "-E", "-x", "c", "-"],
        input=_QUESTION,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else ""


def main() -> None:
    """Print what is missing."""
    tools = missing()
    if tools:
        print(explain(tools))


if __name__ == "__main__":
    main()
