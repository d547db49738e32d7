"""The tables in README.md and docs/performance.md: written between two comments, which stay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from crowds import FIGURES, Crowds
from results import C_ROWS, Course, Results
from rows import ROWS

ROOT = Path(__file__).parent.parent
_PLACE = "(<!-- {}: written by benchmarks/run.py --update -->\n).*?(<!-- the end of {} -->)"


def update(results: Results, measured: list[Course], many: Crowds, imports: list[float] | None) -> None:
    """Write all tables."""
    ratios = list(table_of_ratios(results, measured))
    if imports:
        ratio, used = (each / imports[-1] for each in imports[:-1])
        ratios.append(f"| a process that imports it | {ratio:.2f} of Gio | |")
        ratios.append(f"| a process that imports and uses it | {used:.2f} of Gio | |")
    write(ROOT / "README.md", "figures", ratios)
    write(ROOT / "docs" / "performance.md", "figures", ratios)
    write(ROOT / "docs" / "performance.md", "microseconds", list(table_of_microseconds(results, measured)))
    write(ROOT / "docs" / "performance.md", "silent peers", list(table_of_crowds(many)))


def write(path: Path, name: str, lines: list[str]) -> None:
    """Write *lines* into the place *name* of a document."""
    text = path.read_text(encoding="utf-8")
    made, count = re.subn(
        _PLACE.format(name, name), lambda found: "\n".join((found[1], *lines, "", found[2])), text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{path} has {count} places for {name}")
    path.write_text(made, encoding="utf-8")


def table_of_ratios(results: Results, measured: list[Course]) -> Iterator[str]:
    """Yield the lines of a table: what part of the rival's time each row takes."""
    yield "| | CPython | PyPy |"
    yield "|---|---|---|"
    for row in ROWS:
        cells = ["", ""]
        for course in measured:
            if course.row is row:
                cells[course.ours.is_pypy] = ratio_text(results, course)
        if any(cells):
            yield f"| {row.title} | {cells[0]} | {cells[1]} |"


def ratio_text(results: Results, course: Course) -> str:
    """Return the text for one row on one interpreter, if it has a rival in the same operation."""
    ratio = results.ratio(course)
    if ratio is None or course.limit.operation:
        return ""
    return f"{ratio:.2f} of {course.limit.rival}"


def table_of_microseconds(results: Results, measured: list[Course]) -> Iterator[str]:
    """Yield the lines of a table: the median times, and those of the same system calls in C."""
    yield "| | C | CPython | PyPy |"
    yield "|---|---|---|---|"
    in_c = {operation: values for operation, values in results.in_c().items() if operation in C_ROWS}
    for row in ROWS:
        cells = [f"{in_c[row.operation]:.1f} us" if row.operation in in_c else "", "", ""]
        for course in measured:
            if course.row is row:
                cells[1 + course.ours.is_pypy] = f"{results.microseconds(*course.ours_key):.1f} us"
        if any(cells[1:]):
            yield f"| {row.title} | {' | '.join(cells)} |"


def table_of_crowds(many: Crowds) -> Iterator[str]:
    """Yield the lines of a table: the figures beside the largest number of operations that wait."""
    ours = [each for each in many.rounds if each.is_ours]
    sizes = {max(many.rounds[each]) for each in ours}
    yield f"| {', '.join(f'{size:,}' for size in sizes)} operations that wait | {' | '.join(map(str, ours))} |"
    yield f"|---|{'---|' * len(ours)}"
    for figure in FIGURES:
        values = (many.value(each, max(many.rounds[each]), figure.name) for each in ours)
        cells = " | ".join(f"{figure.text(value, many.patience)} {figure.unit}".strip() for value in values)
        yield f"| {figure.title} | {cells} |"
