"""Lists chosen anew, against a plain loop over users, places and candidates."""

from __future__ import annotations

import json
import math

import evaluation_loops as loops
import numpy as np
import pytest
from conftest import make_clicks

from keras_multvae import (
    EASE,
    MultVAE,
    Popularity,
    Recommender,
    Reranking,
    evaluate_ranking,
)
from keras_multvae.cli import main
from keras_multvae.data import FoldIn, Interactions
from keras_multvae.features import ItemFeatures
from keras_multvae.ranking import rank
from keras_multvae.reranking import greedy

USERS, ITEMS = 30, 60
LABELS = [["a", "b"], ["b"], [], ["c", "d"], ["a"], ["d"]] * 10


@pytest.fixture(scope="module")
def shop():
    clicks = Interactions.from_matrix(make_clicks(USERS, ITEMS, 0.1, seed=1))
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 4))
    features = ItemFeatures.from_columns({"kind": LABELS, "vector": vectors})
    model = EASE(ITEMS, 5.0).fit(clicks)
    return Recommender(model, clicks.items, histories=clicks, features=features)


def chosen(shop, row, k, rerank):
    """The list of a user, straight from the docstring of `Reranking`."""
    rows = np.array([row])
    ((_, top),) = rank(shop.model, shop.histories.matrix, rerank.candidates, rows=rows)
    size = int(top.valid[0])
    items, scores = top.indices[0, :size].tolist(), top.scores[0, :size].tolist()
    history = shop.histories.matrix[row].indices.tolist()
    low, high = min(scores), max(scores)
    vectors = np.asarray(shop.features.unit_rows()).tolist()
    p, found = loops.mix(history, LABELS) if any(LABELS[i] for i in history) else {}, []

    def value(item, score):
        relevance = (score - low) / (high - low) if high > low else 1
        alike = max((loops.cosine(vectors[item], vectors[j]) for j in found), default=0)
        some = any(LABELS[i] for i in [*found, item])
        q = loops.mix([*found, item], LABELS) if some else {}
        divergence = sum(
            share * math.log(share / (0.99 * q.get(label, 0) + 0.01 * share))
            for label, share in p.items()
        )
        share = 1 - rerank.diversity - rerank.calibration
        return (
            share * relevance
            - rerank.diversity * alike
            - rerank.calibration * divergence
        )

    def allowed(item):
        if rerank.at_most is None:
            return True
        return all(
            sum(label in LABELS[j] for j in found) < rerank.at_most
            for label in LABELS[item]
        )

    while len(found) < k:
        left = [
            (round(value(item, score), 5), -place, item)
            for place, (item, score) in enumerate(zip(items, scores, strict=True))
            if item not in found and allowed(item)
        ]
        if not left:
            break
        found.append(max(left)[2])
    return found


@pytest.mark.once
@pytest.mark.parametrize(
    "rerank",
    [
        Reranking(diversity=0.4, candidates=20),
        Reranking(diversity=1.0, candidates=20),
        Reranking(calibration=0.5, by="kind", candidates=20),
        Reranking(calibration=1.0, by="kind", candidates=20),
        Reranking(at_most=2, by="kind", candidates=20),
        Reranking(0.3, 0.3, 3, "kind", 25),
    ],
)
def test_each_place_goes_to_the_best_candidate(shop, rerank):
    found = shop.recommend(user_ids="all", k=8, rerank=rerank)
    plain = shop.recommend(user_ids="all", k=ITEMS)
    for row in range(USERS):
        expected = chosen(shop, row, 8, rerank)
        assert found.items[row].tolist() == expected, row
        # Scores stay what they are.
        score = dict(zip(plain.items[row].tolist(), plain.scores[row], strict=True))
        assert found.scores[row].tolist() == [score[item] for item in expected]


@pytest.mark.once
@pytest.mark.parametrize("at_most", [None, 9])
def test_gains_stay_right_down_a_long_list(shop, at_most):
    # Only candidates that could be best are looked at again: none may be missed.
    rerank = Reranking(calibration=0.6, at_most=at_most, by="kind", candidates=ITEMS)
    found = shop.recommend(user_ids="all", k=40, rerank=rerank)
    for row in range(0, USERS, 5):
        assert found.items[row].tolist() == chosen(shop, row, 40, rerank), row


@pytest.mark.once
def test_many_users_get_what_each_would_get_alone(shop, monkeypatch):
    rerank = Reranking(0.3, 0.3, 3, "kind", 25)
    together = shop.recommend(user_ids="all", k=8, rerank=rerank)
    monkeypatch.setattr(greedy, "BLOCK", 7)
    apart = shop.recommend(user_ids="all", k=8, rerank=rerank)
    for row in range(USERS):
        assert together.items[row].tolist() == apart.items[row].tolist()


