"""SavedModels of plain TensorFlow operations, from models of any backend.

TensorFlow Serving runs without XLA by default, so a SavedModel must not hold what
Keras exports from JAX; from PyTorch Keras exports none. So a model goes as `.keras`
to a fresh process under TensorFlow, and is exported there.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras

from keras_multvae.files import replace_folder


def on_tensorflow() -> bool:
    """Whether this process can export by itself."""
    return bool(keras.backend.backend() == "tensorflow")


def check_tensorflow() -> None:
    """Raises `ImportError` where TensorFlow is not installed."""
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            "A SavedModel is written by TensorFlow, which is not installed. Install "
            'it with: pip install "keras_multvae[tensorflow]"'
        )


def run_under_tensorflow(code: str, *arguments: str) -> None:
    """Runs Python code in a fresh process with KERAS_BACKEND=tensorflow.

    Raises:
        ImportError: TensorFlow is not installed.
        RuntimeError: The process failed; with the last lines that it printed.
    """
    check_tensorflow()
    # The package may lie in a checkout that is not installed.
    paths = [str(Path(__file__).parents[2]), os.getenv("PYTHONPATH", "")]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
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


def save_module(module: Any, path: str | os.PathLike[str], **signatures: Any) -> None:
    """Writes a `tf.Module` as a SavedModel; a half-written one is never visible."""
    import tensorflow as tf

    with replace_folder(path) as temporary:
        tf.saved_model.save(module, str(temporary), signatures=signatures)


def inference_weights(model: Any) -> list[Any]:
    """The `tf.Variable`s of encoder and decoder, without beta, step and seeds."""
    return [variable.value for variable in model.trainable_variables]


def export_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Writes a model's logits as a SavedModel: rows (users, items) in, logits out.

    Args:
        model: A model with `encode`, `encoder` and `decoder`, of any backend.
        path: The folder to make.

    Raises:
        ImportError: TensorFlow is not installed.
    """
    if not on_tensorflow():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            model.save(file)
            run_under_tensorflow(
                "import sys, keras, keras_multvae\n"
                "keras.saving.load_model(sys.argv[1]).export(sys.argv[2])",
                str(file),
                os.fspath(path),
            )
        return
    import tensorflow as tf

    spec = tf.TensorSpec((None, model.num_items), tf.float32, name="clicks")

    @tf.function(input_signature=[spec])
    def logits(clicks: Any) -> dict[str, Any]:
        z = model.encode(clicks)
        return {"logits": model.decoder(z)}

    module = tf.Module()
    module.weights = inference_weights(model)
    module.logits = logits
    save_module(module, path, serving_default=logits)
