"""The files for TensorBoard, read by TensorFlow."""

from __future__ import annotations

import pytest

from keras_multvae.training.curves import Curves

tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.once


def read(folder):
    """Tag, step and value of every scalar; a bad checksum raises."""
    (file,) = folder.glob("events.out.tfevents.*")
    first, *events = tf.compat.v1.train.summary_iterator(str(file))
    assert first.file_version == "brain.Event:2"
    return [
        (value.tag, event.step, round(value.simple_value, 6))
        for event in events
        for value in event.summary.value
    ]


def test_tensorflow_reads_what_was_written(tmp_path):
    curves = Curves(tmp_path / "deep" / "logs")
    curves.on_epoch_end(0, {"loss": 3.5, "val_loss": 4.25, "val_ndcg_at_100": 0.125})
    curves.on_epoch_end(299, {"loss": -1.0, "val_loss": 0.0, "val_ndcg_at_100": 0.5})
    train, validation = tmp_path / "deep/logs/train", tmp_path / "deep/logs/validation"
    assert read(train) == [("loss", 1, 3.5), ("loss", 300, -1.0)]
    assert read(validation) == [
        ("loss", 1, 4.25), ("ndcg_at_100", 1, 0.125),
        ("loss", 300, 0.0), ("ndcg_at_100", 300, 0.5),
    ]  # fmt: skip
    (validation / "notes.txt").write_text("keep")
    curves.discard()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [
        "notes.txt"
    ]
    assert not train.exists()


def test_without_validation_there_is_one_file(tmp_path):
    curves = Curves(tmp_path)
    curves.on_epoch_end(0, {"loss": 1.0})
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file: name a folder"):
        Curves(tmp_path / "file")
