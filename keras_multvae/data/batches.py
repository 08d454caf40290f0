"""Sparse batches of users for `fit`, `evaluate` and `predict`."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from scipy import sparse

from keras_multvae import checks, compat
from keras_multvae.data.columns.clicks import as_clicks, same_entries
from keras_multvae.data.columns.mapped import slices
from keras_multvae.data.ingest.events import checked_weights
from keras_multvae.data.packing import pack
from keras_multvae.data.splits.base import FoldIn
from keras_multvae.typing import Clicks


class UserBatches(keras.utils.PyDataset):
    """Batches of users in compact sparse form; no dense matrix is ever made.

    A batch is a tuple `(input,)`, `(input, targets)` or `(input, targets, weights)`;
    where there are weights and no targets, the latter are an array (users, 0).
    Inputs and targets are dicts of three arrays, each sliceable on axis 0:

    - `entries_per_user` (users,) int32: stored entries of each user;
    - `item_ids` (entries,) int32 and `values` (entries,) float32: item and value of
      each entry, user after user.

    `entries` is padded to one of few sizes, at least to that of an average batch, so
    that compiled backends compile few steps; padding has value 0 and counts as entries
    of the last user. The last batch may have fewer users. In `fit`, users come in a new
    order each epoch; `evaluate` and `predict` of the models read them in order.

    Args:
        interactions: `Interactions`, a `FoldIn`, whose targets are then those of the
            batches, a SciPy sparse matrix of any format or a dense array (users,
            items), of non-negative values. Repeated entries are added up, and zeros are
            no clicks.
        batch_size: Int >= 1, users a batch.
        shuffle: Bool, whether to reorder users each epoch.
        seed: Int, the order of epoch e depends on `(seed, e)` alone.
        targets: Optional, like `interactions` and with as many users: what is to be
            predicted from the input.
        sample_weight: Optional (users,) non-negative weights; those of `interactions`
            by default.
        partitions: Int, equal parts on axis 0, which data-parallel training deals out to
            its replicas; `batch_size` must be a multiple. By default one a replica
            where a `keras.distribution` is in force, else 1. A last batch that does
            not divide gets empty users with weight 0, the others the more, so that
            means stay. Dropout goes by the place of an entry in the batch, so a
            training is the same, to rounding, on any number of replicas that divides
            a given number of partitions.
        **kwargs: `workers`, `use_multiprocessing`, `max_queue_size` of
            `keras.utils.PyDataset`.

    Raises:
        TypeError: `interactions` or `targets` are no matrix.
        ValueError: No users, negative or non-finite values, unequal numbers of users,
            targets without an entry or equal to the input, `partitions` that the replicas
            do not divide.

    Under a `keras.distribution` of several processes each reads, and yields, its part
    of every batch; with `partitions=1`, all of it.

    Example:

    >>> from scipy import sparse
    >>> clicks = sparse.csr_matrix([[0, 1, 1], [1, 0, 0]])
    >>> (batch,) = UserBatches(clicks, batch_size=2, shuffle=False)[0]
    >>> int(batch["entries_per_user"][0]), batch["item_ids"][:3].tolist()
    (2, [1, 2, 0])
    """

    def __init__(
        self,
        interactions: Clicks,
        batch_size: int = 500,
        shuffle: bool = True,
        seed: int = 0,
        targets: Clicks = None,
        sample_weight: object = None,
        partitions: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        batch_size = checks.integer("batch_size", batch_size)
        if partitions is not None:
            partitions = checks.integer("partitions", partitions)
        partitions, self._own = _own_partitions(partitions)
        if batch_size % partitions:
            raise ValueError(
                "`batch_size` must be a multiple of `partitions` (one a replica by "
                "default, where a distribution is in force). Received: "
                f"batch_size={batch_size}, partitions={partitions}."
            )
        self._take(interactions, targets, sample_weight)
        self.batch_size = batch_size
        self.shuffle = bool(shuffle)
        self.seed = checks.integer("seed", seed, at_least=0)
        self.partitions = partitions
        # What `fit` has done to a batch that is made ahead, by the thread that does.
        self.upload: Callable[[Any], Any] | None = None
        self.epoch = 0

    def _take(
        self, interactions: Clicks, targets: Clicks, sample_weight: object
    ) -> None:
        """Checks and keeps what the batches are made of."""
        self.inputs, self._binary = as_clicks(interactions, "interactions")
        self.num_users = self.inputs.shape[0]
        if self.num_users == 0:
            raise ValueError("UserBatches needs at least one user; received none.")
        if isinstance(interactions, FoldIn):
            if targets is not None:
                raise ValueError(
                    "A FoldIn brings its targets. Received besides: targets of type "
                    f"{type(targets).__name__}."
                )
            interactions, targets = interactions.input, interactions.targets
        self.targets: sparse.csr_matrix | None = None
        self._binary_targets = False
        if targets is not None:
            self._take_targets(targets)
        if sample_weight is None:
            sample_weight = getattr(interactions, "user_weights", None)
        if sample_weight is not None:
            sample_weight = checked_weights(
                sample_weight, self.num_users, "sample_weight"
            )
        self.sample_weight: np.ndarray | None = sample_weight

    def _take_targets(self, targets: Clicks) -> None:
        self.targets, self._binary_targets = as_clicks(targets, "targets")
        if self.targets.shape != self.inputs.shape:
            raise ValueError(
                "`targets` must have the shape of the input, (users, items) = "
                f"{self.inputs.shape}. Received: {self.targets.shape}."
            )
        if not self.targets.nnz:
            raise ValueError(
                "`targets` hold no entry: there is nothing to predict or to measure. "
                "Leave them out, or hold some clicks of these users out."
            )
        if same_entries(self.inputs, self.targets):
            raise ValueError(
                "`targets` are the input itself, whose items are never recommended. "
                "Leave them out to train on the input alone; to measure, give clicks "
                "that were held out."
            )

    @property
    def binary(self) -> bool:
        """Whether what a likelihood sees holds no number but 0 and 1."""
        return self._binary if self.targets is None else self._binary_targets

    @property
    def epoch(self) -> int:
        """The epoch whose order is in force; settable, for a run that is resumed."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = epoch
        if self.shuffle:
            rng = np.random.default_rng([self.seed, epoch])
            self._order = rng.permutation(self.num_users)
        else:
            self._order = np.arange(self.num_users)
        self._ahead: _Ahead | None = None

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch's order."""
        # Not at the epoch's begin: Keras' workers start before that hook is called.
        self.epoch += 1

    def item_clicks(self) -> np.ndarray:
        """How many users have each item in their history: int64 (num_items,)."""
        items = self.inputs.shape[1]
        parts = slices(self.inputs.indices)
        return sum(
            (np.bincount(part, minlength=items) for part in parts),
            np.zeros(items, "int64"),
        )

    def check_distribution(self) -> None:
        """Raises ValueError if these are not batches for the distribution in force."""
        distribution = keras.distribution.distribution()
        if distribution is None:
            return
        if self._own != _own_partitions(self.partitions)[1] or (
            self.partitions % distribution.num_model_replicas
        ):
            raise ValueError(
                f"These UserBatches have {self.partitions} partitions, of which this process "
                f"reads {self._own}; that does not fit the {distribution}. Make them "
                "once it is set, without `partitions` or with a multiple of the "
                f"{distribution.num_model_replicas} replicas."
            )

    def in_order(self) -> UserBatches:
        """The same batches with users in the order of the matrix."""
        if not self.shuffle:
            return self
        ordered = copy.copy(self)
        ordered.shuffle = False
        ordered.epoch = 0
        return ordered

    def __getstate__(self) -> dict[str, Any]:
        # A thread can be neither copied nor pickled.
        return {**self.__dict__, "_ahead": None, "upload": None}

    @property
    def num_batches(self) -> int:
        """Batches an epoch."""
        return math.ceil(self.num_users / self.batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if not 0 <= index < self.num_batches:
            raise IndexError(f"Batch {index} of {self.num_batches}.")
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.index == index:
            batch = ahead.result()
        else:
            batch = self._batch(index)
        # Keras' own workers, if any were asked for, are ahead by themselves.
        alone = self.workers <= 1 and not self.use_multiprocessing
        if alone and index + 1 < self.num_batches:
            self._ahead = _Ahead(self._uploaded, index + 1)
        return batch

    def _uploaded(self, index: int) -> tuple[Any, ...]:
        batch = self._batch(index)
        return batch if self.upload is None else self.upload(batch)

    def _batch(self, index: int) -> tuple[Any, ...]:
        start = index * self.batch_size
        users = self._order[start : start + self.batch_size]
        empty = -len(users) % self.partitions
        layout = (empty, self.partitions, self._own)
        inputs = pack(self.inputs, users, *layout, binary=self._binary)
        weighted = self.sample_weight is not None or self.partitions > 1
        targets: Any
        if self.targets is not None:
            targets = pack(self.targets, users, *layout, binary=self._binary_targets)
        elif weighted:
            # A None between the two does not pass through tf.data.
            targets = np.zeros((len(inputs["entries_per_user"]), 0), "float32")
        else:
            return (inputs,)
        if not weighted:
            return inputs, targets
        weights = (
            np.ones(len(users), "float32")
            if self.sample_weight is None
            else self.sample_weight[users]
        )
        weights = weights * np.float32((len(users) + empty) / len(users))
        weights = np.append(weights, np.zeros(empty, "float32"))
        return inputs, targets, weights.reshape(self.partitions, -1)[self._own].ravel()


class _Ahead(threading.Thread):
    """Makes one batch while the one before it is in use.

    On TensorFlow and JAX Keras does as much; on PyTorch nothing else would overlap
    the step with the reading of a slow disk.
    """

    def __init__(self, make: Callable[[int], tuple[Any, ...]], index: int) -> None:
        super().__init__()
        self.index = index
        self._make = make
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        """Of the thread."""
        try:
            self._batch = self._make(self.index)
        except Exception as error:
            self._error = error

    def result(self) -> tuple[Any, ...]:
        """The batch, or the error that came in its place."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._batch


def _own_partitions(partitions: int | None) -> tuple[int, slice]:
    """The number of partitions, and those of this process under the distribution."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        partitions = 1 if partitions is None else partitions
        return partitions, slice(0, partitions)
    replicas = distribution.num_model_replicas
    if partitions is None:
        partitions = replicas
    if partitions != 1 and partitions % replicas:
        raise ValueError(
            f"`partitions` must be 1 or a multiple of the {replicas} replicas that the "
            f"distribution has. Received: partitions={partitions}."
        )
    parts = min(replicas, distribution.num_processes) if partitions > 1 else 1
    size = partitions // parts
    part = compat.data_shard(distribution) if parts > 1 else 0
    return partitions, slice(part * size, (part + 1) * size)
