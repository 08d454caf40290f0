"""SavedModels of plain TensorFlow operations, from models of any backend.

TensorFlow Serving runs without XLA by default, so a SavedModel must not hold what
Keras exports from JAX; from PyTorch Keras exports none. So the model is saved as
`.keras`, and a new process under TensorFlow exports it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras

from keras_multvae.backend.wide import widen
from keras_multvae.extras import install_command
from keras_multvae.files import replace_folder
from keras_multvae.registry import handover
from keras_multvae.typing import Model, Tensor


def on_tensorflow() -> bool:
    """Whether this process can export by itself."""
    return bool(keras.backend.backend() == "tensorflow")


def check_tensorflow() -> None:
    """Raises `ImportError` where TensorFlow is not installed."""
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            "A SavedModel is written by TensorFlow, which is not installed. Install "
            f"it with: {install_command('tensorflow')}"
        )


# The code that the new process starts with. It ends when its parent ends, so that a
# kill leaves no orphan; and it registers the models that the parent knows.
IMPORTS = (
    "import os, sys, threading, time\n"
    "def end_with(parent):\n"
    "    while os.getppid() == parent:\n"
    "        time.sleep(0.5)\n"
    "    os._exit(1)\n"
    "parent = int(sys.argv.pop(1))\n"
    "threading.Thread(target=end_with, args=(parent,), daemon=True).start()\n"
    "from keras_multvae.registry import take_over\n"
    "take_over(sys.argv.pop(1))\n"
)


def run_under_tensorflow(model: Model, code: str, *arguments: str) -> None:
    """Runs Python code in a fresh process with KERAS_BACKEND=tensorflow.

    The new process imports the modules that registered models in this one, so that it
    knows a class from outside the package.

    Raises:
        ImportError: TensorFlow is not installed.
        RuntimeError: The process failed; the message has the last lines that it
            printed.
    """
    check_tensorflow()
    # The package may be a checkout that is not installed.
    paths = [str(Path(__file__).parents[2]), os.getenv("PYTHONPATH", "")]
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            IMPORTS + code,
            str(os.getpid()),
            handover(type(model)),
            *arguments,
        ],
        env={
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(
            "The export under TensorFlow failed:\n"
            + "\n".join(result.stderr.splitlines()[-20:])
        )


def save_quietly(
    module: object, folder: Path, signatures: dict[str, Callable[..., Tensor]]
) -> None:
    """`tf.saved_model.save` without its log of where, which is a temporary folder."""
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
    finally:
        logger.setLevel(level)


def save_module(
    module: object, path: str | os.PathLike[str], **signatures: Callable[..., Tensor]
) -> None:
    """Writes a `tf.Module` as a SavedModel, which appears only when it is complete."""
    with replace_folder(path) as temporary:
        save_quietly(module, temporary, signatures)


def export_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Writes a model's logits as a SavedModel: rows (users, items) in, logits out.

    Args:
        model: A model with `logits`, of any backend.
        path: The folder to make.

    Raises:
        ImportError: TensorFlow is not installed.
    """
    if not on_tensorflow():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            model.save(file)
            run_under_tensorflow(
                model,
                "import keras\n"
                "keras.saving.load_model(sys.argv[1]).export(sys.argv[2])",
                str(file),
                os.fspath(path),
            )
        return
    import tensorflow as tf

    spec = tf.TensorSpec((None, model.num_items), tf.float32, name="clicks")

    @tf.function(input_signature=[spec])
    def logits(clicks: object) -> dict[str, Tensor]:
        return {"logits": widen(model.logits(clicks))}

    module = tf.Module()
    # The variables that the logits read, so neither beta nor step nor seeds.
    module.weights = list(logits.get_concrete_function().variables)
    module.logits = logits
    save_module(module, path, serving_default=logits)
