from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_multvae import EASE, IALS, MultVAE, Popularity, Recommender
from keras_multvae.data import Interactions, UnknownIdError, UserBatches, Vocabulary
from keras_multvae.files import DamagedFileError

FIXTURE = Path(__file__).parent / "fixtures" / "recommender_v1"
RNG = np.random.default_rng(0)
# Two tastes: even users like films of even number, odd users the others.
LIKED = (np.arange(60)[:, None] + np.arange(20)) % 2 == 0
LIKED &= RNG.random(LIKED.shape) < 0.7
USERS, ITEMS = (axis.tolist() for axis in np.nonzero(LIKED))
CLICKS = Interactions.from_events(
    [f"u{u:02}" for u in USERS], [f"film{i}" for i in ITEMS]
)


@pytest.fixture(scope="module")
def recommender():
    model = MultVAE(CLICKS.num_items, 4, (16,), seed=1)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(UserBatches(CLICKS, 10), epochs=10, verbose=0)
    titles = {item: item.title() for item in CLICKS.items.ids.tolist()}
    return Recommender(model, CLICKS.items, histories=CLICKS, titles=titles)


def numbers(items):
    return [int(item.removeprefix("film")) for item in items]


def test_recommends_the_taste_of_the_history(recommender):
    both = recommender.recommend([["film0", "film2"], ["film1", "film3"]], k=5)
    for odd, (items, scores) in enumerate(both):
        assert len(items) == len(scores) == 5
        assert all(n % 2 == odd for n in numbers(items))
        assert (np.diff(scores) <= 0).all()


def test_scores_are_log_probabilities_over_all_items(recommender):
    full = recommender.recommend(["film0"], k=100, exclude_seen=False)
    assert np.exp(full.scores[0].astype("float64")).sum() == pytest.approx(1, abs=1e-5)
    part = recommender.recommend(["film0"], k=3)
    by_item = dict(zip(full.items[0], full.scores[0], strict=True))
    for item, score in zip(*part[0], strict=True):
        assert by_item[item] == pytest.approx(score, abs=1e-6)


def test_a_single_call_and_a_batch_give_the_same(recommender):
    users = CLICKS.users.ids[:30].tolist()
    batch = recommender.recommend(user_ids=users, k=5, batch_size=7)
    for user, (items, scores) in zip(users, batch, strict=True):
        single = recommender.recommend(user_ids=[user], k=5)
        np.testing.assert_allclose(single.scores[0], scores, atol=1e-5)
        close = np.abs(np.diff(scores)).min() < 1e-5
        assert close or single.items[0].tolist() == items.tolist()


def test_user_ids_stand_for_their_histories(recommender):
    history = CLICKS.items.ids[CLICKS.matrix[3].indices].tolist()
    by_id = recommender.recommend(user_ids=["u03"], k=4)
    assert by_id.users == ["u03"]
    by_history = recommender.recommend(history, k=4)
    assert by_id.items[0].tolist() == by_history.items[0].tolist()
    assert not set(by_id.items[0]) & set(history)


def test_allow_deny_and_seen(recommender):
    free = recommender.recommend(["film0"], k=20, exclude_seen=False)
    assert "film0" in free.items[0]
    allowed = recommender.recommend(["film0"], k=20, allow=["film0", "film1", "film2"])
    assert sorted(allowed.items[0]) == ["film1", "film2"]
    denied = recommender.recommend(["film0"], k=20, deny=["film1"])
    assert len(denied.items[0]) == 18
    assert "film1" not in denied.items[0]
    with pytest.raises(ValueError, match="leave no item"):
        recommender.recommend(["film0"], allow=["film1"], deny=["film1"])


def test_an_empty_history_gets_the_prior_ranking(recommender):
    (items, scores), (other, _) = recommender.recommend([[], ["film0"]], k=20)
    assert len(items) == 20 and np.isfinite(scores).all()
    assert len(other) == 19
    # Alone, an empty list is one empty history.
    assert recommender.recommend([], k=3).items[0].tolist() == items[:3].tolist()


def test_counts_weigh_and_forms_agree(recommender):
    once = recommender.recommend({"film0": 1, "film1": 1}, k=3)
    assert once.items[0].tolist() == (
        recommender.recommend(["film1", "film0", "film0"], k=3).items[0].tolist()
    )
    more = recommender.recommend({"film0": 9, "film1": 1}, k=3)
    assert not np.allclose(once.scores[0], more.scores[0])


def test_unknown_items(recommender):
    with pytest.raises(UnknownIdError, match="nosuch"):
        recommender.recommend(["film0", "nosuch"])
    skipped = recommender.recommend(["film0", "nosuch"], k=3, on_unknown="skip")
    assert skipped.items[0].tolist() == (
        recommender.recommend(["film0"], k=3).items[0].tolist()
    )
    with pytest.raises(UnknownIdError, match="u99"):
        recommender.recommend(user_ids=["u99"])


