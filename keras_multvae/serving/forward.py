"""A model's forward pass for histories of a few items, under TensorFlow.

The layers of the package are made for batches of training: they look for dense rows,
carry random state and know three backends. For the networks of this package the same
sums stand here once more, in plain TensorFlow over the weights of inference alone;
tests/serving holds the two together. Any other model's layers are traced as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from keras_multvae import ragged
from keras_multvae.abilities import HasItemVectors, can
from keras_multvae.models import Autoencoder
from keras_multvae.serving.plain import check_quantize, is_plain
from keras_multvae.serving.embeddings import ItemEntries, ItemMatrix, ItemEmbeddings
from keras_multvae.typing import Model


class Forward(tf.Module):
    """What the signatures are made of.

    Histories are int32 (users, length): item indices, each item once in a row, -1 for
    none.

    Args:
        model: A `RankingModel` under the TensorFlow backend.

    Attributes:
        num_items: Items of the catalogue.
        has_code: Whether `encode` is there.
        items: The `ItemMatrix` for similar items; None where the model has no item
            vectors.
    """

    has_code = True
    items: ItemMatrix | None = None

    def __init__(self, model: Model) -> None:
        super().__init__(name="network")
        self.num_items = model.num_items
        self._likelihood = model.likelihood

    def encode(self, indices: Any) -> tuple[Any, Any]:
        """Z (users, latent_dim), the mean of q(z | x), and its log-variance.

        None in place of the latter where the code is a point, as in a `MultDAE`.
        """
        raise NotImplementedError

    def scores(self, indices: Any) -> Any:
        """What `RankingModel.score` gives, (users, num_items) float32."""
        raise NotImplementedError


def forward_of(model: Model, quantize: str | None = None) -> Forward:
    """The forward pass of a model.

    Args:
        model: A `RankingModel` under the TensorFlow backend.
        quantize: None, "bfloat16" or "int8": how the first layer's table and the
            decoder's item matrix are kept. All else stays float32.

    Raises:
        ValueError: `quantize` for a network that is traced.
    """
    check_quantize(model, quantize)
    return PlainForward(model, quantize) if is_plain(model) else TracedForward(model)


class PlainForward(Forward):
    """The networks of this package, in float32 whatever the model's dtype policy.

    Args:
        model: See `is_plain`.
        quantize: See `forward_of`.
    """

    def __init__(self, model: Model, quantize: str | None = None) -> None:
        super().__init__(model)
        encoder, decoder = model.encoder, model.decoder
        self._has_variance = encoder.outputs == 2
        self.table = ItemEmbeddings(_array(encoder.kernel), quantize)
        self.bias = _variable(encoder.bias)
        self.encoder = [(_variable(d.kernel), _variable(d.bias)) for d in encoder.stack]
        self.decoder = [(_variable(d.kernel), _variable(d.bias)) for d in decoder.inner]
        self.items = ItemMatrix(decoder.item_vectors().T, quantize)
        self.item_bias = _variable(decoder.item_biases())
        self.path: ItemEntries | None = None
        if model.linear_path is not None:
            weight = ops.convert_to_numpy(model.linear_path.weight)
            self.path = ItemEntries(weight * model.linear_path.matrix(), quantize)

    def encode(self, indices: Any) -> tuple[Any, Any]:
        """See `Forward`."""
        hidden = self.table.mean_rows(indices) + self.bias
        # Each layer's activation stands before the next one: the last has none.
        for kernel, bias in self.encoder:
            hidden = tf.matmul(tf.tanh(hidden), kernel) + bias
        if not self._has_variance:
            return tf.tanh(hidden), None
        mean, log_variance = tf.split(hidden, 2, axis=1)
        return mean, log_variance

    def scores(self, indices: Any) -> Any:
        """See `Forward`."""
        hidden, _ = self.encode(indices)
        for kernel, bias in self.decoder:
            hidden = tf.tanh(tf.matmul(hidden, kernel) + bias)
        assert self.items is not None
        logits = self.items.products(hidden) + self.item_bias
        if self.path is not None:
            logits = self.path.added(logits, indices)
        return self._likelihood.scores(logits)


class TracedForward(Forward):
    """The layers of any model, traced: what it computes in `logits`, it computes here.

    Args:
        model: A `RankingModel` under the TensorFlow backend.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        # Untracked by TensorFlow, or the graph would carry beta and random state.
        self._model = _Untracked(model)
        self.has_code = isinstance(model, Autoencoder)
        if can(model, HasItemVectors):
            self.items = ItemMatrix(np.asarray(model.item_vectors).T, None)
        spec = tf.TensorSpec((None, None), tf.int32)
        used: dict[int, Any] = {}
        for function in (self.scores, *([self.encode] if self.has_code else [])):
            traced = tf.function(function).get_concrete_function(spec)
            used.update((id(variable), variable) for variable in traced.variables)
        self.weights = list(used.values())

    def encode(self, indices: Any) -> tuple[Any, Any]:
        """See `Forward`."""
        found = self._model.value.encoder(_batch(indices), training=False)
        code, log_variance = found if isinstance(found, tuple | list) else (found, None)
        if log_variance is not None:
            log_variance = tf.cast(log_variance, tf.float32)
        return tf.cast(code, tf.float32), log_variance

    def scores(self, indices: Any) -> Any:
        """See `Forward`."""
        logits = self._model.value.logits(_batch(indices))
        return tf.cast(self._likelihood.scores(logits), tf.float32)


class _Untracked:
    """Holds an object that a `tf.Module` is not to look into."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _batch(indices: Any) -> dict[str, Any]:
    """Rows of item indices as the compact batch that the layers take."""
    known = indices >= 0
    item_ids = tf.boolean_mask(indices, known)
    sizes = tf.reduce_sum(tf.cast(known, tf.int32), axis=1)
    values = tf.ones_like(item_ids, tf.float32)
    return dict(zip(ragged.KEYS, (sizes, item_ids, values), strict=True))


def _array(variable: Any) -> np.ndarray:
    array: np.ndarray = ops.convert_to_numpy(variable).astype("float32")
    return array


def _variable(variable: Any) -> Any:
    return tf.Variable(_array(variable), trainable=False)
