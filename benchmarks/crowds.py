"""Operations beside many that wait: the figures that are measured, and their targets."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from contestants import Contestant
from results import verdict

SIZES = (0, 10, 100, 1_000, 10_000)
GIO_SIZES = (0, 10, 20, 50, 100)

_ENOUGH = 4.0
"""A measurement that takes longer than this, in seconds, is not repeated."""
_SPARE = 200
"""Descriptors that are not for waiting connections, such as other ends on their way to the other process."""


@dataclass(frozen=True)
class Figure:
    """One column of the table."""

    name: str
    """Its key in the output of crowd_worker.py."""
    title: str
    unit: str
    digits: int
    limit: float
    """The target, with the largest number of waiting operations."""

    def text(self, value: float | None, patience: int) -> str:
        """Return the cell for *value*: None if not measured, infinity if it took longer than *patience* seconds."""
        if value is None:
            return "-"
        return f"> {patience} s" if value == math.inf else f"{value:,.{self.digits}f}"


FIGURES = (
    Figure("start", "start", "us each", 1, 20),
    Figure("memory", "memory", "bytes each", 0, 2_300),
    Figure("threads", "threads", "", 0, 1),
    Figure("ready", "ready", "ms", 3, 0.2),
    Figure("later", "ready later", "ms", 3, 1),
    Figure("cancel", "all cancelled", "s", 4, 1.5),
)


@dataclass
class Crowds:
    """The figures by contestant, number of waiting operations, and name; one per round."""

    patience: int
    """A measurement that takes longer than this, in seconds, is given up."""
    rounds: dict[Contestant, dict[int, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, contestant: Contestant, size: int, figures: dict[str, float]) -> None:
        """Add the figures of the next run."""
        values = self.rounds.setdefault(contestant, {}).setdefault(size, {})
        for name, value in figures.items():
            values.setdefault(name, []).append(value)

    def value(self, contestant: Contestant, size: int, name: str) -> float | None:
        """Return the median; None if the figure was never measured."""
        values = self.rounds[contestant][size].get(name)
        return median(values) if values else None

    def table(self) -> Iterable[str]:
        """Yield the lines of the table."""
        yield f"{'operations that wait':<34}" + "".join(f"{each.title:>14}" for each in FIGURES)
        yield f"{'':<34}" + "".join(f"{each.unit:>14}" for each in FIGURES)
        for contestant, sizes in self.rounds.items():
            yield f"  {contestant}"
            for size in sizes:
                cells = (each.text(self.value(contestant, size, each.name), self.patience) for each in FIGURES)
                yield f"{size:>34,}" + "".join(f"{cell:>14}" for cell in cells)
        yield ""

    def verdicts(self) -> Iterable[str]:
        """Yield a line for each target and contestant, with the largest number of waiting operations."""
        for contestant, sizes in self.rounds.items():
            size = max(sizes)
            for figure in FIGURES if contestant.is_ours else ():
                value = self.value(contestant, size, figure.name)
                assert value is not None
                what = f"{size:,} waiting, {figure.title}: {contestant}"
                text = f"{figure.text(value, self.patience)} {figure.unit}"
                yield f"  {what:<62}{text:<18}at most {figure.limit:<9,g} {verdict(value <= figure.limit)}"


def sizes_of(contestant: Contestant, fitting: int) -> list[int]:
    """Return the numbers of waiting operations to measure with. There are descriptors for *fitting*."""
    return sorted({min(size, fitting) for size in (SIZES if contestant.is_ours else GIO_SIZES)})


def descriptors() -> int:
    """Return how many descriptors a process may have for waiting connections, and warn if that is not enough."""
    fitting = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _SPARE
    if fitting < SIZES[-1]:
        print(
            f"measuring with at most {fitting:,} waiting operations: raise RLIMIT_NOFILE (ulimit -Hn) for more",
            file=sys.stderr,
        )
    return fitting


def measure(contestants: Iterable[Contestant], folder: Path, rounds: int, repetitions: int, patience: int) -> Crowds:
    """Measure all of *contestants* in turn, *rounds* times, by medians of *repetitions* operations."""
    crowds = Crowds(patience)
    fitting = descriptors()
    courses = [(contestant, size) for contestant in contestants for size in sizes_of(contestant, fitting)]
    for _ in range(rounds):
        for contestant, size in list(courses):
            # Once for Gio among waiting operations: it adds threads then, and the next operation would not be delayed.
            times = repetitions if contestant.is_ours or not size else 1
            start = time.monotonic()
            for figure in ("ready", "later"):
                command = contestant.command("crowd_worker.py", size, figure, times, patience)
                crowds.add(contestant, size, run(command, contestant.environment(folder), patience))
            if time.monotonic() - start > _ENOUGH:
                courses.remove((contestant, size))
    return crowds


def run(command: list[str], environment: dict[str, str], patience: int) -> dict[str, float]:
    """Run *command*, and return its figures."""
    # The command ends by itself; this is for one that hangs.
    timeout = 60 + 4 * patience
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=timeout, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]
