"""`tune`: the best model that can be found in so many minutes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from keras_multvae import checks
from keras_multvae.data import Split, save_prepared
from keras_multvae.data.prepared import check_features
from keras_multvae.features import ItemFeatures
from keras_multvae.plots import figure_class
from keras_multvae.recommender.storage import check_out
from keras_multvae.training.recipe import Recipe
from keras_multvae.tuning import worker
from keras_multvae.tuning.folder import DATA, StudyFolder, folder_of
from keras_multvae.tuning.processes import run_here, run_on_ray, tasks
from keras_multvae.tuning.quiet import optuna as quiet_optuna
from keras_multvae.tuning.report import Tuning, write
from keras_multvae.tuning.shown import Shown
from keras_multvae.tuning.space import Space, default_models
from keras_multvae.tuning.worker import Allowance, Worker, linear_of
from keras_multvae.typing import Titles

# Seconds that are kept back for the tables and the plot at the end.
LAST = 6.0


def tune(
    split: Split,
    out: str | os.PathLike[str],
    minutes: float = 60,
    *,
    models: Sequence[str] | None = None,
    recipe: Recipe | None = None,
    trials: int | None = None,
    processes: int = 1,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    prepared: str | os.PathLike[str] | None = None,
    titles: Titles | None = None,
    features: ItemFeatures | None = None,
    resume: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Tuning:
    """Searches model and settings for the best validation NDCG@100 in a given time.

    First the settings of a linear model are chosen, once. Then one training follows the
    other: at first by settings that did well on other data, then by those that Optuna
    takes from what was learnt. One that stays behind the others of its model is ended,
    and so is one that no longer improves. Each gets the linear model beside it
    (`add_linear_path`), where validation users say so. When the time is over, the best
    of all, as it was in its best epoch, is in `out`: a recommender's folder, with the
    histories of the users of all parts, `recipe.json` for `train --recipe`,
    `history.csv`, `trials.csv` and, from four finished trials on, `importance.png`.

    The study is in `OUT.tuning`, and survives a kill: with `resume` it goes on for the
    given minutes, on the same data. Several processes, also on other machines, work on
    one study if each calls this with `resume` and the same folder, on a file system
    that they share. Each keeps its own time; on Ray, that of this machine's clock.

    Args:
        split: Training and validation part.
        out: Folder for the model. An older recommender is replaced at the end.
        minutes: Float > 0, the time for all of it. An epoch that has begun is ended.
        models: Names of models; by default those of this package that a `Recipe`
            trains. What is searched of a model is what it calls as ours do:
            `latent_dim`, `hidden_dims`, `width`, `dropout`, `gamma`, `l2`.
        recipe: What is not searched, as `Recipe(batch_size=100)`; and of the model that
            it is of, the settings.
        trials: Int >= 1, after how many finished or pruned trials to end before the
            time is over.
        processes: Int >= 1, trainings at a time, each in a process of its own with an
            even share of the processors.
        engine: "local", or "ray" for processes on the nodes of a Ray cluster.
        address: Of the cluster, see `recommend_on_ray`.
        prepared: The prepared folder that `split` is of, for the processes to read; by
            default a copy in the study's folder. On Ray all nodes must find it.
        titles: Title by raw item id, for the recommender.
        features: `ItemFeatures` of the split's items, in their order, likewise.
        resume: Bool, whether to go on with a study.
        seed: Int, of the search; in one process and without pressure of time, the same
            seed gives the same trials.
        progress: Bool, whether to show on standard error how far it is.

    Returns:
        `Tuning`.

    Raises:
        ImportError: Optuna, matplotlib or Ray is not installed.
        FileExistsError: `out` is something else, or there is a study and `resume` was
            not asked for.
        ValueError: No validation part, features of other items, an unknown model,
            nothing to resume, a study of other data, models or recipe, or no trial was
            finished in time.
        RuntimeError: Trial after trial failed, with the reason.

    Example:

    >>> from keras_multvae.data import load_prepared
    >>> found = tune(
    ...     load_prepared("prepared").split, "model", minutes=10
    ... )  # doctest: +SKIP
    >>> print(found)  # doctest: +SKIP
    >>> found.recipe, found.importances  # doctest: +SKIP

    References:
        - [Akiba et al., 2019](https://arxiv.org/abs/1907.10902), Optuna
        - [Bergstra et al., 2011](https://papers.nips.cc/paper/4443), TPE
    """
    seconds = 60 * checks.number("minutes", minutes, above=0)
    end = worker.clock() + max(seconds - LAST, 0.9 * seconds)
    if trials is not None:
        trials = checks.integer("trials", trials)
    allowance = Allowance(seconds, end, trials)
    processes = checks.integer("processes", processes)
    checks.choice("engine", engine, ("local", "ray"))
    seed = checks.integer("seed", seed, 0)
    if split.validation is None:
        raise ValueError(
            "tune() needs a split with a validation part. Received: validation=None."
        )
    out = Path(out)
    # What would stop the writing stops it before the training, not after an hour.
    check_out(out)
    figure_class()
    check_features(features, split.train.num_items)
    with quiet_optuna() as optuna:
        folder = _folder(out, split, models, recipe, seed, resume)
        study = folder.study(optuna)
        if resume:
            folder.bury_the_dead(study, optuna)
        elif not study.get_trials(deepcopy=False):
            for guess in folder.space.guesses(split.train.num_items):
                study.enqueue_trial(guess)
        known = dict(titles or {})
        with Shown(allowance.left, study, progress) as look:
            if engine == "local" and processes == 1:
                Worker(folder, split, allowance, titles=known, shown=look).run()
            else:
                place = _prepared(folder, split, prepared, known)
                linear_of(folder, split, allowance)
                given = tasks(folder, place, allowance, processes)
                if engine == "ray":
                    run_on_ray(given, lambda: look(study), address)
                else:
                    run_here(given, lambda: look(study))
        return write(folder, study, optuna, out, split.histories(), features)


def _folder(
    out: Path,
    split: Split,
    models: Sequence[str] | None,
    recipe: Recipe | None,
    seed: int,
    resume: bool,
) -> StudyFolder:
    """The study, new or as it was."""
    if resume:
        folder = StudyFolder.open(folder_of(out))
        folder.check(split, models, recipe)
        return folder
    names = tuple(default_models() if models is None else models)
    space = Space(names, Recipe() if recipe is None else recipe)
    return StudyFolder.begin(folder_of(out), space, split, seed)


def _prepared(
    folder: StudyFolder,
    split: Split,
    prepared: str | os.PathLike[str] | None,
    titles: Titles,
) -> Path:
    """The prepared folder for other processes."""
    if prepared is not None:
        return Path(prepared)
    place = folder.path / DATA
    if not place.is_dir():
        save_prepared(split, place, titles)
    return place