def test_similar_items_share_the_taste(recommender):
    (items, cosines), *_ = recommender.similar_items(["film4"], k=5)
    assert "film4" not in items
    assert sum(n % 2 == 0 for n in numbers(items)) >= 4
    assert (cosines <= 1 + 1e-6).all()
    vectors = recommender.model.item_vectors
    a, b = vectors[CLICKS.items.index(["film4", items[0]])]
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert cosines[0] == pytest.approx(expected, rel=1e-5)


def test_embed(recommender):
    mean, variance = recommender.embed([["film0"], []])
    assert mean.shape == variance.shape == (2, 4)
    assert (variance > 0).all()


def test_as_a_table_and_as_text(recommender):
    found = recommender.recommend([["film0"], ["film1"]], k=2)
    frame = found.to_pandas()
    assert frame.columns.tolist() == ["user_id", "rank", "item_id", "score", "title"]
    assert frame["rank"].tolist() == [1, 2, 1, 2]
    assert frame["title"].tolist() == [item.title() for item in frame["item_id"]]
    assert found.to_polars().rows() == list(frame.itertuples(index=False, name=None))
    assert "  1. Film" in str(found)
    assert len(found) == 2


def test_as_arrays(recommender):
    left = {"film1", "film4", "film19"}
    histories = [sorted(set(CLICKS.items.ids) - left), ["film1"]]
    found = recommender.recommend(histories, k=5)
    users, items, scores, valid = found.to_arrays()
    assert users.tolist() == [0, 1]
    assert valid.tolist() == [3, 5]
    assert items.shape == scores.shape == (2, 5)
    assert items[0, 3:].tolist() == ["", ""]
    assert (scores[0, 3:] == -np.inf).all()
    for user, (own, best) in enumerate(found):
        assert items[user, : valid[user]].tolist() == own.tolist()
        assert scores[user, : valid[user]].tolist() == best.tolist()
    assert [len(own) for own in found.items[:]] == [3, 5]
    few = recommender.recommend(histories, k=5, allow=["film19", "film1"])
    assert [set(own) for own in few.items] == [{"film1", "film19"}, {"film19"}]


