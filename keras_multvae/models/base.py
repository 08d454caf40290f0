"""The base class of neural models: loss, metrics, scores, configuration."""

from __future__ import annotations

import os
from typing import Self

import keras
import numpy as np
from keras import ops

from keras_multvae import backend, bfloat16, checks, compat, ragged
from keras_multvae.backend.saved_model import export_model
from keras_multvae.backend.wide import wide_dtype
from keras_multvae.layers import ItemWeights
from keras_multvae.losses import Likelihood, get_likelihood
from keras_multvae.memory import require_scores
from keras_multvae.metrics import NDCGAtK, RecallAtK, mask_seen
from keras_multvae.models.copies import PATH, Copies
from keras_multvae.models.doors import Doors
from keras_multvae.models.scoring import CompiledScorer
from keras_multvae.models.steps import check_policy, has_targets, portable, weighed
from keras_multvae.models.summary import Summary
from keras_multvae.optimizers import FusedAdam
from keras_multvae.settings import (
    INTEGER,
    POSITIVE_INT,
    Optional,
    Settings,
    checked,
    key_of,
    settings_of,
)
from keras_multvae.typing import Clicks, Json, Logs, Tensor


class RankingModel(Summary, Copies, Doors, backend.Training, keras.Model):
    """A `keras.Model` that maps users' clicks to a logit for every item.

    A subclass has a `Config`, a frozen dataclass of its settings, makes its layers in
    its constructor, and implements `network`, which maps batches to logits (users,
    num_items). A loss of shape (users,) that it adds there counts for each user; a
    scalar counts once, like weight regularisation. With the decorator `register_model`
    it can be trained by name, stored, exported and served.

    Args:
        num_items: Int >= 1, I, the size of the catalogue.
        settings: An instance of the class' `Config`; each setting becomes an attribute
            of its name. A setting `likelihood` is a name or an object of
            `keras_multvae.losses`; without it, the likelihood is the multinomial.
        seed: Int or None.
        **kwargs: Passed to `keras.Model`.
    """

    Config: type[Settings]
    likelihood: Likelihood
    # Whether training uses sparse gradients of item embeddings.
    sparse_gradients = False
    # Whether every training step runs the same operations.
    steps_alike = True
    # No default here: on PyTorch it would hide the layer.
    linear_path: ItemWeights | None

    def __init__(
        self, num_items: int, settings: Settings, seed: int | None, **kwargs: object
    ) -> None:
        super().__init__(**kwargs)
        check_policy(self.dtype_policy)
        self.num_items = checked("num_items", num_items, POSITIVE_INT)
        self.seed = checked("seed", seed, Optional(INTEGER))
        self.settings = settings
        for name, value in settings.arguments().items():
            setattr(self, name, value)
        self.likelihood = get_likelihood(getattr(settings, "likelihood", "multinomial"))
        self._nll_tracker = keras.metrics.Mean(name="nll")
        self._scorer = CompiledScorer(self)
        self.linear_path = None
        # Otherwise Keras would build the layers from input shapes, which dicts lack.
        self.built = True

    def build_layers(self) -> None:
        """Builds layers that are not built yet, by calling the model on one click.

        `compile`, scoring and loading do so.
        """
        if all(layer.built for layer in self.layers):
            return
        self.call_on_one_click()

    def _part_seed(self, part: int) -> int | None:
        """The seed of one of the model's (at most three) random parts."""
        return None if self.seed is None else 3 * self.seed + part

    def network(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The network's logits, (users, num_items); implemented by a subclass."""
        raise NotImplementedError

    def network_logits(self, inputs: Tensor) -> Tensor:
        """`network` in inference, maybe in 16 bits, less what only the loss needs."""
        return self.network(inputs, training=False)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The network's logits; in inference with the linear path, if there is one."""
        self._check_inputs(inputs)
        logits = self.network(inputs, training=training)
        return logits if training else self._with_path(inputs, logits)

    def logits(self, inputs: Tensor) -> Tensor:
        """The logits that predictions are made from, maybe in 16 bits, as above."""
        return self._with_path(inputs, self.network_logits(inputs))

    def _with_path(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """Logits plus those of the linear path, if there is one."""
        path = self.linear_path
        return logits if path is None else path(inputs, logits)

    @property
    def trackers(self) -> tuple[keras.metrics.Metric, ...]:
        """Metrics reported with and without targets, beside `loss`."""
        return (self._nll_tracker,)

    def default_optimizer(self, learning_rate: Tensor = 1e-3) -> keras.Optimizer:
        """The default optimiser of `compile`, and that of `Recipe` at its own rate."""
        return FusedAdam(learning_rate, epsilon=1e-8)

    def compile(
        self,
        optimizer: object = None,
        loss: None = None,
        metrics: object = None,
        jit_compile: bool | str = "auto",
        **kwargs: object,
    ) -> None:
        """As `keras.Model.compile`, with the paper's optimiser and ranking metrics.

        Args:
            optimizer: `default_optimizer()` by default.
            loss: Must be None, as the likelihood is an argument of the model.
            metrics: Computed where there are targets, on scores with seen items
                masked; Recall@20, Recall@50 and NDCG@100 by default.
            jit_compile: See `keras.Model.compile`; "auto" is decided again when a saved
                model is loaded.
            **kwargs: See `keras.Model.compile`.
        """
        if loss is not None:
            raise ValueError(
                f"The loss of {type(self).__name__} follows from its `likelihood`, an "
                f"argument of the model. Received: loss={loss!r}."
            )
        self.build_layers()
        if optimizer is None:
            optimizer = self.default_optimizer()
        if metrics is None:
            metrics = [RecallAtK(20), RecallAtK(50), NDCGAtK(100)]
        self._requested_jit_compile = jit_compile
        super().compile(
            optimizer=optimizer, metrics=metrics, jit_compile=jit_compile, **kwargs
        )
        # Built now, so that the first validation does not change the compiled state.
        spec = keras.KerasTensor((None, self.num_items), dtype="float32")
        compat.build_compiled_metrics(self, spec, spec)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Mean over users of NLL and losses per user, plus regularisation.

        `sample_weight` (users,) weighs all terms of a user alike.
        """
        nll = self.likelihood.call(y if has_targets(y) else x, y_pred)
        nll = weighed(nll, sample_weight)
        self._nll_tracker.update_state(nll)
        per_user = [loss for loss in self.losses if len(loss.shape) == 1]
        regularisation = [loss for loss in self.losses if len(loss.shape) == 0]
        total = nll + sum(weighed(loss, sample_weight) for loss in per_user)
        total = ops.mean(total) + sum(regularisation)
        return total / backend.num_replicas()

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Tensor = None
    ) -> Logs:
        """Ranking metrics where there are targets; loss and `trackers` always."""
        if has_targets(y):
            items = self.num_items - self.padding_items
            targets, seen = (
                ragged.to_dense(rows, items) if ragged.is_ragged(rows) else rows
                for rows in (y, x)
            )
            # The same scores as those of `score`, so that rankings equal those of
            # `evaluate_ranking` even where logits differ by less than their rounding.
            scores = self.likelihood.scores(ops.cast(y_pred, "float32"))
            masked = mask_seen(
                scores[:, :items] if self.padding_items else scores, seen
            )
            return dict(super().compute_metrics(x, targets, masked, sample_weight))
        trackers = (compat.loss_tracker(self), *self.trackers)
        return {tracker.name: tracker.result() for tracker in trackers}

    def score(self, histories: Clicks, batch_size: int = 500) -> np.ndarray:
        """Scores of all items for histories (users, num_items), seen ones unmasked.

        Args:
            histories: Clicks or counts: a SciPy matrix of any format, a dense array,
                `Interactions` or a `FoldIn`.
            batch_size: Int, users in each forward pass.

        Returns:
            float32 (users, num_items): log pi_i(z) at the posterior mean for the
            multinomial likelihood, log s(f_i) for the logistic, f_i for the Gaussian.
            An empty history gets the scores of a user of whom nothing is known.

        Raises:
            MemoryError: So many scores do not fit into the memory that is free.
        """
        batch_size = checks.integer("batch_size", batch_size)
        histories = self._rows(histories)
        shape = (histories.shape[0], self.num_items)
        require_scores(*shape)
        scores = np.empty(shape, wide_dtype(self.compute_dtype))
        for start in range(0, len(scores), batch_size):
            batch = slice(start, start + batch_size)
            values, constants = self.unnormalized_scores(
                histories[batch], pad_to=min(batch_size, len(scores))
            )
            np.subtract(bfloat16.widen(values), constants[:, None], out=scores[batch])
        return scores

    def unnormalized_scores(
        self, histories: Clicks, pad_to: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The scores of one batch as two arrays whose difference they are.

        The first array alone ranks a user's items; see `score` for the meaning.

        Args:
            histories: See `score`.
            pad_to: Int, pad the batch to this many users, so that a smaller last batch
                needs no compilation of its own.

        Returns:
            Values (users, num_items), float32, or bfloat16 if the logits are, which may
            be read-only; constants float32 (users,) to subtract from all of a user's.
        """
        histories = self._rows(histories)
        self.build_layers()
        return self._scorer(histories, pad_to)

    def best(
        self,
        histories: Clicks,
        k: int,
        exclude_seen: bool = True,
        allowed: np.ndarray | None = None,
        pad_to: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best items of one batch, found on the device where the scores are.

        Args:
            histories: See `score`.
            k: Int from 1 to the number of items that are ranked.
            exclude_seen: Bool, whether items of the history come last.
            allowed: Optional ascending 1-D int array, the only items to rank.
            pad_to: See `unnormalized_scores`.

        Returns:
            Indices int (users, k), into `allowed` if it is given, best first and the
            lower index first among equals; and their scores float32 (users, k), -inf
            for items of the history.
        """
        self.build_layers()
        return self._scorer.best(
            self._rows(histories), k, exclude_seen, allowed, pad_to
        )

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",
        **kwargs: object,
    ) -> None:
        """As `keras.Model.export`, with a SavedModel from any backend.

        It runs in a default TensorFlow Serving: rows `clicks` (users, num_items)
        float32 in, `logits` (users, num_items) out. For raw ids in and out see
        `export_saved_model`.

        Args:
            filepath: The folder to make.
            format: "tf_saved_model", or what `keras.Model.export` knows besides.
            **kwargs: For the other formats.
        """
        if format == "tf_saved_model":
            export_model(self, filepath)
        else:
            super().export(filepath, format=format, **kwargs)

    def get_config(self) -> Json:
        """See `keras.Model.get_config`."""
        path = self.linear_path
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "trainable": self.trainable,
            "num_items": self.num_items,
            "seed": self.seed,
            **self.settings.to_json(),
            **({} if path is None else {PATH: {"entries": path.entries}}),
        }

    @classmethod
    def from_config(cls, config: Json, custom_objects: object = None) -> Self:
        """See `keras.Model.from_config`."""
        with keras.saving.custom_object_scope(custom_objects or {}):
            names = {key_of(field) for field in settings_of(cls.Config)}
            settings = cls.Config.from_json(
                {name: value for name, value in config.items() if name in names}
            )
            rest = {name: config[name] for name in config if name not in names}
            path = rest.pop(PATH, None)
            rest["dtype"] = keras.saving.deserialize_keras_object(rest["dtype"])
        model = cls(**rest, **settings.arguments())
        if path is not None:
            model.linear_path = ItemWeights(model.num_items, **path, name=PATH)
        model.build_layers()
        return model

    def get_compile_config(self) -> Json | None:
        """The arguments of `compile`."""
        config = super().get_compile_config()
        return portable(config, self._requested_jit_compile) if config else None

    def compile_from_config(self, config: Json) -> None:
        """Compiles a loaded model as it was compiled before."""
        # The base class skips this for classes that override `compile`.
        self.compile(**keras.saving.deserialize_keras_object(config))
        if isinstance(self.optimizer, FusedAdam):
            self.optimizer.build_to_load(self.trainable_variables)
        else:
            self.optimizer.build(self.trainable_variables)

    def _check_inputs(self, inputs: Tensor) -> None:
        """Raises ValueError for dense rows with another number of items."""
        if ragged.is_ragged(inputs):
            return
        self.check_shape(getattr(inputs, "shape", ()), type(inputs))
