"""Asks an ONNX model by OpenVINO: python ask_openvino.py MODEL HISTORIES."""

import json
import sys

import numpy as np
import openvino

histories = json.loads(sys.argv[2])
width = max(map(len, histories))
rows = np.array([[*row, *[-1] * (width - len(row))] for row in histories])
model = openvino.compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
values = np.where(rows >= 0, 1.0, 0.0).astype("float32")
values[0, 0] = 2.0
found = []
for given in (np.ones((1, 1), "float32"), values):
    answer = model({"history": rows, "values": given})
    found.append({name: answer[name].tolist() for name in ("item_indices", "scores")})
print(json.dumps(found))
