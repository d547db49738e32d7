"""
Measures what waits in the background, unixconn against PyGObject's Gio and anyio: ``python benchmarks/waiting.py``.

Three things, each of them by processes of their own, whose rounds go in turn through all contestants:

- The callback form, credentials sent and received within one process. In wall-clock time, since Gio's work is spread
  over threads that wait for each other. The kernel may have these threads on one core at first, and has them on two
  cores soon, where they take nearly twice as long. So a round is a second, as of a program that goes on working; the
  short rounds of ``--quick`` show the beginning.
- The await form, a descriptor sent and received within one process, by asyncio's loop and by uvloop. In CPU time. The
  message is sent so late that all contestants have to wait for it, and by the same function. add_reader is the loop's
  own method with `socket.recv_fds`: no library could do with less, except by another way to watch.
- Many operations in the callback form whose peers are silent, and what that does to others; see crowd_worker.py. In
  wall-clock time.

Needs unixconn, and for the await form anyio (4.11 or newer), installed in the interpreter that runs this; uvloop,
interpreters with PyGObject, and PyPy take part where they are found. The figures are medians of the rounds, and ratios
are medians of the ratios within each round.
"""

from __future__ import annotations

from contextlib import ExitStack

import crowds
from contestants import own_folder, start
from options import interpreters, parse
from plot import draw
from results import Results, Target
from rounds import measure

WAYS = ("unixconn api", "unixconn abi", "Gio", "anyio", "add_reader")
TARGETS = (
    Target("callback, message is there", "unixconn", "Gio", 0.30),
    Target("callback, message is there", "unixconn", "Gio", 0.30, pypy=True),
    Target("callback, message comes later", "unixconn", "Gio", 0.60),
    Target("callback, message comes later", "unixconn", "Gio", 0.60, pypy=True),
    Target("await, asyncio, comes later", "unixconn", "anyio", 0.70),
)


def main() -> None:
    """Measure and print, and draw if that is asked for."""
    chosen = parse("Measure unixconn's asynchronous forms against Gio and anyio.", "the latency among many that wait")
    rounds, seconds = (5, 0.02) if chosen.quick else (31, 0.04)
    long_rounds, long_seconds = (rounds, seconds) if chosen.quick else (9, 1.0)
    crowd_rounds, repetitions, patience = (1, 50, 3) if chosen.quick else (5, 200, 15)

    results = Results(("Gio", "anyio", "add_reader"))
    with own_folder() as folder:
        with ExitStack() as stack:
            workers = dict(start("async_worker.py", WAYS, interpreters(chosen), folder))
            for worker in workers.values():
                stack.callback(worker.close)
            measure(workers, results, long_rounds, long_seconds, "callback")
            measure(workers, results, rounds, seconds, "await")
        many = crowds.measure(workers, folder, crowd_rounds, repetitions, patience)

    print(*results.table(), "callback: wall-clock time; await: CPU time", "", *many.table(), "targets", sep="\n")
    for target in TARGETS:
        print(*target.verdicts(results), sep="\n")
    print(*many.verdicts(), sep="\n")
    if chosen.svg:
        chosen.svg.write_text(draw(many), encoding="utf-8")


if __name__ == "__main__":
    main()
