"""A linear model beside a trained network, chosen on validation users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from keras_multvae.baselines import EASE, SparseEASE
from keras_multvae.data import FoldIn, Interactions, Split, UserBatches
from keras_multvae.evaluation import CHOSEN_BY, values_of_scores
from keras_multvae.training.additions import LinearPath
from keras_multvae.typing import Model

DENSITIES = (0.001, 0.003, 0.01)
WEIGHTS = tuple(2.0 ** (n / 2) for n in range(13))
# Validation users that choose, where there are more: they tell NDCG@100 to about .003,
# and differences between paths, which are paired, far better.
CHOOSERS = 6000
# Scores of a piece of the validation users, of which there are a few arrays.
SCORES = 1 << 25


def add_linear_path(
    model: Model, split: Split, settings: LinearPath | None = None
) -> Model:
    """A copy of a trained network with a linear model beside it: f(x) + w (x B).

    A network of a few hundred latent numbers knows what a user's clicks have in common
    and forgets which item goes with which; a linear model is the other way round, and
    both together rank better than either (docs/results.md). B is fitted to
    `split.train`, without the network, in a closed form. The share of its entries that
    is kept and w are those with the best NDCG@100 of the validation users, or of 6,000
    of them; the network is run once for each of these, and nothing is trained again.

    Args:
        model: A trained `RankingModel`. A linear path that it has is replaced.
        split: Its training and validation part.
        settings: `LinearPath()` by default.

    Returns:
        A new model, compiled as this one is; see `RankingModel.with_linear_path`.

    Raises:
        ValueError: No validation part, where something is to be chosen.

    Example:

    >>> from keras_multvae import MultVAE
    >>> from keras_multvae.data import Interactions, strong_generalization
    >>> liked = np.random.default_rng(0).random((80, 12)) < 0.5
    >>> clicks = Interactions.from_events(*(axis.tolist() for axis in liked.nonzero()))
    >>> split = strong_generalization(clicks, 10, 20)
    >>> model = add_linear_path(MultVAE(12, 4, (8,), seed=0), split)
    >>> model.linear_path.num_items
    12
    """
    settings = LinearPath() if settings is None else settings
    check_choice(split, settings)
    weights = WEIGHTS if settings.weight is None else (settings.weight,)
    cuts = list(cuts_of(split, settings).values())
    if split.validation is None or len(cuts) * len(weights) == 1:
        return model.with_linear_path(cuts[0], weights[0])
    network = model.without_linear_path()
    values = values_of_paths(network, choosers(split.validation), cuts, weights)
    # Of equal ones the first: the sparsest, and the least weight.
    cut, weight = np.unravel_index(values.argmax(), values.shape)
    return model.with_linear_path(cuts[cut], weights[weight])


def check_choice(split: Split, settings: LinearPath) -> None:
    """Raises ValueError if a path must be chosen and there are no validation users.

    Called before a training, which would otherwise be lost.
    """
    if split.validation is None and None in (settings.density, settings.weight):
        raise ValueError(
            "The density and the weight of a linear path are chosen on validation "
            "users, and the split has none: give both in LinearPath."
        )


def cuts_of(split: Split, settings: LinearPath) -> dict[float, sparse.csr_matrix]:
    """The fitted linear model at each density that is to be tried."""
    densities = DENSITIES if settings.density is None else (settings.density,)
    linear = fitted(split, settings)
    return {density: linear.cut(density) for density in densities}


def fitted(split: Split, settings: LinearPath) -> EASE | SparseEASE:
    """The linear model of the settings, fitted to the training users."""
    options = (settings.l2, settings.dropout, settings.user_weight)
    num_items = split.train.num_items
    if settings.neighbours is None:
        return EASE(num_items, *options).fit(split.train)
    return SparseEASE(num_items, *options, settings.neighbours).fit(split.train)


def choosers(validation: FoldIn) -> FoldIn:
    """The validation users by whom a path is chosen: at most `CHOOSERS` with targets.

    Of more than that, which these are is drawn, always alike.
    """
    users = np.flatnonzero(np.diff(validation.targets.matrix.indptr))
    if len(users) <= CHOOSERS:
        return validation
    drawn = np.sort(np.random.default_rng(0).permutation(users)[:CHOOSERS])
    items = validation.input.items
    return FoldIn(
        *(
            Interactions.from_matrix(part.matrix[drawn], items=items)
            for part in (validation.input, validation.targets)
        )
    )


def values_of_paths(
    network: Model,
    validation: FoldIn,
    cuts: Sequence[sparse.csr_matrix],
    weights: Sequence[float],
) -> np.ndarray:
    """The mean of the metric for each cut and weight: (cuts, weights).

    Args:
        network: A model without a linear path.
        validation: Users with targets.
        cuts: Linear models.
        weights: What each is multiplied by; 0 for the network alone.
    """
    values = [
        [
            [
                values_of_scores(CHOSEN_BY, logits + weight * linear, seen, targets)
                for weight in weights
            ]
            for linear in ((seen @ cut).toarray() for cut in cuts)
        ]
        for logits, seen, targets in _pieces(network, validation)
    ]
    if not values:
        raise ValueError(f"No validation user has a target. Received: {validation}.")
    return np.concatenate(values, axis=-1).mean(axis=-1)


def _pieces(
    network: Model, validation: FoldIn
) -> Iterator[tuple[np.ndarray, sparse.csr_matrix, sparse.csr_matrix]]:
    """Logits, inputs and targets of the users with targets, some users at a time."""
    inputs, targets = validation.input.matrix, validation.targets.matrix
    users = np.flatnonzero(np.diff(targets.indptr))
    size = max(SCORES // network.num_items, 1)
    for start in range(0, len(users), size):
        rows = users[start : start + size]
        seen = inputs[rows].astype("float32")
        batches = UserBatches(seen, min(len(rows), 500), shuffle=False)
        logits = network.predict(batches, verbose=0)
        yield np.asarray(logits, "float32"), seen, targets[rows]
