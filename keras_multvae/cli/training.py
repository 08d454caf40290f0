"""The command `train`."""

from __future__ import annotations

import argparse
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from keras_multvae import Recommender, backend
from keras_multvae.cli.model_options import given_recipe
from keras_multvae.cli.output import TrainingProgress, log, print_result
from keras_multvae.data import Vocabulary, load_prepared
from keras_multvae.data.columns.spilled import spilling_into
from keras_multvae.distribution import data_parallel, initialize, item_parallel
from keras_multvae.files import replace_file
from keras_multvae.plots import figure_class, plot_history, save
from keras_multvae.recommender import storage
from keras_multvae.training.checkpoint import clear_state, is_interrupted
from keras_multvae.training.curves import Curves
from keras_multvae.training.history import write_history
from keras_multvae.training.recipe import Recipe
from keras_multvae.training.trainer import record
from keras_multvae.training.trainer import train as train_recipe

if TYPE_CHECKING:
    from keras.distribution import Distribution

    from keras_multvae.data.prepared import Prepared

PLOT = "training.png"


def train(arguments: argparse.Namespace) -> None:
    """Prepared folder -> model folder."""
    distribution = _distribution(arguments)
    prepared = load_prepared(arguments.prepared)
    recipe = given_recipe(arguments, arguments.defaults)
    warm_start, report = None, {}
    if arguments.warm_start is not None:
        warm_start = Recommender.load(arguments.warm_start)
        report = _changed_items(warm_start.items, prepared.split.train.items)
    history = train_and_save(
        prepared,
        recipe,
        Path(arguments.out),
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        histories=arguments.histories,
        distribution=distribution,
        warm_start=warm_start,
        tensorboard=arguments.tensorboard,
    )
    if not backend.is_main_process():
        return
    if report:
        log(
            f"{report['known_items']:,} items began with the weights of "
            f"{arguments.warm_start}, {report['new_items']:,} are new to it, "
            f"{report['gone_items']:,} of its items are gone."
        )
    best = max(history, key=lambda row: row.get("val_ndcg_at_100", row["epoch"]))
    ndcg = best.get("val_ndcg_at_100")
    print_result(
        {"out": arguments.out, "epochs": len(history), "best": best, **report},
        f"Best epoch {best['epoch']:.0f} of {len(history)}"
        + ("." if ndcg is None else f", validation NDCG@100 {ndcg:.4f}.")
        + f"\nWritten to {arguments.out}, with {_beside(Path(arguments.out))}",
        arguments.json,
    )


def _beside(out: Path) -> str:
    """What `train` wrote beside the recommender."""
    names = ("history.csv", PLOT)
    return " and ".join(name for name in names if (out / name).exists())


def _changed_items(before: Vocabulary, now: Vocabulary) -> dict[str, int]:
    """A message on items that are known to the earlier model, new, or gone."""
    known = int((before.lookup(now.ids) >= 0).sum())
    return {
        "known_items": known,
        "new_items": len(now) - known,
        "gone_items": len(before) - known,
    }


def _distribution(arguments: argparse.Namespace) -> Distribution | None:
    """The requested `keras.distribution`, or None; joins the processes."""
    several = arguments.coordinator or arguments.processes or arguments.process
    if arguments.distribute is None:
        if several or arguments.item_parts:
            raise ValueError(
                "--coordinator, --processes, --process and --item-parts go with "
                "--distribute data or --distribute items."
            )
        return None
    if arguments.item_parts and arguments.distribute != "items":
        raise ValueError("--item-parts goes with --distribute items.")
    if arguments.coordinator == "auto":
        initialize()
    elif several:
        if not arguments.coordinator or None in (
            arguments.processes,
            arguments.process,
        ):
            raise ValueError(
                "Several processes need all of --coordinator HOST:PORT, --processes "
                "and --process."
            )
        initialize(arguments.coordinator, arguments.processes, arguments.process)
    if arguments.distribute == "data":
        return data_parallel()
    return item_parallel(arguments.item_parts)


def train_and_save(
    prepared: Prepared,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    histories: bool = True,
    distribution: Distribution | None = None,
    warm_start: Recommender | None = None,
    tensorboard: str | None = None,
) -> list[dict[str, float]]:
    """Trains, and writes recommender, history.csv and training.png.

    The recommender keeps the histories of the users of all parts, unless `histories` is
    false. Without matplotlib there is no training.png, and a warning that says so. Of
    several processes, the main one writes and shows a bar.
    """
    # Check that the folder can be written before hours of training.
    storage.check_out(out)
    draws = _can_draw()
    state = out.with_name(out.name + ".training")
    if not (resume or overwrite):
        _check_new(out, state)
    first = backend.is_main_process()
    curves = None if tensorboard is None else Curves(tensorboard)
    shown = [TrainingProgress(prepared.split.train.num_users), curves]
    with nullcontext() if distribution is None else distribution.scope():
        try:
            model, history = train_recipe(
                prepared.split,
                recipe,
                state,
                resume=resume,
                overwrite=overwrite,
                callbacks=[each for each in shown if first and each is not None],
                warm_start=warm_start,
            )
        except BaseException as error:
            if curves is not None and not is_interrupted(state):
                curves.discard()
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(_what_is_left(state)) from None
            raise
    if not first:
        return history
    # What does not fit in memory spills to the disk of the new folder.
    with spilling_into(out.absolute().parent):
        recommender = Recommender(
            model,
            prepared.split.train.items,
            histories=prepared.split.histories() if histories else None,
            titles=prepared.titles,
            training=record(prepared.split, recipe, warm_start),
            features=prepared.features,
        )
        recommender.save(out)
    write_history(out / "history.csv", history)
    if draws:
        with replace_file(out / PLOT) as temporary:
            save(plot_history(history)[0], temporary)
    storage.seal(out)
    clear_state(state)
    return history


def _can_draw() -> bool:
    """Whether matplotlib is there; warns if it is not."""
    try:
        figure_class()
    except ImportError as error:
        warnings.warn(f"{PLOT} will be missing. {error}", stacklevel=2)
        return False
    return True


def _check_new(out: Path, state: Path) -> None:
    """Raises `FileExistsError` if a training would replace an existing one."""
    if is_interrupted(state):
        raise FileExistsError(
            f"There is an interrupted training in {state}. Go on with --resume, or "
            "begin anew with --overwrite."
        )
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(
            f"{out} holds a model. Replace it with --overwrite, or choose another name."
        )


def _what_is_left(state: Path) -> str:
    """A message on an interrupted training, and how to resume it."""
    if is_interrupted(state):
        return (
            f"What was trained until the last save is in {state}: go on with the same "
            "command and --resume, without --overwrite."
        )
    return "Nothing was saved yet, and nothing is left."
