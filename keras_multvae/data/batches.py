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
from keras_multvae.typing import Arrays, Clicks


class UserBatches(keras.utils.PyDataset):
    """Ragged batches of users, made without a dense matrix.

    A batch is a tuple `(input,)`, `(input, targets)` or `(input, targets, weights)`.
    With weights but no targets, the targets are an array (users, 0). Inputs and targets
    are dicts of three arrays, each sliceable on axis 0:

    - `entries_per_user` (users,) int32: stored entries of each user;
    - `item_ids` (entries,) int32 and `values` (entries,) float32: item and value of
      each entry, user after user.

    `entries` is padded to one of few sizes, so that compiled backends compile few
    steps. Padding has value 0 and counts as entries of the last user. The last batch
    may have fewer users. `fit` gets users in a new order each epoch, `evaluate` and
    `predict` in the order of the matrix.

    Args:
        interactions: `Interactions`, a `FoldIn`, whose targets are then those of the
            batches, a SciPy sparse matrix of any format or a dense array (users,
            items), of non-negative values. Repeated entries are added up, and zeros are
            no clicks.
        batch_size: Int >= 1, users in each batch.
        shuffle: Bool, whether to reorder users each epoch.
        seed: Int, the order of epoch e depends on `(seed, e)` alone.
        targets: Optional, the clicks to predict, in a form of `interactions` and for
            the same users.
        sample_weight: Optional (users,) non-negative weights; those of `interactions`
            by default.
        partitions: Int, equal parts of a batch on axis 0, one or more for each replica
            of a data-parallel training; `batch_size` must be a multiple. By default one
            for each replica of the `keras.distribution` in force, else 1. A last batch
            that does not divide is filled up with empty users of weight 0, and the
            others weigh more, so that means are unchanged. Dropout depends on an
            entry's place in the batch, so a training is the same, up to rounding, on
            any number of replicas that divides the number of partitions.
        **kwargs: `workers`, `use_multiprocessing`, `max_queue_size` of
            `keras.utils.PyDataset`.

    Raises:
        TypeError: `interactions` or `targets` are no matrix.
        ValueError: No users, negative or non-finite values, unequal numbers of users,
            targets without an entry or equal to the input, or `partitions` that is no
            multiple of the replicas.

    Under a `keras.distribution` each process reads and yields only its own partitions
    of every batch; with `partitions=1`, the whole batch.

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
        # Set by `fit`: moves a prefetched batch to the device, in the prefetching
        # thread.
        self.upload: Callable[[Arrays], Arrays] | None = None
        # Batches of an epoch that are left out, as the run that is resumed did them.
        self.done = 0
        self.epoch = 0

    def __repr__(self) -> str:
        targets = 0 if self.targets is None else self.targets.nnz
        held_out = f", {targets} targets" if targets else ""
        return (
            f"UserBatches({self.num_users} users, {self.inputs.shape[1]} items, "
            f"{self.inputs.nnz} entries{held_out}; {self.num_batches} batches of "
            f"{self.batch_size})"
        )

    def _take(
        self, interactions: Clicks, targets: Clicks, sample_weight: object
    ) -> None:
        """Checks and stores the arguments."""
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
        """Checks and stores the targets."""
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
        """Whether all values that a likelihood reads are 0 or 1."""
        return self._binary if self.targets is None else self._binary_targets

    @property
    def epoch(self) -> int:
        """The epoch that determines the order; set it to resume a training."""
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
        # Not at the beginning of an epoch, as Keras' workers start before that hook.
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
        """Raises ValueError if the batches do not fit the active distribution."""
        distribution = keras.distribution.distribution()
        if distribution is None:
            return
        if self._own != _own_partitions(self.partitions)[1] or (
            self.partitions % distribution.num_model_replicas
        ):
            raise ValueError(
                f"These UserBatches have {self.partitions} partitions, of which this "
                f"process reads {self._own}; that does not fit the {distribution}. "
                "Make them once it is set, without `partitions` or a multiple of the "
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

    def __getstate__(self) -> dict[str, object]:
        # A thread can be neither copied nor pickled.
        return {**self.__dict__, "_ahead": None, "upload": None}

    @property
    def num_batches(self) -> int:
        """The number of batches in an epoch, without those that are `done`."""
        return math.ceil(self.num_users / self.batch_size) - self.done

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Arrays:
        if not 0 <= index < self.num_batches:
            raise IndexError(f"Batch {index} of {self.num_batches}.")
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.index == index:
            batch = ahead.result()
        else:
            batch = self._batch(index + self.done)
        # Keras' own workers, if there are any, prefetch by themselves.
        alone = self.workers <= 1 and not self.use_multiprocessing
        if alone and index + 1 < self.num_batches:
            self._ahead = _Ahead(self._uploaded, index + 1)
        return batch

    def _uploaded(self, index: int) -> Arrays:
        batch = self._batch(index + self.done)
        return batch if self.upload is None else self.upload(batch)

    def _batch(self, index: int) -> Arrays:
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
            # tf.data does not accept None between input and weights.
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
        weights = weights.reshape(self.partitions, -1)[self._own].ravel()
        return inputs, targets, weights


class _Ahead(threading.Thread):
    """Prefetches one batch while the previous one is in use.

    On TensorFlow and JAX Keras does so itself. On PyTorch nothing else would overlap a
    step with reading from disk.
    """

    def __init__(self, make: Callable[[int], Arrays], index: int) -> None:
        super().__init__()
        self.index = index
        self._make = make
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        """The loop of the thread."""
        try:
            self._batch = self._make(self.index)
        except Exception as error:
            self._error = error

    def result(self) -> Arrays:
        """The batch; raises the error of the thread, if any."""
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
