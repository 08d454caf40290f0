"""Sampling the items that a step scores beside the clicked ones."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_multvae import backend, checks, ragged
from keras_multvae.layers.seeded import SeededLayer, Seeds
from keras_multvae.settings import INTEGER, Optional, checked
from keras_multvae.typing import Batch, Json, Tensor, Variable

SAMPLERS = ("log_uniform", "popularity", "in_batch")


class SampledItems(NamedTuple):
    """The clicked and sampled items of a batch, as tensors.

    Args:
        ids: (ids,) int32, the distinct ids of all clicked and sampled items.
        clicks: (entries,) the place of each entry's item in `ids`.
        candidates: (num_sampled,) the place of each sampled item in `ids`.
        log_inclusion: (num_sampled,) float32, the log of the probability that this item
            is sampled.
        hits: (users, num_sampled) bool, which sampled items to ignore: those that the
            user clicked, and repetitions of an item that was drawn before.
    """

    ids: Tensor
    clicks: Tensor
    candidates: Tensor
    log_inclusion: Tensor
    hits: Tensor


@keras.saving.register_keras_serializable(package="keras_multvae")
class CandidateSampler(SeededLayer):
    """Draws items, with replacement, for all users of a batch.

    - "popularity" draws an item in proportion to 1 + its clicks.
    - "log_uniform" (Zipf) draws the r-th most popular item, r from 0, with
      probability log((r + 2) / (r + 1)) / log(I + 1).
    - "in_batch" draws from the clicks of the batch, which come in proportion to
      popularity; items that are in no click of the batch cannot be drawn.

    Until `set_popularity` is called, all items count as equally popular.

    Args:
        num_items: Int, items of the catalogue.
        num_sampled: Int >= 1, draws for each batch.
        sampler: "log_uniform", "popularity" or "in_batch".
        seed: Int or None.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: A ragged batch (see `UserBatches`).

    Returns:
        `SampledItems`.

    Raises:
        ValueError: An argument out of its range.

    References:
        - [Jean et al., 2015](https://arxiv.org/abs/1412.2007), for what is sampled
        - [Vose, 1991](https://doi.org/10.1109/32.92917), for the alias tables
    """

    def __init__(
        self,
        num_items: int,
        num_sampled: int,
        sampler: str = "log_uniform",
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_items = checks.integer("num_items", num_items)
        self.num_sampled = checks.integer("num_sampled", num_sampled)
        self.sampler = checks.choice("sampler", sampler, SAMPLERS)
        self.seed = checked("seed", seed, Optional(INTEGER))
        self.seed_generator = Seeds(self.seed)
        self.threshold = self._state("threshold", "float32")
        self.alias = self._state("alias", "int32")
        self.log_inclusion = self._state("log_inclusion", "float32")
        self.set_popularity(np.zeros(num_items))
        self.built = True

    @property
    def output_shape(self) -> tuple[int]:
        """The shape of the draws, for `summary`."""
        return (self.num_sampled,)

    def _state(self, name: str, dtype: str) -> Variable:
        return self.add_weight(
            name=name,
            shape=(self.num_items,),
            dtype=dtype,
            initializer="zeros",
            trainable=False,
            autocast=False,
        )

    def set_popularity(self, clicks: np.ndarray) -> None:
        """Sets the number of clicks of each item; `fit` does so for `UserBatches`.

        Args:
            clicks: (num_items,) numbers >= 0. If there are fewer, the last items are
                padding and are never drawn.
        """
        clicks = np.asarray(clicks, "float64")
        if not (
            clicks.ndim == 1
            and 0 < len(clicks) <= self.num_items
            and (clicks >= 0).all()
        ):
            raise ValueError(
                f"`clicks` must be {self.num_items} numbers >= 0, one an item. "
                f"Received: shape {clicks.shape}."
            )
        share = np.zeros(self.num_items)
        if self.sampler == "log_uniform":
            ranks = np.empty(len(clicks))
            ranks[np.argsort(-clicks, kind="stable")] = np.arange(len(clicks))
            share[: len(clicks)] = np.log1p(1 / (ranks + 1)) / np.log1p(len(clicks))
        else:
            share[: len(clicks)] = (clicks + 1) / (clicks + 1).sum()
        # The probability that at least one of the draws is the item.
        inclusion = -np.expm1(self.num_sampled * np.log1p(-np.minimum(share, 1 - 1e-9)))
        threshold, alias = alias_tables(share)
        self.threshold.assign(threshold)
        self.alias.assign(alias)
        # 0 for items that are never drawn.
        self.log_inclusion.assign(np.log(np.where(share > 0, inclusion, 1)))

    def call(self, inputs: Batch) -> SampledItems:
        """See the class."""
        item_ids = ops.convert_to_tensor(inputs["item_ids"])
        drawn = ops.cast(self._draw(inputs, item_ids), item_ids.dtype)
        ids, places = backend.unique_ids(ops.concatenate([item_ids, drawn]))
        clicks, candidates = places[: -self.num_sampled], places[-self.num_sampled :]
        # The candidate that each distinct id stands for; below 0 if it is none.
        columns = ops.arange(self.num_sampled, dtype="int32")
        column = ops.segment_max(columns, candidates, num_segments=ops.shape(ids)[0])
        repeated = ops.take(column, candidates) != columns
        of_click = ops.take(column, clicks)
        clicked = ops.logical_and(of_click >= 0, inputs["values"] > 0)
        hits = backend.to_dense(
            ragged.segment_ids(inputs),
            ops.maximum(of_click, 0),
            ops.cast(clicked, "float32"),
            (ragged.num_users(inputs), self.num_sampled),
        )
        return SampledItems(
            ids,
            clicks,
            candidates,
            ops.take(self.log_inclusion, drawn),
            # TensorFlow does not know the static shape here.
            ops.reshape(
                ops.logical_or(hits > 0, repeated[None, :]), (-1, self.num_sampled)
            ),
        )

    def _draw(self, inputs: Batch, item_ids: Tensor) -> Tensor:
        """Draws `num_sampled` item ids by the sampler's distribution."""
        shape, seed = (self.num_sampled,), self.seed_generator
        uniform = keras.random.uniform(shape, dtype="float32", seed=seed)
        if self.sampler == "in_batch":
            # The padding comes last.
            clicks = ops.sum(ops.cast(inputs["values"] > 0, "int32"))
            place = ops.cast(uniform * ops.cast(clicks, "float32"), "int32")
            return ops.take(item_ids, ops.minimum(place, ops.maximum(clicks - 1, 0)))
        first = keras.random.randint(shape, 0, self.num_items, seed=seed)
        keep = uniform < ops.take(self.threshold, first)
        return ops.where(keep, first, ops.take(self.alias, first))

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        config = super().get_config()
        config.pop("autocast", None)
        return {
            **config,
            "num_items": self.num_items,
            "num_sampled": self.num_sampled,
            "sampler": self.sampler,
            "seed": self.seed,
        }


def alias_tables(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vose's alias tables, from which an item is drawn with two look-ups.

    Draw an item i and u in [0, 1), both uniformly: the result is i if u < threshold[i],
    else alias[i].

    Args:
        share: (items,) float64 >= 0, the probabilities; they sum to 1.

    Returns:
        threshold (items,) float32 and alias (items,) int32.
    """
    items = len(share)
    left = share * items
    alias = np.arange(items, dtype="int32")
    threshold = np.ones(items, "float32")
    large = np.flatnonzero(left >= 1).tolist()
    small = np.flatnonzero(left < 1).tolist()
    amount = left.tolist()
    while small and large:
        poor, rich = small.pop(), large[-1]
        threshold[poor], alias[poor] = amount[poor], rich
        amount[rich] -= 1 - amount[poor]
        if amount[rich] < 1:
            small.append(large.pop())
    return threshold, alias
