"""
Measures unixconn against C, the standard library and PyGObject's Gio: ``python benchmarks/run.py``.

It measures round trips over one socket pair within one process: of a descriptor, of 64 and of 253 descriptors in a
message (send, receive, close), and of credentials (send, receive). Descriptors are closed one by one with `os.close`,
as in C. Many descriptors are also closed with `unixconn.close_fds`; C closes them one by one in that comparison, too.
Each contestant is a process of its own, and the rounds go through all of them in turn. Finally, the time to import
unixconn and Gio is measured. waiting.py measures operations in the background.

It needs a C compiler, and unixconn installed in the interpreter that runs it. Interpreters with PyGObject, and PyPy,
are measured if they are found. The figures are medians of CPU time. Ratios are medians of the ratios within each round,
so that other load on the machine does little harm.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from chart import draw
from contestants import C_LOOP, environment, name_of, own_folder, start, start_c_loop
from options import interpreters, parse
from results import Results, Target, ratio_verdict
from rounds import measure

WAYS = ("unixconn api", "unixconn abi", "socket", "Gio")
TARGETS = (
    Target("descriptor", "unixconn api", C_LOOP, 1.45),
    Target("descriptor", "unixconn abi", C_LOOP, 1.65),
    Target("descriptor", "unixconn", C_LOOP, 1.15, pypy=True),
    Target("descriptor", "unixconn api", "socket", 0.90),
    Target("descriptor", "unixconn api", "Gio", 0.65),
    Target("credentials", "unixconn api", "Gio", 0.85),
    Target("credentials", "unixconn abi", "Gio", 0.95),
    Target("64", "unixconn api", C_LOOP, 1.25),
    Target("64", "unixconn", C_LOOP, 1.15, pypy=True),
    Target("64", "unixconn api", "socket", 1.0),
    Target("253", "unixconn api", C_LOOP, 1.25),
    Target("253", "unixconn", C_LOOP, 1.15, pypy=True),
    Target("253", "unixconn api", "socket", 1.0),
    Target("64-close_fds", "unixconn api", C_LOOP, 1.25),
    Target("253-close_fds", "unixconn api", C_LOOP, 1.25),
)
IMPORTS = ("import unixconn", "from gi.repository import Gio")
IMPORT_LIMIT = 0.5


def main() -> None:
    """Measure and print, and draw if that is asked for."""
    chosen = parse("Measure unixconn against C, the standard library and Gio.", "the ratios to C")
    rounds, seconds = (5, 0.02) if chosen.quick else (41, 0.06)

    results = Results((C_LOOP, "Gio", "socket"))
    with own_folder() as folder, ExitStack() as stack:
        workers = dict([start_c_loop(folder), *start("worker.py", WAYS, interpreters(chosen), folder)])
        for worker in workers.values():
            stack.callback(worker.close)
        measure(workers, results, rounds, seconds)
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
        print(ratio_verdict("import unixconn", "Gio", ours / theirs, IMPORT_LIMIT))
    if chosen.svg:
        chosen.svg.write_text(draw(results), encoding="utf-8")


def measure_imports(python: str, folder: Path, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of processes that only import, by what they import."""
    times: dict[str, list[float]] = {program: [] for program in ("pass", *IMPORTS)}
    for _ in range(min(rounds, 15)):
        for program, values in times.items():
            values.append(process_milliseconds([python, "-c", program], folder))
    return {program: median(values) for program, values in times.items()}


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
