"""A line chart as an SVG file, by hand: no plotting library for a handful of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from pathlib import Path

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50
NAMESPACE = "http://www.w3.org/2000/svg"
COLOURS = ("#1b6ca8", "#c8553d", "#2a9d5c", "#8e5ea2", "#b08900", "#444444", "#008b8b", "#a03060")

Points = Sequence[tuple[float, float]]


def _step(largest: float, marks: int = 5) -> float:
    """A round distance between marks: 1, 2 or 5 times a power of ten."""
    rough = max(largest, 1e-9) / marks
    power = 10.0 ** floor(log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def line_chart(path: Path, series: Mapping[str, Points], *, title: str, across: str, up: str) -> None:
    """Writes the chart. series: by name, points in ascending order, none negative. Both axes begin at zero."""
    x_max = max(x for points in series.values() for x, _ in points) or 1.0
    y_step = _step(max(y for points in series.values() for _, y in points))
    y_max = y_step * ceil(max(y for points in series.values() for _, y in points) / y_step) or y_step
    x_step = _step(x_max, 8)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            round(LEFT + x / x_max * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - y / y_max * (HEIGHT - TOP - BOTTOM), 1),
        )

    parts = [
        f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 12}">{escape(across)}</text>',
        f'<text x="14" y="{TOP - 6}">{escape(up)}</text>',
    ]
    for n in range(round(y_max / y_step) + 1):
        x, y = at(0, n * y_step)
        parts.append(f'<line x1="{x}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{n * y_step:g}</text>')
    for n in range(floor(x_max / x_step) + 1):
        x, y = at(n * x_step, 0)
        parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{n * x_step:g}</text>')
    for n, (name, points) in enumerate(series.items()):
        colour = COLOURS[n % len(COLOURS)]
        line = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 16:
            parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in (at(*p) for p in points)]
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 16 * n + 8}" fill="{colour}">{escape(name)}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>", ""]))
