"""Measures of lists as plain loops, written from docs/method.md."""

from __future__ import annotations

import math


def novelty(items, clicks, users):
    return mean([-math.log2(max(clicks[i], 0.5) / users) for i in items])


def diversity(items, vectors):
    pairs = [(i, j) for i in items for j in items if i != j]
    if not pairs:
        return 0.0
    return mean([1 - cosine(vectors[i], vectors[j]) for i, j in pairs])


def cosine(a, b):
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def serendipity(items, targets, clicks, k):
    popular = sorted(range(len(clicks)), key=lambda i: (-clicks[i], i))[:k]
    return sum(1 for i in items if i in targets and i not in popular) / k


def popularity_lift(items, history, clicks):
    if not history or not sum(clicks[i] for i in history):
        return math.nan
    before = mean([clicks[i] for i in history])
    return (mean([clicks[i] for i in items]) - before) / before


def mix(items, labels):
    total = {}
    for item in items:
        for label in labels[item]:
            total[label] = total.get(label, 0) + 1 / len(labels[item])
    weight = sum(total.values())
    return {label: value / weight for label, value in total.items()}


def miscalibration(items, history, labels):
    p, q = mix(history, labels), mix(items, labels)
    if not p or not q:
        return math.nan
    return sum(
        share * math.log(share / (0.99 * q.get(label, 0) + 0.01 * share))
        for label, share in p.items()
    )


def gini(counts):
    n = len(counts)
    differences = sum(abs(a - b) for a in counts for b in counts)
    return differences / (2 * n * sum(counts))


def ndcg_of_decile(items, targets, clicks, decile, k):
    order = sorted(range(len(clicks)), key=lambda i: (-clicks[i], i))
    clicked = sum(1 for count in clicks if count > 0)
    inside = {i for place, i in enumerate(order) if min(place * 10 // clicked, 9) + 1
              == decile}  # fmt: skip
    wanted = [i for i in targets if i in inside]
    if not wanted:
        return math.nan
    gain = sum(1 / math.log2(p + 2) for p, i in enumerate(items) if i in wanted)
    return gain / sum(1 / math.log2(p + 2) for p in range(min(len(wanted), k)))


def mean(values):
    return sum(values) / len(values)
