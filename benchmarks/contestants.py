"""The contestants: the ways of passing that this machine has, and a process for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rows import C_LOOP

import unixconn

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Contestant:
    """One way of passing, on one interpreter."""

    way: str
    """The library, and for unixconn its layer: "C loop", "unixconn api", "unixconn abi", "socket", "Gio", ..."""
    python: str
    """The implementation and version of the interpreter; "" for C."""
    interpreter: str = field(default="", compare=False)
    """The path of the interpreter."""

    @property
    def is_ours(self) -> bool:
        """Whether it is unixconn."""
        return self.way.startswith("unixconn")

    @property
    def is_pypy(self) -> bool:
        """Whether it runs on PyPy, which has its own targets."""
        return self.python.startswith("PyPy")

    def command(self, program: str, *arguments: object) -> list[str]:
        """Return the command that runs *program*, a file beside this one, for this contestant."""
        return [self.interpreter, str(HERE / program), self.way.split()[0], *map(str, arguments)]

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the environment for that command."""
        return environment(folder, self.way.partition(" ")[2])

    def __str__(self) -> str:
        return f"{self.way}, {self.python}" if self.python else self.way


class Worker:
    """The processes of one contestant. Raises ValueError if none of them starts, as something is not installed."""

    def __init__(self, commands: Iterable[list[str]], environment: dict[str, str]) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._by_operation: dict[str, subprocess.Popen[str]] = {}
        for command in commands:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
                env=environment,
            )
            self._processes.append(process)
            with suppress(ValueError):
                self._by_operation.update(dict.fromkeys(self._read(process).split("\t"), process))
        if not self._by_operation:
            self.close()
            raise ValueError(f"{commands!r} do not run")

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of the operations that it has."""
        return tuple(self._by_operation)

    def seconds(self, operation: str, times: int) -> float:
        """Run *operation* *times* times, and return the seconds that it took."""
        process = self._by_operation[operation]
        assert process.stdin is not None
        process.stdin.write(f"{operation}\t{times}\n")
        return float(self._read(process))

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            with process:
                process.kill()

    @staticmethod
    def _read(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ValueError(f"{process.args!r} has ended")
        return line.rstrip("\n")


def name_of(python: str) -> str:
    """Return implementation and version of the interpreter *python*. Raises ValueError if it does not run."""
    program = "import platform as p; print(p.python_implementation(), p.python_version())"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{python} is no Python interpreter that runs: {error}") from error
    return done.stdout.strip()


@contextmanager
def own_folder() -> Iterator[Path]:
    """Make a temporary folder with a copy of unixconn, for interpreters to import and for programs to be built in."""
    with tempfile.TemporaryDirectory() as name:
        # A copy, as the package's own folder also has this interpreter's cffi, which other interpreters cannot use.
        shutil.copytree(Path(unixconn.__file__).parent, Path(name) / "unixconn")
        yield Path(name)


def environment(folder: Path, layer: str = "") -> dict[str, str]:
    """Return an environment in which an interpreter imports the unixconn in *folder*, and caches bytecode there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(folder), "UNIXCONN_BACKEND": layer}


def start_c_loop(folder: Path) -> tuple[Contestant, Worker]:
    """Compile the C loop into *folder*, and start it."""
    program = str(folder / "loop")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", program, str(HERE / "loop.c")], check=True)
    return Contestant(C_LOOP, ""), Worker([[program]], environment(folder))


PROGRAMS = {
    "unixconn api": ("worker.py", "async_worker.py", "service_worker.py"),
    "unixconn abi": ("worker.py", "async_worker.py", "service_worker.py"),
    "Gio": ("worker.py", "async_worker.py", "service_worker.py"),
    "socket": ("worker.py",),
    "anyio": ("async_worker.py",),
}
"""The files beside this one that each way runs. On PyPy, unixconn has the plain layer alone."""


def start(pythons: list[str], folder: Path) -> Iterator[tuple[Contestant, Worker]]:
    """Start all contestants that each interpreter of *pythons* can run."""
    for python in pythons:
        name = name_of(python)
        for way, programs in PROGRAMS.items():
            contestant = Contestant(way, name, python)
            if way == ("unixconn api" if contestant.is_pypy else "unixconn abi"):
                continue
            try:
                commands = [contestant.command(program) for program in programs]
                yield contestant, Worker(commands, contestant.environment(folder))
            except ValueError:
                print(f"{way} does not run on {name} ({python})", file=sys.stderr)
