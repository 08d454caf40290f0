"""The options of `export` and `serve`. Imports no Keras."""

from __future__ import annotations

import argparse

from keras_multvae.cli.common_options import add_import_option
from keras_multvae.cli.model_options import converter
from keras_multvae.settings import NON_NEGATIVE_INT, POSITIVE_INT

_positive, _non_negative = converter(POSITIVE_INT), converter(NON_NEGATIVE_INT)


def add_export_options(sub: argparse.ArgumentParser) -> None:
    """Adds the options of `export`."""
    sub.add_argument("model", help="folder that train wrote")
    sub.add_argument(
        "--out", required=True, help="folder of the model, as saved_models/NAME"
    )
    sub.add_argument(
        "--format",
        choices=["saved_model", "onnx"],
        default="saved_model",
        help="for TensorFlow Serving, or for ONNX Runtime and OpenVINO",
    )
    sub.add_argument("--version", type=_positive, help="default: the next free number")
    sub.add_argument("-k", type=_positive, default=100, help="items in an answer")
    sub.add_argument(
        "--keep", type=_positive, help="number of versions to keep; default: all"
    )
    sub.add_argument(
        "--quantize",
        choices=["bfloat16", "int8"],
        help="dtype of item embeddings, for a half or a quarter of the memory",
    )
    sub.add_argument(
        "--prepared",
        help="for the model card: folder that prepare wrote, for counts and metrics",
    )
    sub.add_argument("--data-name", help="for the model card: description of the data")
    sub.add_argument(
        "--licence",
        help="for the model card: terms of the data; movielens for those of MovieLens",
    )
    add_import_option(sub)


def check_export(parsed: argparse.Namespace) -> str | None:
    """Checks combinations of options of `export`; the error, or None."""
    if parsed.format == "onnx" and parsed.quantize is not None:
        return "--quantize goes with a SavedModel, not with --format onnx."
    return None


def add_serve_options(sub: argparse.ArgumentParser) -> None:
    """Adds the options of `serve`."""
    sub.add_argument("saved_model", help="folder of a model, as in saved_models/NAME")
    sub.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all"
    )
    sub.add_argument("--port", type=_port, default=8501, help="0 for any")
    sub.add_argument(
        "--grpc-port",
        type=_port,
        help="serve TensorFlow Serving's gRPC, too, as on port 8500; 0 for any",
    )
    sub.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="version labels, as stable, that lead to the served version",
    )
    sub.add_argument(
        "--max-request-mib",
        type=_positive,
        default=8,
        help="larger requests are refused",
    )
    sub.add_argument(
        "--allowed-hosts",
        nargs="+",
        default=[],
        metavar="NAME",
        help="host names besides localhost; '*' for any",
    )


def _port(text: str) -> int:
    number: int = _non_negative(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{number} is no port; 65535 is the last")
    return number
