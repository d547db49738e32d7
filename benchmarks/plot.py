"""The line chart: how long an operation that is ready takes, by the number of operations that wait."""

from __future__ import annotations

import math
from collections.abc import Iterator

from chart import WIDTH, page
from contestants import Contestant
from crowds import Crowds

_LEFT, _RIGHT, _TOP, _BOTTOM, _HEIGHT = 76, 536, 52, 352, 400
_X_DECADES = (1, 4)
"""Powers of ten: waiting operations."""
_Y_DECADES = (-3, 5)
"""Powers of ten: milliseconds."""

_TITLE = "From the start of an operation that can finish at once to its callback, while others wait"
_TICKS = {
    -3: "1 \u00b5s",
    -2: "10 \u00b5s",
    -1: "0.1 ms",
    0: "1 ms",
    1: "10 ms",
    2: "0.1 s",
    3: "1 s",
    4: "10 s",
    5: "100 s",
}


def draw(crowds: Crowds) -> str:
    """Return the picture: a line for each contestant, from ten waiting operations on, as both axes are logarithmic."""
    parts = [f'<text class="title" x="12" y="28">{_TITLE}</text>', *grid()]
    for contestant in crowds.rounds:
        parts += line(contestant, list(points(crowds, contestant)), crowds.patience)
    parts.append(f'<text class="faint" x="{_LEFT}" y="{_HEIGHT - 8}">operations that wait for silent peers</text>')
    return page(parts, WIDTH, _HEIGHT, _TITLE)


def points(crowds: Crowds, contestant: Contestant) -> Iterator[tuple[int, float]]:
    """Yield the number of waiting operations, and milliseconds: infinity for a measurement that was given up."""
    for size in crowds.rounds[contestant]:
        milliseconds = crowds.value(contestant, size, "ready")
        if size and milliseconds is not None:
            yield size, milliseconds


def grid() -> Iterator[str]:
    """Draw the axes' decades."""
    for power in range(_X_DECADES[0], _X_DECADES[1] + 1):
        x = across(10.0**power)
        yield f'<path class="grid" d="M{x:.1f} {_TOP}V{_BOTTOM}"/>'
        yield f'<text class="faint" x="{x:.1f}" y="{_BOTTOM + 20}" text-anchor="middle">{10**power:,}</text>'
    for power in range(_Y_DECADES[0], _Y_DECADES[1] + 1):
        y = down(10.0**power)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
        yield f'<text class="faint" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_TICKS[power]}</text>'


def line(contestant: Contestant, values: list[tuple[int, float]], patience: int) -> Iterator[str]:
    """Draw a contestant's line, its points, and its name at the end. A given-up measurement is drawn at *patience*."""
    kind = "unixconn" if contestant.is_ours else "other"
    places = [(across(size), down(min(milliseconds, patience * 1e3))) for size, milliseconds in values]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    yield f'<path class="line {kind}" d="M{path}"/>'
    yield from (f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places)
    x, y = places[-1]
    given_up = f": given up after {patience} s" if values[-1][1] == math.inf else ""
    yield f'<text x="{x + 10:.1f}" y="{y + 4:.1f}">{contestant}{given_up}</text>'


def across(size: float) -> float:
    """Return the x of *size*."""
    return along(size, _X_DECADES, _LEFT, _RIGHT)


def down(milliseconds: float) -> float:
    """Return the y of *milliseconds*."""
    return along(milliseconds, _Y_DECADES, _BOTTOM, _TOP)


def along(value: float, decades: tuple[int, int], start: int, end: int) -> float:
    """Return the place of *value* on a logarithmic axis."""
    first, last = decades
    return start + (math.log10(value) - first) / (last - first) * (end - start)
