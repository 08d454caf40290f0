"""Wrote the folders beside this file, with the package as it was at commit eb71ecb.

They hold one of everything that could be stored then; test_formats.py loads them with
the package as it is now. Kept to tell how they came about: run with a later package it
would write later formats.

    KERAS_BACKEND=jax python tests/formats/write.py
"""

from pathlib import Path

import keras
import numpy as np
from scipy import sparse

from keras_multvae import (
    EASE,
    IALS,
    BetaAnneal,
    GaussianNLL,
    MultDAE,
    MultVAE,
    Popularity,
    Recommender,
)
from keras_multvae.data import (
    Interactions,
    UserBatches,
    Vocabulary,
    save_prepared,
    strong_generalization,
)

HERE = Path(__file__).parent
ITEMS = 11
SAMPLED = {"output": "sampled", "num_sampled": 4}
MODELS = {
    "multvae": lambda: MultVAE(ITEMS, 3, (5,), seed=1),
    "multvae_linear_logistic": lambda: MultVAE(
        ITEMS, 3, (), likelihood="logistic", beta=0.3, seed=2
    ),
    "multvae_deep_gaussian": lambda: MultVAE(
        ITEMS, 3, (5, 4), likelihood=GaussianNLL(4.0, 0.5), dropout=0.2
    ),
    "multvae_sampled": lambda: MultVAE(ITEMS, 3, (5,), **SAMPLED, seed=3),
    "multvae_tied": lambda: MultVAE(ITEMS, 3, (5,), tied=True, seed=4),
    "multvae_sampled_tied_bfloat16": lambda: MultVAE(
        ITEMS,
        3,
        (5,),
        **SAMPLED,
        sampler="popularity",
        tied=True,
        table_dtype="bfloat16",
        seed=5,
    ),
    "multvae_sampled_bfloat16": lambda: MultVAE(
        ITEMS, 3, (5,), **SAMPLED, sampler="in_batch", table_dtype="bfloat16", seed=6
    ),
    "multvae_mixed_bfloat16": lambda: MultVAE(
        ITEMS, 3, (5,), dtype="mixed_bfloat16", seed=7
    ),
    "multdae": lambda: MultDAE(ITEMS, 3, (5,), seed=8),
    "multdae_linear": lambda: MultDAE(ITEMS, 3, l2=0.01),
    "ease": lambda: EASE(ITEMS, l2=3.0),
    "ials": lambda: IALS(ITEMS, factors=3, regularization=0.1, alpha=2.0),
    "popularity": lambda: Popularity(ITEMS),
}


def fit(model, clicks):
    """A few steps, so that every kind of weight and moment has moved."""
    if not isinstance(model, keras.Model):
        return model.fit(clicks)
    model.compile()
    anneal = [BetaAnneal(cap=0.2, total_steps=20)] if isinstance(model, MultVAE) else []
    model.fit(UserBatches(clicks, 10), epochs=3, callbacks=anneal, verbose=0)
    return model


def main():
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((30, ITEMS)) < 0.4)
    values = rng.integers(1, 4, len(users)).astype("float32")
    by_name = Interactions.from_events(
        [f"u{user:02d}" for user in users],
        [f"i{item:02d}" for item in items],
        timestamps=np.arange(len(users)),
        values=values,
    )
    titles = {f"i{item:02d}": f"Title é {item}" for item in range(ITEMS - 1)}
    clicks = by_name.matrix.copy()
    clicks.data[:] = 1
    histories = sparse.csr_matrix(np.eye(4, ITEMS, dtype="float32") + clicks[:4])
    histories.data[:] = 1
    expected = {}
    for name, make in MODELS.items():
        model = fit(make(), clicks)
        stored = by_name if name == "multvae" else None
        names = titles if name in ("multvae", "ease") else None
        vocabulary = by_name.items if name != "multdae" else Vocabulary(range(ITEMS))
        Recommender(model, vocabulary, histories=stored, titles=names).save(
            HERE / "recommenders" / name
        )
        expected[name] = model.score(histories)
    np.savez(
        HERE / "scores.npz",
        **expected,
        histories=histories.toarray(),
        clicks=clicks.toarray(),
        values=by_name.matrix.toarray(),
    )
    split = strong_generalization(by_name, 5, 5, seed=1)
    save_prepared(split, HERE / "prepared", titles, {"source": "write.py"})


if __name__ == "__main__":
    main()
