"""examples/reproduce_paper.py on small files of the three raw formats."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_multvae import MultVAE, Recommender
from keras_multvae.data import Interactions, load_prepared
from keras_multvae.files import read_json

pytest.importorskip("polars")

PATH = Path(__file__).resolve().parents[1] / "examples" / "reproduce_paper.py"
DATASETS = ("ml-20m", "netflix", "msd")
HELD_OUT = 40
# (items a user must have, users an item must have)
MINIMA = {"ml-20m": (5, 1), "netflix": (5, 1), "msd": (8, 15)}
PARTS = (
    "train",
    "validation/input",
    "validation/targets",
    "test/input",
    "test/targets",
)


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("reproduce_paper", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_events(seed=0):
    """(user, item, stars) of 260 users with one of two tastes, in random order."""
    rng = np.random.default_rng(seed)
    # Ids of 1 to 4 digits: sorted as texts their order is another one.
    users = rng.choice(5000, 260, replace=False) + 1
    fame = rng.permutation(1 / np.arange(5, 125))
    events = []
    for user in users.tolist():
        taste = np.where(np.arange(120) % 2 == user % 2, 40, 1) * fame
        size = int(rng.integers(4, 25))
        liked = rng.choice(120, size, replace=False, p=taste / taste.sum()).tolist()
        events += [(user, item + 1, int(rng.integers(4, 6))) for item in liked]
        others = sorted(set(range(120)) - set(liked))[:3]
        events += [(user, item + 1, int(rng.integers(1, 4))) for item in others]
    return [events[i] for i in rng.permutation(len(events))]


def hex_of(number):
    return hashlib.sha1(str(number).encode()).hexdigest()


def write_raw(dataset, folder, seed=0):
    """Writes the events in the form of a data set; gives what --source names."""
    events = make_events(seed)
    folder.mkdir()
    if dataset == "netflix":
        for movie in sorted({item for _, item, _ in events}):
            rows = [f"{u},{r},2005-09-06\n" for u, i, r in events if i == movie]
            path = folder / "training_set" / f"mv_{movie:07}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{movie}:\n" + "".join(rows))
        return folder
    if dataset == "msd":
        path = folder / "train_triplets.txt"
        rows = [
            f"{hex_of(u)}\tSO{hex_of(-i)[:16].upper()}\t{r}\n" for u, i, r in events
        ]
        path.write_text("".join(rows))
        return path
    path = folder / "ratings.csv"
    # 3.5 stars are below the limit, 4 are not.
    rows = [f"{u},{i},{3.5 if r == 3 else r},970000000\n" for u, i, r in events]
    path.write_text("userId,movieId,rating,timestamp\n" + "".join(rows))
    return folder


def read_raw(dataset, source):
    """The (user, item) pairs that count, in file order, by a loop over the lines."""
    if dataset == "msd":
        return [tuple(line.split("\t")[:2]) for line in source.open()]
    pairs = []
    if dataset == "ml-20m":
        for line in (source / "ratings.csv").read_text().splitlines()[1:]:
            user, item, stars, _ = line.split(",")
            pairs += [(int(user), int(item))] * (float(stars) > 3.5)
        return pairs
    for path in sorted((source / "training_set").iterdir()):
        heading, *lines = path.read_text().splitlines()
        for line in lines:
            user, stars, _ = line.split(",")
            pairs += [(int(user), int(heading[:-1]))] * (int(stars) > 3.5)
    return pairs


def often(pairs, side, minimum):
    """The pairs whose user (side 0) or item (side 1) is in at least `minimum`."""
    ids = [pair[side] for pair in pairs]
    return [pair for pair in pairs if ids.count(pair[side]) >= minimum]


def protocol(pairs, min_user_items, min_item_users):
    """The protocol of docs/method.md, steps 1 to 4, from its text alone."""
    pairs = often(often(pairs, 1, min_item_users), 0, min_user_items)
    users = sorted({user for user, _ in pairs})
    np.random.seed(98765)
    order = [users[i] for i in np.random.permutation(len(users))]
    training = set(order[: -2 * HELD_OUT])
    train = [pair for pair in pairs if pair[0] in training]
    items = list(dict.fromkeys(item for _, item in train))
    parts = [train]
    for block in (order[-2 * HELD_OUT : -HELD_OUT], order[-HELD_OUT:]):
        np.random.seed(98765)
        inputs, targets = [], []
        for user in sorted(block):
            own = [pair for pair in pairs if pair[0] == user and pair[1] in items]
            chosen = []
            if len(own) >= 5:
                size = int(0.2 * len(own))
                chosen = np.random.choice(len(own), size=size, replace=False).tolist()
            targets += [own[i] for i in chosen]
            inputs += [pair for i, pair in enumerate(own) if i not in chosen]
        parts += [inputs, targets]
    counts = {
        "users": len(users),
        "items": len(items),
        "events": len(pairs),
        "items_before_the_cut_to_training_users": len({item for _, item in pairs}),
    }
    return dict(zip(PARTS, parts, strict=True)), items, counts


def digest(lines):
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def digests(parts, items):
    """SHA-256 of each part's sorted pairs, and of the items in their order."""
    lines = {n: [f"{u},{i}" for u, i in sorted(pairs)] for n, pairs in parts.items()}
    return {name: digest(part) for name, part in {**lines, "items": items}.items()}


