"""The model card says what is known, and what is not."""

from __future__ import annotations

import pytest
from conftest import make_clicks

from keras_multvae import ModelCard, MultVAE, Recommender, evaluate_ranking
from keras_multvae.data import Interactions, strong_generalization
from keras_multvae.serving.card import render

CLICKS = Interactions.from_matrix(make_clicks(60, 12, density=0.5))
SPLIT = strong_generalization(CLICKS, 0, 20)


@pytest.fixture(scope="module")
def recommender():
    model = MultVAE(SPLIT.train.num_items, 4, (16,), likelihood="gaussian", seed=0)
    return Recommender(model, SPLIT.train.items)


def test_everything_stated(recommender):
    report = evaluate_ranking(recommender.model, SPLIT.test, ["recall@5", "coverage@5"])
    card = ModelCard("clicks of a shop", "ours alone", SPLIT.train, report)
    text = render(card, recommender, "shop", 3, 100, "int8")
    assert text.startswith("# Model card: shop, version 3\n")
    mean, error = report.mean("recall@5"), report.stderr("recall@5")
    assert f"| recall@5 | {mean:.4f} | {error:.4f} |" in text
    assert f"| coverage@5 | {report.mean('coverage@5'):.4f} |  |" in text
    assert f"On {report.users} held-out users" in text
    assert "| likelihood | gaussian |" in text
    assert "| network | 12 - 16 - 4 - 16 - 12 |" in text
    assert f"| training entries (user, item) | {SPLIT.train.num_entries} |" in text
    assert "clicks of a shop" in text
    assert "Licence of the data: ours alone.\n" in text
    # Figures of other weights than those that are served are called so.
    assert "before the weights were quantized" in text
    # k is cut to the catalogue.
    assert "| items in an answer | 12 |" in text


def test_nothing_stated(recommender):
    text = render(ModelCard(), recommender, "shop", 1, 5, None)
    assert text.count("not stated") >= 4
    assert "Not measured" in text
    assert "$" not in text


def test_the_terms_of_movielens(recommender):
    card = ModelCard(licence="movielens")
    text = render(card, recommender, "films", 1, 5, None)
    assert "not for commercial use" in text
    assert "grouplens.org" in text
