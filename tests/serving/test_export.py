"""The acceptance test of an export: answered by TensorFlow alone, without XLA."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import MultDAE, MultVAE, Popularity, Recommender, export_saved_model
from keras_multvae.data import UserBatches, Vocabulary
from keras_multvae.features import ItemFeatures
from keras_multvae.metrics import MASKED
from keras_multvae.reranking import Reranking
from keras_multvae.serving import export

tf = pytest.importorskip("tensorflow")

ITEMS = 30
BATCHES = (1, 3, 64)
FORBIDDEN = ("XlaCallModule", "PyFunc", "EagerPyFunc", "AssignVariableOp")
ANSWER = {"item_ids", "scores", "valid"}
SIGNATURES = {
    "serving_default": ({"item_ids"}, ANSWER),
    "recommend": ({"item_ids", "k", "deny", "allow"}, ANSWER),
    "discover": ({"item_ids", "k", "niche"}, ANSWER),
    "diverse": ({"item_ids", "k", "diversity"}, ANSWER),
    "score": ({"item_ids", "candidates"}, {"scores", "known"}),
    "embed": ({"item_ids"}, {"mean", "log_variance"}),
    "similar_items": ({"item_ids"}, ANSWER),
    "recommend_examples": ({"examples"}, ANSWER),
}


# By these, not by item vectors, the second model's items are compared.
COLORS = [["red"], ["blue"], ["red", "green"], [], ["green", "blue", "red"]] * 6


def make_recommender(
    ids, kind=MultVAE, likelihood="multinomial", titles=None, features=None
):
    model = kind(ITEMS, 4, (16,), likelihood=likelihood, seed=1)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(UserBatches(make_clicks(60, ITEMS), 20), epochs=2, verbose=0)
    return Recommender(model, Vocabulary(ids), titles=titles, features=features)


def ask(requests, folder, *saved_models):
    """What a process with TensorFlow alone answers: facts of models, and answers.

    `requests` are (place of the model, signature, inputs).
    """
    arrays = {
        f"{number}/{model}/{signature}/{key}": value
        for number, (model, signature, inputs) in enumerate(requests)
        for key, value in inputs.items()
    }
    np.savez(folder / "requests.npz", **arrays)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("answer.py"),
            folder / "requests.npz",
            folder / "answers.npz",
            *saved_models,
        ],
        check=True,
        env=environment,
    )
    found = np.load(folder / "answers.npz", allow_pickle=False)
    answers = [{} for _ in requests]
    for name in found:
        if name != "facts":
            number, key = name.split("/")
            answers[int(number)][key] = found[name]
    return json.loads(str(found["facts"])), answers


class Case:
    """A recommender, its SavedModel, and histories with everything odd in them."""

    def __init__(self, place, recommender, folder):
        self.place = place
        self.recommender = recommender
        self.folder = export_saved_model(recommender, folder)
        self.ids = recommender.items.ids.tolist()
        text = recommender.items.kind == "str"
        self.padding, self.unknown = ("", "unknown") if text else (-1, 999)
        rng = np.random.default_rng(place)
        self.histories = [
            rng.choice(self.ids, rng.integers(0, 9)).tolist() for _ in range(64)
        ]
        self.histories[0] = [self.ids[3], self.unknown, self.ids[3]]
        self.histories[1] = []
        self.histories[2] = self.ids  # has seen everything
        some = [*self.ids, self.unknown]
        self.k = rng.integers(1, 50, 64).astype("int32")
        self.k[0] = 7
        self.niche = rng.random(64).astype("float32")
        self.niche[:3] = 0, 1, 0.5
        self.deny = [rng.choice(some, rng.integers(0, 6)).tolist() for _ in range(64)]
        self.allow = [rng.choice(some, rng.integers(0, 9)).tolist() for _ in range(64)]
        self.allow[0], self.deny[0] = [], [self.ids[0]]
        self.allow[3] = [self.unknown]
        self.candidates = [rng.choice(some, 5).tolist() for _ in range(64)]
        self.wanted = [self.unknown, *rng.choice(self.ids, 63).tolist()]

    def pad(self, rows):
        """Rows, with a column of padding in front of them and more behind."""
        width = max(map(len, rows)) + 1
        rows = [
            [self.padding, *row, *[self.padding] * (width - 1 - len(row))]
            for row in rows
        ]
        return np.array(rows)

    def examples(self, rows):
        kind = "bytes_list" if self.padding == "" else "int64_list"
        found = []
        for row in rows:
            example = tf.train.Example()
            values = [v.encode() for v in row] if self.padding == "" else row
            # An empty history may come without the feature.
            if row:
                feature = example.features.feature["item_ids"]
                getattr(feature, kind).value.extend(values)
            found.append(example.SerializeToString().hex())
        return np.array(found)

    def requests(self):
        for size in BATCHES:
            part = slice(size)
            item_ids = self.pad(self.histories[part])
            options = {"item_ids": item_ids, "k": self.k[part]}
            lists = {
                "deny": self.pad(self.deny[part]),
                "allow": self.pad(self.allow[part]),
            }
            yield "serving_default", {"item_ids": item_ids}
            yield "recommend", options | lists
            yield "discover", options | {"niche": self.niche[part]}
            yield "diverse", options | {"diversity": self.niche[part]}
            candidates = self.pad(self.candidates[part])
            yield "score", {"item_ids": item_ids, "candidates": candidates}
            yield "embed", {"item_ids": item_ids}
            yield "similar_items", {"item_ids": np.array(self.wanted[part])}
            examples = self.examples(self.histories[part])
            yield "recommend_examples", {"examples": examples}
        item_ids = self.pad(self.histories[:2])
        yield "serving_default", {"item_ids": item_ids[:, :0]}
        options = {"item_ids": item_ids, "deny": item_ids[:, :0]}
        ones = np.ones(2, "int32")
        yield "recommend", options | {"k": ones, "allow": item_ids[:, :0]}
        # What is wrong is named.
        yield "recommend", options | {"k": 0 * ones, "allow": item_ids}
        yield "recommend", options | {"k": ones[:1], "allow": item_ids}
        for bad in (-0.1, 1.1, np.nan):
            niche = np.array([0.5, bad], "float32")
            yield "discover", {"item_ids": item_ids, "k": ones, "niche": niche}
            yield "diverse", {"item_ids": item_ids, "k": ones, "diversity": niche}
        share = np.zeros(2, "float32")
        yield "diverse", {"item_ids": item_ids, "k": 101 * ones, "diversity": share}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Two models, trained on this backend, and what the other process answers."""
    folder = tmp_path_factory.mktemp("served")
    names = [f"film {i}" for i in range(ITEMS)]
    recommenders = [
        make_recommender(names),
        make_recommender(
            range(100, 100 + ITEMS),
            MultDAE,
            "logistic",
            features=ItemFeatures.from_columns({"color": COLORS}),
        ),
    ]
    cases = [
        Case(place, recommender, folder / str(place))
        for place, recommender in enumerate(recommenders)
    ]
    requests = [(case.place, *each) for case in cases for each in case.requests()]
    facts, answers = ask(requests, folder, *[case.folder for case in cases])
    per_case = len(requests) // len(cases)
    return [
        (case, fact, [each[1] for each in requests[start:stop]], answers[start:stop])
        for case, fact in zip(cases, facts, strict=True)
        for start in [case.place * per_case]
        for stop in [start + per_case]
    ]


