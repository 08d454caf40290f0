"""Figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; all rows as long as the header."""
    lines = [header, ["---"] * len(header), *rows]
    for line in lines:
        if len(line) != len(header):
            raise ValueError(
                f"Expected rows of {len(header)} cells, as the header "
                f"{list(header)}. Received: {list(line)}."
            )
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def spread(values: Sequence[float], digits: int | None = None) -> list[str]:
    """Cells: median, least, most."""
    return [number(x, digits) for x in (median(values), min(values), max(values))]


def number(value: float, digits: int | None = None) -> str:
    """With thousands separated; by default three digits or the whole number."""
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def ratio(value: float, reference: float | None) -> str:
    """Times the reference; nothing where there is none."""
    return f"{value / reference:.2f}x" if reference else ""


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"
