"""The README tells the truth."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unixconn

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not README.exists(), reason="the tests stand alone, without a README")


def test_the_example_runs(tmp_path):
    """The first program in it does what it says."""
    # Not in the source folder, whose package has no generated layer.
    shutil.copy(ROOT / "LICENSE", tmp_path)
    [program] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in program.splitlines() if line]) == 12
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert re.fullmatch(r"process \d+ sent me: MIT License\n.*", done.stdout, re.DOTALL)


def test_what_it_names_exists():
    """Names in code are names of the package."""
    for name in re.findall(r"`unixconn\.(\w+)[`.(]", README.read_text(encoding="utf-8")):
        assert hasattr(unixconn, name), name
    table = re.search(r"\| `UnixConnection` \|(.*?)\|", README.read_text(encoding="utf-8")).group(1)
    for name in re.findall(r"`(\w+)`", table):
        assert name == "with" or hasattr(unixconn.UnixConnection, name), name


def test_the_docstring_of_the_package_runs():
    """The session in the package's docstring is true."""
    import doctest

    assert doctest.testmod(unixconn, optionflags=doctest.ELLIPSIS).failed == 0
