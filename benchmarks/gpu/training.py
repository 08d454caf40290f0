"""Users a second in training: whole epochs of `fit`, the paper's network."""

from __future__ import annotations

import gc
import statistics

import keras

from benchmarks.gpu import common
from benchmarks.gpu.common import Epochs, arguments, peak_memory, say, set_precision
from keras_multvae import BetaAnneal, MultVAE
from keras_multvae.data import UserBatches

EPOCHS = 3


def main() -> None:
    options = arguments(__doc__)
    matrix = common.clicks(options)
    users, items = matrix.shape
    for size in common.batch_sizes(options):
        for precision in ("tf32", "bfloat16", "float32"):
            keras.backend.clear_session()
            gc.collect()
            peak_memory(reset=True)
            policy = set_precision(precision)
            model = MultVAE(items, seed=0, dtype=policy)
            model.compile()
            batches = UserBatches(matrix, size, seed=0)
            clock = Epochs()
            callbacks = [BetaAnneal(), clock]
            # The first epoch compiles.
            model.fit(batches, epochs=EPOCHS + 1, callbacks=callbacks, verbose=0)
            first, *others = clock.seconds
            rate = users / statistics.median(others)
            say(
                batch_size=size, precision=precision, users_per_s=round(rate),
                first_epoch_s=round(first, 1), peak_gib=peak_memory(),
            )  # fmt: skip
            del model


if __name__ == "__main__":
    main()