@pytest.mark.once
def test_what_changes_nothing_is_the_ranking(shop):
    plain = shop.recommend(user_ids="all", k=8)
    same = shop.recommend(user_ids="all", k=8, rerank=Reranking())
    loose = shop.recommend(
        user_ids="all", k=8, rerank=Reranking(at_most=8, by="kind", candidates=8)
    )
    for row in range(USERS):
        assert plain.items[row].tolist() == same.items[row].tolist()
        assert plain.items[row].tolist() == loose.items[row].tolist()


@pytest.mark.once
def test_a_cap_shortens_a_list_where_candidates_run_out(shop):
    rerank = Reranking(at_most=1, by="kind", candidates=ITEMS)
    found = shop.recommend(user_ids="all", k=ITEMS, rerank=rerank)
    for row in range(USERS):
        labels = [label for item in found.items[row] for label in LABELS[item]]
        assert len(labels) == len(set(labels))


def test_a_network_is_diverse_by_its_own_vectors():
    clicks = Interactions.from_matrix(make_clicks(USERS, ITEMS, 0.1, seed=1))
    model = MultVAE(ITEMS, latent_dim=3, hidden_dims=(4,), seed=0)
    shop = Recommender(model, clicks.items, histories=clicks)
    vectors = model.item_vectors / np.linalg.norm(model.item_vectors, axis=1)[:, None]

    def likeness(**options):
        found = shop.recommend(user_ids="all", k=6, **options)
        return np.mean(
            [
                (vectors[items] @ vectors[items].T)[
                    np.triu_indices(len(items), 1)
                ].mean()
                for items in found.items
            ]
        )

    assert likeness(rerank=Reranking(diversity=0.9)) < likeness() - 0.2


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diversity": 2}, "`diversity` must be a number in"),
        ({"diversity": 0.7, "calibration": 0.7, "by": "kind"}, "together at most 1"),
        ({"at_most": 2}, "name a feature"),
        ({"at_most": 0, "by": "kind"}, "`at_most` must be an integer"),
        ({"candidates": 0}, "`candidates` must be"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Reranking(**options)


@pytest.mark.once
def test_what_a_recommender_lacks_is_said(shop):
    bare = Recommender(
        Popularity(ITEMS).fit(shop.histories), shop.items, histories=shop.histories
    )
    with pytest.raises(ValueError, match="this recommender has none"):
        bare.recommend([0], rerank=Reranking(at_most=1, by="kind"))
    with pytest.raises(ValueError, match="has neither"):
        bare.recommend([0], rerank=Reranking(diversity=0.5))
    with pytest.raises(ValueError, match="must be labels or words"):
        shop.recommend([0], rerank=Reranking(at_most=1, by="vector"))


@pytest.mark.once
def test_the_command_reranks(shop, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shop.save("model")
    options = ["--at-most", "1", "--by", "kind", "--diversity", "0.2", "--json"]
    assert main(["recommend", "model", "--user", "5", "-k", "4", *options]) == 0
    found = json.loads(capsys.readouterr().out)["item_ids"]
    rerank = Reranking(diversity=0.2, at_most=1, by="kind")
    assert found == shop.recommend(user_ids=[5], k=4, rerank=rerank).items[0].tolist()
    options[-1:] = ["--out", "all.parquet"]
    assert main(["recommend", "model", "--all", "-k", "4", *options]) == 0
    for wrong in (["--at-most", "1"], ["--diversity", "1.5"]):
        with pytest.raises(SystemExit):
            main(["recommend", "model", "--all", *wrong])


@pytest.mark.once
def test_an_evaluation_measures_the_lists_that_were_chosen(shop):
    targets = Interactions.from_matrix(make_clicks(USERS, ITEMS, 0.2, seed=5))
    fold_in = FoldIn(shop.histories, targets)
    rerank = Reranking(diversity=0.5, candidates=30)
    found, plain = (
        evaluate_ranking(
            shop.model,
            fold_in,
            ["diversity@6", "hit_rate@6"],
            features=shop.features,
            rerank=each,
        )
        for each in (rerank, None)
    )
    lists = shop.recommend(user_ids="all", k=6, rerank=rerank).items
    vectors = np.asarray(shop.features.unit_rows()).tolist()
    rows = np.flatnonzero(np.diff(targets.matrix.indptr))
    expected = [loops.diversity(lists[row].tolist(), vectors) for row in rows]
    np.testing.assert_allclose(found.values["diversity@6"], expected, rtol=1e-5)
    hits = [
        bool(set(lists[row]) & set(targets.matrix[row].indices.tolist()))
        for row in rows
    ]
    np.testing.assert_array_equal(found.values["hit_rate@6"], hits)
    assert found.mean("diversity@6") > plain.mean("diversity@6")
