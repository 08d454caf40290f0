"""The networks of this package as ONNX nodes.

The nodes compute inference in float32, from the weights alone, so that no backend has
to trace a model. tests/serving/test_onnx.py compares them with the models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from keras import activations

from keras_multvae import backend
from keras_multvae.abilities import Exported
from keras_multvae.layers import (
    DenselyConnectedEncoder,
    InteractionEncoder,
    ItemWeights,
    PointEncoder,
)
from keras_multvae.losses import GaussianNLL, Likelihood, LogisticNLL, MultinomialNLL
from keras_multvae.serving.onnx.graph import Graph
from keras_multvae.serving.plain import is_plain
from keras_multvae.typing import Model, Variable

ENCODERS = (InteractionEncoder, PointEncoder, DenselyConnectedEncoder)
LIKELIHOODS = (MultinomialNLL, GaussianNLL, LogisticNLL)
ACTIVATIONS = {activations.linear: None, activations.tanh: "Tanh"}


@dataclass(frozen=True)
class History:
    """Names of the tensors of histories, (users, length) each.

    Args:
        indices: int64, item indices; 0 where there is no entry.
        present: bool, whether there is an entry.
        values: float32, the entries' values; 0 where there is none.
    """

    indices: str
    present: str
    values: str


def check_network(model: Exported) -> None:
    """Raises `TypeError` if a model has parts that this module does not know."""
    if not is_plain(model, ENCODERS) or not _knows_activations(model):
        raise TypeError(
            "ONNX export writes the encoders and decoders of this package, unchanged; "
            f"{type(model).__name__} has layers or methods of its own. Write a "
            "SavedModel, which traces any layer (export_saved_model)."
        )
    if type(model.likelihood) not in LIKELIHOODS:
        raise TypeError(
            "ONNX export knows the likelihoods of keras_multvae.losses. Received: "
            f"{type(model.likelihood).__name__}. Write a SavedModel, which traces any."
        )


def _knows_activations(model: Model) -> bool:
    layers = (*model.encoder.stack, *model.decoder.stack)
    return all(layer.activation in ACTIVATIONS for layer in layers)


def add_scores(graph: Graph, model: Model, history: History) -> str:
    """Adds the scores of `RankingModel.score`, (users, items) float32."""
    items = model.num_items - model.padding_items
    table = _array(model.encoder.kernel)
    hidden = _add_encoder(graph, model.encoder, table, history)
    logits = _add_decoder(graph, model, table, hidden, items)
    if model.linear_path is not None:
        logits = _add_linear_path(graph, model.linear_path, history, logits, items)
    return _add_likelihood(graph, model.likelihood, logits)


def _add_encoder(
    graph: Graph, encoder: InteractionEncoder, table: np.ndarray, history: History
) -> str:
    """Adds z, the mean of q(z | x), (users, latent_dim)."""
    hidden = graph.add("Add", _add_first(graph, table, history), _array(encoder.bias))
    if isinstance(encoder, DenselyConnectedEncoder):
        hidden = _add_densely_connected(graph, encoder, hidden)
    else:
        if encoder.stack:
            hidden = graph.add("Tanh", hidden)
        hidden = _add_stack(graph, encoder.stack, hidden)
    if encoder.outputs == 1:
        return graph.add("Tanh", hidden)
    return graph.add_many("Split", 2, hidden, axis=1, num_outputs=2)[0]


def _add_first(graph: Graph, table: np.ndarray, history: History) -> str:
    """Adds x W / |x|, as weighted sums of the rows of W that a history names."""
    squares = graph.add("Mul", history.values, history.values)
    one, last = np.array([1]), np.array([-1])
    norm = graph.add("Sqrt", graph.add("ReduceSum", squares, last, keepdims=1))
    nothing = graph.add("Equal", norm, np.float32(0))
    norm = graph.add("Where", nothing, np.float32(1), norm)
    weights = graph.add("Unsqueeze", graph.add("Div", history.values, norm), one)
    rows = graph.add("Gather", table, history.indices)
    return graph.add("Squeeze", graph.add("MatMul", weights, rows), one)


def _add_densely_connected(
    graph: Graph, encoder: DenselyConnectedEncoder, hidden: str
) -> str:
    """Adds the layers after the first; see the class of the encoder."""
    first, *norms = encoder.norms
    *between, last = encoder.stack
    hidden = before = _add_norm(graph, first, _add_swish(graph, hidden))
    for layer, norm in zip(between, norms, strict=True):
        inner = graph.add("Add", _add_stack(graph, [layer], hidden), before)
        hidden = _add_norm(graph, norm, _add_swish(graph, inner))
        before = graph.add("Add", before, hidden)
    return _add_stack(graph, [last], hidden)


def _add_swish(graph: Graph, hidden: str) -> str:
    return graph.add("Mul", hidden, graph.add("Sigmoid", hidden))


def _add_norm(graph: Graph, layer: Model, hidden: str) -> str:
    scale, offset = _array(layer.gamma), _array(layer.beta)
    return graph.add(
        "LayerNormalization", hidden, scale, offset, axis=-1, epsilon=layer.epsilon
    )


def _add_stack(graph: Graph, layers: list[Model], hidden: str) -> str:
    """Adds dense layers, each with its activation."""
    for layer in layers:
        hidden = graph.add("Gemm", hidden, _array(layer.kernel), _array(layer.bias))
        kind = ACTIVATIONS[layer.activation]
        hidden = hidden if kind is None else graph.add(kind, hidden)
    return hidden


def _add_decoder(
    graph: Graph, model: Model, table: np.ndarray, hidden: str, items: int
) -> str:
    """Adds the network's logits, (users, items)."""
    decoder = model.decoder
    hidden = _add_stack(graph, decoder.inner, hidden)
    bias = decoder.item_biases()[:items]
    variable, axis = decoder.output_embeddings
    # A matrix of both halves is one weight.
    matrix = table if variable is model.encoder.kernel else _array(variable)
    if model.padding_items:
        matrix = np.take(matrix, np.arange(items), axis)
    return graph.add("Gemm", hidden, matrix, bias, transB=1 - axis)


