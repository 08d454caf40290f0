"""The names of other packages that may change without notice, and who uses them."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_multvae
from keras_multvae import compat

ROOT = Path(keras_multvae.__file__).parent
BACKEND = keras.backend.backend()
# Attributes, methods and symbols that only compat.py may name.
PRIVATE = {
    "_layout",
    "compute_loss_and_updates",
    "_update_metrics_variables",
    "_jax_state",
    "_jax_state_synced",
    "jax_state_sync",
    "_compile_metrics",
    "_loss_tracker",
    "_get_variable_index",
    "_momentums",
    "_velocities",
    "_direction",
    "backend_mesh",
    "data_shard_id",
    "_indices",
    "_values",
    "_get_help_string",
    "_inbound_nodes",
    "_build_shapes_dict",
    "_ZN10tensorflow21DisableXlaCompilationEv",
}
PRIVATE_MODULES = ("keras.src", "torch.optim.adam")


def on(*backends):
    return pytest.mark.skipif(BACKEND not in backends, reason=f"for {backends}")


def compiled_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = keras.optimizers.Adam(0.1)
    model.compile(optimizer, "mse", metrics=[keras.metrics.MeanSquaredError("error")])
    optimizer.build(model.trainable_variables)
    return model


def names_in(tree):
    """All names by which a module could reach another's attribute or module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ClassDef):
            yield from (each.name for each in node.body if hasattr(each, "name"))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{node.module}"


def is_private(name):
    return name in PRIVATE or name.startswith(PRIVATE_MODULES)


@pytest.mark.once
def test_no_other_module_names_what_is_private():
    found = {
        path.relative_to(ROOT).as_posix(): sorted(filter(is_private, names))
        for path in sorted(ROOT.rglob("*.py"))
        for names in [set(names_in(ast.parse(path.read_text())))]
        if any(map(is_private, names))
    }
    in_compat = found.pop("compat.py")
    assert set(in_compat) >= PRIVATE, "a name in PRIVATE is no longer used"
    assert not found, f"use functions of compat.py instead: {found}"


@pytest.mark.once
def test_compat_alone_imports_only_the_standard_library():
    code = (
        "import sys, runpy; runpy.run_path(sys.argv[1])\n"
        "print({'keras', 'torch', 'tensorflow', 'jax', 'numpy'} & {*sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "compat.py")],
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "set()", run.stderr


def test_layout_of_a_variable():
    variable = keras.Variable(np.zeros(2, "float32"))
    assert hasattr(variable, "_layout"), "Keras renamed _layout: see compat.layout_of"
    assert compat.layout_of(variable) is None


@on("jax")
def test_layout_of_a_distributed_variable():
    devices = keras.distribution.list_devices()[:1]
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices)
    )
    try:
        variable = keras.Variable(np.zeros(2, "float32"))
    finally:
        keras.distribution.set_distribution(None)
    layout = compat.layout_of(variable)
    assert layout is not None, "Keras renamed _layout: see compat.layout_of"


def test_a_renamed_layout_is_not_taken_for_none_where_models_are_distributed():
    if BACKEND == "jax":
        with pytest.raises(AttributeError, match=r"compat\.layout_of"):
            compat.layout_of(object())
    else:
        assert compat.layout_of(object()) is None


@on("jax")
def test_the_parts_of_a_training_step():
    model = compiled_model()
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    compat.build_compiled_metrics(model, y, y)
    for name in ("compute_loss_and_updates", "_update_metrics_variables"):
        assert hasattr(model, name), f"Keras renamed {name}: see compat"
    states = [
        [each.value for each in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.metrics_variables,
            model.optimizer.variables,
        )
    ]
    of_metrics, of_optimizer = states[2:]
    batch = (x, y, None)
    loss, results = compat.loss_and_updates(model, *states[:3], batch, of_optimizer)
    assert len(results) == 4, "Keras changed what compute_loss_and_updates returns"
    unscaled, y_pred, _, of_metrics = results
    assert float(loss) == pytest.approx(float(unscaled))
    logs, updated = compat.update_metrics(model, of_metrics, unscaled, batch, y_pred)
    assert logs.keys() == {"loss", "error"}, "see compat.update_metrics"
    assert float(logs["loss"]) == pytest.approx(float(loss))
    assert len(updated) == len(of_metrics)


