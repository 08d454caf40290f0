"""`keras-multvae add-items`: from a file of items to a model that has them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_multvae import Recommender
from keras_multvae.cli import main

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A shop with a trained model, and a file with two items more."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    rows = [
        f"{user},{item}"
        for user in range(60)
        for item in rng.permutation(30)[:8] + 30 * (user % 2)
    ]
    (folder / "log.csv").write_text("\n".join(["user_id,item_id", *rows]))
    colours = [
        f"{i},Thing {i},{'red' if i < 30 else 'blue'}|any,{i}" for i in range(60)
    ]
    header = "item_id,title,colour,price"
    (folder / "items.csv").write_text("\n".join([header, *colours]))
    new = ["100,New red,red|any,20", "101,,blue|odd,", "3,Thing 3,red,3"]
    (folder / "new.csv").write_text("\n".join([header, *new]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ["--items", "items.csv", "--features", "colour,price"]
        assert main(["prepare", "log.csv", "--out", "prepared", *options]) == 0
        train = ["--epochs", "3", "--batch-size", "20", "--latent-dim", "4"]
        assert main(["train", "prepared", "--out", "model", *train]) == 0
    return folder


def test_new_items_are_in_the_model(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    command = ["add-items", "model", "new.csv", "--out", "grown", "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["new_items"], report["known_items"]) == (2, 1)
    assert 0 <= report["calibration"]["warm_loss"] <= 0.005
    found = Recommender.load("grown")
    assert found.items.ids[-2:].tolist() == [100, 101]
    assert found.titles[100] == "New red" and 101 not in found.titles
    assert found.features["colour"].column()[-2:] == [["any", "red"], ["blue"]]
    # A missing price is the mean of those that were known.
    np.testing.assert_allclose(found.features["price"].matrix[-2:].ravel(), [20, 29.5])
    assert main(["verify", "grown"]) == 0
    assert main([*command, "--prepared", "prepared", "--warm-loss", "0.1"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["new_items"] == 2
    assert main(["add-items", "grown", "new.csv", "--out", "again"]) == 0
    assert "0 new items, beside 62; 3 of the file were known" in capsys.readouterr().out


def test_what_is_wrong_is_one_line(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "other.csv").write_text("item_id,colour\n200,red\n")
    options = ["--out", "no"]
    bare = Recommender.load("model")
    bare.features = None
    bare.save("bare")
    assert main(["add-items", "bare", "new.csv", "--out", "from", "--prepared",
                 "prepared"]) == 0  # fmt: skip
    capsys.readouterr()
    for arguments, message in (
        (["bare", "new.csv", *options], "knows no features"),
        (["model", "other.csv", *options], "price"),
        (["model", "new.csv", "--prepared", "model", *options], "model"),
        (["none", "new.csv", *options], "There is no folder none"),
        (["model", "new.csv", "--out", "prepared"], "will not be replaced"),
    ):
        assert main(["add-items", *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line, line
    assert not (folder / "no").exists()
    with pytest.raises(SystemExit):
        main(["add-items", "model", "new.csv", "--out", "no", "--warm-loss", "2"])
