"""Mult-VAE: the network and its objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import sparse

from keras_multvae import backend, bags
from keras_multvae.backend.saved_model import export_model
from keras_multvae.data.batches import UserBatches
from keras_multvae.layers import Beta, InteractionEncoder, ItemDecoder, Sampling
from keras_multvae.losses import get_likelihood
from keras_multvae.metrics import LastValue, NDCGAtK, RecallAtK, mask_seen
from keras_multvae.schedules import BetaSchedule


@keras.saving.register_keras_serializable(package="keras_multvae")
class MultVAE(keras.Model):
    """A variational autoencoder with a multinomial likelihood for clicks.

    The objective is, per user, `log p(x | z) - beta * KL(q(z | x) || N(0, I))`, with z
    drawn from q in training and its mean in inference. The encoder is I -> hidden_dims
    -> 2K, the decoder K -> reversed hidden_dims -> I; tanh between layers.

    Inputs are batches of `UserBatches` or dense rows (users, num_items) of counts:
    NumPy arrays, a `tf.data.Dataset`, a PyTorch `DataLoader`. A batch of
    `(input, targets)` scores the targets instead of the input; `evaluate` and
    validation then report `recall_at_20`, `recall_at_50` and `ndcg_at_100` of the
    targets with the input's items masked. Losses are means over users; `sample_weight`
    weighs likelihood and KL of a user alike.

    beta is a function of the optimiser step, computed inside the step from two
    non-trainable weights, the schedule and the number of training batches so far
    (divided by the optimiser's `gradient_accumulation_steps`). Both are saved with the
    weights. A step that loss scaling skips counts like any other. Without a
    `BetaAnneal` callback the schedule is the constant `beta`; a schedule stays until
    another one is set.

    Args:
        num_items: Int >= 1, I, the size of the catalogue.
        latent_dim: Int >= 1, K.
        hidden_dims: Ints, sizes of the encoder's hidden layers; the decoder mirrors
            them. `()` gives a linear model.
        dropout: Float in [0, 1), share of clicks dropped from the input in training.
        likelihood: "multinomial", "gaussian" or "logistic", or an object of
            `keras_multvae.losses`.
        beta: Float >= 0, the KL weight when no `BetaAnneal` sets a schedule.
        seed: Int or None. The same seed on the same backend gives the same weights.
        **kwargs: Passed to `keras.Model` (`name`, `dtype`).

    Returns:
        When called on a batch: unmasked logits (users, num_items), float32.

    Raises:
        ValueError: An argument out of its range, or a batch with another number of
            items than `num_items`.

    Example:

    >>> import numpy as np
    >>> from scipy import sparse
    >>> from keras_multvae import BetaAnneal, MultVAE
    >>> from keras_multvae.data import UserBatches
    >>> clicks = sparse.random(100, 30, density=0.2, format="csr", rng=0)
    >>> clicks.data[:] = 1
    >>> model = MultVAE(num_items=30, latent_dim=4, hidden_dims=(16,), seed=1)
    >>> model.compile()
    >>> callbacks = [BetaAnneal(total_steps=40)]
    >>> history = model.fit(UserBatches(clicks, 25), callbacks=callbacks, verbose=0)
    >>> round(history.history["beta"][0], 6)  # of the fourth and last step
    0.075
    >>> model.score(clicks[:2]).shape
    (2, 30)

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814)
    """

    def __init__(
        self,
        num_items: int,
        latent_dim: int = 200,
        hidden_dims: Sequence[int] = (600,),
        dropout: float = 0.5,
        likelihood: Any = "multinomial",
        beta: float = 0.2,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_positive(num_items=num_items, latent_dim=latent_dim)
        for size in hidden_dims:
            _check_positive(hidden_dims=size)
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout!r}.")
        self.num_items = int(num_items)
        self.latent_dim = int(latent_dim)
        self.hidden_dims = tuple(int(size) for size in hidden_dims)
        self.dropout = float(dropout)
        self.likelihood = get_likelihood(likelihood)
        self.seed = seed

        def part(i: int) -> int | None:
            return None if seed is None else 3 * seed + i

        self.encoder = InteractionEncoder(
            self.num_items,
            self.latent_dim,
            self.hidden_dims,
            self.dropout,
            seed=part(0),
            dtype=self.dtype_policy,
            name="encoder",
        )
        self.sampling = Sampling(seed=part(1), dtype="float32", name="sampling")
        self.decoder = ItemDecoder(
            self.num_items,
            self.latent_dim,
            self.hidden_dims[::-1],
            seed=part(2),
            dtype=self.dtype_policy,
            name="decoder",
        )
        self.beta = Beta(beta, dtype="float32", name="beta")
        self._nll_tracker = keras.metrics.Mean(name="nll")
        self._kl_tracker = keras.metrics.Mean(name="kl")
        self._beta_tracker = LastValue(name="beta")
        self._kl_of_batch: Any = None
        self.built = True

    # The objective -----------------------------------------------------------------

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits of all items; adds beta * KL of each user, (users,), to `losses`."""
        self._check_inputs(inputs)
        xla = bool(self.jit_compile)
        mean, log_var = self.encoder(inputs, training=training, xla=xla)
        z = self.sampling((mean, log_var), training=training)
        logits = self.decoder(z)
        # KL(q || N(0, I)) = 1/2 sum_k (exp(lv_k) + mu_k^2 - 1 - lv_k)
        kl = 0.5 * ops.sum(ops.exp(log_var) + ops.square(mean) - 1.0 - log_var, axis=-1)
        self.add_loss(self.beta(kl, accumulation=self._accumulation))
        # Where beta is 0, `losses` does not tell the KL that the logs report.
        self._kl_of_batch = kl
        return logits

    @property
    def _accumulation(self) -> int:
        """Batches for each optimiser step."""
        optimizer = getattr(self, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        return getattr(optimizer, "gradient_accumulation_steps", None) or 1

    @property
    def batches_seen(self) -> int:
        """Training batches so far."""
        return int(ops.convert_to_numpy(self.beta.batches_seen))

    def set_beta_schedule(self, schedule: BetaSchedule) -> None:
        """Makes beta follow `schedule` from the next step on; the count goes on."""
        self.beta.set_schedule(schedule)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Mean over users of NLL + beta * KL, plus weight regularisation if any."""
        kl, self._kl_of_batch = self._kl_of_batch, None
        if kl is None:
            raise ValueError(
                "compute_loss() needs the model to be called on the same batch first."
            )
        nll = self.likelihood.call(y if _has_targets(y) else x, y_pred)
        per_user = [loss for loss in self.losses if len(loss.shape) == 1]
        regularisation = [loss for loss in self.losses if len(loss.shape) == 0]
        if sample_weight is not None:
            weight = ops.cast(ops.reshape(sample_weight, (-1,)), nll.dtype)
            nll, kl = nll * weight, kl * weight
            per_user = [loss * weight for loss in per_user]
        self._nll_tracker.update_state(nll)
        self._kl_tracker.update_state(kl)
        self._beta_tracker.update_state(self.beta.current(self._accumulation))
        if training:
            self.beta.count_batch()
        total = ops.mean(sum(per_user, start=nll)) + sum(regularisation)
        return total / backend.num_replicas()

    # Training ----------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = None,
        loss: None = None,
        metrics: Any = None,
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.compile`, with the paper's optimiser and ranking metrics.

        Args:
            optimizer: Adam with learning rate 1e-3 and epsilon 1e-8 by default.
            loss: Not taken: the likelihood is an argument of the model.
            metrics: Computed where there are targets, on scores with seen items
                masked; Recall@20, Recall@50 and NDCG@100 by default.
            jit_compile: See `keras.Model.compile`; "auto" is settled anew where a
                saved model is loaded.
            **kwargs: See `keras.Model.compile`.
        """
        if loss is not None:
            raise ValueError(
                "MultVAE's loss is its likelihood plus beta * KL; choose the former by "
                f"MultVAE(likelihood=...). Received: loss={loss!r}."
            )
        if optimizer is None:
            optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
        if metrics is None:
            metrics = [RecallAtK(20), RecallAtK(50), NDCGAtK(100)]
        self._requested_jit_compile = jit_compile
        super().compile(
            optimizer=optimizer, metrics=metrics, jit_compile=jit_compile, **kwargs
        )
        # Built now, so that the first validation does not change the compiled state.
        spec = keras.KerasTensor((None, self.num_items), dtype="float32")
        if self._compile_metrics is not None:
            self._compile_metrics.build(spec, spec)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Ranking metrics where there are targets; loss, nll, kl and beta always."""
        if _has_targets(y):
            targets, seen = (
                bags.to_dense(rows, self.num_items) if bags.is_bags(rows) else rows
                for rows in (y, x)
            )
            masked = mask_seen(y_pred, seen)
            return dict(super().compute_metrics(x, targets, masked, sample_weight))
        trackers = (
            self._loss_tracker,
            self._nll_tracker,
            self._kl_tracker,
            self._beta_tracker,
        )
        return {tracker.name: tracker.result() for tracker in trackers}

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.fit`; the order of `UserBatches` is their own affair."""
        if isinstance(x, UserBatches):
            # Else Keras reorders the batches, from Python's global random state.
            kwargs["shuffle"] = False
        for batches in (x, kwargs.get("validation_data")):
            self._check_batches(batches)
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`; `UserBatches` come in order."""
        return super().evaluate(self._in_order(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict`: unmasked logits; `UserBatches` come in order."""
        return super().predict(self._in_order(x), *args, **kwargs)

    # Use ---------------------------------------------------------------------------

    def score(self, histories: sparse.csr_matrix, batch_size: int = 500) -> np.ndarray:
        """Scores of all items for histories (users, num_items), seen ones unmasked.

        Args:
            histories: CSR matrix of clicks or counts.
            batch_size: Int, users a forward pass.

        Returns:
            float32 (users, num_items): log pi_i(z) at the posterior mean for the
            multinomial likelihood, log s(f_i) for the logistic, f_i for the Gaussian.
            An empty history gets the scores of a user of whom nothing is known.
        """
        self._check_inputs(histories)
        if histories.shape[0] == 0:
            return np.zeros((0, self.num_items), "float32")
        batches = UserBatches(histories, batch_size, shuffle=False)
        logits = ops.convert_to_tensor(self.predict(batches, verbose=0))
        return np.asarray(ops.convert_to_numpy(self.likelihood.scores(logits)))

    def embed(
        self, histories: sparse.csr_matrix, batch_size: int = 500
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of q(z | x): two float32 arrays (users, latent_dim)."""
        self._check_inputs(histories)
        parts = []
        batches = UserBatches(histories, batch_size, shuffle=False)
        for (inputs,) in batches:
            parts.append([ops.convert_to_numpy(part) for part in self.encoder(inputs)])
        means, log_vars = (np.concatenate(part) for part in zip(*parts, strict=True))
        return means, np.exp(log_vars)

    @property
    def item_vectors(self) -> np.ndarray:
        """The decoder's output weights, float32 (num_items, units), one row an item."""
        kernel = self.decoder.stack[-1].kernel
        return ops.convert_to_numpy(kernel).astype("float32").T

    def _in_order(self, x: Any) -> Any:
        self._check_batches(x)
        return x.in_order() if isinstance(x, UserBatches) else x

    def _check_batches(self, x: Any) -> None:
        # Item ids out of range would be an error on one backend and silence on another.
        if isinstance(x, UserBatches):
            self._check_inputs(x.inputs)

    def _check_inputs(self, inputs: Any) -> None:
        if bags.is_bags(inputs):
            return
        shape: tuple[Any, ...] = getattr(inputs, "shape", ())
        if len(shape) != 2 or shape[1] not in (None, self.num_items):
            raise ValueError(
                f"MultVAE takes rows of {self.num_items} items, (users, "
                f"{self.num_items}), or batches of UserBatches. Received: "
                f"{type(inputs).__name__} of shape {tuple(shape)}."
            )

    # Saving ------------------------------------------------------------------------

    def export(
        self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any
    ) -> None:
        """As `keras.Model.export`; a SavedModel comes from any backend.

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

    def get_config(self) -> dict[str, Any]:
        """See `keras.Model.get_config`."""
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "trainable": self.trainable,
            "num_items": self.num_items,
            "latent_dim": self.latent_dim,
            "hidden_dims": list(self.hidden_dims),
            "dropout": self.dropout,
            "likelihood": keras.saving.serialize_keras_object(self.likelihood),
            "beta": self.beta.initial,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MultVAE:
        """See `keras.Model.from_config`."""
        config = dict(config)
        for key in ("likelihood", "dtype"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return cls(**config)

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile` was called with."""
        config = super().get_compile_config()
        if not config:
            return None
        # Keras keeps what "auto" came to on this backend, wrong on the next, and on
        # PyTorch the name of an optimiser class that only runs there.
        optimizer = dict(config["optimizer"])
        if optimizer["module"].startswith("keras.src.backend.torch"):
            optimizer.update(module="keras.optimizers", registered_name=None)
        return {
            **config,
            "optimizer": optimizer,
            "jit_compile": self._requested_jit_compile,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as it was."""
        # The base class skips this for classes that override `compile`.
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)


def _check_positive(**values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(
                f"`{name}` takes integers >= 1. Received: {name}={value!r}."
            )


def _has_targets(y: Any) -> bool:
    """False for None and for the (users, 0) array that `UserBatches` puts there."""
    return y is not None and (bags.is_bags(y) or y.shape[-1] != 0)
