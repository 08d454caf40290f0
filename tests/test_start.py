from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_multvae

pytestmark = pytest.mark.once

CODE = "import sys; sys.modules['jax'] = None; import keras_multvae"


def test_a_missing_backend_is_named_with_the_remedy():
    root = str(Path(keras_multvae.__file__).parents[1])
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": root}
    run = subprocess.run(
        [sys.executable, "-c", CODE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: Keras runs on jax unless told otherwise")
    assert 'pip install "keras_multvae[jax]"' in last
