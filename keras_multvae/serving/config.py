"""Configuration files for the official TensorFlow Serving image."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from string import Template

from keras_multvae.files import replace_folder
from keras_multvae.serving.versions import saved_models

IMAGE = "tensorflow/serving:2.20.0"
METRICS = "/monitoring/prometheus/metrics"
FOLDER = "serving"
# The memory of a server without models, in MiB.
SERVER = 512


def write_serving_config(
    path: str | os.PathLike[str], *, batching: bool = False
) -> Path:
    """Writes the files that TensorFlow Serving needs beside the models.

    The folder `serving` has `models.config`, `monitoring.config` (Prometheus, at
    `/monitoring/prometheus/metrics` of the REST port), `batching.config`,
    `docker-compose.yml` and `kubernetes.yaml`, both for the official image, with the
    models read-only. An older folder of that name is replaced.

    Args:
        path: A model's folder, as in `saved_models/NAME`, or a folder with several of
            them, as in `saved_models`; all of them are served.
        batching: Bool, whether the server merges requests. It then answers more
            requests per second, but column 0 of all id inputs must be padding: see
            docs/serving.md.

    Returns:
        The folder `serving` in `path`.

    Raises:
        FileNotFoundError: There is no exported model.
        ValueError: A model's name cannot be part of a URL.

    Example:

    >>> write_serving_config("saved_models/movielens")  # doctest: +SKIP
    PosixPath('saved_models/movielens/serving')

    References:
        - https://www.tensorflow.org/tfx/serving/serving_config
    """
    # A symbolic link keeps its own name, which is the model's.
    path = Path(os.path.abspath(path))
    alone = bool(saved_models(path))
    models = [path] if alone else sorted(p for p in path.glob("*") if saved_models(p))
    if not models:
        raise FileNotFoundError(
            f"{path} holds no exported model, neither as saved_models/NAME nor as "
            "saved_models. Write one with export_saved_model."
        )
    for model in models:
        if not re.fullmatch(r"[\w.-]+", model.name, re.ASCII):
            raise ValueError(
                "The name of a model is part of its URL: letters, digits, '_', '.' and "
                f"'-' only. Received: {model.name!r}. Rename the folder."
            )
    configs = {
        "models.config": _models(models),
        "monitoring.config": _monitoring(),
        "batching.config": batching_parameters(),
    }
    size = sum(_size(saved_models(model)[-1]) for model in models)
    values = {
        "image": IMAGE,
        "metrics": METRICS,
        "name": models[0].name,
        "mount": f"/models/{path.name}" if alone else "/models",
        "label": _label(path.name),
        "memory": SERVER + 2 * size,
        "storage": max(4 * size, 1024),
    }
    flags = _flags(batching)
    target = path / FOLDER
    with replace_folder(target) as temporary:
        for name, text in configs.items():
            (temporary / name).write_text(text)
        for name, indent in (("docker-compose.yml", 6), ("kubernetes.yaml", 12)):
            text = Template(read_template(name)).substitute(
                values,
                flags="\n".join(f"{' ' * indent}- {flag}" for flag in flags),
                configs=_literals(configs),
            )
            (temporary / name).write_text(text)
    return target


def batching_parameters() -> str:
    """Text of a `BatchingParameters` message."""
    return read_template("batching.config")


def read_template(name: str) -> str:
    """The text of a file in `templates`."""
    package = resources.files("keras_multvae.serving")
    return package.joinpath("templates", name).read_text(encoding="utf-8")


def _models(models: list[Path]) -> str:
    """Text of a `ModelServerConfig` message."""
    each = [
        "  config {\n"
        f'    name: "{model.name}"\n'
        f'    base_path: "/models/{model.name}"\n'
        '    model_platform: "tensorflow"\n'
        "  }\n"
        for model in models
    ]
    return f"model_config_list {{\n{''.join(each)}}}\n"


def _monitoring() -> str:
    """Text of a `MonitoringConfig` message."""
    return f'prometheus_config {{\n  enable: true\n  path: "{METRICS}"\n}}\n'


def _flags(batching: bool) -> list[str]:
    flags = [
        "--model_config_file=/config/models.config",
        "--monitoring_config_file=/config/monitoring.config",
    ]
    if batching:
        flags += [
            "--enable_batching=true",
            "--batching_parameters_file=/config/batching.config",
            "--enable_per_model_batching_parameters=true",
        ]
    return flags


def _literals(configs: dict[str, str]) -> str:
    """Texts by name as a YAML mapping, indented by two."""
    lines = []
    for name, text in configs.items():
        lines += [f"  {name}: |", *(f"    {line}" for line in text.splitlines())]
    return "\n".join(lines)


def _label(name: str) -> str:
    """A name as a DNS label for Kubernetes, short enough for our suffixes."""
    return (
        re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50].strip("-") or "model"
    )


def _size(version: Path) -> int:
    """The size of a version folder in MiB."""
    files = [each for each in version.rglob("*") if each.is_file()]
    return -(-sum(each.stat().st_size for each in files) // 2**20)
