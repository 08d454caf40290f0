"""The signatures of the SavedModel: raw ids in, raw ids and scores out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from keras_multvae.data import Vocabulary
from keras_multvae.data.vocabulary import PADDING
from keras_multvae.features import ItemFeatures
from keras_multvae.metrics import MASKED
from keras_multvae.serving import diverse
from keras_multvae.serving.forward import Forward
from keras_multvae.typing import Tensor

# Signatures by name.
Functions: TypeAlias = dict[str, tf.types.experimental.PolymorphicFunction]


class Signatures(tf.Module):
    """The signatures as functions of named tensors.

    Args:
        network: The forward pass.
        items: The vocabulary of its items.
        k: Int >= 1, the default number of items of an answer.
        features: Optional features of the items, by which `diverse` compares them.
    """

    def __init__(
        self,
        network: Forward,
        items: Vocabulary,
        k: int,
        features: ItemFeatures | None = None,
    ) -> None:
        super().__init__(name="signatures")
        self.network = network
        self.rows = diverse.rows_of(network, features)
        self._k = min(k, len(items))
        self._raw_ids = tf.constant(
            items.ids.tolist(), tf.string if items.kind == "str" else tf.int64
        )
        self._padding = tf.constant(PADDING[items.kind], self._raw_ids.dtype)
        self.indices = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                self._raw_ids, tf.range(len(items), dtype="int64")
            ),
            default_value=-1,
        )
        # The scores of an unknown user, which `discover` subtracts.
        self.prior = tf.Variable(
            network.scores(tf.zeros((1, 0), tf.int32)), trainable=False
        )
        self.functions = self._functions()

    def _functions(self) -> Functions:
        """The signatures that the network's abilities allow, by name."""
        ids = self._raw_ids.dtype
        rows, one = (ids, 2), (ids, 1)
        k, niche = (tf.int32, 1), (tf.float32, 1)
        functions = {
            "serving_default": _function(self._serving_default, item_ids=rows),
            "recommend": _function(
                self._recommend, item_ids=rows, k=k, deny=rows, allow=rows
            ),
            "discover": _function(self._discover, item_ids=rows, k=k, niche=niche),
            "score": _function(self._score, item_ids=rows, candidates=rows),
        }
        if self.rows is not None:
            share = (tf.float32, 1)
            functions["diverse"] = _function(
                self._diverse, item_ids=rows, k=k, diversity=share
            )
        if self.network.has_code:
            functions["embed"] = _function(self._embed, item_ids=rows)
        if self.network.items is not None:
            functions["similar_items"] = _function(self._similar_items, item_ids=one)
        functions["recommend_examples"] = _function(
            self._recommend_examples, examples=(tf.string, 1)
        )
        return functions

    def _serving_default(self, item_ids: Tensor) -> dict[str, Tensor]:
        history = self._history(item_ids)
        scores = _without(self.network.scores(history), history)
        return self._best(scores, self._k)

    def _recommend_examples(self, examples: Tensor) -> dict[str, Tensor]:
        features = {"item_ids": tf.io.VarLenFeature(self._raw_ids.dtype)}
        parsed = tf.io.parse_example(examples, features)
        return self._serving_default(
            tf.sparse.to_dense(parsed["item_ids"], self._padding)
        )

    def _recommend(
        self, item_ids: Tensor, k: Tensor, deny: Tensor, allow: Tensor
    ) -> dict[str, Tensor]:
        _check_rows(item_ids, k=k, deny=deny, allow=allow)
        history = self._history(item_ids)
        scores = _without(self.network.scores(history), history)
        scores = _without(scores, self._lookup(deny))
        scores = self._only(scores, allow)
        return self._best(scores, *self._width(k))

    def _discover(
        self, item_ids: Tensor, k: Tensor, niche: Tensor
    ) -> dict[str, Tensor]:
        _check_rows(item_ids, k=k, niche=niche)
        _check_share(niche=niche)
        history = self._history(item_ids)
        scores = self.network.scores(history) - niche[:, None] * self.prior
        return self._best(_without(scores, history), *self._width(k))

    def _diverse(
        self, item_ids: Tensor, k: Tensor, diversity: Tensor
    ) -> dict[str, Tensor]:
        _check_rows(item_ids, k=k, diversity=diversity)
        _check_share(diversity=diversity)
        tf.debugging.Assert(
            tf.reduce_all(k <= diverse.CANDIDATES),
            [f"k must be <= {diverse.CANDIDATES} in every row. Received:", k],
        )
        history = self._history(item_ids)
        scores = _without(self.network.scores(history), history)
        width, k = self._width(k)
        assert self.rows is not None
        best, indices = diverse.unlike(scores, diversity, width, self.rows)
        return self._answer(best, indices, k)

    def _score(self, item_ids: Tensor, candidates: Tensor) -> dict[str, Tensor]:
        _check_rows(item_ids, candidates=candidates)
        scores = self.network.scores(self._history(item_ids))
        indices = self._lookup(candidates)
        found = tf.gather(scores, tf.maximum(indices, 0), batch_dims=1)
        known = indices >= 0
        return {"scores": tf.where(known, found, MASKED), "known": known}

    def _embed(self, item_ids: Tensor) -> dict[str, Tensor]:
        mean, log_variance = self.network.encode(self._history(item_ids))
        if log_variance is None:
            return {"mean": mean}
        return {"mean": mean, "log_variance": log_variance}

    def _similar_items(self, item_ids: Tensor) -> dict[str, Tensor]:
        assert self.network.items is not None
        indices = self._lookup(item_ids)[:, None]
        scores = self.network.items.cosines(tf.maximum(indices[:, 0], 0))
        scores = tf.where(indices >= 0, scores, MASKED)
        return self._best(_without(scores, indices), self._k)

    def _lookup(self, item_ids: Tensor) -> Tensor:
        """Item indices of raw ids, int32; -1 for padding and the unknown."""
        return tf.cast(self.indices.lookup(item_ids), tf.int32)

    def _history(self, item_ids: Tensor) -> Tensor:
        """As `_lookup`, each item once in a row."""
        ordered = tf.sort(self._lookup(item_ids), axis=1)
        first = tf.concat(
            [tf.ones_like(ordered[:, :1], tf.bool), ordered[:, 1:] != ordered[:, :-1]],
            axis=1,
        )
        return tf.where(first, ordered, -1)

    def _only(self, scores: Tensor, allow: Tensor) -> Tensor:
        """Scores (users, items), with items masked that a row does not allow."""
        indices = self._lookup(allow)
        allowed = tf.tensor_scatter_nd_max(
            tf.zeros_like(scores),
            _places(indices),
            tf.where(indices >= 0, 1.0, 0.0),
        )
        anything = tf.reduce_all(allow == self._padding, axis=1, keepdims=True)
        return tf.where(anything | (allowed > 0), scores, MASKED)

    def _width(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """The width of an answer to rows that want k items each, and k."""
        tf.debugging.Assert(
            tf.reduce_all(k >= 1), ["k must be >= 1 in every row. Received:", k]
        )
        # Without rows, there is no largest k.
        width = tf.clip_by_value(tf.reduce_max(k), 1, self.network.num_items)
        return width, k

    def _best(
        self, scores: Tensor, width: Tensor, k: Tensor = None
    ) -> dict[str, Tensor]:
        """The best items of each user by masked scores."""
        best, indices = tf.math.top_k(scores, width)
        return self._answer(best, indices, k)

    def _answer(
        self, best: Tensor, indices: Tensor, k: Tensor = None
    ) -> dict[str, Tensor]:
        """Lists (users, width) as they are answered; masked scores come last."""
        valid = tf.reduce_sum(tf.cast(best > MASKED, tf.int32), axis=1)
        if k is not None:
            valid = tf.minimum(valid, k)
        counts = tf.sequence_mask(valid, tf.shape(best)[1])
        return {
            "item_ids": tf.where(
                counts, tf.gather(self._raw_ids, indices), self._padding
            ),
            "scores": tf.where(counts, best, MASKED),
            "valid": valid,
        }


def _function(method: object, **inputs: tuple[tf.DType, int]) -> Callable[..., Tensor]:
    """A `tf.function` whose inputs have these names, dtypes and numbers of axes."""
    specs = [
        tf.TensorSpec([None] * rank, dtype, name)
        for name, (dtype, rank) in inputs.items()
    ]
    return tf.function(method, input_signature=specs)


def _check_rows(item_ids: Tensor, **others: Tensor) -> None:
    """Asserts that all inputs have a row for each user."""
    users = tf.shape(item_ids)[0]
    for name, tensor in others.items():
        tf.debugging.Assert(
            tf.equal(tf.shape(tensor)[0], users),
            [
                f"{name} must have as many rows as item_ids. Received shapes:",
                tf.shape(tensor),
                tf.shape(item_ids),
            ],
        )


def _check_share(**shares: Tensor) -> None:
    """Asserts that an input is in [0, 1]."""
    for name, tensor in shares.items():
        tf.debugging.Assert(
            tf.reduce_all((tensor >= 0) & (tensor <= 1)),
            [f"{name} must be a number in [0, 1] in every row. Received:", tensor],
        )


def _places(indices: Tensor) -> Tensor:
    """(users, length, 2), indices of the items in (users, items), with 0 for -1."""
    users = tf.range(tf.shape(indices)[0])[:, None]
    items = tf.maximum(indices, 0)
    return tf.stack([tf.broadcast_to(users, tf.shape(items)), items], axis=2)


def _without(scores: Tensor, indices: Tensor) -> Tensor:
    """Scores (users, items), with these items (users, length) masked; -1 is padding."""
    bound = tf.where(indices >= 0, MASKED, tf.float32.max)
    return tf.tensor_scatter_nd_min(scores, _places(indices), bound)
