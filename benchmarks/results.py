"""What the rounds have given: medians, ratios, and whether the targets are met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from contestants import Contestant


@dataclass
class Results:
    """The microseconds of each operation, by contestant, one per round."""

    rivals: tuple[str, ...]
    """The ways that all are compared with, where they know the operation."""
    rounds: dict[str, dict[Contestant, list[float]]] = field(default_factory=dict)

    def add(self, operation: str, contestant: Contestant, microseconds: float) -> None:
        """Take the result of the next round."""
        self.rounds.setdefault(operation, {}).setdefault(contestant, []).append(microseconds)

    def microseconds(self, operation: str, contestant: Contestant) -> tuple[float, float]:
        """Give the median and the least."""
        values = self.rounds[operation][contestant]
        return median(values), min(values)

    def ratio(self, operation: str, contestant: Contestant, way: str) -> float | None:
        """
        Give the median of the rounds' ratios to *way*, on the same interpreter if it is there, None without any.

        Within a round, so that what slows the machine down for a while slows both.
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
        """Tell whether *contestant* runs where *way* does; if none of its own way does, all of them count as such."""
        times = self.rounds[operation]
        pythons = {each.python for each in times if each.way == way and each.python}
        rivals = {each.python for each in times if each.way == contestant.way and not each.is_pypy}
        return contestant.python in pythons or not pythons & rivals

    def table(self) -> Iterable[str]:
        """Give the lines of the table."""
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
    """How fast one way has to be, compared with another."""

    operation: str
    way: str
    other: str
    limit: float
    pypy: bool = False

    def verdicts(self, results: Results) -> Iterable[str]:
        """Give a line for each contestant that the target is for; one that says so if nothing could be compared."""
        judged = False
        for contestant in results.rounds.get(self.operation, ()):
            if not contestant.way.startswith(self.way) or contestant.is_pypy is not self.pypy:
                continue
            # Two interpreters differ by more than what is asked here: where one has both, only that one counts. PyPy
            # never has both.
            if not self.pypy and not results.is_beside(self.operation, contestant, self.other):
                continue
            ratio = results.ratio(self.operation, contestant, self.other)
            if ratio is not None:
                judged = True
                yield ratio_verdict(f"{self.operation}: {contestant}", self.other, ratio, self.limit)
        if not judged:
            where = " on PyPy" if self.pypy else ""
            yield f"  {self.operation}: not measured, as {self.way}{where} or {self.other} is missing here"


def ratio_verdict(what: str, other: str, ratio: float, limit: float) -> str:
    """Give the line that says whether *what* takes at most *limit* of the time of *other*."""
    return verdict(what, f"{ratio:.2f} of {other}", f"{limit:.2f}", met=ratio <= limit)


def verdict(what: str, figure: str, limit: str, *, met: bool) -> str:
    """Give the line that says whether a target is met."""
    return f"  {what:<62}{figure:<18}at most {limit:<9} {'met' if met else 'MISSED'}"
