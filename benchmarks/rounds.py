"""The rounds: all contestants in turn, A B C A B C ..., so that load on the machine affects all of them alike."""

from __future__ import annotations

from contestants import Contestant, Worker
from results import Results

_WARM = 0.5
_BATCH = 2_000


def measure(workers: dict[Contestant, Worker], results: Results, rounds: int, seconds: float, kind: str = "") -> None:
    """
    Measure all *workers* in turn, *rounds* times, for about *seconds* on each operation.

    Only operations whose names begin with *kind* are measured.
    """
    operations = dict.fromkeys(operation for worker in workers.values() for operation in worker.operations)
    courses = [
        (operation, contestant, worker, calibrate(worker, operation, seconds))
        for operation in operations
        for contestant, worker in workers.items()
        if operation in worker.operations and operation.startswith(kind)
    ]
    for _ in range(rounds):
        for operation, contestant, worker, times in courses:
            results.add(operation, contestant, worker.seconds(operation, times) / times * 1e6)


def calibrate(worker: Worker, operation: str, seconds: float) -> int:
    """Return how many times *operation* runs in *seconds*, after a warm-up, which PyPy's compiler needs."""
    warm = 0.0
    while warm < _WARM:
        last = worker.seconds(operation, _BATCH)
        warm += last
    return max(1, round(_BATCH * seconds / last))
