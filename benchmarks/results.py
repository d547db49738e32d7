"""The results of the rounds: medians, ratios, and whether the limits are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median

from contestants import Contestant
from rows import ROWS, Limit, Row

C_ROWS = ("descriptor", "credentials", "64", "64-close_fds")
"""The operations that the C loop has."""


@dataclass
class Results:
    """The microseconds of each operation, by contestant, one per round."""

    rounds: dict[tuple[str, Contestant], list[float]] = field(default_factory=dict)

    def add(self, operation: str, contestant: Contestant, microseconds: float) -> None:
        """Add the result of the next round."""
        self.rounds.setdefault((operation, contestant), []).append(microseconds)

    def microseconds(self, operation: str, contestant: Contestant) -> float:
        """Return the median."""
        return median(self.rounds[operation, contestant])

    def in_c(self) -> dict[str, float]:
        """Return the median microseconds of the C loop, by operation."""
        return {operation: median(times) for (operation, each), times in self.rounds.items() if not each.python}

    def ratio(self, course: Course) -> float | None:
        """
        Return the median of the ratios to the rival; None without a rival.

        Each ratio is within a round: other load on the machine slows both sides of it.
        """
        if course.rival is None:
            return None
        ours, theirs = self.rounds[course.ours_key], self.rounds[course.rival_key]
        return median(one / other for one, other in zip(ours, theirs))


@dataclass(frozen=True)
class Course:
    """A row on one interpreter: unixconn, and what it is compared with."""

    row: Row
    limit: Limit
    ours: Contestant
    rival: Contestant | None

    @property
    def ours_key(self) -> tuple[str, Contestant]:
        """The key of unixconn in the results."""
        return self.row.operation, self.ours

    @property
    def rival_key(self) -> tuple[str, Contestant]:
        """The key of the rival in the results."""
        assert self.rival is not None
        return self.limit.operation or self.row.operation, self.rival


def courses(available: dict[Contestant, tuple[str, ...]]) -> Iterator[Course]:
    """Yield what can be measured by *available*, the contestants with their operations."""
    for row in ROWS:
        for limit, is_pypy in ((row.cpython, False), (row.pypy, True)):
            if limit is None:
                continue
            way = "unixconn abi" if is_pypy else "unixconn api"
            ours = [
                each
                for each, operations in available.items()
                if each.way == way and each.is_pypy is is_pypy and row.operation in operations
            ]
            rivals = [
                each
                for each, operations in available.items()
                if each.way == limit.rival and each.is_pypy <= is_pypy
                if (limit.operation or row.operation) in operations
            ]
            # The two of one interpreter, if there is one that has both: interpreters differ by more than the limits do.
            pairs = [(one, other) for other in rivals for one in ours]
            pairs.sort(key=lambda pair: pair[0].python != pair[1].python)
            if pairs:
                yield Course(row, limit, *pairs[0])
            elif ours and not limit.rival:
                yield Course(row, limit, ours[0], None)


def report(results: Results, measured: Iterable[Course]) -> Iterator[str]:
    """Yield the lines of the table: each ratio beside its limit."""
    yield f"{'':<36}{'unixconn':>10}{'rival':>10}{'ratio':>8}  {'of':<12}{'at most':>8}{'wished':>8}"
    python = ""
    for course in sorted(measured, key=lambda each: each.ours.is_pypy):
        if course.ours.python != python:
            python = course.ours.python
            yield python
        limit, ratio = course.limit, results.ratio(course)
        ours = results.microseconds(*course.ours_key)
        theirs = "-" if course.rival is None else f"{results.microseconds(*course.rival_key):.2f}"
        shown = "-" if ratio is None else f"{ratio:.2f}"
        cells = "".join(f"{'' if value is None else format(value, 'g'):>8}" for value in (limit.most, limit.wish))
        judged = "" if limit.most is None else verdict((ours if ratio is None else ratio) <= limit.most)
        yield f"  {course.row.title:<34}{ours:>10.2f}{theirs:>10}{shown:>8}  {limit.rival or 'us':<12}{cells}  {judged}"


def verdict(met: bool) -> str:
    """Return the word that says whether a limit is kept."""
    return "met" if met else "MISSED"
