"""ONNX models answer as the recommender, by ONNX Runtime without Keras."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import contents, make_clicks
from keras import ops
from outside import Doubled, FixedPath
from scipy import sparse

from keras_multvae import (
    EASE,
    MultDAE,
    MultVAE,
    Recommender,
    RecVAE,
    SampledSoftmax,
    export_onnx,
    export_saved_model,
)
from keras_multvae.data import Vocabulary
from keras_multvae.losses import MultinomialNLL
from keras_multvae.metrics import MASKED
from keras_multvae.serving import export

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
ITEMS, K = 30, 20
IDS = [f"film {item}" for item in range(ITEMS)]
ONES = np.ones((1, 1), "float32")
MODELS = {
    "MultVAE": lambda: MultVAE(ITEMS, 4, (16,), seed=1),
    "linear halves, Gaussian": lambda: MultVAE(
        ITEMS, 4, (), likelihood="gaussian", seed=1
    ),
    "MultDAE, logistic": lambda: MultDAE(
        ITEMS, 4, (16, 8), likelihood="logistic", seed=1
    ),
    "RecVAE": lambda: RecVAE(ITEMS, 4, 8, seed=1),
    "tied, 16 bits": lambda: MultVAE(
        ITEMS,
        4,
        (16,),
        head=SampledSoftmax(10, embedding_dtype="bfloat16"),
        tied=True,
        seed=1,
    ),
}


def made(name):
    """A model whose weights are not those of the beginning, for biases are small."""
    model = MODELS[name]()
    model.build_layers()
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        noise = 0.3 * rng.standard_normal(tuple(variable.shape))
        variable.assign(ops.cast(noise, variable.dtype))
    return model


def with_path(model):
    """The model with a linear path in which some items have no row, some a long one."""
    matrix = sparse.random(ITEMS, ITEMS, 0.3, "lil", rng=0, dtype="float32")
    matrix[[0, 4, 29]] = 0
    matrix[7] = 1
    return model.with_linear_path(matrix, 0.7)


def padded(rows):
    """Rows of unequal length, with padding before and behind."""
    width = max(map(len, rows)) + 1
    return np.array([[-1, *row, *[-1] * (width - 1 - len(row))] for row in rows])


def ask(version, requests, folder):
    """The answers to (history, values), of a process without Keras."""
    names = ("history", "values")
    arrays = {
        f"{name}/{number}": array
        for number, request in enumerate(requests)
        for name, array in zip(names, request, strict=True)
    }
    np.savez(folder / "requests.npz", **arrays)
    script = Path(__file__).with_name("answer_onnx.py")
    files = [version / "model.onnx", folder / "requests.npz", folder / "answers.npz"]
    subprocess.run([sys.executable, script, *files], check=True)
    found = np.load(folder / "answers.npz")
    return [
        (found[f"item_indices/{number}"], found[f"scores/{number}"])
        for number in range(len(requests))
    ]


def check(answer, expected, items):
    """Compares an answer with `Recommendations`: ids but for ties, and scores."""
    indices, scores = answer
    assert (indices.dtype, scores.dtype) == (np.int64, np.float32)
    assert indices.shape == scores.shape == (len(expected), K)
    for row, (ids, wanted) in enumerate(expected):
        count = len(ids)
        np.testing.assert_allclose(scores[row, :count], wanted, atol=1e-5)
        assert (scores[row, count:] == MASKED).all()
        assert (indices[row, count:] == -1).all()
        different = items.ids[indices[row, :count]] != ids
        # Neighbours may change places where their scores are the same to 1e-5.
        gaps = np.abs(np.diff(wanted, prepend=np.inf, append=-np.inf))
        assert (np.minimum(gaps[:-1], gaps[1:])[different] < 1e-5).all()


WITH_PATH = ("linear halves, Gaussian", "RecVAE")


@pytest.mark.parametrize(
    ("name", "path"),
    [*((name, False) for name in MODELS), *((name, True) for name in WITH_PATH)],
)
def test_answers_are_the_recommenders(name, path, tmp_path):
    model = with_path(made(name)) if path else made(name)
    recommender = Recommender(model, Vocabulary(IDS))
    version = export_onnx(recommender, tmp_path / "films", k=K)
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, ITEMS, rng.integers(0, 12)) for _ in range(40)]
    histories[:3] = [[], [5], [5, 3, 5, 29]]
    histories[3] = list(range(25))  # fewer than k items are left
    counts = [{3: 2.0, 8: 1.0, 9: 0.5}, {4: 3.0, 0: 1.0, 7: 0.25}]
    of_counts = np.array([list(each) for each in counts])
    values = np.array([list(each.values()) for each in counts], "float32")
    answers = ask(
        version,
        [
            (padded(histories), ONES),
            (padded(histories[:1]), ONES),
            (np.zeros((2, 0), "int64"), ONES),
            (of_counts, values),
            # What is outside the catalogue, and what has no proper value.
            (np.array([[5, ITEMS, -9, 2**62, 6, 7, 8]]), ONES),
            (
                np.array([[5, 6, 7, 8, 9]]),
                np.array([[1, 0, -1, np.nan, np.inf]], "float32"),
            ),
            (np.zeros((0, 3), "int64"), ONES),
        ],
        tmp_path,
    )

    def expected(histories):
        by_id = [
            {IDS[i]: value for i, value in each.items()}
            if isinstance(each, dict)
            else [IDS[i] for i in each]
            for each in histories
        ]
        return recommender.recommend(by_id, k=K)

    wanted = [histories, [[]], [[], []], counts, [[5, 6, 7, 8]], [[5]]]
    for answer, asked in zip(answers, wanted, strict=False):
        check(answer, expected(asked), recommender.items)
    assert answers[-1][0].shape == (0, K)


def test_the_folder_and_the_graph(tmp_path):
    model = made("tied, 16 bits")
    recommender = Recommender(model, Vocabulary(IDS), titles={IDS[0]: "Zoë"})
    version = export_onnx(recommender, tmp_path / "films", k=100)
    assert sorted(contents(version)) == [
        "assets.extra/MODEL_CARD.md",
        "assets.extra/catalogue.json",
        "assets.extra/files.json",
        "model.onnx",
        "model.onnx.data",
    ]
    catalogue = json.loads((version / "assets.extra/catalogue.json").read_text("utf-8"))
    assert catalogue["ids"] == IDS
    assert catalogue["titles"][:2] == ["Zoë", "film 1"]
    card = (version / "assets.extra/MODEL_CARD.md").read_text()
    assert "films, version 1" in card
    graph = onnx.load(version / "model.onnx")
    facts = {each.key: each.value for each in graph.metadata_props}
    assert facts == {"format": "keras_multvae onnx", "format_version": "1"}
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", 18)]
    # A table of both halves is there once, and no rows of all items go in.
    tables = [w for w in graph.graph.initializer if list(w.dims) == [ITEMS, 16]]
    assert len(tables) == 1
    shapes = {
        each.name: [axis.dim_param for axis in each.type.tensor_type.shape.dim]
        for each in graph.graph.input
    }
    assert shapes == {
        "history": ["users", "length"],
        "values": ["users_or_1", "length_or_1"],
    }


def test_versions_and_formats(tmp_path, monkeypatch):
    recommender = Recommender(MODELS["MultVAE"](), Vocabulary(IDS))
    path = tmp_path / "films"
    for number in "123":
        assert export_onnx(recommender, path, keep=2).name == number
    assert sorted(each.name for each in path.iterdir()) == ["2", "3"]
    with pytest.raises(FileExistsError, match="version 4"):
        export_onnx(recommender, path, version=3)
    pytest.importorskip("tensorflow")
    from keras_multvae.server import serve

    for refuse in (partial(export_saved_model, recommender), serve):
        with pytest.raises(ValueError, match="films holds ONNX models, and a server"):
            refuse(path)

    def write(recommender, folder, k, quantize):
        (folder / "saved_model.pb").touch()

    monkeypatch.setattr(export, "write_graph", write)
    monkeypatch.setattr(export, "_write_elsewhere", write)
    export_saved_model(recommender, tmp_path / "saved")
    with pytest.raises(ValueError, match=r"saved holds SavedModels"):
        export_onnx(recommender, tmp_path / "saved")


def test_bad_use_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    recommender = Recommender(MODELS["MultVAE"](), Vocabulary(IDS))
    for kwargs in ({"k": 0}, {"version": 0}, {"keep": 0}):
        with pytest.raises(ValueError, match="must be an integer >= 1"):
            export_onnx(recommender, tmp_path / "x", **kwargs)

    def refused(model, words):
        with pytest.raises(TypeError, match=words):
            export_onnx(Recommender(model, Vocabulary(IDS)), tmp_path / "x")

    refused(EASE(ITEMS).fit(make_clicks(60, ITEMS)), "gives logits.* Received: EASE")
    refused(Doubled(ITEMS, 4, seed=1), "Doubled has layers or methods of its own")
    refused(FixedPath(ITEMS, 4, seed=1), "FixedPath has layers or methods of its own")
    changed = MultVAE(ITEMS, 4, (16,), seed=1)
    changed.decoder.stack[0].activation = keras.activations.relu
    refused(changed, "MultVAE has layers or methods of its own")

    class Rounded(MultinomialNLL):
        pass

    refused(MultVAE(ITEMS, 4, likelihood=Rounded()), "Received: Rounded")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        with pytest.raises(ImportError, match=r"keras_multvae\[onnx\]"):
            export_onnx(recommender, tmp_path / "x")

    def full_disk(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(onnx, "save_model", full_disk)
    with pytest.raises(OSError, match="No space"):
        export_onnx(recommender, tmp_path / "x")
    recommender.model.decoder.bias.assign(np.full(ITEMS, np.nan))
    with pytest.raises(ValueError, match="not finite"):
        export_onnx(recommender, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_example_of_the_page_runs(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(import json.*?)```", page, re.DOTALL)
    ids = [1, 364, 588, *range(1000, 1027)]
    recommender = Recommender(made("MultVAE"), Vocabulary(ids), titles={1: "One"})
    export_onnx(recommender, tmp_path / "onnx_models" / "movielens")
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    found = [ast.literal_eval(line) for line in run.stdout.splitlines()]
    expected = recommender.recommend([[1, 364, 588], []], k=3)
    for (ids, scores), user in zip(expected, found, strict=True):
        assert [item for item, _, _ in user] == ids.tolist()
        assert [str(recommender.titles.get(i, i)) for i in ids] == [
            t for _, t, _ in user
        ]
        np.testing.assert_allclose([s for *_, s in user], scores, atol=1e-5)
