"""Reproduces the table of the Mult-VAE paper (Liang et al., WWW 2018).

    python examples/reproduce_paper.py ml-20m --source ml-20m/ratings.csv
    python examples/reproduce_paper.py netflix --source nf_prize_dataset
    python examples/reproduce_paper.py msd --source train_triplets.txt

Reads the raw files as published, prepares them, trains Mult-VAE and Mult-DAE, and
prints their figures on the test users beside the paper's. --out keeps the prepared
data, the training's state, the models and results.json: the same command again goes on
where an earlier one stopped. The defaults are the paper's and want a GPU.

Row order is part of the split. With the ratings.csv of ml-20m.zip it is the authors'
own. Without --source, tensorflow-datasets downloads the ratings; it does not keep their
order, so the held-out users are the same but their targets are others. For Netflix and
MSD no code was published: here the protocol is ML-20M's, the order that of the raw
files, and the annealing, of which the paper says nothing there, ML-20M's too.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import polars as pl

from keras_multvae import (
    MultDAE,
    MultVAE,
    Popularity,
    Recipe,
    Recommender,
    evaluate_ranking,
    train,
)
from keras_multvae.data import (
    Interactions,
    Split,
    Vocabulary,
    load_movielens,
    load_prepared,
    read_interactions,
    save_prepared,
    strong_generalization,
)
from keras_multvae.files import read_json, write_json
from keras_multvae.training.trainer import record

METRICS = ("recall@20", "recall@50", "ndcg@100")
NETWORKS = {  # I-600-200-600-I and I-200-I
    "MultVAE": MultVAE.Config(latent_dim=200, hidden_dims=(600,)),
    "MultDAE": MultDAE.Config(latent_dim=200, hidden_dims=()),
}
MIN_RATING = 4


class Paper(NamedTuple):
    """What the paper does with a data set, and what it reports."""

    files: tuple[str, ...]  # where the raw files lie in a folder; one pattern is enough
    held_out: int  # validation users, and as many test users
    epochs: int
    min_user_items: int
    min_item_users: int
    counts: dict[str, str]
    figures: dict[str, tuple[float, ...]]


PAPER = {
    "ml-20m": Paper(
        ("ratings.csv",), 10_000, 200, 5, 1,
        {"users": "136,677", "items": "20,108", "events": "9.99 M"},
        {"MultVAE": (0.395, 0.537, 0.426), "MultDAE": (0.387, 0.524, 0.419)},
    ),
    "netflix": Paper(
        ("training_set/mv_*.txt", "mv_*.txt", "combined_data_*.txt"), 40_000, 100, 5, 1,
        {"users": "463,435", "items": "17,769", "events": "56.9 M"},
        {"MultVAE": (0.351, 0.444, 0.386), "MultDAE": (0.344, 0.438, 0.380)},
    ),
    "msd": Paper(
        ("train_triplets.txt",), 50_000, 100, 20, 200,
        {"users": "571,355", "items": "41,140", "events": "33.6 M"},
        {"MultVAE": (0.266, 0.364, 0.316), "MultDAE": (0.266, 0.363, 0.313)},
    ),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepares, trains, evaluates and prints; skips what is already done."""
    options = parse(arguments)
    out = Path(options.out or f"reproduction/{options.dataset}")
    split, settings = prepare(options, out / "prepared")
    path = out / "results.json"
    results = read_json(path) if path.is_file() else {"settings": settings}
    check_same(results["settings"], settings, path)
    source = split.settings["source_counts"]
    results["counts"] = {
        "users": source["users"],
        "items": split.train.num_items,
        "events": source["entries"],
        "items_before_the_cut_to_training_users": source["items"],
    }
    systems = results.setdefault("systems", {})
    if "Popularity" not in systems:
        popularity = Popularity(split.train.num_items).fit(split.train)
        systems["Popularity"] = {"test": measure(popularity, split)}
    for name in options.models:
        recipe = Recipe(
            NETWORKS[name],
            epochs=options.epochs,
            batch_size=options.batch_size,
            beta_cap=0.2,
            anneal_steps=200_000,
        )
        stored = flat(recipe)
        state = out / f"{name}.training"
        if name in systems:
            check_same(systems[name]["recipe"], stored, path)
        else:
            systems[name] = {"recipe": stored, **fit(split, recipe, out / name, state)}
        write_json(path, results)
        shutil.rmtree(state, ignore_errors=True)
    print(table(PAPER[options.dataset], results))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the paper's in place of those not given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=PAPER)
    parser.add_argument("--source", type=Path, help="raw file, or the folder it is in")
    parser.add_argument("--out", help="folder to make (reproduction/DATASET)")
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--batch-size", type=positive, default=500)
    for option in ("epochs", "held_out", "min_user_items", "min_item_users"):
        papers = ", ".join(f"{name} {getattr(p, option)}" for name, p in PAPER.items())
        parser.add_argument(
            f"--{option.replace('_', '-')}", type=positive, help=f"({papers})"
        )
    options = parser.parse_args(arguments)
    paper = PAPER[options.dataset]
    for option, value in vars(options).items():
        if value is None and option in paper._fields:
            setattr(options, option, getattr(paper, option))
    if options.source is None and options.dataset != "ml-20m":
        parser.error(
            f"{options.dataset} cannot be downloaded from here. Name its raw files, "
            f"{' or '.join(paper.files)}, with --source."
        )
    return options


