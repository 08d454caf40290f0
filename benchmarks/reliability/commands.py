"""Commands that are attacked, and what they must come to."""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability import folders
from benchmarks.reliability.faults import Ended, forked

TRAIN = ["--epochs", "3", "--batch-size", "20", "--latent-dim", "3"]
TRAIN += ["--hidden-dims", "5"]
TRIALS = 2


@dataclass(frozen=True)
class Command:
    """A command, called in a process of its own.

    Args:
        name: What it is called.
        arguments: Of the command line, given the folder with `data/` and `work/`.
        out: What it makes, in `work/`.
        content: What is in that, to be compared.
        again: Options with which it goes on after an interruption.
        over: Those with which it replaces an older result; None if it never does.
        beside: What it leaves beside `out`, and is not part of the older result.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    out: str
    content: Callable[[Path], Any]
    again: tuple[str, ...] = ()
    over: tuple[str, ...] | None = ()
    beside: str | None = None

    def run(self, folder: Path, *more: str, **fault: Any) -> tuple[Ended, int]:
        """Runs it, or has a fault happen in it; see `forked`."""
        arguments = [*self.arguments(folder), *more]
        return forked(partial(_main, arguments), folder=folder / "work", **fault)

    def found(self, folder: Path) -> Any:
        """What is there: None for nothing, else its content or what reading raises."""
        place = folder / "work" / self.out
        if not place.exists():
            return None
        ended, _ = forked(partial(self.content, place))
        if ended.error is not None or ended.signal:
            return [ended.signal, ended.error]
        return ended.value


def make_data(folder: Path) -> None:
    """ratings.csv, other.csv, a prepared folder and two recommenders."""
    data = folder / "data"
    data.mkdir()
    for name, seed in (("ratings", 0), ("other", 1)):
        rng = np.random.default_rng(seed)
        taste = (np.arange(60)[:, None] + np.arange(24)) % 2 == 0
        users, items = np.nonzero(taste & (rng.random(taste.shape) < 0.8))
        rows = "".join(f"u{u},i{i}\n" for u, i in zip(users, items, strict=True))
        (data / f"{name}.csv").write_text("user_id,item_id\n" + rows)
    folders.make(data, ("prepared", "multvae", "ease"))
    base = {"model": "MultDAE", "training": {"epochs": 3, "batch_size": 20}}
    (data / "base.json").write_text(json.dumps(base))


def _main(arguments: list[str]) -> int:
    from keras_multvae.cli import main

    code = main(arguments)
    if code:
        # Its last line, as the caller sees it.
        raise SystemExit(code)
    return code


def _parquet(place: Path) -> Any:
    import polars

    return polars.read_parquet(place).rows()


def _version(place: Path) -> Any:
    from keras_multvae.serving import whole

    whole.check_whole(place)
    return json.loads((place / "assets.extra" / "catalogue.json").read_text())


def _tuned(place: Path) -> Any:
    """That the folder is whole, that its trials are done, and its model is the best."""
    from keras_multvae import Recommender, evaluate_ranking
    from keras_multvae.cli.verifying import verify

    verify(argparse.Namespace(folder=str(place), json=True))
    with (place / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    values = [float(row["value"]) for row in rows if row["state"] == "complete"]
    done = sum(row["state"] in ("complete", "pruned") for row in rows)
    model = Recommender.load(place).model
    report = evaluate_ranking(model, folders.split_of().validation, ["ndcg@100"])
    same = math.isclose(max(values), report.mean("ndcg@100"), rel_tol=1e-5)
    return {"done": done >= TRIALS, "best": same}


COMMANDS = {
    each.name: each
    for each in (
        Command(
            "prepare",
            lambda f: ["prepare", f"{f}/data/ratings.csv", "--out", f"{f}/work/out"],
            "out",
            partial(folders.digest, "prepared"),
        ),
        Command(
            "train",
            lambda f: [
                "train",
                f"{f}/data/prepared",
                "--out",
                f"{f}/work/out",
                *TRAIN,
            ],
            "out",
            partial(folders.digest, "multvae"),
            ("--resume", "--overwrite"),
            ("--overwrite",),
        ),
        Command(
            "tune",
            lambda f: [
                "tune",
                f"{f}/data/prepared",
                "--out",
                f"{f}/work/out",
                "--models",
                "MultDAE",
                "--recipe",
                f"{f}/data/base.json",
                "--trials",
                f"{TRIALS}",
            ],
            "out",
            _tuned,
            ("--resume",),
            beside="out.tuning",
        ),
        Command(
            "recommend",
            lambda f: [
                "recommend",
                f"{f}/data/multvae",
                "--all",
                "--out",
                f"{f}/work/out.parquet",
            ],
            "out.parquet",
            _parquet,
        ),
        Command(
            "export",
            lambda f: [
                "export",
                f"{f}/data/multvae",
                "-k",
                "5",
                "--version",
                "1",
                "--out",
                f"{f}/work/out",
            ],
            "out/1",
            _version,
            over=None,
        ),
    )
}
