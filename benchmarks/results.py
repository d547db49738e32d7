"""What the rounds have given: medians, ratios, and whether the targets are met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from contestants import C_LOOP, Contestant


@dataclass
class Results:
    """The microseconds of each operation, by contestant, one per round."""

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
            yield f"{operation:<34}{'median us':>10}{'least us':>10}{'to C':>8}{'to Gio':>8}{'to socket':>11}"
            for contestant in times:
                middle, least = self.microseconds(operation, contestant)
                ratios = (self.ratio(operation, contestant, way) for way in (C_LOOP, "Gio", "socket"))
                cells = ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
                yield f"  {contestant!s:<32}{middle:>10.2f}{least:>10.2f}{cells[0]:>8}{cells[1]:>8}{cells[2]:>11}"
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
        """Give a line for each contestant that the target is for."""
        for contestant in results.rounds[self.operation]:
            if not contestant.way.startswith(self.way) or contestant.is_pypy is not self.pypy:
                continue
            # Two interpreters differ by more than what is asked here: where one has both, only that one counts.
            if not results.is_beside(self.operation, contestant, self.other):
                continue
            ratio = results.ratio(self.operation, contestant, self.other)
            if ratio is not None:
                yield verdict(f"{self.operation}: {contestant}", self.other, ratio, self.limit)


TARGETS = (
    Target("descriptor", "unixconn api", C_LOOP, 1.45),
    Target("descriptor", "unixconn abi", C_LOOP, 1.65),
    Target("descriptor", "unixconn", C_LOOP, 1.15, pypy=True),
    Target("descriptor", "unixconn api", "socket", 0.90),
    Target("descriptor", "unixconn api", "Gio", 0.65),
    Target("credentials", "unixconn api", "Gio", 0.85),
    Target("credentials", "unixconn abi", "Gio", 0.95),
)


def verdict(what: str, other: str, ratio: float, limit: float) -> str:
    """Give the line that says whether a target is met."""
    return f"  {what:<46}{ratio:.2f} of {other:<8} at most {limit:.2f}  {'met' if ratio <= limit else 'MISSED'}"
