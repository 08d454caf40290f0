"""An ONNX graph that grows node by node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from keras_multvae.extras import import_extra
from keras_multvae.serving.versions import ONNX
from keras_multvae.typing import Json

if TYPE_CHECKING:
    from onnx import TensorProto, ValueInfoProto

# ScatterElements knows minima since opset 18; its IR version keeps older runtimes in.
OPSET, IR_VERSION = 18, 8
WEIGHTS = f"{ONNX}.data"
# What a node reads: another node's output by its name, or a weight.
Source: TypeAlias = str | np.ndarray | np.generic


class Graph:
    """Nodes and weights of an ONNX graph.

    An input of a node is the name of another node's output, or a NumPy array, which
    becomes a weight of the graph. The same array twice is one weight.

    Example:

    >>> graph = Graph()
    >>> doubled = graph.add("Add", "x", "x")
    >>> graph.add("Mul", doubled, np.float32(3))
    'Mul_1'
    """

    def __init__(self) -> None:
        self._onnx = import_extra("onnx", "onnx")
        self._nodes: list[object] = []
        # The arrays are kept, so that no other array gets the id of one.
        self._arrays: dict[int, tuple[Source, str]] = {}
        self._weights: list[TensorProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []

    def add(self, kind: str, *inputs: Source, **attributes: object) -> str:
        """Adds a node with one output, and returns the output's name."""
        return self.add_many(kind, 1, *inputs, **attributes)[0]

    def add_many(
        self, kind: str, outputs: int, *inputs: Source, **attributes: object
    ) -> list[str]:
        """Adds a node with several outputs, and returns their names."""
        name = f"{kind}_{len(self._nodes)}"
        names = [name, *(f"{name}_{place}" for place in range(1, outputs))]
        given = [
            each if isinstance(each, str) else self._weight(each) for each in inputs
        ]
        self._nodes.append(
            self._onnx.helper.make_node(kind, given, names, name=name, **attributes)
        )
        return names

    def add_input(self, name: str, dtype: str, axes: list[str | int]) -> str:
        """Adds an input, and returns its name."""
        self._inputs.append(self._value(name, dtype, axes))
        return name

    def add_output(
        self, name: str, dtype: str, axes: list[str | int], source: str
    ) -> None:
        """Adds an output, which is that of a node."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [source], [name]))
        self._outputs.append(self._value(name, dtype, axes))

    def write(self, folder: Path, description: str, facts: Json) -> None:
        """Writes the graph, its weights beside it, and checks both.

        Args:
            folder: Where to make `model.onnx` and `model.onnx.data`.
            description: Text for those who open the graph.
            facts: Names and values that the graph is to hold besides.
        """
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, "recommend", self._inputs, self._outputs, self._weights
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="keras_multvae",
            doc_string=description,
        )
        helper.set_model_props(model, {name: str(each) for name, each in facts.items()})
        # Beside the graph, whose file could not have more than 2 GB.
        self._onnx.save_model(
            model,
            str(folder / ONNX),
            save_as_external_data=True,
            location=WEIGHTS,
        )
        self._onnx.checker.check_model(str(folder / ONNX), full_check=True)

    def _value(self, name: str, dtype: str, axes: list[str | int]) -> ValueInfoProto:
        helper = self._onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, axes)

    def _weight(self, array: np.ndarray | np.generic) -> str:
        if id(array) not in self._arrays:
            name = f"weight_{len(self._arrays)}"
            self._arrays[id(array)] = (array, name)
            self._weights.append(
                self._onnx.numpy_helper.from_array(np.asarray(array), name)
            )
        return self._arrays[id(array)][1]
