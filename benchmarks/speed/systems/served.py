"""A SavedModel in a process with TensorFlow alone."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf

LENGTH = 68  # items of a history, ML-20M's mean
UNITS, K = 600, 100


class Served:
    """Answers one user at a time, beside what an answer cannot do without."""

    def __init__(self, path: str, items: int) -> None:
        self.items = items
        self.loaded = tf.saved_model.load(path)
        self.signature = self.loaded.signatures["serving_default"]
        self.take(users=1)
        self.floor: Any = None

    def take(self, users: int) -> None:
        """Makes the histories that are asked for from now on."""
        rng = np.random.default_rng(0)
        rows = [rng.choice(self.items, LENGTH, replace=False) for _ in range(users)]
        self.history = tf.constant([[str(item) for item in row] for row in rows])

    def answer(self) -> int:
        """Items recommended."""
        found = self.signature(item_ids=self.history)
        return int(found["valid"].numpy()[0])

    def answers(self, histories: list[list[str]]) -> list[dict[str, Any]]:
        """What each history gets, as it stands in JSON."""
        found = []
        for history in histories:
            answer = self.signature(item_ids=tf.constant([history]))
            row = {name: value[0].numpy().tolist() for name, value in answer.items()}
            row["item_ids"] = [item.decode() for item in row["item_ids"]]
            found.append(row)
        return found

    def compare(self, times: int) -> dict[str, float]:
        """Median seconds of the floor and of an answer, in alternation."""
        if self.floor is None:
            self._make_floor()
        seconds: dict[str, list[float]] = {"floor": [], "answer": []}
        for _ in range(times):
            for name, work in (("floor", self.floor), ("answer", self.answer)):
                start = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - start)
        return {name: float(np.median(values)) for name, values in seconds.items()}

    def _make_floor(self) -> None:
        """TensorFlow's own product of one vector with the item matrix, and top_k."""
        rng = np.random.default_rng(0)
        matrix = tf.Variable(rng.standard_normal((UNITS, self.items), "float32"))
        vector = tf.constant(rng.standard_normal((1, UNITS), "float32"))
        best = tf.function(lambda v: tf.math.top_k(tf.matmul(v, matrix), K))
        self.floor = lambda: best(vector).indices.numpy()
        self.floor()