@on("jax")
def test_what_keras_took_from_the_variables_is_put_back():
    model = compiled_model()
    before = [each.numpy() for each in model.trainable_variables]
    values = [each.value for each in model.trainable_variables]
    for each in model.trainable_variables:
        each.assign(each * 0)
    compat.put_back(model, ("trainable_variables",), (values,))
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, "see compat.put_back")


def test_compiled_metrics_are_built_before_the_first_batch():
    model = compiled_model()
    assert hasattr(model, "_compile_metrics"), (
        "Keras renamed _compile_metrics: see compat.build_compiled_metrics"
    )
    before = len(model.metrics_variables)
    spec = keras.KerasTensor((None, 2), dtype="float32")
    compat.build_compiled_metrics(model, spec, spec)
    assert len(model.metrics_variables) > before, "see compat.build_compiled_metrics"


def test_the_loss_is_tracked():
    model = compiled_model()
    assert hasattr(model, "_loss_tracker"), (
        "Keras renamed _loss_tracker: see compat.loss_tracker"
    )
    assert compat.loss_tracker(model).name == "loss"


def test_output_shapes_in_summaries():
    lines = []
    model = compiled_model()
    compat.print_summary(model, [[(None, 7)]], print_fn=lines.append)
    assert "(None, 7)" in lines[0], (
        "Keras' summary asks layers otherwise: see compat.print_summary"
    )
    compat.print_summary(model, [[((None, 7), (None, 8))]], print_fn=lines.append)
    assert "((None, 7), (None, 8))" in lines[1], "see compat.print_summary"


def test_optimisers_of_pytorch_are_told_apart():
    optimizer = keras.saving.serialize_keras_object(keras.optimizers.Adam())
    found = compat.is_for_torch_only(optimizer["module"])
    assert found == (BACKEND == "torch"), (
        f"Keras moved its optimisers to {optimizer['module']}: see "
        "compat.is_for_torch_only"
    )


def test_state_of_adam():
    model = compiled_model()
    for name in ("_get_variable_index", "_momentums", "_velocities"):
        assert hasattr(model.optimizer, name), f"Keras renamed {name}: see compat"
    momentums, velocities = compat.moments(model.optimizer)
    assert len(momentums) == len(velocities) == 2
    for place, variable in enumerate(model.trainable_variables):
        assert compat.variable_index(model.optimizer, variable) == place
        assert momentums[place].shape == velocities[place].shape == variable.shape