def check_ranking(answer, row, items, scores):
    valid = answer["valid"][row]
    assert valid == len(items)
    np.testing.assert_allclose(answer["scores"][row, :valid], scores, atol=1e-5)
    close = len(scores) > 1 and np.abs(np.diff(scores)).min() < 1e-5
    assert close or answer["item_ids"][row, :valid].tolist() == list(items)
    assert (answer["scores"][row, valid:] == MASKED).all()
    assert set(answer["item_ids"][row, valid:].tolist()) <= {"", -1}


def of(served, signature):
    """Case, size of the batch and answer, of the well-formed requests."""
    for case, _, signatures, answers in served:
        found = [a for s, a in zip(signatures, answers, strict=True) if s == signature]
        for size, answer in zip(BATCHES, found, strict=False):
            yield case, size, answer


def dense(case, histories):
    """All scores, by the model itself."""
    rows = np.zeros((len(histories), ITEMS), "float32")
    for row, history in zip(rows, histories, strict=True):
        found = case.recommender.items.lookup(history)
        row[found[found >= 0]] = 1
    return case.recommender.model.score(sparse.csr_matrix(rows))


@pytest.mark.parametrize("signature", ["serving_default", "recommend_examples"])
def test_recommends_as_the_recommender(served, signature):
    for case, size, answer in of(served, signature):
        expected = case.recommender.recommend(
            case.histories[:size], k=100, on_unknown="skip"
        )
        for row, (items, scores) in enumerate(expected):
            check_ranking(answer, row, items.tolist(), scores)
        # k is cut to the catalogue.
        assert answer["scores"].shape == (size, ITEMS)


def test_recommends_with_options_for_each_row(served):
    for case, size, answer in of(served, "recommend"):
        assert answer["scores"].shape[1] == min(case.k[:size].max(), ITEMS)
        for row in range(size):
            allow = case.allow[row] or None
            try:
                items, scores = case.recommender.recommend(
                    case.histories[row],
                    k=int(case.k[row]),
                    allow=allow,
                    deny=case.deny[row],
                    on_unknown="skip",
                )[0]
            except ValueError:  # nothing is left
                items, scores = np.array([]), np.array([])
            check_ranking(answer, row, items.tolist(), scores)


