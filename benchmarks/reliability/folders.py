"""One folder of each kind, small, and what is in it as one digest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

USERS, ITEMS = 60, 24
READERS = ("prepared", "interactions", "multvae", "ease", "sparse", "popularity")
KINDS = (*READERS, "state", "recommendations", "study")


def split_of(seed: int = 0) -> Any:
    """A split with everything that may be in one."""
    from keras_multvae.data import Interactions, strong_generalization

    rng = np.random.default_rng(seed)
    taste = (np.arange(USERS)[:, None] + np.arange(ITEMS)) % 2 == 0
    users, items = np.nonzero(taste & (rng.random(taste.shape) < 0.8))
    events = Interactions.from_events(
        [f"u{user:02}" for user in users],
        [f"i{item:02}" for item in items],
        values=rng.integers(1, 4, len(users)),
        timestamps=10**9 + rng.random(len(users)) * 1000,
    )
    weighted = Interactions(
        events.matrix,
        events.users,
        events.items,
        events.timestamps,
        events.positions,
        np.arange(len(events.users)) / 4,
        events.counts,
        events.fractions,
    )
    return strong_generalization(weighted, 10, 10)


def recipe_of(epochs: int = 3) -> Any:
    from keras_multvae.models.multvae_config import MultVAEConfig
    from keras_multvae.training import Recipe

    model = MultVAEConfig(latent_dim=3, hidden_dims=(5,))
    return Recipe(model, epochs=epochs, batch_size=20)


def make(folder: Path, kinds: tuple[str, ...] = KINDS) -> None:
    """Makes folders by the names of their kinds."""
    split = split_of()
    for kind in kinds:
        _MAKERS[kind](folder / kind, split)


def _prepared(place: Path, split: Any) -> None:
    from keras_multvae.data import save_prepared

    titles = {raw: f"Title {raw}" for raw in split.train.items.ids[:10].tolist()}
    save_prepared(split, place, titles, {"source": "a benchmark"})


def _interactions(place: Path, split: Any) -> None:
    from keras_multvae.data import save_interactions

    save_interactions(split.train, place)


def _multvae(place: Path, split: Any) -> None:
    from keras_multvae import Recommender
    from keras_multvae.recommender import storage
    from keras_multvae.training.history import write_history
    from keras_multvae.training.trainer import record, train

    model, history = train(split, recipe_of(), place.with_name("making"))
    titles = {raw: f"Title {raw}" for raw in split.train.items.ids[:10].tolist()}
    Recommender(
        model,
        split.train.items,
        histories=split.train,
        titles=titles,
        training=record(split, recipe_of()),
    ).save(place)
    write_history(place / "history.csv", history)
    storage.seal(place)


def _baseline(name: str) -> Any:
    def write(place: Path, split: Any) -> None:
        import keras_multvae

        model = getattr(keras_multvae, name)(split.train.num_items).fit(split.train)
        keras_multvae.Recommender(model, split.train.items).save(place)

    return write


def _state(place: Path, split: Any) -> None:
    import keras

    from keras_multvae.training.trainer import train

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        train(split, recipe_of(), place, save_every=0.0, callbacks=[Stop()])


def job_of(place: Path) -> Any:
    from keras_multvae.cluster.job import Job

    folder = place.parent
    options = {"k": 5, "exclude_seen": True, "on_unknown": "raise"}
    return Job(folder / "ease", folder / "prepared", "train", place, 15, options)


def _recommendations(place: Path, split: Any) -> None:
    job = job_of(place)
    users = job.count_users()
    for shard in job.start(users):
        job.fill(shard)
    job.finish(users)


def _study(place: Path, split: Any) -> None:
    from keras_multvae.training.recipe import Recipe
    from keras_multvae.tuning.folder import StudyFolder
    from keras_multvae.tuning.space import Space

    study = StudyFolder.begin(place, Space(("MultVAE",), Recipe()), split, 0)
    study.keep_linear(linear_path())


def linear_path() -> Any:
    from keras_multvae.training import LinearPath

    return LinearPath(l2=2.0, density=0.1, weight=1.0)


_MAKERS = {
    "prepared": _prepared,
    "interactions": _interactions,
    "multvae": _multvae,
    "ease": _baseline("EASE"),
    "sparse": _baseline("SparseEASE"),
    "popularity": _baseline("Popularity"),
    "state": _state,
    "recommendations": _recommendations,
    "study": _study,
}


def digest(kind: str, place: Path) -> str:
    """What is in a folder, to the last bit; or what reading it raises."""
    total = hashlib.sha256()
    _add(total, _read(kind, place))
    return total.hexdigest()


def _read(kind: str, place: Path) -> Any:
    if kind == "prepared":
        from keras_multvae.data import load_prepared

        found = load_prepared(place)
        split = found.split
        held_out = [split.validation, split.test]
        sides = [side for each in held_out for side in (each.input, each.targets)]
        return [split.train, *sides, found.titles, split.settings, found.manifest]
    if kind == "interactions":
        from keras_multvae.data import load_interactions

        return load_interactions(place)
    if kind == "state":
        return _resumed(place)
    if kind == "recommendations":
        return _filled(place)
    if kind == "study":
        from keras_multvae.tuning.folder import StudyFolder

        study = StudyFolder.open(place)
        # Where they are gone, they are chosen again.
        linear = study.linear or linear_path()
        settings = study.space.base.to_json(), linear.to_json()
        return [study.data, study.seed, *settings]
    return _recommender(place)


def _recommender(place: Path) -> Any:
    from keras_multvae import Recommender

    found = Recommender.load(place)
    rows = sparse.csr_matrix(np.eye(4, len(found.items), dtype="float32"))
    rows.sort_indices()
    scores = found.model.score(rows)
    recipe = found.training and [found.training.recipe.to_json(), found.training.data]
    return [scores, found.items.ids.tolist(), found.histories, found.titles, recipe]


def _resumed(place: Path) -> Any:
    """What a training comes to that goes on from a state, which stays as it was."""
    from keras_multvae.training.trainer import train

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "state"
        # Links stay links: one that leads to a device has no end.
        shutil.copytree(place, copy, symlinks=True, copy_function=_copied)
        model, history = train(
            split_of(), recipe_of(), copy, resume=True, save_every=math.inf
        )
    return [*model.get_weights(), history]


def _copied(source: str, to: str) -> None:
    """As `shutil.copy2`, for pipes, too."""
    if stat.S_ISFIFO(os.lstat(source).st_mode):
        os.mkfifo(to)
    else:
        shutil.copy2(source, to, follow_symlinks=False)


def _filled(place: Path) -> Any:
    """The parts after the job was called once more, which makes good what it can."""
    job = job_of(place)
    users = job.count_users()
    for shard in job.start(users):
        job.fill(shard)
    job.finish(users)
    return [job.path(shard).read_bytes().hex() for shard in job.shards(users)]


def _add(total: Any, value: Any) -> None:
    if hasattr(value, "matrix"):
        arrays = (value.matrix.indptr, value.matrix.indices, value.matrix.data)
        beside = ("timestamps", "fractions", "positions", "user_weights")
        ids = value.users.ids.tolist(), value.items.ids.tolist()
        _add(total, [*arrays, *(getattr(value, n) for n in beside), *ids, value.counts])
    elif isinstance(value, np.ndarray):
        total.update(f"{value.dtype}{value.shape}".encode())
        total.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, list | tuple):
        total.update(b"[")
        for each in value:
            _add(total, each)
        total.update(b"]")
    else:
        total.update(json.dumps(value, sort_keys=True, default=str).encode())


def consume(split: Any) -> None:
    """Whatever reads matrices, over a split that has been loaded."""
    from keras_multvae import EASE, Popularity, SparseEASE, evaluate_ranking
    from keras_multvae.data import UserBatches

    train, items = split.train, split.train.num_items
    for batch in UserBatches(train, 20):
        assert batch[0]["item_ids"].max() < items
    for model in (EASE(items), SparseEASE(items, neighbours=3), Popularity(items)):
        model.fit(train)
        evaluate_ranking(model, split.test)
    if not os.environ.get("RELIABILITY_WITHOUT_IALS"):
        from keras_multvae import IALS

        IALS(items, 3, iterations=2).fit(train).score(split.test.input)
    matrix = train.matrix
    (matrix @ np.ones(items, "float32")).sum()
    (matrix.T @ np.ones(matrix.shape[0], "float32")).sum()
    matrix.T.tocsr()
    matrix[[2, 0]].toarray()
    (matrix @ matrix.T).sum()
    train.select_users([1, 0])
    list(train.parts())
    train.with_items(train.items.take(np.arange(items)[::-1]))
    network = recipe_of(1).build(items, 9)
    network.compile()
    network.fit(UserBatches(train, 20), verbose=0)
    evaluate_ranking(network, split.test)
