"""The same programs under Gio and under this library: the outcomes are equal."""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import MOST
from peers import peer_runner
from peers.peer_gio import need_gio

import unixconn

NAMES = [
    f"{path.stem}.{node.name}"
    for path in sorted(peer_runner.FOLDER.glob("*.py"))
    if path.stem != peer_runner.TOOLS
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef)
]


def start(interpreter, implementation):
    """Start the runner, which finds this very copy of the library."""
    environment = dict(os.environ, PYTHONPATH=str(Path(unixconn.__file__).parents[1]))
    command = [interpreter, peer_runner.__file__, implementation]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@functools.lru_cache(maxsize=1)
def outcomes():
    """Run all snippets both ways, at the same time; give what came of them."""
    with start(need_gio(), "gi") as gio, start(sys.executable, "unixconn") as ours:
        found = []
        for process in (gio, ours):
            output, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors.decode()
            found.append(json.loads(output))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_outcome_is_gios(name):
    """A program that was written for PyGObject gives the same outcome after its import is exchanged."""
    if name == "messages.message_of_too_many" and MOST < 253:
        pytest.skip("this C library has less room than Gio's: what comes of that is in test_control_messages.py")
    expected, found = (each[name] for each in outcomes())
    assert "outcome" in expected, f"the snippet fails under Gio: {expected}"
    assert found == expected


def test_every_snippet_ran():
    """None is lost between the files and the runner."""
    assert [sorted(each) for each in outcomes()] == [sorted(NAMES)] * 2
    assert len(NAMES) > 40
