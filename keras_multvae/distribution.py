"""One model on several devices and processes, through `keras.distribution` on JAX."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_multvae import backend
from keras_multvae.abilities import PadsItems, require
from keras_multvae.models.weight_transfer import compile_alike, copy_state
from keras_multvae.models.device_scope import single_device
from keras_multvae.typing import Model

USERS, ITEMS = "users", backend.ITEMS


def item_layout_map(device_mesh: Any) -> Any:
    """Where the weights of our models lie when their item embeddings are split up.

    The encoder's first kernel, the decoder's last one and its bias are split up by
    item, and the optimiser's moments with them. All else, some hundredth of the
    weights, is on every device.

    Args:
        device_mesh: `keras.distribution.DeviceMesh` with an axis "items".

    Returns:
        A `keras.distribution.LayoutMap`.

    Raises:
        ValueError: The mesh has no such axis.

    Example:

    >>> mesh = keras.distribution.DeviceMesh((1, 1), ["users", "items"])
    >>> item_layout_map(mesh)["encoder/kernel"].axes
    ('items', None)
    """
    if ITEMS not in device_mesh.axis_names:
        raise ValueError(
            f'The device mesh needs an axis named "{ITEMS}". Received: axis_names='
            f"{list(device_mesh.axis_names)}."
        )
    layouts = keras.distribution.LayoutMap(device_mesh)
    layouts["(.*/)?(old_)?encoder/kernel"] = (ITEMS, None)
    layouts["(.*/)?item_logits/kernel"] = (None, ITEMS)
    layouts["(.*/)?item_logits/bias"] = (ITEMS,)
    # Of a `EmbeddingDecoder`, whose tables have a row an item.
    layouts["(.*/)?decoder/(kernel|bias)"] = (ITEMS, None)
    return layouts


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the processes of a training; to be called before anything else of JAX.

    It is `keras.distribution.initialize`, which tells whoever uses another backend.

    Args:
        coordinator: "host:port" of the first process, on a port that is free there.
            None takes it, and the other two, from Keras' environment variables
            (`KERAS_DISTRIBUTION_JOB_ADDRESSES`, `..._NUM_PROCESSES`,
            `..._PROCESS_ID`), or from what JAX finds out about TPU pods, Slurm and
            the like.
        num_processes: Int, how many there are.
        process_id: Int, which one this is, from 0.

    Raises:
        ValueError: A process that there is not.
        RuntimeError: Another backend than JAX, or no coordinator to be reached.

    Example:

    >>> initialize("host0:7000", num_processes=2, process_id=0)  # doctest: +SKIP
    """
    _check_jax()
    if num_processes is not None and not 0 <= (process_id or 0) < num_processes:
        raise ValueError(
            f"Of {num_processes} processes there is none with the number {process_id}; "
            "they count from 0."
        )
    keras.distribution.initialize(coordinator, num_processes, process_id)


def data_parallel() -> Any:
    """A `keras.distribution.DataParallel` over all devices of all processes.

    Every device has the whole model and a part of each batch; gradients are added up.

    Returns:
        The distribution, for `keras.distribution.set_distribution`.

    Raises:
        RuntimeError: Another backend than JAX.

    Example:

    >>> with data_parallel().scope():
    ...     keras.distribution.distribution().num_model_replicas
    1
    """
    _check_jax()
    # `UserBatches` reads the part of its process; Keras would want a tf.data.Dataset.
    return keras.distribution.DataParallel(auto_shard_dataset=False)


