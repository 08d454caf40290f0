"""A version of a SavedModel in memory, run as TensorFlow Serving runs it."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_multvae import compat
from keras_multvae.extras import import_extra
from keras_multvae.server.infer import Sides
from keras_multvae.server.parsing import Input
from keras_multvae.server.status import CODES, StatusError, invalid
from keras_multvae.serving.versions import WARMUP
from keras_multvae.typing import Json

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, TensorInfo

logger = logging.getLogger(__name__)
PREDICT = "tensorflow/serving/predict"


def disable_xla() -> None:
    """Disables XLA in this process, as TensorFlow Serving does at its start.

    Operations that need XLA then fail here as they would there.

    Raises:
        ImportError: TensorFlow is not installed.
    """
    compat.disable_xla(import_extra("tensorflow", "tensorflow"))


class LoadedModel:
    """A SavedModel in a session of its own, loaded by TensorFlow Serving's loader.

    `run` may be called from several threads at once.

    Args:
        folder: The version folder.

    Attributes:
        signatures: Each `Signature` by name.
        definitions: Each `SignatureDef` by name.
        largest: The largest dimension of its variables, at least the number of items.

    Raises:
        Exception: Any error of TensorFlow for an incomplete folder.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        self.signatures: dict[str, Signature] = {}
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.loader.load(
                    self._session, ["serve"], str(folder)
                )
            graph.finalize()
            self.signatures = {
                name: Signature(self._session, signature)
                for name, signature in meta.signature_def.items()
                if signature.method_name == PREDICT
            }
        except BaseException:
            self.close()
            raise
        self.definitions = dict(meta.signature_def)
        self.largest = max(
            (
                dimension.size
                for node in meta.graph_def.node
                if node.op == "VarHandleOp"
                for dimension in node.attr["shape"].shape.dim
            ),
            default=1,
        )

    def inputs_of(self, name: str) -> Mapping[str, Input]:
        """The inputs of a signature; `StatusError` if there is none."""
        return self._signature(name).inputs

    def sides_of(self, name: str) -> Sides:
        """The inputs and outputs of a signature; `StatusError` if there is none."""
        signature = self._signature(name)
        return Sides(signature.inputs, signature.results)

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature; `StatusError` if the graph refuses the inputs."""
        return self._signature(name).run(inputs)

    def describe(self) -> Json:
        """All signatures, as GET /metadata gives them."""
        from google.protobuf import json_format

        return {
            name: json_format.MessageToDict(
                definition,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, definition in self.definitions.items()
        }

    def close(self) -> None:
        """Frees the memory. The model cannot be run any more."""
        self._session.close()
        # The graph's objects refer to each other: 10 MB that Python would keep until a
        # collection of all generations.
        del self._session
        self.signatures.clear()
        gc.collect()

    def _signature(self, name: str) -> Signature:
        if name not in self.signatures:
            raise invalid(
                f'Serving signature name: "{name}" not found in signature def'
            )
        return self.signatures[name]


class Signature:
    """One signature of a loaded model.

    Attributes:
        inputs: Each `Input` by name.
        outputs: The shapes of its outputs, -1 for free dimensions.
        results: Each output by name, as an `Input` is described.
        rowwise: Whether rows of several requests can be run as one: the first
            dimension of every input and output is free.
    """

    def __init__(self, session: tf.compat.v1.Session, definition: MetaGraphDef) -> None:
        import tensorflow as tf

        self._errors = tf.errors.OpError
        infos = dict(definition.inputs)
        self.inputs = _described(infos)
        self.results = _described(definition.outputs)
        self.outputs = [each.shape for each in self.results.values()]
        shapes = self.outputs + [each.shape for each in self.inputs.values()]
        self.rowwise = all(shape and shape[0] == -1 for shape in shapes)
        self._call = session.make_callable(
            [definition.outputs[name].name for name in self.results],
            [infos[name].name for name in self.inputs],
        )

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the signature; returns an array for each output."""
        try:
            values = self._call(*(inputs[name] for name in self.inputs))
        except self._errors as error:
            code = CODES.get(error.error_code, CODES[2])[0]
            # TensorFlow adds text for Python users before and after it.
            text = str(error.message).removeprefix("Graph execution error:\n\n")
            text = text.partition("\n\nOriginal stack trace")[0]
            raise StatusError(code, text) from None
        except ValueError as error:
            raise invalid(error) from None
        return dict(zip(self.results, values, strict=True))


def warm_up(model: LoadedModel, folder: Path) -> int:
    """Runs the warm-up requests of a version.

    Returns:
        The number of requests.

    Raises:
        Exception: The file is damaged, or a request in it fails: TensorFlow Serving
            would not serve the version either.
    """
    file = folder / WARMUP
    if not file.exists():
        return 0
    import tensorflow as tf

    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        logger.warning(
            "%s is left out: reading it needs tensorflow-serving-api. Install "
            "it with: pip install --no-deps tensorflow-serving-api",
            file,
        )
        return 0
    count = 0
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.WhichOneof("log_type") != "predict_log":
            continue
        request = log.predict_log.request
        inputs = {key: tf.make_ndarray(each) for key, each in request.inputs.items()}
        model.run(request.model_spec.signature_name or "serving_default", inputs)
        count += 1
    return count


def _described(infos: Mapping[str, TensorInfo]) -> dict[str, Input]:
    """Dtypes and shapes by name, in its order."""
    import tensorflow as tf

    return {
        name: Input(
            tf.dtypes.as_dtype(info.dtype)
            .name.replace("float32", "float")
            .replace("float64", "double"),
            _shape(info.tensor_shape),
        )
        for name, info in sorted(infos.items())
    }


def _shape(shape: TensorShapeProto) -> tuple[int, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(dimension.size for dimension in shape.dim)
