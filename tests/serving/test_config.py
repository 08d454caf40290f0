"""The server's files, by the server's messages and the published schemas."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)
from google.protobuf import wrappers_pb2 as wrappers

from keras_multvae import MultVAE, Recommender, export_saved_model, write_serving_config
from keras_multvae.data import Vocabulary

tf = pytest.importorskip("tensorflow")
yaml = pytest.importorskip("yaml")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

pytestmark = pytest.mark.once

# Of tensorflow_serving's session_bundle_config.proto and monitoring_config.proto, which
# tensorflow-serving-api leaves out: name, number and type of each field.
MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", 1, ".google.protobuf.Int64Value"),
        ("batch_timeout_micros", 2, ".google.protobuf.Int64Value"),
        ("max_enqueued_batches", 3, ".google.protobuf.Int64Value"),
        ("num_batch_threads", 4, ".google.protobuf.Int64Value"),
        ("thread_pool_name", 5, ".google.protobuf.StringValue"),
        ("pad_variable_length_inputs", 7, "bool"),
    ],
    "PrometheusConfig": [("enable", 1, "bool"), ("path", 2, "string")],
    "MonitoringConfig": [("prometheus_config", 1, ".serving.PrometheusConfig")],
}


def message(name):
    """The class of a message of `MESSAGES`."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="serving.proto", package="serving", syntax="proto3"
    )
    file.dependency.append(wrappers.DESCRIPTOR.name)
    scalars = {"bool": field.TYPE_BOOL, "string": field.TYPE_STRING}
    for message_name, fields in MESSAGES.items():
        made = file.message_type.add(name=message_name)
        for field_name, number, kind in fields:
            made.field.add(
                name=field_name,
                number=number,
                type=scalars.get(kind, field.TYPE_MESSAGE),
                type_name=None if kind in scalars else kind,
                label=field.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"serving.{name}")
    return message_factory.GetMessageClass(found)


@pytest.fixture(scope="module")
def recommender():
    return Recommender(MultVAE(4, 2, (3,), seed=0), Vocabulary(list("abcd")))


@pytest.fixture(scope="module")
def base(tmp_path_factory, recommender):
    """A folder of two models."""
    path = tmp_path_factory.mktemp("saved") / "My models"
    version = export_saved_model(recommender, path / "Films_2.0")
    (path / "books" / "3").mkdir(parents=True)
    (path / "books" / "3" / "saved_model.pb").write_bytes(
        (version / "saved_model.pb").read_bytes()
    )
    (path / "notes").mkdir()
    return path


def test_messages_of_the_server(base):
    models = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    folder = write_serving_config(base)
    config = text_format.Parse(
        (folder / "models.config").read_text(), models.ModelServerConfig()
    )
    found = {
        each.name: (each.base_path, each.model_platform)
        for each in config.model_config_list.config
    }
    assert found == {
        name: (f"/models/{name}", "tensorflow") for name in ("Films_2.0", "books")
    }
    monitoring = text_format.Parse(
        (folder / "monitoring.config").read_text(), message("MonitoringConfig")()
    )
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"
    # A version brings its own, too.
    own = base / "Films_2.0" / "1" / "batching_params.pbtxt"
    for file in (folder / "batching.config", own):
        batching = text_format.Parse(file.read_text(), message("BatchingParameters")())
        assert batching.max_batch_size.value == 64
        assert batching.pad_variable_length_inputs