def item_parallel(parts: int | None = None) -> Any:
    """A `keras.distribution.ModelParallel` that splits the item embeddings up.

    Memory for the tables, and the arithmetic on them, are divided by `parts`. What is
    sent for a batch is some rows (users, hidden units), where `data_parallel` sends
    the gradients of all weights.

    Args:
        parts: Int that divides the number of devices: how many parts the tables have;
            all devices by default. With fewer parts, groups of so many devices share
            the users of a batch, as in `data_parallel`.

    Returns:
        The distribution, for `keras.distribution.set_distribution`.

    Raises:
        ValueError: `parts` does not divide the number of devices.
        RuntimeError: Another backend than JAX.

    Example:

    >>> item_parallel().device_mesh.axis_names
    ['users', 'items']

    References:
        - [Keras on distribution](https://keras.io/guides/distribution/)
    """
    _check_jax()
    devices = keras.distribution.list_devices()
    parts = len(devices) if parts is None else parts
    if parts < 1 or len(devices) % parts:
        raise ValueError(
            f"`parts` must divide the number of devices, {len(devices)}. Received: "
            f"parts={parts}."
        )
    mesh = keras.distribution.DeviceMesh(
        (len(devices) // parts, parts), [USERS, ITEMS], devices
    )
    return keras.distribution.ModelParallel(
        layout_map=item_layout_map(mesh), batch_dim_name=USERS, auto_shard_dataset=False
    )


def shard(model: Model) -> Any:
    """A copy of a model on the devices of the distribution in force.

    Weights, optimiser, random state and beta's count go along, so a training goes on.
    Every process must call it with the same model. Where a catalogue does not divide by
    the parts of the item embeddings, the copy has up to `parts - 1` items more, which have
    no clicks, no probability and no gradient.

    Args:
        model: A Keras model of ours or from outside, made while no distribution was in
            force. Where its catalogue does not divide, it needs `output_bias`, as an
            `Autoencoder` has it.

    Returns:
        The copy, compiled as the model is; the model itself where there is no
        distribution.

    Example:

    >>> from keras_multvae import MultVAE
    >>> from keras_multvae.distribution import unshard, shard
    >>> model = MultVAE(num_items=30, latent_dim=4)
    >>> shard(model) is model  # no distribution is in force
    True
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return model
    mesh = distribution.device_mesh
    parts = dict(zip(mesh.axis_names, mesh.shape, strict=True)).get(ITEMS, 1)
    padding_items = -model.num_items % parts
    if padding_items:
        require(model, PadsItems, f"A catalogue that does not divide by {parts}")
    return _copy(model, padding_items)


def unshard(model: Model) -> Any:
    """The opposite of `shard`: a whole copy of a model, on one device.

    For saving, evaluation, recommendations and export. Every process must call it, and
    each gets a copy.

    Args:
        model: What `shard` gave.

    Returns:
        The copy, compiled as the model is; the model itself where there is no
        distribution.

    Example:

    >>> from keras_multvae import MultVAE
    >>> with data_parallel().scope():
    ...     unshard(shard(MultVAE(num_items=30, latent_dim=4))).num_items
    30
    """
    if keras.distribution.distribution() is None:
        return model
    with single_device():
        return _copy(model, -model.padding_items)


def unsharded_weights(model: Model) -> list[np.ndarray]:
    """The weights that `unshard(model)` has, as copies, in their order.

    Nothing is gathered of the optimiser, which has twice as much.
    """
    if model.padding_items:
        with single_device():
            model = _copy(model, -model.padding_items, compiled=False)
    return [np.array(backend.to_host(weight)) for weight in model.weights]


def _copy(model: Model, more_items: int, compiled: bool = True) -> Any:
    config = {**model.get_config(), "num_items": model.num_items + more_items}
    copy = type(model).from_config(config)
    copy.padding_items = model.padding_items + more_items
    if compiled:
        compile_alike(model, copy)
    copy_state(model, copy, _padding_value)
    return copy


def _padding_value(model: Model, variable: object) -> float:
    return model.likelihood.padding_logit if variable is model.output_bias else 0.0


def _check_jax() -> None:
    if keras.backend.backend() != "jax":
        raise RuntimeError(
            "Keras distributes models on JAX: set KERAS_BACKEND=jax. Received: "
            f"{keras.backend.backend()}. For TensorFlow and PyTorch see docs/scale.md."
        )
