"""The benchmarks' contestants run: each row of the tables is an operation that unixconn has."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the tests stand alone, without the benchmarks")


def run(program: str, way: str, times: int) -> dict[str, float]:
    """Run each operation of a contestant, and return the seconds that each took."""
    with subprocess.Popen(
        [sys.executable, str(FOLDER / program), way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        seconds = {}
        for name in worker.stdout.readline().rstrip("\n").split("\t"):
            worker.stdin.write(f"{name}\t{times}\n")
            seconds[name] = float(worker.stdout.readline())
        worker.stdin.close()
        assert worker.wait(60) == 0
    return seconds


@pytest.mark.parametrize(
    ("program", "times"), [("worker.py", 60), ("async_worker.py", 60), ("service_worker.py", 1_000)]
)
def test_unixconn(program, times):
    """All its operations run, and are such that a row shows."""
    found = run(program, "unixconn", times)
    assert found
    assert found.keys() <= {row.operation for row in runpy.run_path(str(FOLDER / "rows.py"))["ROWS"]}


def test_the_standard_library():
    """The same operations."""
    assert run("worker.py", "socket", 60).keys() < run("worker.py", "unixconn", 60).keys()


def test_fairness():
    """The program that measures how late other tasks are beside a flooding peer runs, and prints a row for each way."""
    shown = subprocess.run([sys.executable, str(FOLDER / "fairness.py")], stdout=subprocess.PIPE, text=True, check=True)
    assert len(re.findall(r"(?m)^.+\d\.\d +\d+\.\d$", shown.stdout)) == 4, shown.stdout