def test_discovers_what_is_less_popular(served):
    for case, size, answer in of(served, "discover"):
        scores = dense(case, case.histories[:size])
        scores = scores - case.niche[:size, None] * dense(case, [[]])
        for row, history in enumerate(case.histories[:size]):
            seen = case.recommender.items.lookup(history)
            scores[row, seen[seen >= 0]] = -np.inf
            order = np.argsort(-scores[row], kind="stable")
            order = order[np.isfinite(scores[row, order])][: case.k[row]]
            items = case.recommender.items.ids[order].tolist()
            check_ranking(answer, row, items, scores[row, order])
            items, scores_there = case.recommender.recommend(
                history,
                k=int(case.k[row]),
                niche=float(case.niche[row]),
                on_unknown="skip",
            )[0]
            check_ranking(answer, row, items.tolist(), scores_there)


def test_lists_of_unlike_items(served):
    """As `Reranking` makes them: by item vectors, or by features if there are any."""
    for case, size, answer in of(served, "diverse"):
        for row, history in enumerate(case.histories[:size]):
            items, scores = case.recommender.recommend(
                history,
                k=int(case.k[row]),
                rerank=Reranking(diversity=float(case.niche[row])),
                on_unknown="skip",
            )[0]
            check_ranking(answer, row, items.tolist(), scores)


def test_scores_candidates(served):
    for case, size, answer in of(served, "score"):
        scores = dense(case, case.histories[:size])
        for row, candidates in enumerate(case.pad(case.candidates[:size])):
            indices = case.recommender.items.lookup(candidates.tolist())
            known = indices >= 0
            assert not known.all()
            np.testing.assert_array_equal(answer["known"][row], known)
            expected = np.where(known, scores[row, indices], MASKED)
            np.testing.assert_allclose(answer["scores"][row], expected, atol=1e-5)


def test_embeds(served):
    for case, size, answer in of(served, "embed"):
        histories = case.histories[:size]
        if "log_variance" in answer:
            mean, variance = case.recommender.embed(histories, on_unknown="skip")
            np.testing.assert_allclose(answer["mean"], mean, atol=1e-5)
            np.testing.assert_allclose(
                np.exp(answer["log_variance"]), variance, atol=1e-5
            )
        else:
            assert answer["mean"].shape == (size, 4)


def test_similar_items_are_the_recommenders(served):
    for case, size, answer in of(served, "similar_items"):
        assert answer["valid"][0] == 0  # unknown
        found = case.recommender.similar_items(
            case.wanted[:size], k=100, on_unknown="skip"
        )
        for row, (items, scores) in enumerate(found, start=1):
            check_ranking(answer, row, items.tolist(), scores)


def test_odd_requests(served):
    for _, _, _, answers in served:
        no_length, nothing, bad_k, bad_rows, *bad_shares, too_many = answers[
            len(BATCHES) * len(SIGNATURES) :
        ]
        assert no_length["valid"].tolist() == [ITEMS, ITEMS]
        assert nothing["valid"].tolist() == [1, 1]
        assert "k must be >= 1 in every row" in str(bad_k["error"])
        assert "k must have as many rows as item_ids" in str(bad_rows["error"])
        assert len(bad_shares) == 6
        for answer, name in zip(bad_shares, ["niche", "diversity"] * 3, strict=True):
            assert f"{name} must be a number in [0, 1" in str(answer["error"])
        assert "k must be <= 100 in every row" in str(too_many["error"])


def test_signatures_and_operations(served):
    for case, facts, _, _ in served:
        expected = {
            name: [sorted(inputs), sorted(outputs)]
            for name, (inputs, outputs) in SIGNATURES.items()
        }
        if isinstance(case.recommender.model, MultDAE):
            expected["embed"][1].remove("log_variance")
        assert facts["signatures"] == expected
        assert not set(FORBIDDEN) & set(facts["ops"])
        # Each weight is there once, beside the prior, the items' lengths and features.
        weights = sum(
            np.prod(v.shape) for v in case.recommender.model.trainable_variables
        )
        beside = 2 * ITEMS
        if case.recommender.features is not None:
            beside += ITEMS + 1 + 2 * sum(map(len, COLORS))
        assert facts["weights"] == weights + beside


def test_keras_own_export(tmp_path):
    rows = make_clicks(64, ITEMS).toarray()
    models = [make_recommender(range(ITEMS), kind).model for kind in (MultVAE, MultDAE)]
    for place, model in enumerate(models):
        model.export(tmp_path / str(place))
    requests = [
        (place, "serving_default", {"clicks": rows[:size]})
        for place in range(2)
        for size in BATCHES
    ]
    facts, found = ask(requests, tmp_path, tmp_path / "0", tmp_path / "1")
    for (place, _, inputs), answer in zip(requests, found, strict=True):
        expected = models[place].predict(inputs["clicks"], verbose=0)
        np.testing.assert_allclose(answer["logits"], expected, atol=1e-5)
    for each in facts:
        assert not set(FORBIDDEN) & set(each["ops"])


