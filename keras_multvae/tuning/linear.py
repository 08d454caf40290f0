"""The linear path of a study: chosen once, then put beside each trial's network."""

from __future__ import annotations

from dataclasses import replace

from scipy import sparse

from keras_multvae.baselines import EASE, SparseEASE
from keras_multvae.baselines.linear import LinearModel
from keras_multvae.data import Split
from keras_multvae.training.additions import LinearPath
from keras_multvae.training.linear_path import (
    WEIGHTS,
    choosers,
    cuts_of,
    values_of_paths,
)
from keras_multvae.tuning.space import LARGE
from keras_multvae.typing import Model

# The weights that an item has where B is not made as a dense matrix.
NEIGHBOURS = 200


def chosen(split: Split, seconds: float) -> LinearPath:
    """The settings with which the linear model alone is best on validation users.

    Args:
        split: Training and validation part.
        seconds: Float, after which no further settings are tried.
    """
    if split.train.num_items <= LARGE:
        best: LinearModel = EASE.tuned(split, seconds)
        neighbours = None
    else:
        best = SparseEASE.tuned(split, seconds, neighbours=NEIGHBOURS)
        neighbours = NEIGHBOURS
    return LinearPath(best.l2, best.dropout, best.user_weight, neighbours)


class Paths:
    """Puts one linear model, fitted once, beside many networks.

    Args:
        split: Training and validation part.
        settings: What was chosen.
    """

    def __init__(self, split: Split, settings: LinearPath) -> None:
        self._split, self._settings = split, settings
        self._cuts: dict[float, sparse.csr_matrix] = {}

    def beside(self, network: Model) -> tuple[Model, LinearPath | None, float, float]:
        """The network with the path, if that is better.

        Returns:
            The model, the path's settings with density and weight or None, the
            validation NDCG@100 of the model, and that of the network alone.
        """
        self._cuts = self._cuts or cuts_of(self._split, self._settings)
        densities, cuts = list(self._cuts), list(self._cuts.values())
        assert self._split.validation is not None
        weights = (0.0, *WEIGHTS)
        validation = self._split.validation
        values = values_of_paths(network, choosers(validation), cuts, weights)
        cut, weight = divmod(int(values.argmax()), len(weights))
        # By all users, as other trials are compared with it.
        both = (0.0, weights[weight])
        alone, value = values_of_paths(network, validation, [cuts[cut]], both)[0]
        if value <= alone:
            return network, None, float(alone), float(alone)
        model = network.with_linear_path(cuts[cut], weights[weight])
        path = replace(self._settings, density=densities[cut], weight=weights[weight])
        return model, path, float(value), float(alone)
