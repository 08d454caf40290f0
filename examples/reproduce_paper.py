"""Reproduces the table of the Mult-VAE paper (Liang et al., WWW 2018).

    python examples/reproduce_paper.py ml-20m --source ml-20m/ratings.csv
    python examples/reproduce_paper.py netflix --source nf_prize_dataset
    python examples/reproduce_paper.py msd --source train_triplets.txt

Reads the raw files as their makers published them, prepares, trains Mult-VAE and
Mult-DAE as in the paper, and prints what they reach on the test users beside the paper's
figures. The same command goes on where an earlier one was interrupted: --out keeps the
prepared data, the state of the training, the models and results.json.

The split is the paper's authors' own only if the rows come in the order of the original
files. ml-20m without --source is downloaded by tensorflow-datasets, which does not keep
it: other users' items are then the targets, and the item order differs, so the figures
differ a little. With the ratings.csv of ml-20m.zip they are the authors' own users and
targets. Their code for Netflix and MSD was not published; the protocol is ML-20M's, and
so is the annealing, of which the paper names none for these two.

The defaults are the paper's and want a GPU; the options fit small files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import polars as pl

from keras_multvae import Popularity, Recommender, evaluate_ranking
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
from keras_multvae.training import Recipe, train

METRICS = ("recall@20", "recall@50", "ndcg@100")
MIN_RATING = 4


@dataclass(frozen=True)
class Paper:
    """What the paper does with a data set, and what it reports.

    Args:
        files: Glob patterns of the raw files in a folder, the first that finds any.
        held_out: Validation users, and as many test users.
        epochs: Passes over the training users.
        min_user_items: Items a user must have.
        min_item_users: Users an item must have.
        counts: Users, items (of the training users) and events after preprocessing.
        figures: METRICS of the test users, by model.
    """

    files: tuple[str, ...]
    held_out: int
    epochs: int
    min_user_items: int
    min_item_users: int
    counts: tuple[str, str, str]
    figures: dict[str, tuple[float, float, float]]


PAPER = {
    "ml-20m": Paper(
        files=("ratings.csv",),
        held_out=10_000,
        epochs=200,
        min_user_items=5,
        min_item_users=1,
        counts=("136,677", "20,108", "9.99 M"),
        figures={"MultVAE": (0.395, 0.537, 0.426), "MultDAE": (0.387, 0.524, 0.419)},
    ),
    "netflix": Paper(
        files=("training_set/mv_*.txt", "mv_*.txt", "combined_data_*.txt"),
        held_out=40_000,
        epochs=100,
        min_user_items=5,
        min_item_users=1,
        counts=("463,435", "17,769", "56.9 M"),
        figures={"MultVAE": (0.351, 0.444, 0.386), "MultDAE": (0.344, 0.438, 0.380)},
    ),
    "msd": Paper(
        files=("train_triplets.txt",),
        held_out=50_000,
        epochs=100,
        min_user_items=20,
        min_item_users=200,
        counts=("571,355", "41,140", "33.6 M"),
        figures={"MultVAE": (0.266, 0.364, 0.316), "MultDAE": (0.266, 0.363, 0.313)},
    ),
}
# I-600-200-600-I and I-200-I.
HIDDEN_DIMS = {"MultVAE": (600,), "MultDAE": ()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepares, trains, evaluates and prints; skips what is already done."""
    options = parse(arguments)
    out = Path(options.out or f"reproduction/{options.dataset}")
    split, settings = prepare(options, out / "prepared")
    path = out / "results.json"
    results: dict[str, Any] = {"settings": settings, "counts": counts(split)}
    if path.is_file():
        results = read_json(path)
        check_same(results["settings"], settings, path)
    systems = results.setdefault("systems", {})
    if "Popularity" not in systems:
        popularity = Popularity(split.train.num_items).fit(split.train)
        report = evaluate_ranking(popularity, split.test, METRICS)
        systems["Popularity"] = {"test": report.to_dict()}
        write_json(path, results)
    for name in options.models:
        recipe = Recipe(
            epochs=options.epochs,
            batch_size=options.batch_size,
            hidden_dims=HIDDEN_DIMS[name],
            latent_dim=200,
            beta_cap=0.2,
            anneal_steps=200_000,
            model=name,
        )
        # As it will come back from the file: lists, no tuples.
        as_stored = json.loads(json.dumps(asdict(recipe)))
        if name in systems:
            check_same(systems[name]["recipe"], as_stored, path)
            continue
        state = out / f"{name}.training"
        systems[name] = {"recipe": as_stored, **fit(split, recipe, out / name, state)}
        write_json(path, results)
        shutil.rmtree(state)
    print(table(options.dataset, results))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the paper's in place of those not given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=PAPER)
    parser.add_argument("--source", type=Path, help="raw file, or the folder it is in")
    parser.add_argument("--out", help="folder to make (reproduction/DATASET)")
    parser.add_argument(
        "--models", nargs="+", choices=HIDDEN_DIMS, default=list(HIDDEN_DIMS)
    )
    parser.add_argument("--batch-size", type=positive, default=500)
    for option in ("epochs", "held_out", "min_user_items", "min_item_users"):
        found = ", ".join(f"{getattr(p, option):,} {name}" for name, p in PAPER.items())
        parser.add_argument(
            "--" + option.replace("_", "-"), type=positive, help=f"default: {found}"
        )
    options = parser.parse_args(arguments)
    for option, value in vars(options).items():
        if value is None and hasattr(PAPER[options.dataset], option):
            setattr(options, option, getattr(PAPER[options.dataset], option))
    if options.source is None and options.dataset != "ml-20m":
        parser.error(
            f"{options.dataset} cannot be downloaded from here: name the raw files, "
            f"{' or '.join(PAPER[options.dataset].files)}, with --source."
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
    if folder.exists():
        prepared = load_prepared(folder)
        check_same(prepared.manifest["settings"], settings, folder)
        return prepared.split, settings
    say(f"Reading {options.source or 'MovieLens 20M through tensorflow-datasets'}")
    if options.dataset == "netflix":
        interactions = read_netflix(files, **filters)
    elif options.dataset == "msd":
        interactions = read_msd(files, **filters)
    elif files:
        interactions = read_interactions(
            files[0],
            user_column="userId",
            item_column="movieId",
            rating_column="rating",
            min_rating=MIN_RATING,
            **filters,
        )
    else:
        interactions, _ = load_movielens("20m", min_rating=MIN_RATING, **filters)
    say(f"Splitting {interactions}")
    split = strong_generalization(interactions, options.held_out, options.held_out)
    save_prepared(split, folder, settings=settings)
    # Read again, so that the arrays lie on disk and not in memory.
    return load_prepared(folder).split, settings


def raw_files(dataset: str, source: Path) -> list[Path]:
    """The raw files that `source` is or holds, in the order of their numbers."""
    if source.is_file():
        return [source]
    patterns = PAPER[dataset].files
    found = (sorted(source.glob(pattern)) for pattern in patterns)
    files = next(filter(None, found), [])
    if not files:
        what = "a folder without them" if source.is_dir() else "nothing of that name"
        raise FileNotFoundError(
            f"Expected the raw files of {dataset}, {' or '.join(patterns)}, in "
            f"--source {source}; it is {what}. Unpack what you downloaded and name the "
            "file or its folder."
        )
    return files


def fingerprint(files: list[Path]) -> str:
    """SHA-256 over the names and contents: two sources must not share a folder."""
    sha = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        sha.update(f"{path.name} {digest}\n".encode())
    return sha.hexdigest()


def read_netflix(files: list[Path], **filters: int) -> Interactions:
    """The Netflix prize's ratings: `MOVIE:` and below it lines `USER,RATING,DATE`.

    The original has one such heading a file, Kaggle's four files have thousands. Only
    one file's text and the ratings that count are in memory at a time.
    """
    liked = pl.concat([read_headed(path) for path in files])
    return Interactions.from_events(liked["user"], liked["movie"], **filters)


def read_headed(path: Path) -> pl.DataFrame:
    """Users and movies of the ratings >= 4 of one file, int32, in file order."""
    try:
        # With a header that names three fields, a heading is a row that lacks two.
        rows = pl.read_csv(
            b"user,rating,date\n" + path.read_bytes(),
            columns=["user", "rating"],
            schema_overrides={"user": pl.String, "rating": pl.UInt8},
            quote_char=None,
        )
        heading = rows["user"].str.ends_with(":")
        if (
            not len(rows)
            or not heading[0]
            or (heading != rows["rating"].is_null()).any()
        ):
            raise ValueError("a file without a heading, or a line of another form")
        movie = pl.when(heading).then(pl.col("user").str.strip_suffix(":"))
        return (
            rows.lazy()
            .with_columns(movie=movie.cast(pl.Int32).forward_fill())
            .filter(pl.col("rating") >= MIN_RATING)
            .select(pl.col("user").cast(pl.Int32), "movie")
            .collect()
        )
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise ValueError(
            f"Expected {path} to hold headings like 1: and below them lines like "
            f"1488844,3,2005-09-06; received {error}. Unpack the file anew."
        ) from None


def read_msd(files: list[Path], **filters: int) -> Interactions:
    """The taste profiles of the Million Song Dataset: USER, SONG, COUNT between tabs.

    Every count is one interaction. The ids are texts of 40 and 18 characters; as
    Python's strings those of 48 million rows would not fit in memory, so the rows hold
    numbers and only the vocabularies the texts.
    """
    form = {"user": pl.Categorical, "song": pl.Categorical, "count": pl.Int64}
    try:
        rows = pl.concat(
            pl.scan_csv(
                path, separator="\t", has_header=False, schema=form, quote_char=None
            )
            for path in files
        ).collect()
        if sum(rows.null_count().row(0)):
            raise ValueError("lines with less than three fields")
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise ValueError(
            f"Expected {files[0]} to hold lines USER, SONG, COUNT with tabs between "
            f"them; received {error}. Name train_triplets.txt, unpacked."
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
            "another --out, or give the options and the source of before."
        )


def fit(split: Split, recipe: Recipe, folder: Path, state: Path) -> dict[str, Any]:
    """Trains, or goes on with an interrupted training; evaluates; saves the model."""
    resume = (state / "last.keras").is_file()
    say(f"{'Going on with' if resume else 'Training'} {recipe.model}, {state}")
    progress = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: say(
            f"epoch {epoch + 1} of {recipe.epochs}, loss {logs['loss']:.2f}, "
            f"validation NDCG@100 {logs['val_ndcg_at_100']:.4f}"
        )
    )
    model, history = train(split, recipe, state, resume=resume, callbacks=[progress])
    report = evaluate_ranking(model, split.test, METRICS)
    Recommender(model, split.train.items).save(folder)
    best = max(history, key=lambda row: row["val_ndcg_at_100"])
    return {"best_epoch": best, "test": report.to_dict()}


