"""All private or undocumented names of other packages that this package uses.

Any of them may be renamed without notice. So each is used only here, and has a test in
`tests/test_compat.py` that names it when it is gone. Functions import a framework only
when they are called.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from keras import Optimizer
    from keras.distribution import Distribution
    from keras.layers import Layer
    from keras.metrics import Metric

    from keras_multvae.typing import Logs, Model, Shape, State, Tensor, Variable


def layout_of(variable: Variable) -> object:
    """The layout of a variable on several devices, None for one on a single device.

    Keras has no public way to ask how a variable is distributed.

    Raises:
        AttributeError: On JAX, if Keras has renamed the attribute. To assume "not
            distributed" would silently give wrong results.
    """
    try:
        return variable._layout
    except AttributeError as error:
        import keras

        if keras.backend.backend() != "jax":
            return None  # Only JAX distributes variables.
        raise AttributeError(
            "Keras renamed `_layout` of its variables, or this is no variable of Keras "
            f"({type(variable).__name__}): see keras_multvae.compat.layout_of."
        ) from error


class _WithShape:
    """A layer, with the attributes by which Keras' summary finds its output shape."""

    def __init__(self, layer: Layer, output_shape: object) -> None:
        self._layer, self.output_shape = layer, output_shape
        # It prints `output_shape` only where one of these is not empty.
        self._inbound_nodes = ()
        self._build_shapes_dict = {"input_shape": None}

    # The summary names a layer's class.
    __class__ = property(lambda self: type(self._layer))

    def __getattr__(self, name: str) -> object:
        return getattr(self._layer, name)


class _WithLayers:
    """A model with other layers than its own."""

    def __init__(self, model: Model, layers: Sequence[object]) -> None:
        self._model, self.layers = model, layers

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)


def print_summary(
    model: Model, shapes: Sequence[Sequence[Shape]], *args: object, **kwargs: object
) -> None:
    """Prints Keras' summary of a model, with output shapes that Keras does not know.

    Args:
        model: A `keras.Model`.
        shapes: For each of its layers none or one, a shape or a structure of shapes.
        *args: See `keras.Model.summary`.
        **kwargs: See `keras.Model.summary`.
    """
    import keras

    layers = [
        _WithShape(layer, *shape)
        if shape
        else _WithShape(layer, layer.output_shape)
        if hasattr(layer, "output_shape")
        else layer
        for layer, shape in zip(model.layers, shapes, strict=True)
    ]
    keras.Model.summary(_WithLayers(model, layers), *args, **kwargs)


