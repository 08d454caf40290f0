"""Two replicas on one machine train as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_multvae

ROOT = Path(keras_multvae.__file__).parents[1]
COMMON = """
import keras, numpy
from conftest import make_clicks
from keras_multvae import BetaAnneal, MultVAE
from keras_multvae.data import UserBatches

def train(blocks):
    model = MultVAE(12, 3, (6,), dropout=0.0, seed=1)
    # No noise to speak of: replicas draw other numbers than one device does.
    model.encoder.stack[-1].bias.assign([0.0] * 3 + [-30.0] * 3)
    model.compile(keras.optimizers.SGD(0.1))
    # 43 users: the last batch has three, which do not divide by two.
    batches = UserBatches(make_clicks(43, 12), 20, blocks=blocks)
    history = model.fit(
        batches, epochs=3, verbose=0, callbacks=[BetaAnneal(total_steps=100)]
    ).history
    assert model.batches_seen == 9
    numpy.testing.assert_allclose(history["beta"], [0.02, 0.05, 0.08], rtol=1e-6)
    return [variable.numpy() for variable in model.trainable_variables]

expected = train(blocks=1)
"""
JAX = """
keras.distribution.set_distribution(
    keras.distribution.DataParallel(auto_shard_dataset=False)
)
assert keras.distribution.distribution().device_mesh.shape == (2,)
found = train(blocks=2)
"""
TENSORFLOW = """
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    found = train(blocks=2)
"""
TWO_CPUS = """
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
"""
SAME = """
for a, b in zip(expected, found, strict=True):
    numpy.testing.assert_allclose(a, b, atol=1e-5)
"""
SCRIPTS = {
    "jax": COMMON + JAX + SAME,
    "tensorflow": TWO_CPUS + COMMON + TENSORFLOW + SAME,
}


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="Keras on PyTorch leaves data parallelism to PyTorch's DDP",
)
def test_two_replicas_train_as_one():
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    script = SCRIPTS[keras.backend.backend()]
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
