"""The REST examples of docs/serving.md fit its signatures and their table."""

from __future__ import annotations

import base64
import json
import re
import shlex

import pytest
from documents.pages import ROOT, commands

from keras_multvae import MultVAE, Recommender, export_saved_model
from keras_multvae.data import Vocabulary

tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.once

PAGE = ROOT / "docs" / "serving.md"


def tensor(values, spec):
    if spec.dtype == tf.string:
        values = [base64.b64decode(value["b64"]) for value in values]
    return tf.constant(values, spec.dtype)


def test_the_requests_of_the_page_are_answered(tmp_path):
    recommender = Recommender(MultVAE(600, 2, (4,), seed=0), Vocabulary(range(1, 601)))
    folder = export_saved_model(recommender, tmp_path / "movielens")
    signatures = tf.saved_model.load(str(folder)).signatures
    top = PAGE.read_text("utf-8").partition("## TensorFlow Serving")[0]
    asked = set()
    for command in commands(PAGE):
        if not command.text.startswith("curl "):
            continue
        request = json.loads(shlex.split(command.text)[2])
        name = request.get("signature_name", "serving_default")
        _, specs = signatures[name].structured_input_signature
        rows = request["instances"]
        # The row form names every input in every row.
        assert all(set(row) == set(specs) for row in rows)
        inputs = {
            key: tensor([row[key] for row in rows], spec) for key, spec in specs.items()
        }
        answer = signatures[name](**inputs)
        assert all(value.shape[0] == len(rows) for value in answer.values())
        asked.add(name)
        # As the table has it.
        (line,) = re.findall(rf"^\| `{name}` .*$", top, re.MULTILINE)
        for key in (*inputs, *answer):
            assert (
                f"`{key}`" in line
                or "as `serving_default`" in line
                or ("the same" in line)
            )
    assert asked == set(signatures)
    example = signatures["recommend_examples"](**inputs)
    same = signatures["serving_default"](tf.constant([[1, 364, 588]], tf.int64))
    assert (example["item_ids"] == same["item_ids"]).numpy().all()