def positive(text: str) -> int:
    """An int of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, received {text!r}")
    return int(text)


def prepare(options: argparse.Namespace, folder: Path) -> tuple[Split, dict[str, Any]]:
    """The split, from an earlier call's folder if it is there, and its settings."""
    files = raw_files(options.dataset, options.source) if options.source else []
    filters = {
        "min_user_items": options.min_user_items,
        "min_item_users": options.min_item_users,
    }
    settings = {
        "dataset": options.dataset,
        "source": fingerprint(files) if files else "tensorflow-datasets",
        "held_out": options.held_out,
        **filters,
    }
    if not folder.exists():
        say(f"Reading {options.source or 'MovieLens through tensorflow-datasets'}")
        read = {"ml-20m": read_ml_20m, "netflix": read_netflix, "msd": read_msd}
        interactions = read[options.dataset](files, **filters)
        say(f"Splitting {interactions}")
        split = strong_generalization(interactions, options.held_out, options.held_out)
        save_prepared(split, folder, settings=settings)
    # Read even if just written, so that the arrays lie on disk and not in memory.
    prepared = load_prepared(folder)
    check_same(prepared.manifest["settings"], settings, folder)
    return prepared.split, settings


def raw_files(dataset: str, source: Path) -> list[Path]:
    """The raw files that `source` is or holds, in the order of their numbers."""
    if source.is_file():
        return [source]
    patterns = PAPER[dataset].files
    files = next(filter(None, (sorted(source.glob(p)) for p in patterns)), [])
    if not files:
        what = "a folder without them" if source.is_dir() else "not there"
        raise FileNotFoundError(
            f"Expected the raw files of {dataset}, {' or '.join(patterns)}, in "
            f"{source}, which is {what}. Unpack what you downloaded and name the file "
            "or its folder with --source."
        )
    return files


def fingerprint(files: list[Path]) -> str:
    """SHA-256 over names and contents: a prepared folder belongs to one source."""
    sha = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        sha.update(f"{path.name} {digest}\n".encode())
    return sha.hexdigest()


def read_ml_20m(files: list[Path], **filters: int) -> Interactions:
    """MovieLens 20M: ratings.csv, or what tensorflow-datasets brings."""
    if not files:
        return load_movielens("20m", min_rating=MIN_RATING, **filters)[0]
    names = {"user": "userId", "item": "movieId", "rating": "rating"}
    columns = {f"{role}_column": name for role, name in names.items()}
    return read_interactions(files[0], min_rating=MIN_RATING, **columns, **filters)


def read_netflix(files: list[Path], **filters: int) -> Interactions:
    """The Netflix prize: headings `MOVIE:` and below each its `USER,RATING,DATE`.

    The original has a file a movie, Kaggle's copy four files with thousands each. At
    most one file's text is in memory, beside the ratings that count.
    """
    liked = pl.concat([read_headed(path) for path in files])
    return Interactions.from_events(liked["user"], liked["movie"], **filters)


def read_headed(path: Path) -> pl.DataFrame:
    """Users and movies of one file's ratings >= 4, int32, in file order."""
    heading = pl.col("user").str.ends_with(":")
    number = pl.when(heading).then(pl.col("user").str.strip_suffix(":")).cast(pl.Int32)
    try:
        # Below a header of three fields, a heading is a row that lacks two of them.
        rows = pl.read_csv(
            b"user,rating,date\n" + path.read_bytes(),
            columns=["user", "rating"],
            schema_overrides={"user": pl.String, "rating": pl.UInt8},
            quote_char=None,
        ).with_columns(movie=number.forward_fill())
        wrong = (heading != pl.col("rating").is_null()) | pl.col("movie").is_null()
        if len(strange := rows.filter(wrong)):
            raise ValueError(f"{strange['user'][0]!r}, rating {strange['rating'][0]}")
        liked = rows.filter(pl.col("rating") >= MIN_RATING)
        return liked.select(pl.col("user").cast(pl.Int32), "movie")
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise ValueError(
            f"Expected {path} to hold headings like 1: and below each lines like "
            f"1488844,3,2005-09-06. Received: {error}. Unpack it anew."
        ) from None


