"""TensorFlow Serving's messages -> NumPy arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from keras_multvae.server.infer import Sides
from keras_multvae.server.limits import Limits, check_rows
from keras_multvae.server.parsing import (
    DEFAULT_SIGNATURE,
    Input,
    Request,
    check_shape,
)
from keras_multvae.server.status import invalid
from keras_multvae.server.tensors import shown

if TYPE_CHECKING:
    from google.protobuf.message import Message


def read_predict(
    message: Message, sides: Sides, limits: Limits
) -> tuple[Request, list[str]]:
    """A `PredictRequest` as a request, and the names of the wanted outputs.

    Raises:
        StatusError: The request is wrong, or too large.
    """
    specs = sides.inputs
    if set(message.inputs) != set(specs):
        raise invalid(
            "input size does not match signature. Input tensors must be: ",
            ", ".join(specs),
            ". Received: ",
            shown(sorted(message.inputs)),
        )
    wanted = list(message.output_filter)
    for name in wanted:
        if name not in sides.outputs:
            raise invalid("output tensor alias not found in signature: ", shown(name))
    if len(set(wanted)) < len(wanted):
        raise invalid("duplicate output tensor alias: ", ", ".join(wanted))
    inputs = {
        name: _array(name, message.inputs[name], spec, limits)
        for name, spec in specs.items()
    }
    name = message.model_spec.signature_name or DEFAULT_SIGNATURE
    return Request(name, inputs, by_row=False), wanted or list(sides.outputs)


def write_tensors(answer: Message, outputs: Mapping[str, np.ndarray]) -> None:
    """Writes arrays into a `PredictResponse`."""
    import tensorflow as tf

    for name, array in outputs.items():
        answer.outputs[name].CopyFrom(tf.make_tensor_proto(array))


def _array(name: str, message: Message, spec: Input, limits: Limits) -> np.ndarray:
    """A `TensorProto` as an array.

    A few bytes of one can stand for an array of any size, so its shape comes first.
    """
    import tensorflow as tf

    try:
        dtype = tf.dtypes.as_dtype(message.dtype)
    except TypeError:
        raise invalid(f"Input {name} is of no dtype: {message.dtype}.") from None
    kind = {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
    if kind != spec.dtype:
        raise invalid(f"Input {name} is of the dtype {spec.dtype}. Received: {kind}.")
    if message.tensor_shape.unknown_rank:
        raise invalid(f"Input {name} has no shape.")
    shape = tuple(axis.size for axis in message.tensor_shape.dim)
    if min(shape, default=0) < 0:
        raise invalid(f"Input {name} has a negative size in its shape.")
    check_shape(name, shape, spec)
    limits.check_values(prod(shape))
    if shape:
        check_rows(shape[0])
    try:
        array: np.ndarray = tf.make_ndarray(message)
    except (TypeError, ValueError) as error:
        raise invalid(
            f"The data of input {name} do not fit its shape: ", error
        ) from None
    return array
