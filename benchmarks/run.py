"""
Measures unixconn against C, the standard library and PyGObject's Gio: ``python benchmarks/run.py``.

What is measured is the round trip of a descriptor (send, receive, close) and of credentials (send, receive) over one
socket pair within one process. Each contestant is a process of its own, and the rounds go in turn through all of them:
A B C A B C ..., so that all are measured in the same minutes. Last comes the time to import unixconn and Gio.

Needs a C compiler, and unixconn installed in the interpreter that runs this; interpreters with PyGObject, and PyPy,
take part where they are found. The figures are CPU time, medians of the rounds, and ratios are medians of the ratios
within each round, so that other load on the machine does little harm.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from chart import draw
from contestants import Contestant, Worker, assemble, environment, name_of
from results import TARGETS, Results, verdict

import unixconn
from unixconn.demo import find_gio

IMPORTS = ("import unixconn", "from gi.repository import Gio")
IMPORT_LIMIT = 0.5


def main() -> None:
    """Measure and print, and draw if that is asked for."""
    parser = argparse.ArgumentParser(description="Measure unixconn against C, the standard library and Gio.")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure on (default: this one)")
    parser.add_argument("--gio-python", default=find_gio(), help="one that has PyGObject (default: the first found)")
    parser.add_argument("--pypy", default=shutil.which("pypy3"), help="PyPy (default: pypy3 on the PATH)")
    parser.add_argument("--quick", action="store_true", help="a few short rounds: a look, not a measurement")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a picture of the ratios to C")
    chosen = parser.parse_args()
    rounds, seconds = (5, 0.02) if chosen.quick else (41, 0.06)

    pythons = list(dict.fromkeys(python for python in (chosen.python, chosen.gio_python, chosen.pypy) if python))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        # A copy, since beside the package is this interpreter's cffi, which no other can use.
        shutil.copytree(Path(unixconn.__file__).parent, folder / "unixconn")
        workers = {}
        for contestant, worker in assemble(pythons, folder):
            stack.callback(worker.close)
            workers[contestant] = worker
        results = measure(workers, rounds, seconds)
        imports = measure_imports(chosen.gio_python, folder, rounds) if chosen.gio_python else None

    print(*results.table(), sep="\n")
    if imports:
        print(f"{f'import, whole process, {name_of(chosen.gio_python)}':<34}{'median ms':>10}")
        print(*(f"  {program:<32}{milliseconds:>10.1f}" for program, milliseconds in imports.items()), "", sep="\n")
    print("targets")
    for target in TARGETS:
        print(*target.verdicts(results), sep="\n")
    if imports:
        ours, theirs = (imports[program] for program in IMPORTS)
        print(verdict("import unixconn", "Gio", ours / theirs, IMPORT_LIMIT))
    if chosen.svg:
        chosen.svg.write_text(draw(results), encoding="utf-8")


def measure(workers: dict[Contestant, Worker], rounds: int, seconds: float) -> Results:
    """Go *rounds* times through all workers, having each work for about *seconds* on each operation."""
    courses = [
        (operation, contestant, worker, calibrate(worker, operation, seconds))
        for operation in ("descriptor", "credentials")
        for contestant, worker in workers.items()
        if operation in worker.operations
    ]
    results = Results()
    for _ in range(rounds):
        for operation, contestant, worker, times in courses:
            results.add(operation, contestant, worker.seconds(operation, times) / times * 1e6)
    return results


def calibrate(worker: Worker, operation: str, seconds: float) -> int:
    """Find how many times *operation* takes *seconds*; warm, as PyPy's compiler sees a loop only when it is hot."""
    worker.seconds(operation, 50_000)
    return max(1, round(2_000 * seconds / worker.seconds(operation, 2_000)))


def measure_imports(python: str, folder: Path, rounds: int) -> dict[str, float]:
    """Give the median milliseconds of a process that only imports, by what it imports."""
    times: dict[str, list[float]] = {program: [] for program in ("pass", *IMPORTS)}
    for _ in range(min(rounds, 15)):
        for program, values in times.items():
            values.append(process_milliseconds([python, "-c", program], folder))
    return {program: median(values) for program, values in times.items()}


def process_milliseconds(command: list[str], folder: Path) -> float:
    """Give the CPU time of a process from start to end."""
    process = subprocess.Popen(command, env=environment(folder))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return (usage.ru_utime + usage.ru_stime) * 1e3


if __name__ == "__main__":
    main()
