"""The README tells the truth."""

from __future__ import annotations

import os
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


PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def output_of(program, folder):
    """Run *program*; not in the source folder, whose package has no generated layer."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_first_example(tmp_path):
    """The first program in it does what it says, in twelve lines."""
    assert len([line for line in PROGRAMS[0].splitlines() if line]) == 12
    shutil.copy(ROOT / "LICENSE", tmp_path)
    assert re.fullmatch(r"process \d+ sent me: MIT License\n.*", output_of(PROGRAMS[0], tmp_path), re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS[1:])
def test_the_other_examples(program, tmp_path):
    """They come to their end, and have nothing to complain of."""
    assert output_of(program, tmp_path) == ""


def test_the_two_shells(tmp_path):
    """What the one shell sends comes to the command in the other."""
    receiver, sender = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    program = tmp_path / "unixconn"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m unixconn "$@"\n')
    program.chmod(0o755)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    environment = {**os.environ, "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])}
    shell = {"shell": True, "cwd": tmp_path, "env": environment}
    with subprocess.Popen(receiver, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **shell) as receiving:
        try:
            subprocess.run(sender, check=True, timeout=60, **shell)
            output, errors = receiving.communicate(timeout=60)
        finally:
            receiving.kill()
    assert (receiving.returncode, errors) == (0, "")
    assert re.fullmatch(r"process \d+ has LICENSE:\nMIT License\n", output)


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
