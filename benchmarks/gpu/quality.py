"""Seconds to a validation NDCG@100 on ml10m, by the paper's network."""

from __future__ import annotations

import time
from typing import Any

import keras

from benchmarks.gpu.common import arguments, say, set_precision
from benchmarks.quality.ml10m import load
from keras_multvae import BetaAnneal, MultVAE
from keras_multvae.data import UserBatches

TARGET, EPOCHS = 0.35, 40


class Reached(keras.callbacks.Callback):
    """Stops at the target."""

    def __init__(self) -> None:
        super().__init__()
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        ndcg = logs["val_ndcg_at_100"]
        if epoch % 5 == 0 or ndcg >= TARGET:
            seconds = round(time.perf_counter() - self.start, 2)
            say(epoch=epoch + 1, ndcg=round(ndcg, 4), seconds=seconds)
        self.model.stop_training = ndcg >= TARGET


def main() -> None:
    options = arguments(__doc__)
    split = load(options.ml10m, 0)
    for precision in ("bfloat16", "tf32"):
        policy = set_precision(precision)
        model = MultVAE(split.train.num_items, seed=0, dtype=policy)
        model.compile()
        say(precision=precision, target=TARGET)
        model.fit(
            UserBatches(split.train, 500),
            validation_data=UserBatches(split.validation, 500, shuffle=False),
            epochs=2 if options.small else EPOCHS,
            callbacks=[BetaAnneal(0.2, 10_000), Reached()],
            verbose=0,
        )


if __name__ == "__main__":
    main()