def test_all_users(recommender):
    everybody = recommender.recommend(user_ids="all", k=4)
    assert everybody.users == CLICKS.users.ids.tolist()
    same = recommender.recommend(user_ids=everybody.users, k=4)
    for a, b in zip(everybody.to_arrays(), same.to_arrays(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_bar_is_shown_if_wanted(recommender, capsys):
    plain = recommender.recommend(user_ids="all", batch_size=25)
    assert capsys.readouterr().err == ""
    shown = recommender.recommend(user_ids="all", batch_size=25, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "60/60" in err
    np.testing.assert_array_equal(plain.to_arrays()[1], shown.to_arrays()[1])


def read_ranking(path):
    """The columns of a Parquet file as a dict of lists, and its row groups."""
    parquet = pytest.importorskip("pyarrow.parquet")
    file = parquet.ParquetFile(path)
    return file.read().to_pydict(), file.num_row_groups


def test_to_parquet_is_what_recommend_gives(recommender, tmp_path, monkeypatch):
    path = tmp_path / "recommendations.parquet"
    options = {"k": 12, "deny": ["film3"], "batch_size": 16}
    rows = recommender.recommend_to_parquet(path, **options)
    found = recommender.recommend(user_ids="all", **options)
    columns, groups = read_ranking(path)
    assert groups == 1
    assert rows == sum(map(len, found.items)) < 12 * 60
    expected = found.to_pandas()
    for name, column in zip(
        ("user_id", "rank", "item_id", "score"), columns, strict=True
    ):
        assert name == column
        assert columns[name] == expected[name].tolist()
    monkeypatch.setattr("keras_multvae.recommender.parquet.GROUP", 200)
    assert recommender.recommend_to_parquet(path, **options) == rows
    again, groups = read_ranking(path)
    assert again == columns
    assert groups > 1
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_to_parquet_for_some_users_with_ids_of_either_kind(tmp_path):
    clicks = Interactions.from_events([7, 7, 7, 9, 8], [1, 2, 3, 2, 1])
    model = Popularity(3).fit(clicks)
    recommender = Recommender(model, clicks.items, histories=clicks)
    rows = recommender.recommend_to_parquet(tmp_path / "a", user_ids=[9, 7, 8], k=1)
    columns, _ = read_ranking(tmp_path / "a")
    assert rows == 2  # nothing is left for user 7
    assert columns["user_id"] == [9, 8]
    assert columns["item_id"] == [1, 2]
    assert recommender.recommend_to_parquet(tmp_path / "b", user_ids=[7]) == 0
    assert read_ranking(tmp_path / "b")[0]["rank"] == []


def test_what_stops_the_writing_leaves_nothing_behind(
    recommender, tmp_path, monkeypatch
):
    pytest.importorskip("pyarrow")
    path = tmp_path / "recommendations.parquet"
    path.write_text("old")
    with pytest.raises(ValueError, match="`k`"):
        recommender.recommend_to_parquet(path, k=0)
    with pytest.raises(UnknownIdError, match="u99"):
        recommender.recommend_to_parquet(path, user_ids=["u01", "u99"])
    with pytest.raises(IsADirectoryError, match="Name a file"):
        recommender.recommend_to_parquet(tmp_path)

    def diverge_later(histories, pad_to):
        if histories.shape[0] < 25:
            raise ValueError("diverged")
        return np.zeros((25, 20), "float32"), np.zeros(25, "float32")

    with monkeypatch.context() as patch:
        patch.setattr(recommender.model, "unnormalized_scores", diverge_later)
        with pytest.raises(ValueError, match="diverged"):
            recommender.recommend_to_parquet(path, batch_size=25)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"keras_multvae\[data\]"):
        recommender.recommend_to_parquet(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_save_and_load(recommender, tmp_path):
    recommender.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.titles == recommender.titles
    for query in ({"user_ids": ["u01", "u02"]}, {"histories": ["film3"]}):
        a, b = (each.recommend(**query) for each in (recommender, loaded))
        for one, other in zip(a.items, b.items, strict=True):
            assert one.tolist() == other.tolist()
    recommender.save(tmp_path / "model")  # its own folder may be replaced
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_baseline_saves_and_loads(tmp_path):
    model = Popularity(CLICKS.num_items).fit(CLICKS)
    Recommender(model, CLICKS.items).save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert (
        loaded.recommend([], k=1).items[0][0] == CLICKS.items.ids[model.counts.argmax()]
    )
    with pytest.raises(TypeError, match="needs a model with item vectors"):
        loaded.similar_items(["film0"])
    with pytest.raises(TypeError, match="needs a model with a latent space"):
        loaded.embed(["film0"])
    with pytest.raises(ValueError, match="keeps no histories"):
        loaded.recommend(user_ids=["u01"])


@pytest.mark.parametrize("kind", [EASE, IALS])
def test_a_stored_baseline_recommends_as_before(tmp_path, kind):
    if kind is IALS:
        pytest.importorskip("implicit")
    recommender = Recommender(kind(CLICKS.num_items).fit(CLICKS), CLICKS.items)
    recommender.save(tmp_path / "model")
    before, after = (
        each.recommend(["film0", "film3"])
        for each in (recommender, Recommender.load(tmp_path / "model"))
    )
    assert after.items[0].tolist() == before.items[0].tolist()
    assert after.scores[0].tolist() == before.scores[0].tolist()


def test_a_failed_save_leaves_the_old_folder(recommender, tmp_path, monkeypatch):
    recommender.save(tmp_path / "model")

    def full_disk(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("keras_multvae.recommender.storage.write_json", full_disk)
    with pytest.raises(OSError, match="No space"):
        recommender.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    Recommender.load(tmp_path / "model").recommend(["film0"])


def test_damaged_folders_are_named(recommender, tmp_path):
    recommender.save(tmp_path / "good")

    def damaged(name, change):
        shutil.copytree(tmp_path / "good", tmp_path / name)
        change(tmp_path / name)
        return tmp_path / name

    def metadata(**changes):
        def change(folder):
            path = folder / "metadata.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

        return change

    cases = {
        "no metadata": lambda f: (f / "metadata.json").unlink(),
        "cut json": lambda f: (f / "items.json").write_text('{"format"'),
        "no model": lambda f: (f / "model.keras").unlink(),
        "cut model": lambda f: (f / "model.keras").write_bytes(
            (tmp_path / "good" / "model.keras").read_bytes()[:999]
        ),
        "newer": metadata(version=2),
        "foreign": metadata(format="other"),
        "unknown model": metadata(model="Other"),
        "fewer items": lambda f: Vocabulary(["film0"]).save(f / "items.json"),
    }
    for name, change in cases.items():
        with pytest.raises(DamagedFileError):
            Recommender.load(damaged(name, change))
    with pytest.raises(FileNotFoundError):
        Recommender.load(tmp_path / "missing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="will not be replaced"):
        recommender.save(tmp_path / "other")


def test_version_1_still_loads():
    loaded = Recommender.load(FIXTURE)
    assert loaded.recommend(user_ids=[7], k=2).items[0].tolist() == ["c", "b"]
    assert loaded.titles["a"] == "Alien"
    scores = loaded.recommend(["a"], k=3).scores[0]
    np.testing.assert_allclose(scores, [-0.9758284, -1.1717051], atol=1e-6)


def test_bad_arguments_are_named(recommender):
    for k in (0, -1, 2.5):
        with pytest.raises(ValueError, match="`k`"):
            recommender.recommend(["film0"], k=k)
        with pytest.raises(ValueError, match="`batch_size`"):
            recommender.recommend(["film0"], batch_size=k)
    with pytest.raises(ValueError, match='"all"'):
        recommender.recommend(user_ids="u01")
    with pytest.raises(ValueError, match="either"):
        recommender.recommend()
    with pytest.raises(ValueError, match="either"):
        recommender.recommend(["film0"], user_ids=["u01"])
    with pytest.raises(ValueError, match="iterable of item ids"):
        recommender.recommend("film0")
    with pytest.raises(ValueError, match="do not belong together"):
        Recommender(Popularity(3), CLICKS.items)
    with pytest.raises(ValueError, match="items of the recommender"):
        other = Interactions.from_events([1], ["x"])
        Recommender(Popularity(1), Vocabulary(["y"]), histories=other)
