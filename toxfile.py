"""
What tox does before it runs an environment: look whether the compiled layer can be built here.

Where it cannot, tox prints what is missing, skips the environments that need that layer, and gives the others a package
without it. ``UNIXCONN_REQUIRE_API=1`` in tox's environment switches this off: the build then fails, and says why.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tox.plugin import impl
from tox.tox_env.errors import Skip

if TYPE_CHECKING:
    from tox.tox_env.api import ToxEnv

# The Python that runs tox builds one wheel for all versions of CPython. PyPy builds its own.
_CPYTHON, _PYPY = sys.executable, shutil.which("pypy3")


@cache
def lacking(python: str | None) -> str:
    """Return what the interpreter *python* lacks for a build, and how to install it; "" if it lacks nothing."""
    if python is None or os.environ.get("UNIXCONN_REQUIRE_API") == "1":
        return ""
    command = [python, Path(__file__).with_name("build_tools.py")]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@impl
def tox_add_core_config() -> None:
    """Print what is missing before the first environment runs: run-parallel does not say why it skips one."""
    if lacking(_CPYTHON):
        # tox.ini passes it on to the build of the wheel.
        os.environ["UNIXCONN_REQUIRE_API"] = "0"
    skipped: dict[str, list[str]] = {}
    for python, names in ((_CPYTHON, ["py3*-api", "coverage"]), (_PYPY, ["pypy3-api"])):
        skipped.setdefault(lacking(python), []).extend(names)
    for text, names in skipped.items():
        if text:
            outcome = f"Until then tox skips {', '.join(names)}, and tests the plain layer."
            for sentence in (*re.split(r"(?<=\.) ", text), outcome):
                print(textwrap.fill(sentence, 79, break_on_hyphens=False), file=sys.stderr)


@impl
def tox_on_install(tox_env: ToxEnv) -> None:
    """Skip an environment that needs the compiled layer, before anything is installed in it."""
    name = tox_env.conf.name
    if {"api", "coverage"} & set(name.split("-")) and (text := lacking(_PYPY if "pypy3" in name else _CPYTHON)):
        raise Skip(text)