@pytest.fixture
def without_graph(monkeypatch):
    """Exports that write no graph, for what is not about it."""

    def write(recommender, folder, k, quantize):
        (folder / "saved_model.pb").touch()

    monkeypatch.setattr(export, "write_graph", write)
    monkeypatch.setattr(export, "_write_elsewhere", write)


def test_the_catalogue_lies_beside_it(tmp_path, without_graph):
    genres = ["War|Drama", "Drama", ""] + ["War"] * (ITEMS - 3)
    recommender = make_recommender(
        range(ITEMS),
        titles={0: "Zoë", 2: "Two"},
        features=ItemFeatures.from_columns(
            {"genres": genres, "year": list(range(ITEMS))}
        ),
    )
    folder = export_saved_model(recommender, tmp_path / "films")
    found = json.loads((folder / "assets.extra" / "catalogue.json").read_text("utf-8"))
    assert found["format_version"] == 1
    assert found["kind"] == "int"
    assert found["ids"] == list(range(ITEMS))
    assert found["titles"][:3] == ["Zoë", "1", "Two"]
    assert found["log_probabilities"] is True
    (labels,) = found["labels"]
    assert (labels["name"], labels["values"]) == ("genres", ["Drama", "War"])
    assert labels["items"] == [[0, 1], [0], []] + [[1]] * (ITEMS - 3)


def test_versions_count_up_and_never_change(tmp_path, without_graph):
    recommender = make_recommender(range(ITEMS))
    path = tmp_path / "films"
    (path / "7").mkdir(parents=True)
    (path / "²").mkdir()  # a digit to Python, not to a server
    assert export_saved_model(recommender, path).name == "8"
    with pytest.raises(FileExistsError, match="version 9"):
        export_saved_model(recommender, path, version=8)
    assert export_saved_model(recommender, path, version=3).name == "3"
    assert export_saved_model(recommender, path, keep=2).name == "9"
    # Pruned is what is an older SavedModel, and nothing else.
    assert sorted(each.name for each in path.iterdir()) == ["7", "8", "9", "²"]
    # What was just written stays, though it is not the newest.
    assert export_saved_model(recommender, path, version=1, keep=1).name == "1"
    assert sorted(each.name for each in path.iterdir()) == ["1", "7", "9", "²"]


def test_a_failed_export_leaves_no_version(tmp_path, monkeypatch):
    from keras_multvae.backend import saved_model

    if keras.backend.backend() == "tensorflow":

        def full_disk(module, folder, signatures):
            Path(folder, "saved_model.pb").write_bytes(b"half")
            raise OSError("No space left on device")

        monkeypatch.setattr(tf.saved_model, "save", full_disk)
        expected, text = OSError, "No space"
    else:
        monkeypatch.setattr(saved_model.sys, "executable", "/bin/false")
        expected, text = RuntimeError, "failed"
    with pytest.raises(expected, match=text):
        export_saved_model(make_recommender(range(ITEMS)), tmp_path / "films", keep=1)
    left = list(tmp_path.glob("films/*"))
    assert left == []


def test_bad_use_is_named(tmp_path):
    recommender = make_recommender(range(ITEMS))
    for kwargs in ({"k": 0}, {"version": 0}, {"keep": 0}):
        with pytest.raises(ValueError, match="must be an integer >= 1"):
            export_saved_model(recommender, tmp_path / "x", **kwargs)
    with pytest.raises(ValueError, match="`quantize` must be"):
        export_saved_model(recommender, tmp_path / "x", quantize="int4")
    with pytest.raises(TypeError, match="Popularity"):
        export_saved_model(
            Recommender(Popularity(2), Vocabulary(["a", "b"])), tmp_path / "x"
        )
    with pytest.raises(ValueError, match="pads histories"):
        clash = Recommender(recommender.model, Vocabulary(range(-1, ITEMS - 1)))
        export_saved_model(clash, tmp_path / "x")
    bias = recommender.model.decoder.stack[-1].bias
    bias.assign(np.full(ITEMS, np.nan))
    with pytest.raises(ValueError, match="not finite"):
        export_saved_model(recommender, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_nobody_is_told_of_a_temporary_folder(tmp_path):
    """TensorFlow tells where it writes, in notebooks even on standard output."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = tf.get_logger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        logger.info("heard")
        export_saved_model(make_recommender(range(ITEMS)), tmp_path / "a")
        MultVAE(ITEMS, 4, (16,), seed=1).export(tmp_path / "b")
        assert lines == ["heard"] and logger.level == logging.INFO
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
