"""The bar chart of the results, and the SVG page of any picture, readable on a light and on a dark background."""

from __future__ import annotations

from collections.abc import Iterator

from results import Course, Results
from rows import ROWS

WIDTH = 760
_LEFT, _BAR, _STEP, _GAP, _HEAD = 230, 14, 17, 7, 40
_SCALE_END = WIDTH - 130
_FOOT = 12

_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
  .ground { fill: #ffffff }
  .title { font-weight: 600; font-size: 14px }
  .faint { fill: #59636e }
  .unixconn { fill: #0969da }
  .other { fill: #9aa4af }
  .axis { stroke: #59636e; stroke-dasharray: 3 3 }
  .grid { stroke: #59636e; stroke-opacity: 0.25 }
  path.line { fill: none; stroke-width: 2 }
  .line.unixconn { stroke: #0969da }
  .line.other { stroke: #9aa4af }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .ground { fill: #0d1117 }
    .faint { fill: #9198a1 }
    .unixconn { fill: #4493f8 }
    .other { fill: #656c76 }
    .axis, .grid { stroke: #9198a1 }
    .line.unixconn { stroke: #4493f8 }
    .line.other { stroke: #656c76 }
  }
"""


def draw(results: Results, measured: list[Course]) -> str:
    """Return the picture. The length of a bar is the part of the rival's time, which is the dashed line."""
    groups = [list(bars_of(results, measured, row.operation)) for row in ROWS]
    longest = max(ratio for group in groups for _, ratio in group)
    scale = (_SCALE_END - _LEFT) / max(longest, 1.0)
    parts: list[str] = []
    top = _HEAD
    for row, group in zip(ROWS, groups):
        for course, ratio in group:
            if course is group[0][0]:
                parts.append(f'<text x="{_LEFT - 8}" y="{top + _BAR - 3}" text-anchor="end">{row.title}</text>')
            parts += bar(course, ratio, top, scale)
            top += _STEP
        top += _GAP if group else 0
    parts.append(f'<path class="axis" d="M{_LEFT + scale:.1f} {_HEAD - 6}V{top - _GAP}"/>')
    note = "Time as a part of the rival's (dashed line): CPython in blue, PyPy in grey. Shorter is faster."
    parts.append(f'<text class="faint" x="12" y="22">{note}</text>')
    return page(parts, WIDTH, top + _FOOT, note)


def page(parts: list[str], width: int, height: int, label: str) -> str:
    """Return the picture made of *parts*. *label* describes it to screen readers."""
    # With its own background, for viewers that do not support dark mode.
    ground = '<rect class="ground" width="100%" height="100%" rx="6"/>'
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">\n'
        f"<style>{_STYLE}</style>\n{ground}\n{body}\n</svg>\n"
    )


def bars_of(results: Results, measured: list[Course], operation: str) -> Iterator[tuple[Course, float]]:
    """Yield the row *operation* on each interpreter, and its ratio, if it has a rival in the same operation."""
    for course in measured:
        ratio = results.ratio(course)
        if course.row.operation == operation and ratio is not None and not course.limit.operation:
            yield course, ratio


def bar(course: Course, ratio: float, y: int, scale: float) -> Iterator[str]:
    """Draw one bar, and its figures."""
    kind = "other" if course.ours.is_pypy else "unixconn"
    yield f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{ratio * scale:.1f}" height="{_BAR}" rx="2"/>'
    numbers = f'{ratio:.2f} <tspan class="faint">of {course.limit.rival}</tspan>'
    yield f'<text x="{_LEFT + ratio * scale + 8:.1f}" y="{y + _BAR - 3}">{numbers}</text>'
