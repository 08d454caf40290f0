"""Answers a SavedModel as TensorFlow Serving would: TensorFlow alone, no XLA.

Run in a process of its own: `answer.py SAVED_MODEL REQUESTS.npz ANSWERS.npz`.
"""

import ctypes
import json
import sys

import numpy as np


def main(saved_model, requests, answers):
    # Every import of them fails from here on; TensorFlow does without.
    sys.modules.update({"keras": None, "keras_multvae": None})
    import tensorflow as tf

    # What tensorflow_model_server does at its start.
    library = ctypes.CDLL(tf.sysconfig.get_lib() + "/libtensorflow_cc.so.2")
    library._ZN10tensorflow21DisableXlaCompilationEv()

    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], saved_model)
        signature = meta.signature_def["serving_default"]
        (name, source), *rest = signature.inputs.items()
        assert not rest
        outputs = {key: info.name for key, info in signature.outputs.items()}
        in_session = [
            session.run(outputs, {source.name: batch})
            for batch in np.load(requests, allow_pickle=False).values()
        ]
    # Restoring assigns the variables once, when the model is loaded.
    functions = [
        function
        for function in meta.graph_def.library.function
        if "restore" not in function.signature.name
    ]
    ops = {node.op for node in meta.graph_def.node}
    ops |= {node.op for function in functions for node in function.node_def}

    loaded = tf.saved_model.load(saved_model)
    function = loaded.signatures["serving_default"]
    eager = [
        {
            key: value.numpy()
            for key, value in function(**{name: tf.constant(b)}).items()
        }
        for b in np.load(requests, allow_pickle=False).values()
    ]
    for a, b in zip(in_session, eager, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    arrays = {}
    for i, batch in enumerate(eager):
        for key, value in batch.items():
            if value.dtype == object:
                value = value.astype("U")
            arrays[f"{i}/{key}"] = value
    arrays["facts"] = np.array(
        json.dumps(
            {
                "input": name,
                "ops": sorted(ops),
                "variables": [list(v.shape) for v in loaded.weights],
            }
        )
    )
    np.savez(answers, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
