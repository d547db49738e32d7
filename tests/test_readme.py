"""The README and the pages in docs/ tell the truth."""

from __future__ import annotations

import builtins
import importlib.util
import inspect
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unixconn

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [*ROOT.glob("README.md"), *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.skipif(not README.exists(), reason="the tests stand alone, without a README")


def programs_of(page):
    """Return the Python programs of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


PROGRAMS = {f"{page.name}-{number}": program for page in PAGES for number, program in enumerate(programs_of(page), 1)}
FIRST = "README.md-1"
# PyGObject may be missing, and no server listens there.
OTHERS = {
    name: program
    for name, program in PROGRAMS.items()
    if name != FIRST and "gi.repository" not in program and "/run/service" not in program
}


def output_of(program, folder):
    """Run *program*; not in the source folder, whose package has no generated layer."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_first_example(tmp_path):
    """The first program in it does what it says, in twelve lines."""
    assert len([line for line in PROGRAMS[FIRST].splitlines() if line]) == 12
    shutil.copy(ROOT / "LICENSE", tmp_path)
    assert re.fullmatch(r"process \d+ sent me: MIT License\n.*", output_of(PROGRAMS[FIRST], tmp_path), re.DOTALL)


@pytest.mark.parametrize("program", OTHERS.values(), ids=OTHERS)
def test_the_other_examples(program, tmp_path):
    """They end without an error, and print nothing."""
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


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_what_is_named_exists(page):
    """Names in code are names of the package, and links lead to files and to headings."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`unixconn\.(\w+)[`.(]", text):
        assert hasattr(unixconn, name) or importlib.util.find_spec(f"unixconn.{name}"), name
    for path, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = page.parent / path if path else page
        assert target.exists(), path
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings], heading


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_the_table_of_figures(page):
    """It has a line for each row that benchmarks/run.py measures, in the place where that writes them."""
    rows = ROOT / "benchmarks" / "rows.py"
    if not rows.exists():
        pytest.skip("the tests stand alone, without the benchmarks")
    text = (ROOT / page).read_text(encoding="utf-8")
    [table] = re.findall(r"<!-- figures: .*? -->\n(.*)<!-- the end of figures -->", text, re.DOTALL)
    titles = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)
    assert [row.title for row in runpy.run_path(str(rows))["ROWS"] if row.title not in titles] == []


def test_the_table_of_methods():
    """The methods that the README names are those of a connection."""
    table = re.search(r"\| to \| call \|\n(.*?)\n\n", README.read_text(encoding="utf-8"), re.DOTALL).group(1)
    names = re.findall(r"`(\w+)`", table)
    assert "receive_fd" in names
    assert [name for name in names if not hasattr(unixconn.UnixConnection, name)] == []


def test_the_table_of_errors():
    """Each class of errors is in docs/calls.md, with its code and Python's exception."""
    text = (ROOT / "docs" / "calls.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z_]+) \| `(\w+)` \| (?:`(\w+)`)?", text, re.MULTILINE)
    for code, name, parent in rows:
        kind = getattr(unixconn, name)
        assert inspect.getdoc(kind).startswith(code)
        assert issubclass(kind, getattr(builtins, parent or "RuntimeError"))
    kinds = [name for name in unixconn.__all__ if isinstance(getattr(unixconn, name), type)]
    kinds = {name for name in kinds if issubclass(getattr(unixconn, name), unixconn.Error)}
    assert kinds - {"Error", "GError", "SystemCallError"} == {name for _, name, _ in rows}


def test_the_docstring_of_the_package_runs():
    """The session in the package's docstring is true."""
    import doctest

    assert doctest.testmod(unixconn, optionflags=doctest.ELLIPSIS).failed == 0