def digests_of(split):
    parts = {}
    for name in PARTS:
        part = functools.reduce(getattr, name.split("/"), split)
        users = part.users.ids[part.rows].tolist()
        items = part.items.ids[part.matrix.indices].tolist()
        parts[name] = list(zip(users, items, strict=True))
    return digests(parts, split.train.items.ids.tolist())


def arguments(dataset, source, out, *more):
    users, items = MINIMA[dataset]
    return [
        *(dataset, "--source", str(source), "--out", str(out)),
        *("--held-out", str(HELD_OUT), "--epochs", "5", "--batch-size", "25"),
        *("--min-user-items", str(users), "--min-item-users", str(items)),
        *more,
    ]


@pytest.fixture(scope="module")
def finished(example, tmp_path_factory):
    """Runs the example to its end, once a data set."""

    @functools.cache
    def run(dataset):
        folder = tmp_path_factory.mktemp(dataset)
        source = write_raw(dataset, folder / "raw")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            example.main(arguments(dataset, source, folder / "out"))
        return SimpleNamespace(
            source=source, out=folder / "out", printed=printed.getvalue()
        )

    return run


@pytest.mark.parametrize("dataset", DATASETS)
def test_counts_and_split_are_the_protocols(dataset, finished):
    run = finished(dataset)
    pairs = read_raw(dataset, run.source)
    parts, items, counts = protocol(pairs, *MINIMA[dataset])
    # The filters bite, and so do the rules for short rows and for unknown items.
    assert counts["users"] < len({user for user, _ in pairs})
    if dataset == "msd":
        assert counts["items"] < len({item for _, item in pairs})
    assert digests_of(load_prepared(run.out / "prepared").split) == digests(
        parts, items
    )
    assert read_json(run.out / "results.json")["counts"] == counts


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_models_beat_popularity_and_stand_beside_the_paper(
    dataset, example, finished
):
    run = finished(dataset)
    systems = read_json(run.out / "results.json")["systems"]
    ndcg = {name: found["test"]["ndcg@100"] for name, found in systems.items()}
    assert list(ndcg) == ["Popularity", "MultVAE", "MultDAE"]
    for name in ("MultVAE", "MultDAE"):
        assert ndcg[name]["mean"] > ndcg["Popularity"]["mean"] + 0.02
        recipe = systems[name]["recipe"]
        assert recipe["anneal_steps"] == 200_000
        # The paper's networks, I-600-200-600-I and I-200-I.
        assert recipe["hidden_dims"] == ([600] if name == "MultVAE" else [])
        stored = Recommender.load(run.out / name)
        assert type(stored.model).__name__ == name
        assert example.flat(stored.training.recipe) == recipe
        assert not (run.out / f"{name}.training").exists()
    mean, error = (ndcg["MultVAE"][key] for key in ("mean", "stderr"))
    assert f"| {mean:.4f} ± {error:.4f} |\n| MultVAE, paper |" in run.printed
    last = {"ml-20m": "0.419", "netflix": "0.380", "msd": "0.313"}[dataset]
    assert run.printed.endswith(f"{last} |\n")


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_second_run_does_nothing_again(
    dataset, example, finished, monkeypatch, capsys
):
    run = finished(dataset)
    for work in ("strong_generalization", "train", "evaluate_ranking"):
        monkeypatch.setattr(example, work, None)
    example.main(arguments(dataset, run.source, run.out))
    assert capsys.readouterr().out == run.printed


@pytest.mark.parametrize("dataset", DATASETS)
def test_another_source_or_other_options_are_refused(
    dataset, example, finished, tmp_path
):
    run = finished(dataset)
    before = (run.out / "results.json").read_bytes()
    other = write_raw(dataset, tmp_path / "raw", seed=1)
    with pytest.raises(ValueError, match=r"prepared belongs to .* source was '\w+', n"):
        example.main(arguments(dataset, other, run.out))
    with pytest.raises(ValueError, match=r"held_out was 40, now 30.*another --out"):
        example.main(arguments(dataset, run.source, run.out, "--held-out", "30"))
    with pytest.raises(ValueError, match=r"results.json .* epochs was 5, now 9"):
        example.main(arguments(dataset, run.source, run.out, "--epochs", "9"))
    assert (run.out / "results.json").read_bytes() == before


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_killed_training_goes_on(example, finished, tmp_path, monkeypatch):
    dataset = "netflix"
    run = finished(dataset)
    command = arguments(dataset, run.source, tmp_path, "--models", "MultVAE")
    train, measure = example.train, example.measure
    calls = []

    def killed(*args, callbacks, **options):
        calls.append(options["resume"])
        callbacks = [*callbacks, Kill()] if len(calls) == 1 else callbacks
        return train(*args, callbacks=callbacks, save_every=0.0, **options)

    def killed_late(model, split):
        if len(calls) == 2 and isinstance(model, MultVAE):
            raise KeyboardInterrupt
        return measure(model, split)

    monkeypatch.setattr(example, "train", killed)
    monkeypatch.setattr(example, "measure", killed_late)
    # First in the third epoch, then after the last one, before anything is measured.
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            example.main(command)
    monkeypatch.setattr(example, "strong_generalization", None)
    example.main(command)
    assert calls == [False, True, True]
    found, wanted = (
        read_json(out / "results.json")["systems"]["MultVAE"]
        for out in (tmp_path, run.out)
    )
    assert found["recipe"] == wanted["recipe"]
    assert found["best_epoch"] == pytest.approx(wanted["best_epoch"], rel=1e-4)
    for metric in example.METRICS:
        expected = pytest.approx(wanted["test"][metric], rel=1e-4)
        assert found["test"][metric] == expected
    assert not (tmp_path / "MultVAE.training").exists()


