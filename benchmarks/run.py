"""
Measures unixconn against what it can replace: ``python benchmarks/run.py``.

The rows are in rows.py, each with its rival and its limit: Gio of PyGObject, the socket module, anyio, or the same
system calls in C. Sender and receiver are in one process, except for the server (service_worker.py) and for many silent
peers (crowd_worker.py). Each contestant has processes of its own, which no core is chosen for, and the rounds of about
a second go through all contestants in turn. Everything is warm before it is measured. Messages that are to be waited
for are sent two iterations of the loop after the call, so that all contestants really wait.

It needs a C compiler, and unixconn installed in the interpreter that runs it; for the await form, anyio 4.11 or newer.
uvloop, interpreters with PyGObject, and PyPy are measured if they are found. Figures are medians of the rounds: of CPU
time, except for callbacks, which are measured in wall-clock time, as Gio's threads wait for each other. Ratios are
medians of the ratios within each round, so that other load on the machine does little harm.

``--quick`` takes about a minute, all rounds about eight. ``--update`` also writes the figures into README.md and
docs/performance.md, and draws docs/benchmark.svg and docs/waiting.svg.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import chart
import crowds
import documents
import plot
from contestants import Contestant, Worker, environment, own_folder, start, start_c_loop
from results import C_ROWS, Course, courses, report, verdict
from rounds import Key, measure
from rows import IMPORT_LIMIT

from unixconn._cli.demo import find_gio

IMPORTS = (
    "import unixconn",
    "import unixconn; unixconn.UnixConnection",
    "from gi.repository import Gio; Gio.UnixConnection",
)


def main() -> None:
    """Measure and print, and write the documents if that is asked for."""
    chosen = parse()
    rounds, seconds = (3, 0.1) if chosen.quick else (6, 1.0)
    crowd_rounds, repetitions, patience = (1, 50, 3) if chosen.quick else (3, 200, 15)
    pythons = list(dict.fromkeys(python for python in (chosen.python, chosen.gio_python, chosen.pypy) if python))

    with own_folder() as folder:
        with ExitStack() as stack:
            workers = dict([start_c_loop(folder), *start(pythons, folder)])
            for worker in workers.values():
                stack.callback(worker.close)
            measured = list(courses({each: worker.operations for each, worker in workers.items()}))
            results = measure(keys_of(measured, workers), workers, rounds, seconds)
        many = crowds.measure(crowded(measured), folder, crowd_rounds, repetitions, patience)
        imports = measure_imports(chosen.gio_python, folder, rounds) if chosen.gio_python else None

    print(*report(results, measured), "", *many.table(), *many.verdicts(), sep="\n")
    if imports:
        ratio, used = (each / imports[-1] for each in imports[:-1])
        print(
            f"  import: {ratio:.2f} of Gio, at most {IMPORT_LIMIT}  {verdict(ratio <= IMPORT_LIMIT)}; used: {used:.2f}"
        )
    if chosen.update:
        documents.update(results, measured, many, imports)
        documents.ROOT.joinpath("docs/benchmark.svg").write_text(chart.draw(results, measured), encoding="utf-8")
        documents.ROOT.joinpath("docs/waiting.svg").write_text(plot.draw(many), encoding="utf-8")


def parse() -> argparse.Namespace:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(description="Measure unixconn against Gio, socket, anyio and C.")
    has_gio = importlib.util.find_spec("gi") is not None
    gio = sys.executable if has_gio else find_gio()
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure with (default: this one)")
    parser.add_argument("--gio-python", default=gio, help="an interpreter with PyGObject (default: the first found)")
    parser.add_argument("--pypy", default=shutil.which("pypy3"), help="PyPy (default: pypy3 on the PATH)")
    parser.add_argument("--quick", action="store_true", help="run a few short rounds, for a rough idea only")
    parser.add_argument("--update", action="store_true", help="write the figures into the documents and pictures")
    return parser.parse_args()


def keys_of(measured: list[Course], workers: dict[Contestant, Worker]) -> list[Key]:
    """Return what has to be run, each once: also the C loop, where it has the operation."""
    keys: dict[Key, None] = {}
    for course in measured:
        keys[course.ours_key] = None
        if course.rival is not None:
            keys[course.rival_key] = None
    for contestant in workers:
        if not contestant.python:
            keys.update(dict.fromkeys((operation, contestant) for operation in C_ROWS))
    return list(keys)


def crowded(measured: list[Course]) -> list[Contestant]:
    """Return the contestants that have callbacks: unixconn on CPython and on PyPy, and Gio."""
    contestants: dict[Contestant, None] = {}
    for course in measured:
        if course.row.operation == "callback later":
            contestants[course.ours] = None
            if course.rival is not None and course.rival.way == "Gio":
                contestants[course.rival] = None
    return list(contestants)


def measure_imports(python: str, folder: Path, rounds: int) -> list[float]:
    """Return the median milliseconds of processes that only run each of IMPORTS."""
    times: dict[str, list[float]] = {program: [] for program in IMPORTS}
    for _ in range(3 * rounds):
        for program, values in times.items():
            values.append(process_milliseconds([python, "-c", program], folder))
    return [median(values) for values in times.values()]


def process_milliseconds(command: list[str], folder: Path) -> float:
    """Return the CPU time of a whole process."""
    # Not in the source folder: "-c" would import its unixconn, which lacks the generated layers.
    process = subprocess.Popen(command, cwd=folder, env=environment(folder))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return (usage.ru_utime + usage.ru_stime) * 1e3


if __name__ == "__main__":
    main()
