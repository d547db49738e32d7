"""The results of the rounds: medians, ratios, and whether the targets are met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from contestants import Contestant


@dataclass
class Results:
    """The microseconds of each operation, by contestant, one per round."""

    rivals: tuple[str, ...]
    """The ways that all others are compared with, if they have the operation."""
    rounds: dict[str, dict[Contestant, list[float]]] = field(default_factory=dict)

    def add(self, operation: str, contestant: Contestant, microseconds: float) -> None:
        """Add the result of the next round."""
        self.rounds.setdefault(operation, {}).setdefault(contestant, []).append(microseconds)

    def microseconds(self, operation: str, contestant: Contestant) -> tuple[float, float]:
        """Return the median and the minimum."""
        values = self.rounds[operation][contestant]
        return median(values), min(values)

    def ratio(self, operation: str, contestant: Contestant, way: str) -> float | None:
        """
        Return the median of the ratios to *way*, on the same interpreter if possible; None if *way* was not measured.

        Each ratio is within a round: other load on the machine slows both sides of it.
        """
        times = self.rounds[operation]
        others = sorted(
            (each for each in times if each.way == way and each.is_pypy <= contestant.is_pypy),
            key=lambda each: each.python != contestant.python,
        )
        if not others:
            return None
        return median(one / other for one, other in zip(times[contestant], times[others[0]]))

    def is_beside(self, operation: str, contestant: Contestant, way: str) -> bool:
        """Whether *contestant* shares an interpreter with *way*, or no contestant of its own way does."""
        times = self.rounds[operation]
        pythons = {each.python for each in times if each.way == way and each.python}
        rivals = {each.python for each in times if each.way == contestant.way and not each.is_pypy}
        return contestant.python in pythons or not pythons & rivals

    def table(self) -> Iterable[str]:
        """Yield the lines of the table."""
        for operation, times in self.rounds.items():
            ways = [rival for rival in self.rivals if any(each.way == rival for each in times)]
            heads = "".join(f"{'to ' + way:>15}" for way in ways)
            yield f"{operation:<34}{'median us':>10}{'least us':>10}{heads}"
            for contestant in times:
                middle, least = self.microseconds(operation, contestant)
                ratios = (self.ratio(operation, contestant, way) for way in ways)
                cells = "".join(f"{'-' if ratio is None else format(ratio, '.2f'):>15}" for ratio in ratios)
                yield f"  {contestant!s:<32}{middle:>10.2f}{least:>10.2f}{cells}"
            yield ""


@dataclass(frozen=True)
class Target:
    """How fast one way has to be in comparison with another."""

    operation: str
    way: str
    other: str
    limit: float
    pypy: bool = False

    def verdicts(self, results: Results) -> Iterable[str]:
        """Yield a line for each contestant that the target applies to, or a line that says that none was measured."""
        judged = False
        for contestant in results.rounds.get(self.operation, ()):
            if not contestant.way.startswith(self.way) or contestant.is_pypy is not self.pypy:
                continue
            # Interpreters differ by more than the targets do. So if one has both ways, only that one counts. PyPy never
            # has both.
            if not self.pypy and not results.is_beside(self.operation, contestant, self.other):
                continue
            ratio = results.ratio(self.operation, contestant, self.other)
            if ratio is not None:
                judged = True
                yield ratio_verdict(f"{self.operation}: {contestant}", self.other, ratio, self.limit)
        if not judged:
            where = " on PyPy" if self.pypy else ""
            yield f"  {self.operation}: not measured, as {self.way}{where} or {self.other} is not installed"


def ratio_verdict(what: str, other: str, ratio: float, limit: float) -> str:
    """Return the line that says whether *what* takes at most *limit* of the time of *other*."""
    return verdict(what, f"{ratio:.2f} of {other}", f"{limit:.2f}", met=ratio <= limit)


def verdict(what: str, figure: str, limit: str, *, met: bool) -> str:
    """Return the line that says whether a target is met."""
    return f"  {what:<62}{figure:<18}at most {limit:<9} {'met' if met else 'MISSED'}"
