"""Answers requests by ONNX Runtime, in a process without Keras: test_onnx.py."""

import sys

import numpy as np
import onnxruntime

model, requests, answers = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
given = np.load(requests)
found = {}
for number in range(len(given.files) // 2):
    inputs = {name: given[f"{name}/{number}"] for name in ("history", "values")}
    outputs = session.run(["item_indices", "scores"], inputs)
    found[f"item_indices/{number}"], found[f"scores/{number}"] = outputs
loaded = {"keras", "keras_multvae", "tensorflow", "jax", "torch"} & set(sys.modules)
assert not loaded, loaded
np.savez(answers, **found)
