"""Warm-up requests, read with TensorFlow Serving's own messages."""

from __future__ import annotations

import pytest

from keras_multvae import MultVAE, Recommender, export_saved_model
from keras_multvae.data import Vocabulary

tf = pytest.importorskip("tensorflow")
logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")

pytestmark = pytest.mark.once


@pytest.mark.parametrize("ids", [range(3), [f"film {'long ' * 40}{i}" for i in "abc"]])
def test_the_requests_that_a_server_reads(tmp_path, ids):
    recommender = Recommender(MultVAE(3, 2, (4,), seed=0), Vocabulary(ids))
    folder = export_saved_model(recommender, tmp_path / "films")
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    signatures = tf.saved_model.load(str(folder)).signatures
    seen = []
    for record in tf.data.TFRecordDataset(str(path)):
        log = logs.PredictionLog.FromString(record.numpy())
        # Nothing that the messages do not know.
        assert log.SerializeToString(deterministic=True) == (
            logs.PredictionLog.FromString(log.SerializeToString()).SerializeToString(
                deterministic=True
            )
        )
        request = log.predict_log.request
        name = request.model_spec.signature_name
        inputs = {
            key: tf.constant(tf.make_ndarray(value))
            for key, value in request.inputs.items()
        }
        answer = signatures[name](**inputs)
        if name == "serving_default":
            history = list(ids)
            found = [tf.compat.as_str_any(i) for i in inputs["item_ids"][0].numpy()]
            assert found == [str(each) for each in history]
            assert answer["valid"].numpy().tolist() == [0]
        seen.append(name)
    assert sorted(seen) == sorted(signatures)


def test_a_damaged_file_stops_the_export(tmp_path, monkeypatch):
    from keras_multvae.serving import warmup

    class Losing(tf.io.TFRecordWriter):
        def write(self, record):
            super().write(record[:-1])

    monkeypatch.setattr(warmup.tf.io, "TFRecordWriter", Losing)
    with pytest.raises(OSError, match="does not hold the warm-up requests"):
        warmup.write(tmp_path / "requests", {}, [1])
        echo = tf.function(
            lambda item_ids: item_ids,
            input_signature=[tf.TensorSpec([None, None], tf.int64, "item_ids")],
        )
        warmup.write(tmp_path / "requests", {"echo": echo}, [1])
