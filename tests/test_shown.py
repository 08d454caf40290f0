"""Objects show themselves: their repr, the HTML of notebooks, data frames."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from html.parser import HTMLParser

import keras
import numpy as np
import pandas as pd
import polars as pl
import pytest

import keras_multvae as km
from keras_multvae.data import (
    Interactions,
    UserBatches,
    Vocabulary,
    load_prepared,
    save_prepared,
    strong_generalization,
)
from keras_multvae.schedules import Alternation
from keras_multvae.selection import BetaSearch
from keras_multvae.settings import Kind
from keras_multvae.tables import MAX_CHARACTERS, MAX_ROWS, Table
from keras_multvae.training import TrainingRecord

RNG = np.random.default_rng(0)
CLICKS = Interactions.from_events(
    np.repeat(np.arange(40), 5), [f"i{n:02}" for n in RNG.integers(12, size=200)]
)
SPLIT = strong_generalization(CLICKS, 5, 10)
ITEMS = SPLIT.train.items
HOSTILE = "<script>alert(1)</script> & \"co\"\n'x'"
METRICS = ["recall@5", "ndcg@10"]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def summary_of(model):
    lines = []
    model.summary(print_fn=lines.append)
    return lines[0]


def parameters(model):
    return sum(int(np.prod(each.shape)) for each in model.variables)


MODELS = {
    "MultVAE": lambda: km.MultVAE(50, 4, (8,), seed=0),
    "tied": lambda: km.MultVAE(50, 4, (8,), tied=True, seed=0),
    "sampled": lambda: km.MultVAE(50, 4, (8,), head=km.SampledSoftmax(10), seed=0),
    "MultDAE": lambda: km.MultDAE(50, 4, seed=0),
    "RecVAE": lambda: km.RecVAE(50, 4, width=8, seed=0),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_summary_has_shapes_and_counts_right_after_construction(make):
    model = make()
    weights = [keras.ops.convert_to_numpy(each) for each in model.weights]
    text = summary_of(model)
    assert "?" not in text and "unbuilt" not in text
    rows = {
        name: (shape, int(count.replace(",", "")))
        for name, shape, count in re.findall(
            r"│ (\w+) \(\w+\) +│ (\(.*?\)) +│ +([\d,]+) │", text
        )
    }
    assert set(rows) == {layer.name for layer in model.layers}, text
    for layer in model.layers:
        assert rows[layer.name][1] == layer.count_params()
    code = "(None, 4)"
    pair = model.encoder.outputs == 2
    assert rows["encoder"][0] == (f"({code}, {code})" if pair else code)
    assert rows["decoder"][0] == "(None, 50)"
    states = [each for each in model.variables if "seed" in each.path]
    total = re.search(r"Total params: ([\d,]+)", text)[1].replace(",", "")
    assert int(total) == parameters(model) - sum(len(each.shape) * 2 for each in states)
    # It has changed nothing, and can be asked again.
    for before, after in zip(weights, model.weights, strict=True):
        np.testing.assert_array_equal(before, keras.ops.convert_to_numpy(after))
    assert summary_of(model) == text
    assert repr(model).startswith(f"{type(model).__name__}(num_items=50, latent_dim=4")
    model.compile()
    model.fit(UserBatches(np.eye(4, 50)), verbose=0)
    assert "Optimizer params" in summary_of(model)


def test_a_summary_of_a_model_with_a_linear_path():
    model = km.MultVAE(12, 2, (4,), seed=0)
    path = km.EASE(12, 10.0).fit(CLICKS.matrix[:, :12]).cut(0.5)
    text = summary_of(model.with_linear_path(path))
    assert re.search(r"linear_path \(ItemWeights\) +│ \(None, 12\)", text)


def test_a_summary_takes_the_arguments_of_keras():
    lines = []
    km.MultDAE(50, 4, seed=0).summary(
        print_fn=lines.append, show_trainable=True, layer_range=["decoder", "decoder"]
    )
    assert "Trainable" in lines[0] and "encoder" not in lines[0]


def test_a_summary_of_a_foreign_model_builds_its_layers():
    class Words(km.Settings):
        pass

    class OneLayer(km.RankingModel):
        Config = Words

        def __init__(self):
            super().__init__(6, Words(), None)
            self.first = keras.layers.Dense(6)

        def network(self, inputs, training=None):
            from keras_multvae import ragged

            dense = ragged.to_dense(inputs, 6) if ragged.is_ragged(inputs) else inputs
            return self.first(dense)

    text = summary_of(OneLayer())
    assert "(None, 6)" in text and "Total params: 42" in text
    assert repr(OneLayer()).endswith("OneLayer(num_items=6)")


class Tags(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], set(), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def check_html(shown):
    found = Tags(shown._repr_html_())
    assert set(found.tags) <= {"div", "b", "table", "tr", "th", "td"}
    # No colours of its own, and nothing from outside.
    assert found.attributes <= {"style"}
    assert "color" not in shown._repr_html_()
    assert len(shown._repr_html_()) < 30_000
    return found.text


def report():
    model = km.Popularity(ITEMS.ids.size).fit(SPLIT.train)
    return km.evaluate_ranking(model, SPLIT.test, [*METRICS, "coverage@5"])


def recommender(titles=None):
    model = km.EASE(len(ITEMS), 10.0).fit(SPLIT.train)
    features = km.ItemFeatures.from_columns({"colour": ["red"] * len(ITEMS)})
    return km.Recommender(
        model, ITEMS, histories=SPLIT.histories(), titles=titles, features=features
    )


def keras_model():
    model = km.MultVAE(len(ITEMS), 2, (4,), seed=0)
    return km.Recommender(model, ITEMS, titles={"i03": "x"})


def comparison():
    models = {HOSTILE: km.Popularity(len(ITEMS)), "EASE": km.EASE(len(ITEMS), 10.0)}
    return km.compare(SPLIT, models, metrics=METRICS)


def beta_search():
    rows = [
        {"beta": n / 99, "val_ndcg_at_100": 0.5 - abs(n - 30) / 999} for n in range(100)
    ]
    return BetaSearch(30 / 99, 0.5, rows)


def tuning():
    trial = {"state": "complete", "value": 0.4, "without_path": 0.3, "model": HOSTILE}
    trials = [{"trial": n, **trial} for n in range(15)] + [
        {"trial": 15, "state": "pruned"}
    ]
    return km.Tuning(km.Popularity(3), km.Recipe("MultDAE"), 0.4, trials, {})


def prepared(folder):
    titles = {ITEMS.ids[0]: HOSTILE}
    features = km.ItemFeatures.from_columns({"colour": ["red"] * len(ITEMS)})
    save_prepared(SPLIT, folder, titles, features=features)
    return load_prepared(folder)


@pytest.mark.once
def test_what_the_reprs_say(tmp_path):
    assert repr(recommender(dict.fromkeys(ITEMS.ids.tolist(), "x"))) == (
        "Recommender(model: EASE(num_items=12, l2=10.0, dropout=0.0, user_weight=0.0), "
        f"items: {ITEMS}, titles: 12, histories: {SPLIT.histories()}, "
        "features: ItemFeatures(12 items: colour (1 labels)))"
    )
    assert repr(km.EASE(3)) == (
        "EASE(num_items=3, l2=500.0, dropout=0.0, user_weight=0.0, not fitted)"
    )
    assert repr(km.IALS(3)).endswith("seed=0, not fitted)")
    found = report()
    assert repr(found) == (
        f"RankingReport({found.users} users: recall@5 {found.mean('recall@5'):.4f}, "
        f"ndcg@10 {found.mean('ndcg@10'):.4f}, "
        f"coverage@5 {found.mean('coverage@5'):.4f})"
    )
    assert repr(SPLIT) == (
        f"Split(train={SPLIT.train}, validation={SPLIT.validation}, test={SPLIT.test})"
    )
    assert repr(prepared(tmp_path / "p")) == (
        f"Prepared({SPLIT}, titles of 1 items, features=ItemFeatures(12 items: colour "
        "(1 labels)))"
    )
    assert repr(beta_search()) == (
        "BetaSearch(cap=0.303, val_ndcg_at_100=0.5000, 100 epochs)"
    )
    assert repr(tuning()) == (
        "Tuning(Popularity, ndcg@100=0.4000, trials: 15 complete, 1 pruned)"
    )
    assert re.fullmatch(
        r"Comparison\(ndcg@10 of .* 0\.\d{4}, EASE 0\.\d{4}\)",
        repr(comparison()),
        re.DOTALL,
    )
    with_targets = UserBatches(SPLIT.test, 4)
    assert repr(with_targets) == (
        f"UserBatches(10 users, 12 items, {SPLIT.test.input.num_entries} entries, "
        f"{SPLIT.test.targets.num_entries} targets; 3 batches of 4)"
    )


@pytest.mark.once
def test_recommendations_show_the_first_few():
    found = recommender().recommend(user_ids="all", k=12, exclude_seen=False)
    assert repr(found).splitlines()[0] == (
        "Recommendations for 40 users (the first 3 shown)"
    )
    assert repr(found).count("user ") == 3 and " 10. " in repr(found)
    assert " 11. " not in repr(found) and " 12. " in str(found)
    assert repr(found.items).endswith("and 37 more") and len(repr(found.items)) < 900
    one = recommender().recommend(["i00"], k=2, reasons=1)
    assert repr(one.reasons).startswith("[[[Reason(item='i00'")
    text = check_html(one)
    assert "because" not in text and "user_id" not in text and "reasons" in text
    assert "user_id" in check_html(found) and "reasons" not in check_html(found)
    similar = keras_model().similar_items(["i03", "i01"], k=2)
    assert repr(similar).splitlines()[:2] == [
        "Recommendations for 2 items",
        "similar to x [i03]:",
    ]
    assert similar.to_pandas()["similar_to"].tolist() == ["i03"] * 2 + ["i01"] * 2
    assert "similar_to" in check_html(similar)
    empty = recommender().recommend([], k=2, exclude_seen=True, allow=["i00"])
    assert repr(empty) and check_html(empty)


@pytest.mark.once
def test_html_is_small_and_escaped(tmp_path):
    titles = dict.fromkeys(ITEMS.ids.tolist(), HOSTILE)
    found = recommender(titles).recommend(["i00"], k=3, reasons=2)
    assert "<script>alert(1)</script> & \"co\" 'x'" in check_html(found)
    assert "alert(1)" in check_html(comparison())
    assert "alert(1)" in check_html(tuning())
    assert f"{report().users} users" in check_html(report())
    assert "entries to predict" in check_html(SPLIT)
    assert "Titles of 1 items" in check_html(prepared(tmp_path / "p"))
    assert "colour" in check_html(recommender(titles))
    assert "0.303" in check_html(beta_search())
    # Without held-out users, a single epoch, no finished trial.
    assert check_html(km.data.Split(CLICKS))
    assert check_html(BetaSearch(0.0, 0.1, [{"beta": 0.0, "val_ndcg_at_100": 0.1}]))
    assert check_html(km.Tuning(None, None, 0.1, [{"trial": 0, "state": "failed"}], {}))


@pytest.mark.once
def test_a_table_is_cut_and_aligned():
    rows = [["a" * 500, "1.5 ± 0.2"]] * 100
    html = Table(["text", "number"], rows, "Numbers", "a note").html()
    assert f"{'a' * (MAX_CHARACTERS - 1)}…" in html and "a" * MAX_CHARACTERS not in html
    assert html.count("<tr>") == 1 + MAX_ROWS and "70 more rows" in html
    assert (
        'text-align:right;white-space:nowrap">1.5 ± 0.2<' in html and "a note" in html
    )
    assert Table(["a"], [], "none").html().count("<tr>") == 1
    assert (
        Table(["a", "b"], [[1, "x"]]).markdown()
        == "| a | b |\n| --- | --- |\n| 1 | x |"
    )


PACKAGES = [
    "",
    ".data",
    ".evaluation",
    ".selection",
    ".training",
    ".tuning",
    ".features",
    ".reranking",
    ".recommender",
    ".serving",
    ".serving.client",
    ".layers",
    ".schedules",
    ".losses",
    ".metrics",
    ".optimizers",
    ".callbacks",
]


def public_classes():
    """The public classes of the package that are no errors, by name."""
    for package in PACKAGES:
        module = importlib.import_module(f"keras_multvae{package}")
        own = [name for name, each in vars(module).items() if is_own(each, module)]
        for name in getattr(module, "__all__", own):
            each = getattr(module, name)
            if inspect.isclass(each) and not issubclass(each, Exception):
                yield name, each


def is_own(each, module):
    return inspect.isclass(each) and each.__module__ == module.__name__


# Bases that nobody makes.
ABSTRACT = {Kind}


@pytest.mark.once
@pytest.mark.parametrize(("name", "each"), sorted(set(public_classes()), key=str))
def test_no_public_class_has_the_repr_of_object(name, each):
    assert each.__repr__ is not object.__repr__ or each in ABSTRACT, name


@pytest.mark.once
def test_no_object_shows_its_address(tmp_path):
    recipe = km.Recipe(km.MultVAE.Config(latent_dim=4), linear_path=km.LinearPath())
    found = recommender().recommend(["i00"], reasons=1)
    shown = [
        km.BetaAnneal(),
        km.FreezeBeta(),
        km.ImplicitSLIM(CLICKS, min_clicks=1),
        km.LinearBeta(),
        Alternation(3, 1),
        km.FusedAdam(),
        km.AlternatingAdam(),
        km.MultinomialNLL(),
        km.RecallAtK(20),
        km.Sampling(),
        km.SampledSoftmax(),
        km.Reranking(diversity=0.2),
        recipe,
        TrainingRecord(recipe, "0" * 64, {"python": "3"}),
        km.ModelCard("clicks", train=CLICKS, report=report()),
        *(model(3) for model in (km.EASE, km.SparseEASE, km.IALS, km.Popularity)),
        CLICKS,
        SPLIT,
        SPLIT.test,
        UserBatches(CLICKS),
        Vocabulary(["a"]),
        prepared(tmp_path / "p"),
        prepared(tmp_path / "p").features["colour"],
        report(),
        comparison(),
        beta_search(),
        tuning(),
        recommender(),
        found,
        found.items,
        found.scores,
        found.reasons,
        comparison().difference("EASE", "ndcg@10"),
        km.MultVAE(12, 2, (4,), likelihood=km.GaussianNLL()),
    ]
    for each in shown:
        assert " at 0x" not in repr(each), type(each)
        assert len(repr(each)) < 2000, type(each)


@pytest.mark.once
def test_a_client_shows_where_it_asks_and_no_secret():
    pytest.importorskip("urllib3")
    client = km.ServingClient("http://ann:secret@localhost:1", "shop", version=3)
    assert repr(client) == "ServingClient('http://localhost:1', 'shop', version=3)"


def same(a, b):
    np.testing.assert_array_equal(a.matrix.toarray(), b.matrix.toarray())
    assert a.users == b.users and a.items == b.items


@pytest.mark.once
@pytest.mark.parametrize("fractions", [False, True])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_interactions_there_and_back(library, fractions):
    times = np.arange(4) * 10 + np.datetime64("2024-05-01T10:00:00", "s")
    if fractions:
        times = times.astype("datetime64[ns]") + np.timedelta64(250, "ms")
    clicks = Interactions.from_events(
        [7, 7, 3, 3], ["x", "y", "x", "z"], values=[1, 2, 0.5, 1], timestamps=times
    )
    frame = getattr(clicks, f"to_{library}")()
    assert list(frame.columns) == ["user_id", "item_id", "value", "timestamp"]
    again = Interactions.from_dataframe(
        frame, value_column="value", timestamp_column="timestamp"
    )
    same(again.with_items(clicks.items), clicks)
    np.testing.assert_array_equal(again.timestamps, clicks.timestamps)
    assert (again.fractions is not None) == fractions
    without = Interactions.from_events([1], ["a"])
    assert list(getattr(without, f"to_{library}")().columns)[2:] == ["value"]


@pytest.mark.once
def test_results_as_frames():
    found = report()
    frame = found.to_pandas().set_index("metric")
    assert frame.loc["ndcg@10", "mean"] == found.mean("ndcg@10")
    assert frame.loc["ndcg@10", "stderr"] == found.stderr("ndcg@10")
    assert np.isnan(frame.loc["coverage@5", "stderr"])
    assert found.to_polars().columns == ["metric", "mean", "stderr"]
    table = comparison()
    assert table.to_polars()["model"].to_list() == list(table.reports)
    assert (
        table.to_polars()["ndcg@10"].to_list() == table.to_pandas()["ndcg@10"].tolist()
    )
    assert tuning().to_polars()["trial"].to_list() == list(range(16))
    assert tuning().to_pandas()["value"].isna().sum() == 1


@pytest.mark.once
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_titles_and_features_from_frames(make):
    items = make(
        {
            "item_id": ["i03", "i01", "elsewhere"],
            "title": ["Three", None, "Nothing"],
            "colour": ["red|blue", "green", "red"],
            "price": [3.0, 1.0, 2.0],
        }
    )
    found = km.Recommender(km.Popularity(len(ITEMS)), ITEMS, titles=items)
    assert found.titles == {"i03": "Three", "elsewhere": "Nothing"}
    features = km.ItemFeatures.from_dataframe(
        items, ITEMS.ids, columns=["colour", "price"]
    )
    assert features.num_items == len(ITEMS)
    place = int(ITEMS.index(["i03"])[0])
    assert features["colour"].column()[place] == ["blue", "red"]
    assert features["price"].matrix[place] == 3
    assert features["price"].matrix[ITEMS.index(["i00"])[0]] == 2  # the mean
    more = features.like(items)
    assert more.num_items == 3 and more.names == ["colour", "price"]
    with pytest.raises(ValueError, match="no column 'title'"):
        km.Recommender(found.model, ITEMS, titles=make({"item_id": ["i03"]}))
    with pytest.raises(ValueError, match="No row is of one of the items"):
        km.ItemFeatures.from_dataframe(make({"item_id": [1], "x": [2]}), ITEMS.ids)


@pytest.mark.once
def test_without_frames_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"keras_multvae\[data\]"):
        report().to_pandas()
