"""The inputs and outputs of an exported ONNX graph."""

from __future__ import annotations

import numpy as np

from keras_multvae.metrics import MASKED
from keras_multvae.serving.onnx.graph import Graph
from keras_multvae.serving.onnx.network import History, add_scores
from keras_multvae.typing import Model

NOTHING = np.array(-1)
FREE = np.float32(np.finfo("float32").max)


def recommending_graph(model: Model, k: int) -> Graph:
    """The graph from histories to each user's k best items outside of them.

    Args:
        model: See `check_network`.
        k: Int >= 1, at most the number of items.
    """
    graph = Graph()
    found = graph.add_input("history", "int64", ["users", "length"])
    # Not optional: OpenVINO would take a default for a constant, and ignore values.
    values = graph.add_input("values", "float32", ["users_or_1", "length_or_1"])
    items = model.num_items - model.padding_items
    history = _add_history(graph, found, values, items)
    scores = add_scores(graph, model, history)
    bound = graph.add("Where", history.present, np.float32(MASKED), FREE)
    scores = graph.add(
        "ScatterElements", scores, history.indices, bound, axis=1, reduction="min"
    )
    best, indices = graph.add_many("TopK", 2, scores, np.array([k]), axis=1)
    valid = graph.add("Greater", best, np.float32(MASKED))
    indices = graph.add("Where", valid, indices, NOTHING)
    graph.add_output("item_indices", "int64", ["users", k], indices)
    graph.add_output("scores", "float32", ["users", k], best)
    return graph


def _add_history(graph: Graph, found: str, values: str, items: int) -> History:
    """Adds the entries that count: of the catalogue, once each, with a value > 0."""
    # A column of padding, as some operations do not take a length of 0.
    rows = graph.add("Gather", graph.add("Shape", found), np.array([0]))
    shape = graph.add("Concat", rows, np.array([1]), axis=0)
    column = graph.add("Expand", NOTHING, shape)
    values = graph.add("Expand", values, graph.add("Shape", found))
    values = graph.add(
        "Concat", graph.add("Expand", np.float32(0), shape), values, axis=1
    )
    padded = graph.add("Concat", column, found, axis=1)
    # Sorted, so that an item's entries lie side by side, the first one first.
    length = graph.add("Gather", graph.add("Shape", padded), np.array([1]))
    indices, order = graph.add_many("TopK", 2, padded, length, axis=1)
    values = graph.add("GatherElements", values, order, axis=1)
    end, axis = np.array([np.iinfo("int64").max]), np.array([1])
    earlier = graph.add("Slice", indices, np.array([0]), np.array([-1]), axis)
    later = graph.add("Slice", indices, np.array([1]), end, axis)
    changes = graph.add("Not", graph.add("Equal", earlier, later))
    always = graph.add("Expand", np.array(True), shape)
    checks = [
        graph.add("Concat", always, changes, axis=1),
        graph.add("GreaterOrEqual", indices, np.array(0)),
        graph.add("Less", indices, np.array(items)),
        graph.add("Greater", values, np.float32(0)),
        graph.add("Less", values, np.float32(np.inf)),
    ]
    present = checks[0]
    for check in checks[1:]:
        present = graph.add("And", present, check)
    return History(
        graph.add("Where", present, indices, np.array(0)),
        present,
        graph.add("Where", present, values, np.float32(0)),
    )
