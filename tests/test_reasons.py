"""The knob for popularity and the reasons of recommendations, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from keras_multvae import EASE, MultVAE, Popularity, Recommender
from keras_multvae.data import Interactions, UserBatches
from keras_multvae.recommender import reasons as reasons_module
from keras_multvae.recommender.reasons import LEAST_CHANGE

RNG = np.random.default_rng(0)
# Two tastes, and items that are the less popular the higher their number.
LIKED = (np.arange(90)[:, None] + np.arange(20)) % 2 == 0
LIKED &= RNG.random(LIKED.shape) < np.linspace(0.9, 0.2, 20)
CLICKS = Interactions.from_matrix(
    sparse.csr_matrix(LIKED.astype("float32")), items=[f"i{n:02}" for n in range(20)]
)
HISTORIES = [["i00", "i02", "i04", "i11"], [], ["i05"], {"i01": 3, "i03": 1}]


@pytest.fixture(scope="module")
def recommender():
    model = MultVAE(20, 4, (16,), seed=1)
    model.compile()
    model.fit(UserBatches(CLICKS, 15), epochs=15, verbose=0)
    titles = {"i00": "Alien", "i01": "Brazil"}
    return Recommender(model, CLICKS.items, histories=CLICKS, titles=titles)


def scores_of(recommender, history):
    """All scores of one history, by the model itself."""
    row = np.zeros((1, 20), "float32")
    counts = history if isinstance(history, dict) else dict.fromkeys(history, 1)
    for item, count in counts.items():
        row[0, recommender.items.index([item])] = count
    return recommender.model.score(row)[0].astype("float64")


@pytest.mark.parametrize("niche", [0.25, 1])
def test_niche_takes_off_what_is_known_of_nobody(recommender, niche):
    found = recommender.recommend(HISTORIES, k=20, niche=niche)
    nothing = scores_of(recommender, [])
    for history, (items, scores) in zip(HISTORIES, found, strict=True):
        expected = scores_of(recommender, history) - niche * nothing
        place = recommender.items.index(items)
        np.testing.assert_allclose(scores, expected[place], atol=1e-5)
        assert (np.diff(scores) <= 0).all()
        assert set(items) == set(recommender.items.ids) - set(history)
    if niche == 1:
        # Of a user of whom nothing is known nothing is left.
        np.testing.assert_allclose(found.scores[1], 0, atol=1e-5)


def test_niche_prefers_what_is_less_popular(recommender):
    counts = np.asarray(CLICKS.matrix.sum(axis=0)).ravel()
    means = [
        np.mean(
            [
                counts[recommender.items.index(items)].mean()
                for items in recommender.recommend(
                    user_ids="all", k=3, niche=niche
                ).items
            ]
        )
        for niche in (0, 0.5, 1)
    ]
    assert means[0] > means[1] > means[2]


def test_niche_goes_with_all_the_rest(recommender, tmp_path):
    options = {"k": 4, "niche": 0.7, "allow": [f"i{n:02}" for n in range(9)]}
    found = recommender.recommend(user_ids="all", batch_size=17, **options)
    one_by_one = [
        recommender.recommend(user_ids=[user], **options) for user in found.users
    ]
    for (items, scores), one in zip(found, one_by_one, strict=True):
        np.testing.assert_allclose(scores, one.scores[0], atol=1e-5)
        assert set(items) <= set(options["allow"])
    polars = pytest.importorskip("polars")
    recommender.recommend_to_parquet(tmp_path / "r.parquet", batch_size=17, **options)
    table = polars.read_parquet(tmp_path / "r.parquet")
    assert table["item_id"].to_list() == [i for row in found.items for i in row]


@pytest.mark.parametrize("niche", [-0.1, 1.1, float("nan"), True, "much"])
def test_what_is_no_niche(recommender, niche):
    with pytest.raises(ValueError, match=r"`niche` must be a number in \[0, 1\]"):
        recommender.recommend(["i00"], niche=niche)


def test_niche_needs_a_model_that_knows_what_is_popular():
    ease = Recommender(EASE(20).fit(CLICKS), CLICKS.items)
    assert ease.recommend(["i00"], niche=0)
    with pytest.raises(ValueError, match=r"`niche` compares.*EASE has the same"):
        ease.recommend(["i00"], niche=0.5)


@pytest.mark.parametrize("rows", [1, 2, 500])
def test_reasons_are_what_scores_lose_without_an_item(recommender, monkeypatch, rows):
    monkeypatch.setattr(reasons_module, "default_batch_size", lambda num_items: rows)
    found = recommender.recommend(HISTORIES, k=5, niche=0.5, reasons=2)
    told = 0
    for history, items, reasons in zip(
        HISTORIES, found.items, found.reasons, strict=True
    ):
        assert len(reasons) == len(items) == 5
        whole = scores_of(recommender, history)
        for item, given in zip(items, reasons, strict=True):
            place = recommender.items.index([item])[0]
            changes = {}
            for left_out in history:
                rest = {i: history[i] for i in history if i != left_out} if isinstance(
                    history, dict
                ) else [i for i in history if i != left_out]  # fmt: skip
                changes[left_out] = (whole - scores_of(recommender, rest))[place]
            best = sorted(changes, key=lambda i: -changes[i])[:2]
            best = [i for i in best if changes[i] >= LEAST_CHANGE]
            assert [reason.item for reason in given] == best
            for reason in given:
                assert reason.change == pytest.approx(changes[reason.item], abs=1e-4)
            told += len(given)
    assert told > 10
    assert found.reasons[1] == [[]] * 5
    assert found.reasons[:2] == [found.reasons[0], found.reasons[1]]


def test_reasons_in_text_and_json(recommender):
    found = recommender.recommend([["i00", "i02"]], k=3, reasons=1)
    item = found.items[0][0]
    (reason,) = found.reasons[0][0]
    lines = found.describe(0).splitlines()
    assert lines[0] == f"  1. {found.name(item)}  ({found.scores[0][0]:.2f})"
    words = f"{found.name(reason.item)} ({reason.change:+.2f})"
    assert lines[1] == f"     because of {words}"
    told = found.to_dict(0)
    assert told["item_ids"] == found.items[0].tolist()
    assert told["titles"] == [recommender.titles.get(i) for i in found.items[0]]
    title = recommender.titles.get(reason.item)
    assert told["reasons"][0] == [
        {"item_id": reason.item, "title": title, "change": reason.change}
    ]
    plain = recommender.recommend([["i00", "i02"]], k=3)
    assert plain.reasons is None and "reasons" not in plain.to_dict(0)
    assert found.to_arrays()[1].tolist() == plain.to_arrays()[1].tolist()


def test_reasons_of_models_that_are_no_networks():
    ease = Recommender(EASE(20, 5.0).fit(CLICKS), CLICKS.items)
    found = ease.recommend(["i00", "i02"], k=2, reasons=2)
    weights = ease.model.weights
    for item, reasons in zip(found.items[0], found.reasons[0], strict=True):
        place = ease.items.index([item])[0]
        for reason in reasons:
            row = ease.items.index([reason.item])[0]
            assert reason.change == pytest.approx(weights[row, place], abs=1e-5)
    popular = Recommender(Popularity(20).fit(CLICKS), CLICKS.items)
    assert popular.recommend(["i00"], k=2, reasons=1).reasons[0] == [[], []]
    with pytest.raises(ValueError, match="`reasons` must be an integer >= 0"):
        popular.recommend(["i00"], reasons=-1)
