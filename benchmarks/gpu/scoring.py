"""Users a second in bulk recommendation: scores, seen items left out, the best 100."""

from __future__ import annotations

from benchmarks.gpu import common
from benchmarks.gpu.common import arguments, peak_memory, say, set_precision, timed
from keras_multvae import MultVAE
from keras_multvae.ranking import rank

K = 100


def main() -> None:
    options = arguments(__doc__)
    matrix = common.clicks(options)
    users, items = matrix.shape
    for precision in ("tf32", "bfloat16", "float32"):
        model = MultVAE(items, seed=0, dtype=set_precision(precision))

        def everybody(model: MultVAE = model) -> None:
            for _ in rank(model, matrix, K):
                pass

        rate = users / timed(everybody, 2)
        say(
            precision=precision,
            top_100_users_per_s=round(rate),
            peak_gib=peak_memory(),
        )


if __name__ == "__main__":
    main()
