"""
Checks whether the tools that unixconn's compiled layer needs are installed: a C compiler and headers.

This module imports only the standard library. build_ffi.py uses it in a build, and toxfile.py in tox, which has neither
cffi nor setuptools. ``python build_tools.py`` prints the tools that are missing, and nothing if all are there.
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
    """Its name, for a text."""
    packages: str
    """The names of the Debian packages that contain it, separated by spaces."""
    elsewhere: str
    """What other systems call it, in general."""


_C_HEADERS = Tool("the C library's headers (sys/socket.h)", "libc6-dev", "the C library's development package")

# Input for the preprocessor, which prints a line for each header that is missing. It searches the same folders as in
# the real compilation, as it gets the same flags.
_QUESTION = """
#if !__has_include(<sys/socket.h>)
no sys/socket.h
#endif
#if !__has_include(<Python.h>)
no Python.h
#endif
"""

# The same for the level of the C library's checks of buffers: they need a compiler that optimises, level 3 one that
# knows sizes at run time. A distribution's compiler may have a level of its own.
_FORTIFY_QUESTION = """
#if defined(__OPTIMIZE__) && !defined(_FORTIFY_SOURCE)
#ifdef __has_builtin
#if __has_builtin(__builtin_dynamic_object_size)
level 3
#endif
#endif
level 2
#endif
"""


def missing(folders: Sequence[str] | None = None) -> list[Tool]:
    """
    Return the tools that the compiled layer needs and that are missing here.

    *folders* are those where the compiler looks for Python's headers, by default those of this interpreter. A compiler
    that can be run and fails does not count as missing: its error about the real source says more.
    """
    command = _compiler()
    folders = [sysconfig.get_path(name) for name in ("include", "platinclude")] if folders is None else folders
    try:
        answer = _preprocess([*command, *(f"-I{folder}" for folder in folders)], _QUESTION)
    except OSError:
        compiler = Tool(
            f"a C compiler ({command[0]})", f"gcc {_C_HEADERS.packages}", f"gcc or clang, {_C_HEADERS.elsewhere}"
        )
        found = any(Path(folder, "Python.h").exists() for folder in folders)
        return [compiler] if found else [compiler, _python_headers()]
    tools = {"no sys/socket.h": _C_HEADERS, "no Python.h": _python_headers()}
    return [tool for line, tool in tools.items() if line in answer.splitlines()]


def explain(tools: Sequence[Tool]) -> str:
    """Return one line of text that names *tools*, and says how to install them."""
    packages = " ".join(tool.packages for tool in tools)
    return (
        f"unixconn's compiled layer needs {' and '.join(tool.name for tool in tools)}, not found here. "
        f'On Debian and Ubuntu: "apt-get install {packages}". '
        f"Elsewhere: {', '.join(tool.elsewhere for tool in tools)}."
    )


def fortify_level() -> str:
    """Return the value for _FORTIFY_SOURCE, see feature_test_macros(7); "" if it can not, or need not be set."""
    try:
        answer = _preprocess(_compiler(), _FORTIFY_QUESTION)
    except OSError:
        return ""
    return next((line.split()[1] for line in answer.splitlines() if line.startswith("level ")), "")


def _compiler() -> list[str]:
    """Return the command of the compiler with its flags, composed in the same way as setuptools does."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    flags = (sysconfig.get_config_var("CFLAGS"), os.environ.get("CFLAGS"), os.environ.get("CPPFLAGS"))
    return shlex.split(" ".join([compiler, *filter(None, flags)]))


def _python_headers() -> Tool:
    major, minor = sys.version_info[:2]
    if sys.implementation.name == "pypy":
        return Tool("PyPy's headers (Python.h)", "pypy3-dev", "PyPy's development package")
    return Tool(
        f"the headers of Python {major}.{minor} (Python.h)",
        f"python{major}.{minor}-dev",
        "Python's development package, such as python3-devel",
    )


def _preprocess(command: Sequence[str], question: str) -> str:
    """Return what *command* prints for *question*; "" if it fails. Raises OSError if it can not be run."""
    done = subprocess.run(
        [*command, "-E", "-x", "c", "-"],
        input=question,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else ""


def main() -> None:
    """Print the tools that are missing, and how to install them."""
    tools = missing()
    if tools:
        print(explain(tools))


if __name__ == "__main__":
    main()