@pytest.mark.parametrize("batching", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_manifests_by_their_schemas(base, alone, batching):
    pytest.importorskip("check_jsonschema")
    path = base / "Films_2.0" if alone else base
    folder = write_serving_config(path, batching=batching)
    assert folder == path / "serving"
    mount = "/models/Films_2.0" if alone else "/models"
    subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", folder / "docker-compose.yml"),
        ],
        check=True,
    )
    text = (folder / "docker-compose.yml").read_text()
    service = yaml.safe_load(text)["services"]["serving"]
    assert service["volumes"][0]["target"] == mount
    assert all(volume["read_only"] for volume in service["volumes"])
    assert ("--enable_batching=true" in service["command"]) == batching

    text = (folder / "kubernetes.yaml").read_text()
    claim, configs, deployment, entry = yaml.safe_load_all(text)
    for resource in (claim, configs, deployment, entry):
        for version in ("1.30", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(resource, version, strict=True)
    # ConfigMap and files are the same.
    assert configs["data"] == {
        name: (folder / name).read_text() for name in configs["data"]
    }
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == service["command"]
    assert container["image"] == service["image"]
    assert container["image"].startswith("tensorflow/serving:2.")
    probe = container["readinessProbe"]["httpGet"]
    assert probe["path"] == "/v1/models/Films_2.0"
    assert container["volumeMounts"][0]["mountPath"] == mount
    assert all(each["readOnly"] for each in container["volumeMounts"])
    volumes = [volume["name"] for volume in pod["volumes"]]
    assert [each["name"] for each in container["volumeMounts"]] == volumes
    claimed = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claimed == claim["metadata"]["name"]
    label = deployment["metadata"]["name"]
    assert (
        entry["spec"]["selector"]
        == {"app": label}
        == deployment["spec"]["selector"]["matchLabels"]
    )


@pytest.mark.parametrize(
    ("state", "healthy"), [("AVAILABLE", True), ("LOADING", False)]
)
def test_the_health_check_of_compose(base, state, healthy):
    asked = []

    class Status(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            found = {"model_version_status": [{"version": "1", "state": state}]}
            self.wfile.write(json.dumps(found, indent=1).encode())

        def log_message(self, *arguments):
            pass

    folder = write_serving_config(base / "Films_2.0")
    text = (folder / "docker-compose.yml").read_text()
    check = yaml.safe_load(text)["services"]["serving"]["healthcheck"]["test"]
    with http.server.HTTPServer(("127.0.0.1", 0), Status) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        command = [part.replace("8501", str(server.server_port)) for part in check[1:]]
        code = subprocess.run(command, capture_output=True, timeout=10).returncode
        thread.join()
    assert asked == ["/v1/models/Films_2.0"]
    assert (code == 0) == healthy


def test_padding_of_a_batching_server_changes_nothing(base):
    """As batching_util.cc pads: with the first element of the request itself."""
    loaded = tf.saved_model.load(str(base / "Films_2.0" / "1"))
    requests = [
        {
            "item_ids": np.array([["", "a", "b"], ["", "c", ""]]),
            "deny": np.array([["", "d"], ["", ""]]),
            "allow": np.array([["", ""], ["", "a"]]),
            "k": np.array([2, 3], "int32"),
        },
        {
            "item_ids": np.array([["", "d", "x", "a", "b"]]),
            "deny": np.array([[""]]),
            "allow": np.array([["", "c", "b", "d"]]),
            "k": np.array([4], "int32"),
        },
    ]

    def answer(inputs):
        inputs = {name: tf.constant(value) for name, value in inputs.items()}
        found = loaded.signatures["recommend"](**inputs)
        return found["item_ids"].numpy(), found["valid"].numpy()

    def padded(name):
        arrays = [request[name] for request in requests]
        if arrays[0].ndim == 1:
            return np.concatenate(arrays)
        width = max(array.shape[1] for array in arrays)
        return np.concatenate(
            [
                np.pad(
                    array.astype(object),
                    ((0, 0), (0, width - array.shape[1])),
                    constant_values=array.flat[0],
                )
                for array in arrays
            ]
        )

    together, counts = answer({name: padded(name) for name in requests[0]})
    row = 0
    for request in requests:
        alone, valid = answer(request)
        for items, count in zip(alone, valid, strict=True):
            assert counts[row] == count
            assert together[row, :count].tolist() == items[:count].tolist()
            row += 1


def test_what_cannot_be_served_is_named(tmp_path, base):
    with pytest.raises(FileNotFoundError, match="no exported model"):
        write_serving_config(tmp_path)
    (tmp_path / "two words" / "1").mkdir(parents=True)
    (tmp_path / "two words" / "1" / "saved_model.pb").touch()
    with pytest.raises(ValueError, match="part of its URL"):
        write_serving_config(tmp_path)
    assert not (tmp_path / "serving").exists()
