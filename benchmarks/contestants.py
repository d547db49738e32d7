"""The contestants: which ways of passing there are on this machine, and the processes that take them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
C_LOOP = "C loop"


@dataclass(frozen=True)
class Contestant:
    """One way of passing, on one interpreter."""

    way: str
    """"C loop", "unixconn api", "unixconn abi", "socket" or "Gio"."""
    python: str
    """The interpreter's implementation and version, "" for C."""

    @property
    def is_pypy(self) -> bool:
        """Tell whether it runs on PyPy, which has targets of its own."""
        return self.python.startswith("PyPy")

    def __str__(self) -> str:
        return f"{self.way}, {self.python}" if self.python else self.way


class Worker:
    """The process of one contestant. ValueError if it does not start: this machine lacks what it needs."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env=environment,
        )
        try:
            self.operations = tuple(self._read().split())
        except ValueError:
            self.close()
            raise

    def seconds(self, operation: str, times: int) -> float:
        """Have *operation* done *times* times, and give the CPU time that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{operation} {times}\n")
        return float(self._read())

    def close(self) -> None:
        """End the process."""
        with self._process:
            self._process.kill()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ValueError(f"{self._process.args!r} has ended")
        return line


def name_of(python: str) -> str:
    """Give implementation and version of the interpreter *python*; ValueError if it does not run."""
    program = "import platform as p; print(p.python_implementation(), p.python_version())"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{python} is no Python interpreter that runs: {error}") from error
    return done.stdout.strip()


def compile_loop(folder: Path) -> list[str]:
    """Compile the C loop into *folder* and give the command that runs it."""
    program = str(folder / "loop")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", program, str(HERE / "loop.c")], check=True)
    return [program]


def environment(folder: Path, layer: str = "") -> dict[str, str]:
    """Give the environment in which an interpreter finds the unixconn in *folder*, and keeps its bytecode there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(folder), "UNIXCONN_BACKEND": layer}


def assemble(pythons: list[str], folder: Path) -> Iterator[tuple[Contestant, Worker]]:
    """
    Start all that this machine has: the C loop, and each way on each of the interpreters *pythons*.

    *folder* is where programs are made, and where the interpreters find unixconn.
    """
    yield Contestant(C_LOOP, ""), Worker(compile_loop(folder), environment(folder))
    for python in pythons:
        name = name_of(python)
        for way, module, layer in (
            ("unixconn api", "unixconn", "api"),
            ("unixconn abi", "unixconn", "abi"),
            ("socket", "socket", ""),
            ("Gio", "Gio", ""),
        ):
            command = [python, str(HERE / "worker.py"), module]
            try:
                yield Contestant(way, name), Worker(command, environment(folder, layer))
            except ValueError:
                print(f"{way} does not run on {name} ({python})", file=sys.stderr)
