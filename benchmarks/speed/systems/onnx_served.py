"""ONNX models in processes with ONNX Runtime or OpenVINO alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

LENGTH = 68  # items of a history, ML-20M's mean


class Served:
    """Answers some users at a time; a base class of the runtimes."""

    run: Callable[[dict[str, np.ndarray]], Any]

    def __init__(self, items: int) -> None:
        self._items = items
        self._inputs: dict[str, np.ndarray] = {}

    def take(self, users: int) -> None:
        """Makes the histories that are asked for from now on."""
        rng = np.random.default_rng(0)
        rows = [rng.choice(self._items, LENGTH, replace=False) for _ in range(users)]
        values = np.ones((1, 1), "float32")
        self._inputs = {"history": np.array(rows), "values": values}

    def answer(self) -> list[int]:
        """The first user's item indices."""
        return self.run(self._inputs)[0].tolist()


class OnnxRuntime(Served):
    """By onnxruntime, on the threads that it may have."""

    def __init__(self, path: str, items: int, threads: int) -> None:
        import onnxruntime

        super().__init__(items)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(f"{path}/model.onnx", options)
        self.run = lambda inputs: session.run(["item_indices"], inputs)[0]


class OpenVino(Served):
    """By openvino, in float32."""

    def __init__(self, path: str, items: int, threads: int) -> None:
        import openvino

        super().__init__(items)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
        }
        model = openvino.compile_model(f"{path}/model.onnx", "CPU", settings)
        self.run = lambda inputs: model(inputs)["item_indices"]
