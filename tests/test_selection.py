"""Comparing models and choosing the cap of beta."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from keras_multvae import (
    EASE,
    LinearPath,
    MultDAE,
    MultVAE,
    Popularity,
    compare,
    evaluate_ranking,
    find_beta_cap,
)
from keras_multvae.data import Interactions, strong_generalization
from keras_multvae.evaluation import paired_difference
from keras_multvae.plots import plot_annealing
from keras_multvae.selection import comparing, default_models
from keras_multvae.training import Recipe, train

RNG = np.random.default_rng(0)
# Two tastes, so that popularity is not all there is to learn.
LIKED = (np.arange(150)[:, None] + np.arange(24)) % 2 == 0
LIKED &= RNG.random(LIKED.shape) < 0.7
USERS, ITEMS = (axis.tolist() for axis in LIKED.nonzero())
CLICKS = Interactions.from_events(USERS, ITEMS)
SPLIT = strong_generalization(CLICKS, 30, 30)
RECIPE = Recipe(
    MultVAE.Config(latent_dim=4, hidden_dims=(16,)), epochs=6, batch_size=20
)
METRICS = ["recall@5", "ndcg@10"]


@pytest.fixture(scope="module")
def found():
    models = {
        "popularity": Popularity(24),
        "EASE": [Popularity(24), EASE(24, 10.0)],
        "Mult-VAE": RECIPE,
        "Mult-DAE": replace(RECIPE, model=MultDAE.Config(latent_dim=4)),
    }
    return compare(SPLIT, models, reference="popularity", metrics=METRICS)


def test_figures_are_those_of_each_model_alone(found, tmp_path):
    ease = evaluate_ranking(EASE(24, 10.0).fit(SPLIT.train), SPLIT.test, METRICS)
    vae = evaluate_ranking(train(SPLIT, RECIPE, tmp_path / "s")[0], SPLIT.test, METRICS)
    for name, report in (("EASE", ease), ("Mult-VAE", vae)):
        for metric in METRICS:
            np.testing.assert_allclose(
                found.reports[name].values[metric], report.values[metric], atol=1e-6
            )
    popularity = found.reports["popularity"]
    expected = paired_difference(ease, popularity, "ndcg@10")
    assert found.difference("EASE", "ndcg@10") == expected
    assert expected.mean > 0
    assert expected.p < 0.01


def test_candidates_are_chosen_on_validation(found):
    assert found.chosen["EASE"].l2 == 10.0
    # The user's own objects are left as they were.
    assert found.chosen["EASE"].weights is None
    assert found.chosen["Mult-VAE"] == RECIPE
    assert all(seconds > 0 for seconds in found.seconds.values())


def test_the_table_says_it_all(found):
    heading, _, *rows = str(found).splitlines()
    assert heading == (
        "| model | recall@5 | ndcg@10 | ndcg@10 - popularity | p | training |"
    )
    assert [row.split(" | ")[0].strip("| ") for row in rows] == list(found.reports)
    ease = found.reports["EASE"]
    cell = f"{ease.mean('ndcg@10'):.4f} ± {ease.stderr('ndcg@10'):.4f}"
    assert cell in rows[1]
    assert " |  |  | " in rows[0]
    assert rows[1].count("< 0.001") == 1


def test_the_trained_models_stay(found):
    assert list(found.models) == list(found.reports)
    for name, model in found.models.items():
        report = evaluate_ranking(model, SPLIT.test, METRICS)
        for metric in METRICS:
            np.testing.assert_allclose(
                found.reports[name].values[metric], report.values[metric], atol=1e-6
            )


def test_as_a_frame_and_as_json(found):
    frame, plain = found.to_pandas(), found.to_dict()
    assert list(frame.index) == list(plain["models"]) == list(found.reports)
    assert plain["reference"] == "popularity"
    for metric in METRICS:
        cell = frame.loc["EASE", metric]
        assert cell == found.reports["EASE"].mean(metric)
        assert plain["models"]["EASE"][metric]["mean"] == cell
        error = found.reports["EASE"].stderr(metric)
        assert frame.loc["EASE", f"{metric} stderr"] == error
        difference = found.difference("EASE", metric)
        assert frame.loc["EASE", f"{metric} difference"] == difference.mean
        assert frame.loc["EASE", f"{metric} p"] == difference.p
        assert plain["models"]["EASE"]["differences"][metric]["p"] == difference.p
    assert frame.loc["popularity"].isna().sum() == 2 * len(METRICS)
    assert frame["seconds"].tolist() == list(found.seconds.values())
    assert (frame.dtypes == "float64").all()
    assert plain["models"]["EASE"]["chosen"] == {
        "model": "EASE",
        "settings": {"l2": 10.0, "dropout": 0.0, "user_weight": 0.0},
    }
    assert plain["models"]["Mult-VAE"]["chosen"] == RECIPE.to_json()
    # JSON knows no NaN and no infinity.
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_a_single_test_user_has_no_spread():
    split = strong_generalization(CLICKS, 30, 1)
    models = {"popularity": Popularity(24), "EASE": EASE(24, 10.0)}
    found = compare(split, models, metrics=METRICS)
    assert "±" not in str(found)
    assert found.to_dict()["models"]["popularity"]["differences"] == {}
    assert found.to_pandas().loc["popularity", "ndcg@10 p"] != 0


def test_a_line_a_model_as_it_goes(capsys):
    models = {"popularity": Popularity(24), "EASE [l2=10]": EASE(24, 10.0)}
    found = compare(SPLIT, models, metrics=METRICS, progress=True)
    lines = capsys.readouterr().err.splitlines()
    for line, name in zip(lines, models, strict=True):
        report = found.reports[name]
        mean, error = report.mean("ndcg@10"), report.stderr("ndcg@10")
        assert line.startswith(f"{name}: ndcg@10 {mean:.4f} ± {error:.4f}, ")
    compare(SPLIT, models, metrics=METRICS)
    assert capsys.readouterr().err == ""


def test_by_default_popularity_ease_and_multvae_with_and_without_a_linear_path():
    models = default_models(24)
    path = "Mult-VAE + linear path"
    assert list(models) == ["popularity", "EASE", "Mult-VAE", path]
    assert {each.dropout for each in models["EASE"]} == {0.0, 0.5}
    assert models["Mult-VAE"] == Recipe()
    assert models[path] == Recipe(linear_path=LinearPath())


def test_a_linear_path_does_not_train_the_network_again(monkeypatch):
    trained = []

    def counted(*arguments, **options):
        trained.append(arguments[1])
        return train(*arguments, **options)

    monkeypatch.setattr(comparing, "train", counted)
    recipe = replace(RECIPE, epochs=2)
    with_path = replace(recipe, linear_path=LinearPath(density=0.5, weight=4.0))
    models = {"network": recipe, "both": with_path}
    found = compare(SPLIT, models, metrics=["ndcg@10"])
    assert trained == [recipe]
    assert found.seconds["both"] > found.seconds["network"]
    assert found.difference("network", "ndcg@10").mean != 0


def test_batches_larger_than_the_data_are_told(tmp_path):
    recipe = replace(RECIPE, epochs=1, batch_size=500)
    with pytest.warns(UserWarning, match=r"larger, 90 users.*Leave `batch_size`"):
        train(SPLIT, recipe, tmp_path / "state")


def test_bad_comparisons_are_named():
    with pytest.raises(ValueError, match=r"`reference` must be one of \['p'\]"):
        compare(SPLIT, {"p": Popularity(24)}, reference="q")
    with pytest.raises(ValueError, match="at least one model"):
        compare(SPLIT, {})
    with pytest.raises(ValueError, match="test part"):
        compare(strong_generalization(CLICKS, 30, 0), {"p": Popularity(24)})
    with pytest.raises(ValueError, match="validation part"):
        compare(strong_generalization(CLICKS, 0, 30), {"e": [EASE(24), EASE(24)]})
    with pytest.raises(ValueError, match="validation"):
        recipe = replace(RECIPE, epochs=10**6, linear_path=LinearPath())
        compare(strong_generalization(CLICKS, 0, 30), {"m": recipe})


def test_beta_rises_to_one_and_the_peak_is_the_cap():
    found = find_beta_cap(SPLIT, RECIPE)
    # 90 users in batches of 20, 6 epochs: 30 steps; the log has an epoch's last step.
    betas = [row["beta"] for row in found.history]
    assert betas == pytest.approx([(step - 1) / 30 for step in (5, 10, 15, 20, 25, 30)])
    values = [row["val_ndcg_at_100"] for row in found.history]
    assert found.ndcg == max(values)
    assert found.cap == betas[int(np.argmax(values))]
    upper, _ = plot_annealing(found.history)
    (text,) = (text.get_text() for text in upper.get_legend().texts)
    assert text == f"training: best {found.ndcg:.3f} at beta {found.cap:.2g}"


def test_bad_searches_are_named():
    with pytest.raises(ValueError, match="validation=None"):
        find_beta_cap(strong_generalization(CLICKS, 0, 30), RECIPE)
    with pytest.raises(TypeError, match=r"needs a model with a beta.*MultDAE"):
        find_beta_cap(SPLIT, Recipe("MultDAE"))
