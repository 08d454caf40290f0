"""Answers SavedModels as TensorFlow Serving would: TensorFlow alone, no XLA.

Run in a process of its own: `answer.py REQUESTS.npz ANSWERS.npz SAVED_MODEL...`. Arrays
of requests are named NUMBER/MODEL/SIGNATURE/INPUT, MODEL being the place among the
arguments, and those of answers NUMBER/OUTPUT. Serialized examples travel as hex, as
NumPy's bytes lose zeros at their end.
"""

import ctypes
import json
import sys

import numpy as np


def main(requests, answers, *saved_models):
    # Every import of them fails from here on; TensorFlow does without.
    sys.modules.update({"keras": None, "keras_multvae": None})
    import tensorflow as tf

    # What tensorflow_model_server does at its start.
    library = ctypes.CDLL(tf.sysconfig.get_lib() + "/libtensorflow_cc.so.2")
    library._ZN10tensorflow21DisableXlaCompilationEv()

    wanted = {}
    for name, array in np.load(requests, allow_pickle=False).items():
        number, model, signature, key = name.split("/")
        if key == "examples":
            array = np.array([bytes.fromhex(row) for row in array], object)
        wanted.setdefault((int(model), signature, int(number)), {})[key] = array

    arrays, facts = {}, []
    for place, path in enumerate(saved_models):
        own = {key: value for key, value in wanted.items() if key[0] == place}
        in_session, found = from_session(tf, path, own)
        eager = from_loaded(tf, path, own)
        facts.append(found)
        for key, (_, _, number) in zip(own, own, strict=True):
            a, b = in_session[key], eager[key]
            assert set(a) == set(b)
            for name, value in b.items():
                np.testing.assert_array_equal(a[name], value)
                if value.dtype == object:
                    value = value.astype("U")
                arrays[f"{number}/{name}"] = value
    np.savez(answers, facts=np.array(json.dumps(facts)), **arrays)


def from_session(tf, path, wanted):
    """The server's own way to load."""
    graph, answers = tf.Graph(), {}
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
        for key, inputs in wanted.items():
            signature = meta.signature_def[key[1]]
            outputs = {name: info.name for name, info in signature.outputs.items()}
            feed = {signature.inputs[name].name: row for name, row in inputs.items()}
            assert len(feed) == len(signature.inputs)
            answers[key] = or_error(tf, lambda o=outputs, f=feed: session.run(o, f))
    # Restoring assigns the variables once, when the model is loaded.
    functions = [
        function
        for function in meta.graph_def.library.function
        if "restore" not in function.signature.name
    ]
    ops = {node.op for node in meta.graph_def.node}
    ops |= {node.op for function in functions for node in function.node_def}
    sizes = {
        node.name: [d.size for d in node.attr["shape"].shape.dim]
        for node in meta.graph_def.node
        if node.op == "VarHandleOp"
    }
    signatures = {
        name: [sorted(value.inputs), sorted(value.outputs)]
        for name, value in meta.signature_def.items()
        if not name.startswith("__")
    }
    return answers, {
        "ops": sorted(ops),
        "weights": sum(int(np.prod(size)) for size in sizes.values()),
        "signatures": signatures,
    }


def from_loaded(tf, path, wanted):
    loaded = tf.saved_model.load(path)

    def answer(key, inputs):
        function = loaded.signatures[key[1]]
        found = function(**{name: tf.constant(row) for name, row in inputs.items()})
        return {name: value.numpy() for name, value in found.items()}

    return {
        key: or_error(tf, lambda k=key, i=inputs: answer(k, i))
        for key, inputs in wanted.items()
    }


def or_error(tf, ask):
    try:
        return ask()
    except tf.errors.InvalidArgumentError as error:
        # The two ways word the place in the graph differently.
        text = str(error).partition("assertion failed: ")[2].partition("]")[0]
        return {"error": np.array(text)}


if __name__ == "__main__":
    main(*sys.argv[1:])