@pytest.mark.once
def test_kaggles_netflix_files_give_the_same_split(example, finished, tmp_path):
    run = finished("netflix")
    texts = [p.read_text() for p in sorted((run.source / "training_set").iterdir())]
    for number, part in enumerate((texts[:30], texts[30:]), start=1):
        (tmp_path / f"combined_data_{number}.txt").write_text("".join(part))
    options = example.parse(arguments("netflix", tmp_path, tmp_path))
    split, _ = example.prepare(options, tmp_path / "prepared")
    expected = load_prepared(run.out / "prepared").split
    assert digests_of(split) == digests_of(expected)


@pytest.mark.once
def test_the_authors_split_of_real_ratings(example, shared_data, tmp_path):
    source = shared_data / "ml-latest-small" / "ratings.csv"
    more = ("--source", str(source), "--held-out", "60")
    options = example.parse(["ml-20m", *more])
    assert (options.min_user_items, options.epochs) == (5, 200)
    split, _ = example.prepare(options, tmp_path / "prepared")
    assert split.train.num_items == 5660
    # The hashes of tests/data/splits/test_strong.py.
    found = {name: value[:16] for name, value in digests_of(split).items()}
    assert found == {
        "train": "99d498a4f80828ef",
        "validation/input": "5bf8d63c997d56ea",
        "validation/targets": "ad127c4f92f0a3ba",
        "test/input": "bc546da03cde5c9e",
        "test/targets": "a6f8d47ce7bac4a4",
        "items": "ccd552d75dc48e57",
    }


@pytest.mark.once
def test_without_source_movielens_comes_through_tfds(example, tmp_path, monkeypatch):
    events = np.array(make_events())
    columns = events[np.lexsort((events[:, 1], events[:, 0]))].T
    asked = []

    def load_movielens(name, **filters):
        asked.append(name)
        users, items, ratings = columns
        return Interactions.from_events(users, items, ratings=ratings, **filters), {}

    monkeypatch.setattr(example, "load_movielens", load_movielens)
    options = example.parse(["ml-20m", "--held-out", str(HELD_OUT)])
    for _ in range(2):
        split, settings = example.prepare(options, tmp_path / "prepared")
    assert asked == ["20m"]
    assert settings["source"] == "tensorflow-datasets"
    assert split.validation.num_users == HELD_OUT


@pytest.mark.once
@pytest.mark.parametrize(
    ("dataset", "text", "message"),
    [
        ("netflix", "7,4,2005-09-06\n", r"headings like 1:.*Received: '7', rating 4"),
        ("netflix", "1:\n7,4,2005-09-06\n8\n", r"Received: '8', rating None"),
        ("netflix", "1:\n7,four,2005-09-06\n", r"Expected .* lines like 1488844,3"),
        ("netflix", "one:\n7,4,2005-09-06\n", r"Expected .* headings like 1:"),
        ("msd", "a,b,1\n", r"lines USER, SONG, COUNT with tabs.*train_triplets\.txt"),
        ("msd", "a\tb\tmany\n", r"lines USER, SONG, COUNT with tabs"),
        ("msd", "a\tb\t1\na\tb\n", r"Received: \('a', 'b', None\)"),
        ("ml-20m", "user,item\n1,2\n", r"no column 'userId'"),
    ],
)
def test_files_of_another_form_are_named(example, tmp_path, dataset, text, message):
    path = tmp_path / "raw.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        example.main(arguments(dataset, path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.once
def test_missing_files_and_bad_arguments_are_named(example, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"mv_\*\.txt or .* without them"):
        example.main(arguments("netflix", tmp_path, tmp_path))
    with pytest.raises(FileNotFoundError, match=r"ratings\.csv, .* not there"):
        example.main(arguments("ml-20m", tmp_path / "none", tmp_path))
    for bad in (["msd"], ["msd", "--epochs", "0"], ["yelp"]):
        with pytest.raises(SystemExit) as error:
            example.main(bad)
        assert error.value.code == 2
    text = capsys.readouterr().err
    assert "train_triplets.txt, with --source" in text
    assert "expected an integer >= 1, received '0'" in text
