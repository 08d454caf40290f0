"""A search for the settings of a linear model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Point = tuple[int, ...]

# The search starts from the settings that did best on most data (docs/results.md).
L2 = tuple(200 * 2.0**n for n in range(-6, 7))
DROPOUT = (0.0, 0.2, 0.33, 0.5, 0.67, 0.8)
USER_WEIGHT = (0.0, 0.25, 0.5, 0.75, 1.0)
START = (L2.index(200.0), DROPOUT.index(0.5), USER_WEIGHT.index(0.5))


def settings_at(point: Point) -> tuple[float, float, float]:
    """l2, dropout and user_weight of a grid point."""
    l2, dropout, user_weight = point
    return L2[l2], DROPOUT[dropout], USER_WEIGHT[user_weight]


def climb(
    value: Callable[[Point], float],
    start: Point = START,
    sizes: Sequence[int] = (len(L2), len(DROPOUT), len(USER_WEIGHT)),
    over: Callable[[], bool] = lambda: False,
) -> Point:
    """Climbs to a local maximum on a grid, along one axis at a time.

    Args:
        value: The value of a point, higher is better; called once for each point.
        start: The first point.
        sizes: The number of points on each axis.
        over: Called before each further point: whether to stop.

    Example:

    >>> climb(lambda p: -abs(p[0] - 3) - abs(p[1] - 1), (0, 0), (5, 5))
    (3, 1)
    """
    known = {start: value(start)}
    best, before = start, None
    while best != before:
        before = best
        for axis, size in enumerate(sizes):
            for step in (1, -1):
                while True:
                    place = best[axis] + step
                    point = (*best[:axis], place, *best[axis + 1 :])
                    if not 0 <= place < size:
                        break
                    if point not in known:
                        if over():
                            return best
                        known[point] = value(point)
                    if known[point] <= known[best]:
                        break
                    best = point
    return best
