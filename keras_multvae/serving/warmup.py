"""Warm-up requests, which a server answers before it serves a version.

A SavedModel's first answer takes many times as long as later ones. When TensorFlow
Serving loads a version, it answers the requests in
`assets.extra/tf_serving_warmup_requests`, a TFRecord file of `PredictionLog` messages,
before it reports the version as ready. The package with these messages,
tensorflow-serving-api, depends on tensorflow, which would be installed over
tensorflow-cpu. So this module writes the wire format of protocol buffers itself: for
each field its number, length and content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from keras_multvae.typing import Id, Tensor

if TYPE_CHECKING:
    from keras_multvae.serving.signatures import Functions

# The number of items of each history.
LENGTH = 8


def write(path: Path, functions: Functions, item_ids: list[Id]) -> None:
    """Answers a request to each signature, writes it, and reads it back.

    Args:
        path: The file to make, in a folder that no server reads yet.
        functions: The signatures, `tf.function`s with an input signature.
        item_ids: Raw ids, of which the first few make the histories.

    Raises:
        OSError: The file does not hold what was written.
    """
    records = []
    for name, inputs in _requests(functions, item_ids):
        # Called as such, it would count as traced anew, and several exports in one
        # process as too many.
        functions[name].get_concrete_function()(**inputs)
        records.append(prediction_log(name, inputs))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    # A file that cannot be read would keep the server from loading the version.
    if [each.numpy() for each in tf.data.TFRecordDataset(str(path))] != records:
        raise OSError(f"{path} does not hold the warm-up requests that were written.")


def prediction_log(signature: str, inputs: Mapping[str, Tensor]) -> bytes:
    """A `PredictionLog` with a `PredictRequest` to a signature, serialized.

    Args:
        signature: Its name.
        inputs: Tensors by name.
    """
    model_spec = _field(3, signature.encode())  # signature_name; the name is any
    request = _field(1, model_spec) + b"".join(
        # An entry of a map is a message of key and value.
        _field(2, _field(1, name.encode()) + _field(2, _tensor(value)))
        for name, value in inputs.items()
    )
    predict_log = _field(1, request)
    return _field(6, predict_log)


def _requests(
    functions: Functions, item_ids: list[Id]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """A request of one user to each signature, by the inputs that it has."""
    history = item_ids[:LENGTH]
    for name, function in functions.items():
        inputs = {}
        for spec in function.input_signature:
            if spec.name == "examples":
                value = tf.constant([_example(history)])
            elif spec.name in ("k", "niche", "diversity"):
                value = tf.ones([1], spec.dtype)
            elif spec.shape.rank == 1:
                value = tf.constant(history[:1], spec.dtype)
            else:
                value = tf.constant([history], spec.dtype)
            inputs[spec.name] = value
        yield name, inputs


def _example(item_ids: list[Any]) -> bytes:
    if isinstance(item_ids[0], str):
        values = tf.train.BytesList(value=[item.encode() for item in item_ids])
        feature = tf.train.Feature(bytes_list=values)
    else:
        values = tf.train.Int64List(value=item_ids)
        feature = tf.train.Feature(int64_list=values)
    features = tf.train.Features(feature={"item_ids": feature})
    serialized: bytes = tf.train.Example(features=features).SerializeToString()
    return serialized


def _tensor(value: Tensor) -> bytes:
    serialized: bytes = tf.make_tensor_proto(value.numpy()).SerializeToString()
    return serialized


def _field(number: int, content: bytes) -> bytes:
    """A field of a message whose type is bytes, text or another message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """An unsigned int, seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
