"""How operations fare among many that wait: what there is to measure, the figures, and their targets."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from contestants import Contestant
from results import verdict

SIZES = (0, 10, 100, 1_000, 10_000)
GIO_SIZES = (0, 10, 20, 50, 100)

_ENOUGH = 4.0
"""Seconds after which it is not repeated."""
_SPARE = 200
"""Descriptors for other things than waiting connections, and for those whose other ends are still to be given away."""


@dataclass(frozen=True)
class Figure:
    """One column of the table."""

    name: str
    """As crowd_worker.py calls it."""
    title: str
    unit: str
    digits: int
    limit: float
    """The target, with as many waiting as fit."""

    def text(self, value: float | None, patience: int) -> str:
        """Give the cell for *value*, None where there is none, infinity after *patience* seconds."""
        if value is None:
            return "-"
        return f"> {patience} s" if value == math.inf else f"{value:,.{self.digits}f}"


FIGURES = (
    Figure("start", "start", "us each", 1, 20),
    Figure("memory", "memory", "bytes each", 0, 3 * 1024),
    Figure("threads", "threads", "", 0, 4),
    Figure("ready", "ready", "ms", 3, 1),
    Figure("later", "ready later", "ms", 3, 3),
    Figure("cancel", "all cancelled", "s", 4, 1.5),
)


@dataclass
class Crowds:
    """The figures by contestant, how many wait, and name, one per round."""

    patience: int
    """Seconds after which a measurement is given up."""
    rounds: dict[Contestant, dict[int, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, contestant: Contestant, size: int, figures: dict[str, float]) -> None:
        """Take the figures of the next run."""
        values = self.rounds.setdefault(contestant, {}).setdefault(size, {})
        for name, value in figures.items():
            values.setdefault(name, []).append(value)

    def value(self, contestant: Contestant, size: int, name: str) -> float | None:
        """Give the median; None if it has never been measured."""
        values = self.rounds[contestant][size].get(name)
        return median(values) if values else None

    def table(self) -> Iterable[str]:
        """Give the lines of the table."""
        yield f"{'operations that wait':<34}" + "".join(f"{each.title:>14}" for each in FIGURES)
        yield f"{'':<34}" + "".join(f"{each.unit:>14}" for each in FIGURES)
        for contestant, sizes in self.rounds.items():
            yield f"  {contestant}"
            for size in sizes:
                cells = (each.text(self.value(contestant, size, each.name), self.patience) for each in FIGURES)
                yield f"{size:>34,}" + "".join(f"{cell:>14}" for cell in cells)
        yield ""

    def verdicts(self) -> Iterable[str]:
        """Give a line for each target of each contestant that has some, with as many waiting as there were."""
        for contestant, sizes in self.rounds.items():
            size = max(sizes)
            for figure in FIGURES if contestant.is_ours else ():
                value = self.value(contestant, size, figure.name)
                assert value is not None
                what = f"{size:,} waiting, {figure.title}: {contestant}"
                cells = f"{figure.text(value, self.patience)} {figure.unit}", f"{figure.limit:,g}"
                yield verdict(what, *cells, met=value <= figure.limit)


def sizes_of(contestant: Contestant, fitting: int) -> list[int]:
    """Give how many operations are to wait, where descriptors for *fitting* are left."""
    return sorted({min(size, fitting) for size in (SIZES if contestant.is_ours else GIO_SIZES)})


def descriptors() -> int:
    """Give how many descriptors a process may have for connections that wait; tell if it is not enough."""
    fitting = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _SPARE
    if fitting < SIZES[-1]:
        print(f"no more than {fitting:,} operations wait: RLIMIT_NOFILE, ulimit -Hn", file=sys.stderr)
    return fitting


def chosen(contestants: Iterable[Contestant]) -> Iterator[Contestant]:
    """Give those of *contestants* to look at: one unixconn for CPython, one for PyPy, one Gio."""
    known = set()
    for each in contestants:
        kind = each.is_ours, each.is_pypy
        if (each.is_ours or each.way == "Gio") and kind not in known:
            known.add(kind)
            yield each


def measure(contestants: Iterable[Contestant], folder: Path, rounds: int, repetitions: int, patience: int) -> Crowds:
    """Go *rounds* times through all of *contestants*, taking the medians of *repetitions* operations each."""
    crowds = Crowds(patience)
    fitting = descriptors()
    courses = [(contestant, size) for contestant in chosen(contestants) for size in sizes_of(contestant, fitting)]
    for _ in range(rounds):
        for contestant, size in list(courses):
            # Among others that wait, of Gio only one: it adds threads for it, and the next is not behind them any more.
            times = repetitions if contestant.is_ours or not size else 1
            start = time.monotonic()
            for figure in ("ready", "later"):
                command = contestant.command("crowd_worker.py", size, figure, times, patience)
                crowds.add(contestant, size, run(command, contestant.environment(folder), patience))
            if time.monotonic() - start > _ENOUGH:
                courses.remove((contestant, size))
    return crowds


def run(command: list[str], environment: dict[str, str], patience: int) -> dict[str, float]:
    """Give the figures of one run."""
    # It ends by itself, unless something hangs.
    timeout = 60 + 4 * patience
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=timeout, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]
