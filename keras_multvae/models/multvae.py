"""Mult-VAE: the network and its objective."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from scipy import sparse

from keras_multvae import backend, bags
from keras_multvae.data.batches import UserBatches
from keras_multvae.layers import (
    Beta,
    CandidateSampler,
    InteractionEncoder,
    ItemDecoder,
    Sampling,
    TableDecoder,
)
from keras_multvae.losses import MultinomialNLL, SampledLogits
from keras_multvae.metrics import LastValue
from keras_multvae.models.base import RankingModel, has_targets, weighed
from keras_multvae.models.placement import placement_of
from keras_multvae.optimizers import FusedAdam
from keras_multvae.schedules import BetaSchedule

OUTPUTS = ("full", "sampled")
TABLE_DTYPES = ("bfloat16",)


@keras.saving.register_keras_serializable(package="keras_multvae")
class MultVAE(RankingModel):
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
        output: "full", or "sampled": training scores the clicked items and
            `num_sampled` others in place of all, and with `FusedAdam` (without
            clipping, decay and the like) reads and writes those rows of the item
            tables alone. Validation, evaluation and recommendation are exact. Takes
            the multinomial likelihood, and `UserBatches` to train on.
        num_sampled: Int >= 1, items drawn for each batch.
        sampler: "log_uniform", "popularity" or "in_batch"; see `CandidateSampler`.
        tied: Bool, whether the decoder's last kernel is the encoder's first, which
            halves the weights; needs a hidden layer.
        table_dtype: None, or "bfloat16": the item tables and their moments in half of
            the memory. Steps are taken in float32 and rounded at random, for which it
            needs output="sampled" and a `FusedAdam` as above. All else stays float32.
        seed: Int or None. The same seed on the same backend gives the same weights.
        **kwargs: Passed to `keras.Model` (`name`, `dtype`).

    Returns:
        When called on a batch: unmasked logits (users, num_items), float32.

    Raises:
        ValueError: An argument out of its range, a batch with another number of items
            than `num_items`, or, in `compile`, an optimiser that does not go with
            `table_dtype`.

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
        output: str = "full",
        num_sampled: int = 2000,
        sampler: str = "log_uniform",
        tied: bool = False,
        table_dtype: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_items, latent_dim, hidden_dims, dropout, likelihood, seed, **kwargs
        )
        self.output_kind, self.num_sampled = output, int(num_sampled)
        self.sampler_name, self.tied = sampler, bool(tied)
        self.table_dtype = table_dtype
        self._check_output()
        self.encoder = InteractionEncoder(
            self.num_items,
            self.latent_dim,
            self.hidden_dims,
            self.dropout,
            table_dtype=table_dtype,
            seed=self._part_seed(0),
            dtype=self.dtype_policy,
            name="encoder",
        )
        self.sampling = Sampling(
            seed=self._part_seed(1), dtype="float32", name="sampling"
        )
        sizes = (self.num_items, self.latent_dim, self.hidden_dims[::-1])
        options = {
            "seed": self._part_seed(2),
            "dtype": self.dtype_policy,
            "name": "decoder",
        }
        # An item's row lies together where a step takes some rows of the table.
        if tied or output == "sampled":
            table = (lambda: self.encoder.kernel) if tied else None
            self.decoder = TableDecoder(
                *sizes, table_dtype=table_dtype, table=table, **options
            )
        else:
            self.decoder = ItemDecoder(*sizes, **options)
        self.candidates: Any = None
        if output == "sampled":
            self.candidates = CandidateSampler(
                self.num_items,
                self.num_sampled,
                sampler,
                # Not one of the seeds of the other parts.
                seed=None if seed is None else seed + (1 << 20),
                dtype="float32",
                name="candidates",
            )
        self.beta = Beta(beta, dtype="float32", name="beta")
        self._kl_tracker = keras.metrics.Mean(name="kl")
        self._beta_tracker = LastValue(name="beta")
        self._kl_of_batch: Any = None
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits of all items; adds beta * KL of each user, (users,), to `losses`.

        In training with output="sampled" they are `SampledLogits`.
        """
        self._check_inputs(inputs)
        if training and self.candidates is not None:
            mean, log_var, logits = self._sampled(inputs)
        else:
            mean, log_var = self.encoder(inputs, training=training)
            logits = self.decoder(self.sampling((mean, log_var), training=training))
        # KL(q || N(0, I)) = 1/2 sum_k (exp(lv_k) + mu_k^2 - 1 - lv_k)
        kl = 0.5 * ops.sum(ops.exp(log_var) + ops.square(mean) - 1.0 - log_var, axis=-1)
        self.add_loss(self.beta(kl, accumulation=self._accumulation))
        # Where beta is 0, `losses` does not tell the KL that the logs report.
        self._kl_of_batch = kl
        return logits

    def _sampled(self, inputs: Any) -> tuple[Any, Any, SampledLogits]:
        """Mean, log-variance and logits of a training step, from rows of the tables."""
        if not bags.is_bags(inputs):
            raise ValueError(
                'A MultVAE with output="sampled" is trained on UserBatches. Received: '
                f"{type(inputs).__name__}."
            )
        items = self.candidates(inputs)
        take = partial(backend.take_rows, ids=items.ids, sparse=self.trains_rows)
        kernel = take(self.encoder.kernel)
        places = {**inputs, "item_ids": items.clicks}
        mean, log_var = self.encoder(places, training=True, kernel=kernel)
        z = self.sampling((mean, log_var), training=True)
        rows = kernel if self.tied else take(self.decoder.table)
        bias = take(self.decoder.bias)
        return mean, log_var, self.decoder.sampled(z, inputs, items, rows, bias)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """See `RankingModel`; without ranking metrics where `y_pred` is sampled."""
        if isinstance(y_pred, SampledLogits):
            y = None
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """See `RankingModel.compile`."""
        super().compile(*args, **kwargs)
        optimizer = self.optimizer
        self.trains_rows = (
            self.candidates is not None
            and isinstance(optimizer, FusedAdam)
            and optimizer.takes_rows
        )
        if self.candidates is not None and not backend.rows_compile:
            self.jit_compile = False
        if self.table_dtype and not self.trains_rows:
            raise ValueError(
                f"Tables in {self.table_dtype} are trained by a FusedAdam without "
                "clipping, weight decay, averaging, gradient accumulation or loss "
                "scaling: it alone rounds at random. Received: "
                f"{optimizer.get_config()}. Leave `optimizer` out, or table_dtype."
            )

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `RankingModel.fit`; a sampler learns the items' popularity first."""
        if self.candidates is not None and isinstance(x, UserBatches):
            self.candidates.set_popularity(x.item_clicks())
        return super().fit(x, *args, **kwargs)

    def with_new_items(self, num_items: int) -> Self:
        """See `RankingModel.with_new_items`."""
        grown = super().with_new_items(num_items)
        if grown.candidates is not None:
            # `fit` will tell.
            grown.candidates.set_popularity(np.zeros(num_items))
        return grown

    def encode(self, inputs: Any) -> Any:
        """Mean of q(z | x), (users, latent_dim): the z of prediction."""
        mean, _ = self.encoder(inputs)
        return mean

    @property
    def trackers(self) -> tuple[keras.metrics.Metric, ...]:
        """nll, kl and beta."""
        return *super().trackers, self._kl_tracker, self._beta_tracker

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
        if isinstance(y_pred, SampledLogits) and has_targets(y):
            raise ValueError(
                'With output="sampled" a model is trained on the clicks that it reads: '
                "the logits are those of the input. Received targets besides. Leave "
                'them out of fit(), or take output="full".'
            )
        kl, self._kl_of_batch = self._kl_of_batch, None
        if kl is None:
            raise ValueError(
                "compute_loss() needs the model to be called on the same batch first."
            )
        total = super().compute_loss(x, y, y_pred, sample_weight, training)
        self._kl_tracker.update_state(weighed(kl, sample_weight))
        self._beta_tracker.update_state(self.beta.current(self._accumulation))
        if training:
            self.beta.count_batch()
        return total

    def embed(
        self, histories: sparse.csr_matrix, batch_size: int = 500
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of q(z | x): two float32 arrays (users, latent_dim)."""
        self._check_inputs(histories)
        parts = []
        batches = UserBatches(histories, batch_size, shuffle=False, blocks=1)
        with placement_of(self):
            for (inputs,) in batches:
                parts.append(list(map(ops.convert_to_numpy, self.encoder(inputs))))
        means, log_vars = (np.concatenate(part) for part in zip(*parts, strict=True))
        return means, np.exp(log_vars)

    def get_config(self) -> dict[str, Any]:
        """See `keras.Model.get_config`."""
        return {
            **super().get_config(),
            "beta": self.beta.initial,
            "output": self.output_kind,
            "num_sampled": self.num_sampled,
            "sampler": self.sampler_name,
            "tied": self.tied,
            "table_dtype": self.table_dtype,
        }

    def _check_output(self) -> None:
        if self.output_kind not in OUTPUTS:
            raise ValueError(
                f"`output` must be one of {', '.join(OUTPUTS)}. Received: "
                f"output={self.output_kind!r}."
            )
        if (
            self.output_kind == "sampled"
            and type(self.likelihood) is not MultinomialNLL
        ):
            raise ValueError(
                'output="sampled" estimates the multinomial likelihood. Received: '
                f"likelihood={type(self.likelihood).__name__}."
            )
        if self.table_dtype not in (None, *TABLE_DTYPES):
            raise ValueError(
                f"`table_dtype` must be None or {' or '.join(TABLE_DTYPES)}. Received: "
                f"table_dtype={self.table_dtype!r}."
            )
        if self.table_dtype and self.output_kind != "sampled":
            raise ValueError(
                "A step may round the rows that it touched, but not all of a table: "
                f'table_dtype={self.table_dtype!r} goes with output="sampled". '
                f"Received: output={self.output_kind!r}."
            )
        if self.num_sampled < 1:
            raise ValueError(
                f"`num_sampled` must be >= 1. Received: num_sampled={self.num_sampled}."
            )
        if self.tied and not self.hidden_dims:
            raise ValueError(
                "tied=True takes the first hidden layer's kernel for the output, so "
                "there must be one. Received: hidden_dims=()."
            )
