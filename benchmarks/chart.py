"""The bar chart of the results, and the SVG page of any picture, readable on a light and on a dark background."""

from __future__ import annotations

from collections.abc import Iterator

from contestants import C_LOOP, Contestant
from results import Results

WIDTH = 760
_LEFT, _BAR, _STEP, _HEAD = 210, 16, 24, 44
_SCALE_END = WIDTH - 130
_FOOT = 34

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

_TITLES = {
    "descriptor": "A descriptor: send, receive, close",
    "64": "64 descriptors in a message",
    "253": "253 descriptors in a message",
    "64-close_fds": "64 descriptors, closed by close_fds",
    "253-close_fds": "253 descriptors, closed by close_fds",
    "credentials": "Credentials: send, receive",
}


def draw(results: Results) -> str:
    """Return the picture. The length of a contestant's bar is its median ratio to the C loop."""
    groups = {operation: list(bars(results, operation)) for operation in results.rounds}
    longest = max(ratio for group in groups.values() for _, _, ratio in group)
    scale = (_SCALE_END - _LEFT) / longest
    parts: list[str] = []
    top = 0
    for operation, group in groups.items():
        parts.append(f'<text class="title" x="{_LEFT}" y="{top + 28}">{_TITLES[operation]}</text>')
        for row, (contestant, microseconds, ratio) in enumerate(group):
            parts += bar(contestant, microseconds, ratio, top + _HEAD + row * _STEP, scale)
        bottom = top + _HEAD + len(group) * _STEP
        parts.append(f'<path class="axis" d="M{_LEFT + scale:.1f} {top + _HEAD - 4}V{bottom - 4}"/>')
        top = bottom
    note = "Ratio to the same system calls in C (dashed line), and microseconds: medians. Shorter is faster."
    parts.append(f'<text class="faint" x="12" y="{top + 22}">{note}</text>')
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


def bars(results: Results, operation: str) -> Iterator[tuple[Contestant, float, float]]:
    """Yield contestant, microseconds and ratio to C, the fastest first."""
    rows = []
    for contestant in results.rounds[operation]:
        ratio = results.ratio(operation, contestant, C_LOOP)
        assert ratio is not None
        rows.append((contestant, results.microseconds(operation, contestant)[0], ratio))
    yield from sorted(rows, key=lambda row: row[2])


def bar(contestant: Contestant, microseconds: float, ratio: float, y: int, scale: float) -> Iterator[str]:
    """Draw one row: label, bar, numbers."""
    kind = "unixconn" if contestant.is_ours else "other"
    base = y + _BAR - 3
    yield f'<text x="{_LEFT - 8}" y="{base}" text-anchor="end">{contestant}</text>'
    yield f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{ratio * scale:.1f}" height="{_BAR}" rx="2"/>'
    numbers = f'{ratio:.2f} <tspan class="faint">({microseconds:.1f} \u00b5s)</tspan>'
    yield f'<text x="{_LEFT + ratio * scale + 8:.1f}" y="{base}">{numbers}</text>'
