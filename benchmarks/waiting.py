"""
Measures operations in the background, unixconn against PyGObject's Gio and anyio: ``python benchmarks/waiting.py``.

It measures three things. Each contestant has a process of its own, and the rounds go through all contestants in turn.

- The callback form: credentials are sent and received within one process. This is measured in wall-clock time, as Gio's
  threads wait for each other. Their speed depends on whether the kernel runs them on one core or on two, which can
  change while the process runs. So a round takes a second; the rounds of ``--quick`` are too short to show the change.
- The await form: a descriptor is sent and received within one process, by asyncio's loop and by uvloop. This is
  measured in CPU time. The message is sent so late that every contestant has to wait for it, and always by the same
  function. add_reader is the loop's own method with `socket.recv_fds`. A library could need less only by watching in
  another way.
- Many operations in the callback form with silent peers, and the delay of another operation beside them; see
  crowd_worker.py. This is measured in wall-clock time.

It needs unixconn, and for the await form anyio (4.11 or newer), installed in the interpreter that runs it. uvloop,
interpreters with PyGObject, and PyPy are measured if they are found. The figures are medians of the rounds. Ratios are
medians of the ratios within each round.
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
