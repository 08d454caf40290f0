"""One model on several devices and processes, through `keras.distribution` on JAX."""

from __future__ import annotations

import keras
import numpy as np

from keras_multvae import backend
from keras_multvae.abilities import PadsItems, require
from keras_multvae.models.device_scope import single_device
from keras_multvae.models.weight_transfer import compile_alike, copy_state
from keras_multvae.typing import Model

USERS, ITEMS = "users", backend.ITEMS


def item_layout_map(
    device_mesh: keras.distribution.DeviceMesh,
) -> keras.distribution.LayoutMap:
    """The layout of our models' weights when item embeddings are sharded.

    The encoder's first kernel, the decoder's last kernel and its bias are sharded by
    item, and so are the optimiser's moments. All other weights, about a hundredth, are
    on every device.

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
    # An `EmbeddingDecoder` has one row of weights for each item.
    layouts["(.*/)?decoder/(kernel|bias)"] = (ITEMS, None)
    return layouts


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the processes of a training. Call it before any other use of JAX.

    It wraps `keras.distribution.initialize`, and raises an error on other backends.

    Args:
        coordinator: "host:port" of the first process, on a port that is free there.
            If None, all three arguments come from Keras' environment variables
            (`KERAS_DISTRIBUTION_JOB_ADDRESSES`, `..._NUM_PROCESSES`, `..._PROCESS_ID`),
            or from what JAX detects on TPU pods, Slurm and the like.
        num_processes: Int, the number of processes.
        process_id: Int, the number of this process, from 0.

    Raises:
        ValueError: `process_id` is out of range.
        RuntimeError: The backend is not JAX, or the coordinator cannot be reached.

    Example:

    >>> initialize("host0:7000", num_processes=2, process_id=0)  # doctest: +SKIP
    """
    _check_jax()
    if num_processes is not None and not 0 <= (process_id or 0) < num_processes:
        raise ValueError(
            f"`process_id` must be from 0 to {num_processes - 1}. Received: "
            f"process_id={process_id}."
        )
    keras.distribution.initialize(coordinator, num_processes, process_id)


def data_parallel() -> keras.distribution.DataParallel:
    """A `keras.distribution.DataParallel` over all devices of all processes.

    Every device has the whole model and a partition of each batch; gradients are
    summed.

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
    # `UserBatches` reads its process' partitions; Keras would need a tf.data.Dataset.
    return keras.distribution.DataParallel(auto_shard_dataset=False)


def item_parallel(parts: int | None = None) -> keras.distribution.ModelParallel:
    """A `keras.distribution.ModelParallel` that shards item embeddings.

    Memory and computation for item embeddings are divided by `parts`. Devices exchange
    some rows (users, hidden units) for each batch, where `data_parallel` exchanges the
    gradients of all weights.

    Args:
        parts: Int, the number of item shards, which must divide the number of devices;
            by default one for each device. With fewer shards, each group of `parts`
            devices takes some users of a batch, as in `data_parallel`.

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


def shard(model: Model) -> Model:
    """A copy of a model on the devices of the distribution in force.

    Weights, optimiser state, random state and the step count of beta are copied, so a
    training can go on. Every process must call it with the same model. If the number of
    items is not divisible by the number of item shards, the copy has up to `parts - 1`
    padding items, which have no clicks, no probability and no gradient.

    Args:
        model: A Keras model, made while no distribution was in force. If it needs
            padding items, it must have `output_bias`, as an `Autoencoder` does.

    Returns:
        The copy, compiled as the model is; the model itself where there is no
        distribution.

    Example:

    >>> from keras_multvae import MultVAE
    >>> from keras_multvae.distribution import shard, unshard
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


def unshard(model: Model) -> Model:
    """A copy of a sharded model on one device, without padding items.

    Use it to save, evaluate, recommend or export. Every process must call it, and each
    gets a copy.

    Args:
        model: A model that `shard` returned.

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
    """Copies of the weights of `unshard(model)`, in their order.

    The optimiser's state, twice as large, is not fetched.
    """
    if model.padding_items:
        with single_device():
            model = _copy(model, -model.padding_items, compiled=False)
    return [np.array(backend.to_host(weight)) for weight in model.weights]


def _copy(model: Model, more_items: int, compiled: bool = True) -> Model:
    """A copy with more or fewer items, and perhaps the optimiser's state."""
    config = {**model.get_config(), "num_items": model.num_items + more_items}
    copy = type(model).from_config(config)
    copy.padding_items = model.padding_items + more_items
    if compiled:
        compile_alike(model, copy)
    copy_state(model, copy, _padding_value)
    return copy


def _padding_value(model: Model, variable: object) -> float:
    """The initial value of padding items in a weight."""
    return model.likelihood.padding_logit if variable is model.output_bias else 0.0


def _check_jax() -> None:
    if keras.backend.backend() != "jax":
        raise RuntimeError(
            "Keras distributes models on JAX: set KERAS_BACKEND=jax. Received: "
            f"{keras.backend.backend()}. For TensorFlow and PyTorch see docs/scale.md."
        )
