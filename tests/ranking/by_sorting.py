"""A ranking by sorting everything, for comparison."""

from __future__ import annotations

import numpy as np


def lexsorted(scores, k, seen, constants=0.0):
    """Each user's unseen items by (score, index), and their scores; all sorted."""
    scores = scores - np.reshape(constants, (-1, 1)).astype(scores.dtype)
    for row, barred in zip(scores, seen, strict=True):
        unseen = np.flatnonzero(~barred)
        order = unseen[np.lexsort((unseen, -row[unseen]))][:k]
        yield order, row[order]


def assert_ranked(top, expected):
    for items, scores, valid, (order, best) in zip(*top, expected, strict=True):
        assert valid == len(order)
        assert items[:valid].tolist() == order.tolist()
        np.testing.assert_array_equal(scores[:valid], best)
        assert (scores[valid:] == -np.inf).all()
        assert len(set(items.tolist())) == len(items)  # the rest are items, too
