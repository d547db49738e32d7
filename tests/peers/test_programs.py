"""Programs written for PyGObject: each in programs/ runs as it is under Gio, and under unixconn with another import."""

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
LIMIT = 30


def run(python: str, program: Path, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run *program* in *folder*, which is made."""
    folder.mkdir()
    command = [python, "-X", "utf8", str(program), str(folder)]
    return subprocess.run(
        command,
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


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_it_prints_the_same_under_both(program: Path, tmp_path: Path) -> None:
    """Only the line of the import differs."""
    reference = run(need_gio(), program, tmp_path / "gio", {})
    assert reference.returncode == 0, reference.stderr
    found = [str(Path(unixconn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    ours = run(
        sys.executable,
        exchanged(program, tmp_path),
        tmp_path / "ours",
        {"PYTHONPATH": os.pathsep.join(filter(None, found))},
    )
    assert ours.stderr == ""
    assert ours.returncode == 0
    assert ours.stdout == reference.stdout
    assert ours.stdout.count("\n") > 5