def counts(split: Split) -> dict[str, int]:
    """What is left after preprocessing, and how many users train and test."""
    source = split.settings["source_counts"]
    return {
        "users": source["users"],
        "items": split.train.num_items,
        "events": source["entries"],
        "items_before_the_cut_to_training_users": source["items"],
        "training_users": split.train.num_users,
        "test_users": split.test.num_users,
    }


def table(dataset: str, results: dict[str, Any]) -> str:
    """The results as a Markdown table, each model above the paper's figures for it."""
    paper = PAPER[dataset]
    lines = [
        f"{dataset} after preprocessing: "
        + ", ".join(
            f"{results['counts'][name]:,} {name} (paper {of_paper})"
            for name, of_paper in zip(
                ("users", "items", "events"), paper.counts, strict=True
            )
        ),
        "",
        "| | Recall@20 | Recall@50 | NDCG@100 |",
        "| --- | --- | --- | --- |",
    ]
    for name, found in results["systems"].items():
        cells = [
            "{mean:.4f} ± {stderr:.4f}".format(**found["test"][metric])
            for metric in METRICS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        if name in paper.figures:
            cells = [f"{figure:.3f}" for figure in paper.figures[name]]
            lines.append(f"| {name}, the paper | {' | '.join(cells)} |")
    return "\n".join(lines)


def say(text: str) -> None:
    """A line on standard error: standard output is for the table alone."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
