"""New items in models of each kind, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from keras_multvae import (
    EASE,
    MultDAE,
    MultVAE,
    Popularity,
    Recommender,
    RecVAE,
    SampledSoftmax,
    backend,
)
from keras_multvae.cold_start import added
from keras_multvae.cold_start.tables import item_embeddings
from keras_multvae.data import FoldIn, Interactions, Vocabulary
from keras_multvae.features import ItemFeatures

ITEMS, USERS = 24, 60
MODELS = {
    "MultVAE": lambda: MultVAE(ITEMS, latent_dim=3, hidden_dims=(5,), seed=0),
    "linear": lambda: MultVAE(ITEMS, latent_dim=3, hidden_dims=(), seed=0),
    "tied": lambda: MultVAE(ITEMS, 3, (5,), tied=True, seed=0),
    "sampled": lambda: MultVAE(ITEMS, 3, (5,), head=SampledSoftmax(4), seed=0),
    "MultDAE": lambda: MultDAE(ITEMS, latent_dim=3, seed=0),
    "RecVAE": lambda: RecVAE(ITEMS, latent_dim=3, width=4, seed=0),
}
VECTORS = np.random.default_rng(1).normal(size=(ITEMS + 2, 2)).astype("float32")
NEW = ["new1", "new2"]


def clicks_of(seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(rng.random((USERS, ITEMS)) < 0.35)
    matrix = sparse.csr_matrix(
        (np.ones(len(rows), "float32"), (rows, columns)), shape=(USERS, ITEMS)
    )
    return Interactions.from_matrix(matrix, items=[f"i{n}" for n in range(ITEMS)])


def shop_of(model, clicks=None):
    clicks = clicks_of() if clicks is None else clicks
    features = ItemFeatures.from_columns({"vector": VECTORS[:ITEMS]})
    return Recommender(model, clicks.items, histories=clicks, features=features)


def linear_tables(model):
    """Makes every table a linear function of the features, so that it is known."""
    rng = np.random.default_rng(2)
    maps = {}
    for table in item_embeddings(model):
        width = table.rows().shape[1]
        made = rng.normal(0, 0.3, (2, width)), rng.normal(size=width)
        # RecVAE has two encoders, which are to be alike here.
        maps.setdefault(table.kind, made)
        slope, constant = maps[table.kind]
        table.assign_last((VECTORS[:ITEMS] @ slope + constant).astype("float32"))
    return maps


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_those_that_features_tell(name):
    model = MODELS[name]()
    maps = linear_tables(model)
    grown = shop_of(model).add_items(NEW, {"vector": VECTORS[ITEMS:]})
    scale, shift, *_ = grown.calibration
    before = {table.kind: table.rows() for table in item_embeddings(model)}
    tables = item_embeddings(grown.model)
    for table, own in zip(tables, item_embeddings(model), strict=True):
        np.testing.assert_array_equal(table.rows()[:ITEMS], own.rows())
    kinds = {"vectors", "biases"} if name == "tied" else {"inputs", "vectors", "biases"}
    assert set(before) == kinds
    known = clicks_of().matrix.getnnz(axis=0)
    for table in tables:
        rows = table.rows()
        slope, constant = maps[table.kind]
        expected = VECTORS[ITEMS:] @ slope + constant
        if table.kind == "vectors":
            # Weights differ little, so the mean is within a bound and not exact.
            mean = (known / known.sum()) @ before["vectors"]
            expected = mean + scale * (expected - mean)
        if table.kind == "biases":
            expected += shift
            # Bounded, so that the item is on some lists and not on all.
            assert (rows[ITEMS:] <= expected + 0.05).all()
        else:
            np.testing.assert_allclose(rows[ITEMS:], expected, atol=0.1)


@pytest.mark.parametrize("name", MODELS)
def test_a_new_item_is_recommended_found_and_kept(name, tmp_path):
    shop = shop_of(MODELS[name]())
    history = {"i0": 1, "i5": 1}
    before = shop.model.score(sparse.csr_matrix(shop.histories.matrix[:5]))
    grown = shop.add_items(NEW, {"vector": VECTORS[ITEMS:]}, titles={"new1": "One"})
    assert (len(grown.items), grown.features.num_items) == (ITEMS + 2, ITEMS + 2)
    after = grown.model.score(grown.histories.matrix[:5])
    assert np.isfinite(after).all()
    # The others are ranked as they were: their scores differ by one number a user.
    change = after[:, :ITEMS] - before
    np.testing.assert_allclose(change, change[:, :1].repeat(ITEMS, 1), atol=1e-4)
    assert set(grown.recommend(history, allow=NEW).items[0]) == set(NEW)
    assert "new1" not in grown.similar_items(["new1"], k=5).items[0]
    assert grown.recommend([*history, "new2"], k=3).items[0].size == 3
    grown.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    np.testing.assert_array_equal(
        loaded.recommend(history, k=26).items[0],
        grown.recommend(history, k=26).items[0],
    )
    assert loaded.titles == {"new1": "One"}
    assert loaded.features.num_items == ITEMS + 2


def test_a_linear_path_grows_along():
    clicks = clicks_of()
    path = EASE(ITEMS, l2=5.0).fit(clicks).cut(0.5)
    model = MODELS["MultVAE"]().with_linear_path(path, 4.0)
    grown = shop_of(model, clicks).add_items(NEW, {"vector": VECTORS[ITEMS:]})
    matrix = grown.model.linear_path.matrix()
    assert (matrix[:ITEMS, :ITEMS] != path).nnz == 0
    assert matrix[:ITEMS, ITEMS:].nnz and matrix[ITEMS:, :ITEMS].nnz
    assert float(grown.model.linear_path.weight.numpy()) == 4
    seen = grown.histories.matrix[:4]
    network = grown.model.without_linear_path()
    # log pi is the logit less a constant of the user.
    change = (
        grown.model.score(seen) - network.score(seen) - 4 * (seen @ matrix).toarray()
    )
    np.testing.assert_allclose(change, change[:, :1].repeat(ITEMS + 2, 1), atol=1e-3)


def test_clicks_count_beside_features(monkeypatch):
    monkeypatch.setattr(added, "HALVES", (10.0,))
    clicks = clicks_of()
    shop = shop_of(MODELS["MultVAE"](), clicks)
    columns = {"vector": VECTORS[[ITEMS, ITEMS]]}
    items = Vocabulary([*clicks.items.ids, *NEW])
    wide = clicks.with_items(items)
    mass = shop.model.query_vectors(clicks.matrix)[:, 0]
    fans = np.argsort(-mass)[:20]
    extra = sparse.csr_matrix(
        (np.ones(20), (fans, np.full(20, ITEMS))), shape=wide.matrix.shape
    )
    histories = Interactions.from_matrix(
        sparse.csr_matrix(wide.matrix + extra), users=clicks.users.ids, items=items.ids
    )
    grown = shop.add_items(NEW, columns, histories=histories)
    tables = {
        table.kind: table.rows()[ITEMS:] for table in item_embeddings(grown.model)
    }
    # Of two items with the same features, only the clicks of one tell them apart.
    assert np.abs(tables["vectors"][0] - tables["vectors"][1]).max() > 1e-6
    alone = shop.add_items(NEW, columns)
    same = {table.kind: table.rows()[ITEMS:] for table in item_embeddings(alone.model)}
    np.testing.assert_allclose(same["vectors"][0], same["vectors"][1], atol=1e-6)
    np.testing.assert_allclose(tables["inputs"][1], same["inputs"][1], atol=1e-5)
    assert grown.histories.matrix[:, ITEMS].nnz == 20
    # They count as much as they help to find known items, which is the most at first.
    gains = {}
    for halves in ((np.inf,), (10.0,), (np.inf, 10.0)):
        monkeypatch.setattr(added, "HALVES", halves)
        found = shop.add_items(NEW, columns, histories=histories)
        gains[halves] = found.calibration.gain
    assert gains[np.inf, 10.0] == max(gains.values())


def test_known_items_are_passed_over():
    shop = shop_of(MODELS["MultVAE"]())
    vectors = {"vector": np.concatenate([VECTORS[:1] + 1, VECTORS[ITEMS : ITEMS + 1]])}
    grown = shop.add_items(["i0", "new1"], vectors)
    assert len(grown.items) == ITEMS + 1
    np.testing.assert_array_equal(grown.features["vector"].matrix[0], VECTORS[0])
    again = grown.add_items(["i0", "new1"], vectors)
    assert again.model is grown.model
    # An item that nobody has clicked teaches nothing, and is no obstacle.
    third = grown.add_items(["new2"], {"vector": VECTORS[-1:]})
    assert len(third.items) == ITEMS + 2


def test_the_same_seed_gives_the_same_items():
    shop = shop_of(MODELS["MultVAE"]())
    one, other = (shop.add_items(NEW, {"vector": VECTORS[ITEMS:]}) for _ in range(2))
    assert one.calibration == other.calibration
    for a, b in zip(one.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(backend.to_host(a), backend.to_host(b))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": None}, ValueError, "this recommender has none"),
        ({"histories": None}, ValueError, "keeps no histories"),
        ({"model": Popularity(ITEMS)}, TypeError, "needs a"),
    ],
)
def test_what_a_recommender_lacks_is_said(change, error, message):
    shop = shop_of(MODELS["MultVAE"]())
    parts = {
        "model": shop.model, "histories": shop.histories, "features": shop.features
    }  # fmt: skip
    parts.update(change)
    shop = Recommender(parts.pop("model"), shop.items, **parts)
    with pytest.raises(error, match=message):
        shop.add_items(NEW, {"vector": VECTORS[ITEMS:]})


@pytest.mark.parametrize("other", ["items", "targets"])
def test_judges_must_be_able_to_judge(other):
    shop = shop_of(MODELS["MultVAE"]())
    clicks = shop.histories
    nothing = Interactions.from_matrix(
        sparse.csr_matrix(clicks.matrix.shape, dtype="float32"), items=clicks.items.ids
    )
    judges, message = FoldIn(clicks, nothing), "something to find"
    if other == "items":
        items = clicks.items.take(np.arange(ITEMS)[::-1])
        message = "must have the items of the recommender"
        judges = FoldIn(clicks.with_items(items), nothing.with_items(items))
    with pytest.raises(ValueError, match=message):
        shop.add_items(NEW, {"vector": VECTORS[ITEMS:]}, judges=judges)


@pytest.mark.parametrize(
    ("ids", "columns", "options", "message"),
    [
        (NEW, {"colour": ["red", "blue"]}, {}, "Missing: vector"),
        (NEW, {"vector": VECTORS[:1]}, {}, "must be of the 2 items"),
        (["a", "a"], {"vector": VECTORS[:2]}, {}, "unique"),
        (NEW, {"vector": VECTORS[:2]}, {"warm_loss": 2}, "`warm_loss` must be"),
    ],
)
def test_bad_arguments_are_one_line(ids, columns, options, message):
    with pytest.raises(ValueError, match=message):
        shop_of(MODELS["MultVAE"]()).add_items(ids, columns, **options)
