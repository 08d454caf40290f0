"""`compare`, called in this process."""

from __future__ import annotations

import json

import answers
import numpy as np
import pytest
from conftest import contents, pairs

from keras_multvae import EASE, MultDAE, MultVAE, Popularity, Recommender
from keras_multvae import compare as compare_models
from keras_multvae.cli import main
from keras_multvae.data import Interactions, save_prepared, strong_generalization

RNG = np.random.default_rng(0)
TASTE = (np.arange(80)[:, None] + np.arange(20)) % 2 == 0
USERS, ITEMS = np.nonzero(TASTE & (RNG.random(TASTE.shape) < 0.8))
CLICKS = Interactions.from_events(USERS, [f"f{item}" for item in ITEMS])
SPLIT = strong_generalization(CLICKS, 10, 15)
# Short enough for a test; `settings` and `training` as a model's recipe.json has them.
RECIPE = {
    "model": "MultVAE",
    "settings": {"latent_dim": 3, "hidden_dims": [8]},
    "training": {"epochs": 2, "batch_size": 20},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """prepared/ and small.json, a recipe."""
    folder = tmp_path_factory.mktemp("compare")
    save_prepared(SPLIT, folder / "prepared", {"f1": "Film, the 1th"})
    (folder / "small.json").write_text(json.dumps(RECIPE))
    return folder


def run(capsys, *arguments):
    """What is on standard output and on standard error."""
    capsys.readouterr()
    assert main(["compare", *map(str, arguments)]) == 0
    return capsys.readouterr()


def failure(capsys, *arguments):
    return answers.failure(capsys, "compare", *arguments)


@pytest.mark.once
def test_the_table_the_figures_and_the_models(folder, capsys, tmp_path):
    out = tmp_path / "deep" / "compared"
    names = "Popularity,EASE"
    table, told = run(
        capsys, folder / "prepared", "--models", names, "--out", out
    )  # fmt: skip
    assert [line.split(":")[0] for line in told.splitlines()] == names.split(",")
    assert all(" s" in line and "ndcg@100 0." in line for line in told.splitlines())
    popularity = Popularity(20).fit(SPLIT.train)
    found = json.loads((out / "comparison.json").read_text())
    assert found["reference"] == "EASE"
    ease = found["models"]["EASE"]
    chosen = EASE(20, **ease["chosen"]["settings"]).fit(SPLIT.train)
    expected = compare_models(SPLIT, {"Popularity": Popularity(20), "EASE": chosen})
    for name, report in expected.reports.items():
        for metric in report.metrics:
            assert found["models"][name][metric]["mean"] == report.mean(metric)
            assert found["models"][name][metric]["stderr"] == report.stderr(metric)
            assert f"{report.mean(metric):.4f} ± {report.stderr(metric):.4f}" in table
    difference = expected.difference("Popularity", "recall@20")
    assert found["models"]["Popularity"]["differences"]["recall@20"] == {
        "mean": difference.mean, "stderr": difference.stderr, "p": difference.p
    }  # fmt: skip
    assert ease["differences"] == {} and ease["seconds"] > 0
    assert table.splitlines()[-1] == f"Written to {out}"
    loaded = {
        path.name: Recommender.load(path) for path in out.iterdir() if path.is_dir()
    }
    assert sorted(loaded) == ["EASE", "Popularity"]
    np.testing.assert_array_equal(loaded["Popularity"].model.counts, popularity.counts)
    np.testing.assert_array_equal(loaded["EASE"].model.weights, chosen.weights)
    for each in loaded.values():
        assert pairs(each.histories) == pairs(CLICKS)
        assert each.titles == {"f1": "Film, the 1th"}


def test_recipes_names_and_linear_paths(folder, capsys, tmp_path):
    recipe = folder / "small.json"
    out = tmp_path / "compared"
    models = f"Popularity,{recipe}"
    printed, _ = run(
        capsys, folder / "prepared", "--models", models, "--out", out, "--json"
    )
    (line,) = printed.splitlines()
    found = json.loads(line)
    assert found["out"] == str(out)
    assert list(found["models"]) == ["Popularity", "small"]
    chosen = found["models"]["small"]["chosen"]
    assert chosen["settings"]["latent_dim"] == 3 and chosen["training"]["epochs"] == 2
    loaded = Recommender.load(out / "small")
    assert isinstance(loaded.model, MultVAE)
    assert loaded.training.recipe.epochs == 2
    figures = compare_models(SPLIT, {"small": loaded.training.recipe}).reports["small"]
    assert found["models"]["small"]["ndcg@100"]["mean"] == pytest.approx(
        figures.mean("ndcg@100"), abs=1e-6
    )
    # The folder of a model is its recipe, too.
    table, _ = run(capsys, folder / "prepared", "--models", f"EASE,{out}/small")
    assert "| small | " in table


def test_by_default_as_in_python(folder, capsys, monkeypatch):
    given = []

    def compared(split, models, **options):
        given.append((models, options))
        return compare_models(split, {"p": Popularity(20)}, **options)

    monkeypatch.setattr("keras_multvae.cli.comparing.compare_models", compared)
    run(capsys, folder / "prepared")
    run(capsys, folder / "prepared", "--models", "MultDAE+ease,MultDAE,SparseEASE")
    (first, options), (second, _) = given
    assert first is None and options == {"progress": True}
    assert list(second) == ["MultDAE+ease", "MultDAE", "SparseEASE"]
    assert [second[name].linear_path is None for name in second if "DAE" in name] == [
        False,
        True,
    ]
    assert second["MultDAE"].model == MultDAE.Config()


@pytest.mark.once
def test_what_cannot_be_is_told_before_any_training(
    folder, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        Popularity, "fit", lambda *arguments: pytest.fail("was trained")
    )
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    before = contents(tmp_path)
    command = (folder / "prepared", "--models", "Popularity,EASE")
    line = failure(capsys, *command, "--out", mine)
    assert "mine exists and will not be replaced" in line
    save_prepared(strong_generalization(CLICKS, 0, 10), tmp_path / "no_validation")
    line = failure(capsys, tmp_path / "no_validation", "--models", "Popularity,EASE")
    assert "validation part" in line
    line = failure(
        capsys, tmp_path / "no_validation", "--models", "Popularity,MultVAE+ease"
    )
    assert "validation" in line
    save_prepared(strong_generalization(CLICKS, 10, 0), tmp_path / "no_test")
    assert "test part" in failure(capsys, tmp_path / "no_test")
    (tmp_path / "EASE.json").write_text(json.dumps(RECIPE))
    models = f"EASE,{tmp_path}/EASE.json"
    line = failure(capsys, folder / "prepared", "--models", models)
    assert "--models has two that are called EASE" in line
    assert {name: contents(tmp_path)[name] for name in before} == before


@pytest.mark.once
@pytest.mark.parametrize(
    ("models", "text"),
    [
        ("Popularity,nosuch", "with +ease after it, or a model's folder"),
        ("EASE+ease", "not 'EASE+ease'"),
        (",", "must name at least one model"),
    ],
)
def test_bad_use_exits_with_2(capsys, models, text):
    with pytest.raises(SystemExit) as error:
        main(["compare", "prepared", "--models", models])
    assert error.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.once
def test_an_interruption_leaves_nothing(folder, capsys, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(EASE, "fit", interrupted)
    command = ["compare", f"{folder}/prepared", "--models", "Popularity,EASE"]
    assert main([*command, "--out", f"{tmp_path}/deep/out"]) == 1
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