def test_callbacks_learn_that_higher_is_better():
    """A callback that cannot tell raises ValueError when training begins."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    metric = keras.metrics.Mean("something")
    compat.higher_is_better(metric)
    metric.update_state = lambda *args, **kwargs: None
    model.compile("sgd", "mse", metrics=[metric])
    stopping = keras.callbacks.EarlyStopping("something", mode="auto", patience=9)
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    try:
        model.fit(x, y, verbose=0, callbacks=[stopping])
    except ValueError as error:
        pytest.fail(f"Keras renamed _direction: see compat.higher_is_better ({error})")
    assert stopping.monitor_op(2.0, 1.0)


@on("jax")
def test_mesh_and_shard_of_a_distribution():
    import jax

    devices = keras.distribution.list_devices()[:1]
    distribution = keras.distribution.DataParallel(devices=devices)
    for thing, name in (
        (distribution, "data_shard_id"),
        (distribution.device_mesh, "backend_mesh"),
    ):
        assert hasattr(thing, name), f"Keras renamed {name}: see compat"
    assert isinstance(compat.jax_mesh(distribution), jax.sharding.Mesh)
    assert compat.data_shard(distribution) == 0


@on("torch")
def test_adam_of_pytorch_is_a_function_of_these_arguments():
    spec = importlib.util.find_spec("torch.optim.adam")
    assert spec is not None, "PyTorch moved adam: see compat.torch_adam"
    taken = inspect.signature(compat.torch_adam()).parameters
    used = [
        "fused",
        "amsgrad",
        "beta1",
        "beta2",
        "lr",
        "weight_decay",
        "eps",
        "maximize",
    ]
    missing = set(used) - set(taken)
    assert not missing, f"PyTorch's adam has no {missing}: see compat.torch_adam"


@on("torch")
def test_parts_of_a_sparse_gradient():
    import torch

    table = torch.ones((5, 2), requires_grad=True)
    ids = torch.tensor([4, 1])
    torch.nn.functional.embedding(ids, table, sparse=True).sum().backward()
    for name in ("_indices", "_values"):
        assert hasattr(table.grad, name), (
            f"PyTorch renamed {name}: see compat.sparse_parts"
        )
    found, rows = compat.sparse_parts(table.grad)
    assert found.tolist() == [4, 1] and rows.tolist() == [[1, 1], [1, 1]]


@on("torch")
def test_the_tensor_of_a_variable_in_mixed_precision():
    import torch

    class Asks(keras.layers.Dense):
        def call(self, inputs):
            self.found = self.kernel.value, compat.torch_parameter(self.kernel)
            return super().call(inputs)

    layer = Asks(2, dtype="mixed_bfloat16")
    layer(np.ones((1, 3), "float32"))
    cast, kept = layer.found
    assert cast.dtype == torch.bfloat16 and not cast.is_leaf
    assert kept.dtype == torch.float32 and kept.is_leaf, (
        "Keras renamed _value: see compat.torch_parameter"
    )


@on("tensorflow")
@on("tensorflow")
def test_a_py_dataset_is_read_without_a_tuner():
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return (np.full((2, 1), index, "float32"),)

    def made():
        return PyDatasetAdapter(Rows(), shuffle=False).get_tf_dataset()

    assert made().options().autotune.enabled is None
    with compat.without_autotuning():
        dataset = made()
    assert dataset.options().autotune.enabled is False
    found = [float(rows[0, 0]) for (rows,) in dataset.take(3)]
    assert found == [0, 1, 2]
    assert made().options().autotune.enabled is None


@on("tensorflow")
def test_xla_is_known_while_it_traces():
    import tensorflow as tf

    found = []

    def function(x):
        found.append(compat.in_xla())
        return x

    tf.function(function)(tf.constant(1.0))
    tf.function(function, jit_compile=True)(tf.constant(1.0))
    assert found == [False, True]


def test_the_switch_against_xla_is_there():
    """In a process of its own, as it is not to be undone."""
    code = "import tensorflow; from keras_multvae import compat\n"
    code += "compat.disable_xla(tensorflow); print('thrown')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert run.stdout.strip() == "thrown", (
        f"TensorFlow renamed its library or symbol: see compat.disable_xla {run.stderr}"
    )


@pytest.mark.once
def test_help_shows_defaults_only_where_there_are_any():
    hook = "_get_help_string"
    assert hasattr(argparse.HelpFormatter, hook), (
        "argparse renamed _get_help_string: see compat.DefaultsHelpFormatter"
    )
    parser = argparse.ArgumentParser(formatter_class=compat.DefaultsHelpFormatter)
    parser.add_argument("--k", default=10, help="items")
    parser.add_argument("--out", help="file")
    parser.add_argument("--json", action="store_true", help="as JSON")
    shown = parser.format_help()
    assert "items (default: 10)" in shown, "see compat.DefaultsHelpFormatter"
    assert shown.count("default") == 1, "see compat.DefaultsHelpFormatter"


@on("torch")
def test_layer_of_onednn():
    import torch

    if not torch.backends.mkldnn.is_available():
        pytest.skip("This PyTorch was built without oneDNN.")
    inputs, kernel, bias = torch.randn(5, 3), torch.randn(7, 3), torch.randn(7)
    linear = compat.onednn_linear()
    for added in (None, bias):
        expected = inputs @ kernel.T + (0 if added is None else added)
        found = linear(inputs, kernel, added, "none", [], "")
        torch.testing.assert_close(found, expected)