def loss_and_updates(
    model: Model,
    trainable: list[Tensor],
    non_trainable: list[Tensor],
    of_metrics: list[Tensor],
    batch: tuple[Tensor, Tensor, Tensor],
    of_optimizer: list[Tensor],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The training loss on JAX, and the variables that the forward pass changes.

    Keras documents no stateless loss of a step that includes loss scaling.

    Args:
        model: A compiled `keras.Model`.
        trainable: Values of its trainable variables.
        non_trainable: Values of the others.
        of_metrics: Values of its metrics' variables.
        batch: Input, targets and sample weights.
        of_optimizer: Values of the optimiser's variables.

    Returns:
        The loss, and (unscaled loss, prediction, non-trainable, metrics' variables).
    """
    return model.compute_loss_and_updates(
        trainable,
        non_trainable,
        of_metrics,
        *batch,
        training=True,
        optimizer_variables=of_optimizer,
    )


def update_metrics(
    model: Model,
    of_metrics: list[Tensor],
    loss: Tensor,
    batch: tuple[Tensor, Tensor, Tensor],
    y_pred: Tensor,
) -> tuple[Logs, list[Tensor]]:
    """The logs of a step on JAX, and the new values of the metrics' variables.

    Keras has no public function for this part of its JAX step.
    """
    x, y, sample_weight = batch
    return model._update_metrics_variables(
        of_metrics, loss, x, y, y_pred, sample_weight
    )


def put_back(model: Model, names: tuple[str, ...], state: State) -> None:
    """Puts values back into the variables of a model on JAX.

    Keras' training loop moves them out, has no public function to put them back, and
    does not do so if the first step fails.

    Args:
        model: A `keras.Model`.
        names: The groups of the state: "trainable_variables" and so on.
        state: A list of arrays for each name.
    """
    model._jax_state = dict(zip(names, state, strict=True))
    model._jax_state_synced = False
    model.jax_state_sync()


def build_compiled_metrics(model: Model, y_true: Tensor, y_pred: Tensor) -> None:
    """Makes the variables of the metrics that a model was compiled with.

    Keras makes them in the first evaluation, and has no public function to do so
    earlier.
    """
    metrics = model._compile_metrics
    if metrics is not None:
        metrics.build(y_true, y_pred)


def loss_tracker(model: Model) -> Metric:
    """The metric that Keras logs as `loss`; `Model.metrics` does not tell which it is.

    None before the model is compiled.
    """
    return model._loss_tracker


def is_for_torch_only(module: str) -> bool:
    """Whether a class of this module is Keras' own for PyTorch, as its optimisers are.

    Keras serializes such a class under its private name, which only PyTorch can load.
    """
    return module.startswith("keras.src.backend.torch")


def variable_index(optimizer: Optimizer, variable: Variable) -> int:
    """The place of a variable among an optimiser's; Keras has no public look-up."""
    return optimizer._get_variable_index(variable)


def moments(optimizer: Optimizer) -> tuple[list[Variable], list[Variable]]:
    """Momentums and velocities of an Adam; `variables` does not tell which they are."""
    return optimizer._momentums, optimizer._velocities


def higher_is_better(metric: Metric) -> None:
    """Tells callbacks with mode="auto" that a metric is to be maximized.

    Keras has no public way for a custom metric to say so.
    """
    metric._direction = "up"


def jax_mesh(distribution: Distribution) -> Mesh:
    """The `jax.sharding.Mesh` of a distribution; `DeviceMesh` does not document it."""
    return distribution.device_mesh.backend_mesh


def data_shard(distribution: Distribution) -> int:
    """The index of this process' shard of the data; undocumented."""
    return distribution.data_shard_id


def torch_adam() -> Callable[..., None]:
    """PyTorch's Adam as a function of tensors; it documents the optimiser alone."""
    from torch.optim.adam import adam

    return adam


def onednn_linear() -> Callable[..., Tensor] | None:
    """The layer of oneDNN for dense tensors; None without oneDNN in PyTorch.

    PyTorch's compiler calls it; its public products choose the library themselves.
    Arguments: inputs (n, in), kernel (out, in), bias (out,) or None, "none", [], "".
    """
    import torch

    if not torch.backends.mkldnn.is_available():
        return None
    return torch.ops.mkldnn._linear_pointwise


def torch_parameter(variable: Variable) -> Tensor:
    """The tensor that a variable on PyTorch keeps.

    In a layer of mixed precision its public `value` is a 16-bit copy.
    """
    return variable._value


def sparse_parts(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Row ids and rows of a PyTorch gradient; `indices()` would have to sort first."""
    return gradient._indices()[0], gradient._values()


def in_xla() -> bool:
    """Whether what TensorFlow traces now is compiled by XLA; only TensorFlow knows."""
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    graph = tf.compat.v1.get_default_graph()
    return bool(control_flow_util.GraphOrParentsInXlaContext(graph))


_untuned: ContextVar[bool] = ContextVar("untuned", default=False)


@contextlib.contextmanager
def without_autotuning() -> Iterator[None]:
    """A context in which Keras' loop on TensorFlow reads a `PyDataset` untuned.

    The thread of tf.data's tuner sleeps for longer and longer, and the end of an epoch
    waits until it wakes: an epoch may take twice its time. A batch is read ahead of
    the step, as with the tuner. Contexts of several threads may overlap.
    """
    _teach_untuned()
    token = _untuned.set(True)
    try:
        yield
    finally:
        _untuned.reset(token)


@cache
def _teach_untuned() -> None:
    """Has Keras ask `_untuned` where it makes a dataset of a `PyDataset`."""
    import tensorflow as tf
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    tuned = PyDatasetAdapter.get_tf_dataset

    def get_tf_dataset(self: PyDatasetAdapter) -> object:
        dataset = tuned(self)
        if not _untuned.get():
            return dataset
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.prefetch(1).with_options(options)

    PyDatasetAdapter.get_tf_dataset = get_tf_dataset


def disable_xla(tensorflow: ModuleType) -> None:
    """Disables XLA in TensorFlow, for which Python has no function."""
    library = ctypes.CDLL(f"{tensorflow.sysconfig.get_lib()}/libtensorflow_cc.so.2")
    library._ZN10tensorflow21DisableXlaCompilationEv()


# A parser or a group of its options. Their common base class is private.
ArgumentGroup: TypeAlias = argparse._ActionsContainer


class DefaultsHelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults in help texts, except None and False.

    argparse's own formatter shows `(default: None)` and `(default: False)` too, and
    its hook for that is private.
    """

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)
