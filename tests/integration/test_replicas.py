"""Two replicas on one machine train as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras

import keras_multvae

ROOT = Path(keras_multvae.__file__).parents[1]
COMMON = """
import keras, numpy
from conftest import make_clicks
from keras_multvae import BetaAnneal, LinearBeta, MultVAE
from keras_multvae.data import UserBatches

def make(seed=1):
    model = MultVAE(12, 3, (6,), dropout=0.0, seed=seed)
    # No noise to speak of: replicas draw other numbers than one device does.
    model.encoder.stack[-1].bias.assign([0.0] * 3 + [-30.0] * 3)
    model.compile(keras.optimizers.SGD(0.1))
    return model

def weights(model):
    return [keras.ops.convert_to_numpy(each) for each in model.trainable_variables]

def train(partitions):
    model = make()
    # 43 users: the last batch has three, which do not divide by two.
    batches = UserBatches(make_clicks(43, 12), 20, partitions=partitions)
    history = model.fit(
        batches, epochs=3, verbose=0, callbacks=[BetaAnneal(total_steps=100)]
    ).history
    assert model.batches_seen == 9
    numpy.testing.assert_allclose(history["beta"], [0.02, 0.05, 0.08], rtol=1e-6)
    return weights(model)

expected = train(partitions=1)
"""
JAX = """
keras.distribution.set_distribution(
    keras.distribution.DataParallel(auto_shard_dataset=False)
)
assert keras.distribution.distribution().device_mesh.shape == (2,)
found = train(partitions=2)
"""
TENSORFLOW = """
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    found = train(partitions=2)
"""
# Here a replica is a process, and this is what each of the two does.
TORCH = """
import sys, torch
sys.path.insert(0, "examples")
import train_with_ddp

torch.distributed.init_process_group("gloo")
# The other seed of the second process makes no other weights.
model = make(seed=1 + torch.distributed.get_rank())
model.set_beta_schedule(LinearBeta(total_steps=100))
batches = UserBatches(make_clicks(43, 12), 20, partitions=2)
batches.epoch = 1  # fit() ends an epoch before its first
train_with_ddp.train(model, batches, epochs=3)
assert model.batches_seen == 9
found = weights(model)
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
    # Else threads that are at work when the process ends may take it down.
    "torch": COMMON + TORCH + SAME + "torch.distributed.destroy_process_group()\n",
}


def test_two_replicas_train_as_one(tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    script = tmp_path / "script.py"
    script.write_text(SCRIPTS[keras.backend.backend()])
    command = [sys.executable]
    if keras.backend.backend() == "torch":
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2"]
    subprocess.run([*command, script], cwd=ROOT, env=environment, check=True)
