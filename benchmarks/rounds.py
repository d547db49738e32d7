"""The rounds: all contestants in turn, A B C A B C ..., so that load on the machine affects all of them alike."""

from __future__ import annotations

from collections.abc import Iterable

from contestants import Contestant, Worker
from results import Results

Key = tuple[str, Contestant]

_WARM = 0.2, 1.0
"""Seconds of warm-up: for Gio's pool of threads, and for PyPy's compiler."""


def measure(keys: Iterable[Key], workers: dict[Contestant, Worker], rounds: int, seconds: float) -> Results:
    """
    Run the operations of *keys* in turn, *rounds* times, for about *seconds* each.

    A round is long, as threads and the kernel's choice of cores settle only after a while.
    """
    results = Results()
    times = {key: calibrate(workers[key[1]], key[0], seconds, _WARM[key[1].is_pypy]) for key in keys}
    for _ in range(rounds):
        for (operation, contestant), count in times.items():
            results.add(operation, contestant, workers[contestant].seconds(operation, count) / count * 1e6)
    return results


def calibrate(worker: Worker, operation: str, seconds: float, enough: float) -> int:
    """Return how many times *operation* runs in *seconds*, after a warm-up of *enough* seconds."""
    least = 1_000 if operation == "service" else 50
    count, warm, last = least, 0.0, 0.0
    while warm < enough or last < seconds / 20:
        last = worker.seconds(operation, count)
        warm += last
        if last < seconds / 20:
            count *= 2
    return least * max(1, round(count * seconds / last / least))