def read_msd(files: list[Path], **filters: int) -> Interactions:
    """The Million Song Dataset's taste profiles: USER, SONG, COUNT with tabs between.

    A play is a play, however often. As Python's strings the ids of 48 million rows
    would take 8 GB: the rows hold numbers, and only the vocabularies the texts.
    """
    form = {"user": pl.Categorical, "song": pl.Categorical, "count": pl.Int64}
    try:
        rows = pl.read_csv(
            files[0], separator="\t", has_header=False, schema=form, quote_char=None
        )
        if len(strange := rows.filter(pl.any_horizontal(pl.all().is_null()))):
            raise ValueError(f"{strange.row(0)}")
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise ValueError(
            f"Expected {files[0]} to hold lines USER, SONG, COUNT with tabs between. "
            f"Received: {error}. Name train_triplets.txt, unpacked."
        ) from None
    users, user_ids = numbered(rows["user"])
    songs, song_ids = numbered(rows["song"])
    coded = Interactions.from_events(users, songs, **filters)
    return replace(
        coded,
        users=Vocabulary(user_ids[coded.users.ids]),
        items=Vocabulary(song_ids[coded.items.ids]),
    )


def numbered(column: pl.Series) -> tuple[pl.Series, Any]:
    """Each text's place among the sorted unique ones, and those as an array."""
    texts = column.unique().cast(pl.String).sort()
    return column.cast(pl.Enum(texts)).to_physical(), texts.to_numpy()


def check_same(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """Raises ValueError where an earlier call in this folder had other settings."""
    changed = [
        f"{key} was {found.get(key)!r}, now {wanted.get(key)!r}"
        for key in sorted({*found, *wanted})
        if found.get(key) != wanted.get(key)
    ]
    if changed:
        raise ValueError(
            f"{path} belongs to another reproduction: {'; '.join(changed)}. Choose "
            "another --out, or give the source and the options of before."
        )


def flat(recipe: Recipe) -> dict[str, Any]:
    """All settings side by side, so that one that has changed is told by its name."""
    parts = recipe.to_json()
    return {"model": parts["model"], **parts["settings"], **parts["training"]}


def fit(split: Split, recipe: Recipe, folder: Path, state: Path) -> dict[str, Any]:
    """Trains, or goes on with an interrupted training; saves the model; measures."""
    resume = (state / "saved").is_dir()
    say(f"{'Going on with' if resume else 'Training'} {recipe.model_name}")
    progress = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: say(
            f"epoch {epoch + 1} of {recipe.epochs}, loss {logs['loss']:.2f}, "
            f"validation NDCG@100 {logs['val_ndcg_at_100']:.4f}"
        )
    )
    model, history = train(split, recipe, state, resume=resume, callbacks=[progress])
    Recommender(model, split.train.items, training=record(split, recipe)).save(folder)
    best = max(history, key=lambda row: row["val_ndcg_at_100"])
    return {"best_epoch": best, "test": measure(model, split)}


def measure(model: Any, split: Split) -> dict[str, Any]:
    """Mean and standard error of the paper's metrics over the test users."""
    return evaluate_ranking(model, split.test, METRICS).to_dict()


def table(paper: Paper, results: dict[str, Any]) -> str:
    """The results as a Markdown table, each model above the paper's figures for it."""
    counts = (f"{results['counts'][n]:,} {n} ({c})" for n, c in paper.counts.items())
    rows = [("", "Recall@20", "Recall@50", "NDCG@100"), ("---",) * 4]
    for name, found in results["systems"].items():
        test = [found["test"][metric] for metric in METRICS]
        rows.append((name, *("{mean:.4f} ± {stderr:.4f}".format(**m) for m in test)))
        if name in paper.figures:
            rows.append((f"{name}, paper", *(f"{f:.3f}" for f in paper.figures[name])))
    return "\n".join(
        [
            f"After preprocessing (the paper's): {', '.join(counts)}.\n",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    )


def say(text: str) -> None:
    """A line on standard error: standard output is for the table alone."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
