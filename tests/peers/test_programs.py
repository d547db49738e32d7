"""Programs for PyGObject: each in programs/ runs under Gio, and as it is or with another import under unixconn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from peers.peer_gio import need_gio

import unixconn

PROGRAMS = sorted((Path(__file__).parents[1] / "programs").glob("*.py"))
IMPORT = re.compile(r"^from gi\.repository import Gio, GLib(?:, GObject)?$", re.MULTILINE)
LIMIT = 100
EXIT_CODES = {"supervisor": 5}
"""Of the programs that do not end with 0."""
AT_END = """
import atexit, gc, os, sys

def count():
    # What is cancelled at the end still has its callback to come.
    while sys.modules["unixconn"].MainContext.default().iteration(False):
        pass
    for _ in range(3):
        gc.collect()
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
    found = [os.readlink(link) for link in links if os.path.lexists(link)]
    with open(os.environ["LEFT"], "w") as file:
        print(*[each for each in found if each.startswith(("socket:", "pipe:"))], file=file)

atexit.register(count)
"""
"""Writes into a file the sockets and pipes that are open when Python ends."""


def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run *command* in *folder*, which is made."""
    folder.mkdir()
    return subprocess.run(
        [*command, str(folder)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=LIMIT,
        check=False,
        env={**os.environ, **environment},
    )


def exchanged(program: Path, folder: Path) -> Path:
    """Make a copy of *program* that imports unixconn; nothing else in it changes."""
    source, times = IMPORT.subn("import unixconn as Gio; GLib = GObject = Gio", program.read_text(encoding="utf-8"))
    assert times == 1
    assert "gi.repository" not in source
    copy = folder / program.name
    copy.write_text(source, encoding="utf-8")
    return copy


@pytest.mark.parametrize("way", ["another import", "unchanged"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_it_prints_the_same_under_both(program: Path, way: str, tmp_path: Path) -> None:
    """Only the line of the import differs, or nothing: ``python -m unixconn.gi`` runs the program as it is."""
    reference = run([need_gio(), "-X", "utf8", str(program)], tmp_path / "gio", {})
    assert reference.returncode == EXIT_CODES.get(program.stem, 0), reference.stderr
    (tmp_path / "sitecustomize.py").write_text(AT_END)
    found = [str(tmp_path), str(Path(unixconn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    started = [str(exchanged(program, tmp_path))] if way == "another import" else ["-m", "unixconn.gi", str(program)]
    ours = run(
        [sys.executable, "-X", "utf8", *started],
        tmp_path / "ours",
        {"PYTHONPATH": os.pathsep.join(filter(None, found)), "LEFT": str(tmp_path / "left")},
    )
    assert ours.stderr == ""
    assert ours.returncode == reference.returncode
    assert ours.stdout == reference.stdout
    assert (tmp_path / "left").read_text() == "\n"
    assert ours.stdout.count("\n") > 5