def _add_linear_path(
    graph: Graph, path: ItemWeights, history: History, logits: str, items: int
) -> str:
    """Adds w x B to the logits: the rows of B that a history names, entry by entry.

    B is stored by rows. Entry number p of all these rows together belongs to the
    history's entry `owner`, and lies at `place` in B.
    """
    matrix = path.matrix()[:items, :items]
    weight = np.float32(backend.to_host(path.weight))
    flat, zero, one = np.array([-1]), np.array(0), np.array(1)
    indices = graph.add("Reshape", history.indices, flat)
    values = graph.add("Reshape", history.values, flat)
    starts = graph.add("Gather", matrix.indptr[:-1].astype("int64"), indices)
    lengths = graph.add("Gather", np.diff(matrix.indptr).astype("int64"), indices)
    present = graph.add("Reshape", history.present, flat)
    lengths = graph.add("Where", present, lengths, zero)
    begins = graph.add("CumSum", lengths, zero, exclusive=1)
    total = graph.add("ReduceSum", lengths, keepdims=0)
    numbers = graph.add("Range", zero, total, one)
    # The owner is the last entry that begins at p or before it.
    shape = graph.add("Reshape", graph.add("Add", total, one), flat)
    nothing = graph.add("Expand", zero, shape)
    ones = graph.add("Expand", one, graph.add("Shape", begins))
    begun = graph.add("ScatterElements", nothing, begins, ones, axis=0, reduction="add")
    owner = graph.add("Sub", graph.add("CumSum", begun, zero), one)
    owner = graph.add("Gather", owner, numbers)
    place = graph.add("Add", graph.add("Gather", starts, owner), numbers)
    place = graph.add("Sub", place, graph.add("Gather", begins, owner))
    columns = graph.add("Gather", matrix.indices.astype("int64"), place)
    products = graph.add(
        "Mul",
        graph.add("Gather", weight * matrix.data, place),
        graph.add("Gather", values, owner),
    )
    length = graph.add("Gather", graph.add("Shape", history.indices), one)
    users = graph.add("Div", owner, length)
    cells = graph.add("Add", graph.add("Mul", users, np.array(items)), columns)
    added = graph.add(
        "ScatterElements",
        graph.add("Reshape", logits, flat),
        cells,
        products,
        axis=0,
        reduction="add",
    )
    return graph.add("Reshape", added, graph.add("Shape", logits))


def _add_likelihood(graph: Graph, likelihood: Likelihood, logits: str) -> str:
    """Adds `Likelihood.scores`."""
    if isinstance(likelihood, MultinomialNLL):
        return graph.add("LogSoftmax", logits, axis=1)
    if isinstance(likelihood, LogisticNLL):
        return graph.add("Neg", graph.add("Softplus", graph.add("Neg", logits)))
    return logits


def _array(variable: Variable) -> np.ndarray:
    array: np.ndarray = backend.to_host(variable).astype("float32")
    return array
