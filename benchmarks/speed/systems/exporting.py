"""Models to be served, written by keras_multvae under TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.quality.runs import METRIC, PAPER, fit_recipe, load
from keras_multvae import (
    MultVAE,
    Recommender,
    evaluate_ranking,
    export_onnx,
    export_saved_model,
)
from keras_multvae.data import Vocabulary


class Exporting:
    """Writes a network of the paper's size, and measures what quantizing costs."""

    def untrained(self, items: int, out: str, variants: dict[str, Any]) -> None:
        """A version of each variant; its speed does not depend on the weights."""
        ids = Vocabulary([str(item) for item in range(items)])
        recommender = Recommender(MultVAE(items, seed=0), ids)
        for name, quantize in variants.items():
            export_saved_model(recommender, Path(out, name), quantize=quantize)

    def both(self, items: int, out: str) -> None:
        """The same weights as SavedModel and as ONNX model."""
        ids = Vocabulary([str(item) for item in range(items)])
        recommender = Recommender(MultVAE(items, seed=0), ids)
        export_saved_model(recommender, Path(out, "saved_model"))
        export_onnx(recommender, Path(out, "onnx"))

    def seeds(self, items: int, out: str, seeds: list[int]) -> None:
        """A version a seed, numbered by it."""
        ids = Vocabulary([str(item) for item in range(items)])
        for seed in seeds:
            recommender = Recommender(MultVAE(items, seed=seed), ids)
            export_saved_model(recommender, out, version=seed)

    def quality(
        self, ratings: str, out: str, variants: dict[str, Any]
    ) -> dict[str, list[float]]:
        """Test NDCG@100 of each user of MovieLens latest-small, by the SavedModels."""
        split = load("latest-small", Path(ratings))
        model, _ = fit_recipe(split, PAPER)
        recommender = Recommender(model, split.train.items)
        found = {}
        for name, quantize in variants.items():
            folder = Path(out, f"latest-small-{name}")
            version = export_saved_model(recommender, folder, quantize=quantize)
            served = Scores(version, split.train.items)
            report = evaluate_ranking(served, split.test, [METRIC])
            found[name] = report.values[METRIC].tolist()
        return found


class Scores:
    """What a SavedModel gives all items, as `evaluate_ranking` asks for it."""

    def __init__(self, version: Path, items: Vocabulary) -> None:
        self.num_items = len(items)
        self._ids = tf.constant(items.ids)
        self._loaded = tf.saved_model.load(str(version))

    def score(self, histories: Any, batch_size: int = 500) -> np.ndarray:
        """(users, items) CSR -> scores of all items."""
        answer = self._loaded.signatures["score"]
        rows = []
        for history in histories:
            known = tf.gather(self._ids, history.indices)
            found = answer(item_ids=known[None], candidates=self._ids[None])
            rows.append(found["scores"][0].numpy())
        return np.array(rows)
