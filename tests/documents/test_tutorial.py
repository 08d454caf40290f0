"""docs/tutorial-shop.md from its first file to its last answer, as it stands."""

from __future__ import annotations

import csv
import json
import re
import time

import polars as pl
import pytest
from documents.pages import ROOT, commands
from documents.scene import Scene

from keras_multvae import Recommender
from keras_multvae.data import load_prepared

pytest.importorskip("tensorflow")
pytest.importorskip("uvicorn")

pytestmark = pytest.mark.once

PAGE = ROOT / "docs" / "tutorial-shop.md"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The folder after all commands, and what each of them said, by its beginning."""
    scene = Scene(tmp_path_factory.mktemp("shop"), short=False)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (scene.folder / "shop.py").write_text(program)
    said = []
    with pytest.MonkeyPatch.context() as patch:
        for command in commands(PAGE):
            if not command.inline:
                said.append((command.text, scene.run(command.text, patch)))
        yield scene, said
    scene.close()


def orders(folder):
    """What stands in the files, by Python's own reader."""
    for file in sorted((folder / "orders").iterdir()):
        with file.open(newline="", encoding="utf-8") as opened:
            yield from csv.DictReader(opened)


def said_by(said, words):
    return [answer for text, answer in said if words in text]


def test_the_page_shows_how_the_files_begin(shop):
    scene, _ = shop
    (shown,) = re.findall(
        r"begins\n\n```\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    assert (scene.folder / "orders/2024-05.csv").read_text().startswith(shown)
    # A name with quotes and a comma in it.
    assert '""No. 3"", 1 l"' in shown


def test_the_clicks_are_the_orders_without_the_returns(shop):
    scene, said = shop
    rows = list(orders(scene.folder))
    assert any(int(row["quantity"]) < 0 for row in rows)
    bought = {(r["customer"], r["sku"]) for r in rows if int(r["quantity"]) > 0}
    several = [c for c, _ in bought]
    bought = {(c, s) for c, s in bought if several.count(c) >= 3}
    prepared = load_prepared(scene.folder / "prepared-june")
    split = prepared.split
    parts = [split.train, split.validation.input, split.validation.targets]
    parts += [split.test.input, split.test.targets]
    found = {
        (part.users.ids[row], part.items.ids[column])
        for part in parts
        for row, column in zip(*part.matrix.nonzero(), strict=True)
    }
    assert found == bought
    assert prepared.titles["T-0002"] == 'Grinder "No. 2", 3 l'
    first, last = said_by(said, "keras-multvae prepare")
    returns = sum(int(row["quantity"]) < 0 for row in rows)
    assert f"{returns} events rated lower than --min-rating" in last
    assert "48 of 48 items have a title" in first and "54 of 54 items" in last


def test_everybody_gets_what_he_likes(shop):
    scene, said = shop
    (answer,) = said_by(said, "keras-multvae recommend model -k 3")
    assert answer.count('Grinder "No. ') == 3
    (report,) = said_by(said, "evaluate")
    assert float(re.search(r"ndcg@100\s+(0\.\d+)", report)[1]) > 0.4
    table = pl.read_parquet(scene.folder / "recommendations.parquet")
    own = load_prepared(scene.folder / "prepared").split.train
    assert len(table) == 20 * own.num_users
    (served,) = said_by(said, "curl")
    (found,) = json.loads(served)["predictions"]
    history = ["T-0002", "T-0006"]
    expected = Recommender.load(scene.folder / "model").recommend(history, k=10)
    assert found["item_ids"][:10] == expected.items[0].tolist()


def test_the_next_month_begins_with_this_one_and_is_served(shop):
    scene, _ = shop
    recipe = json.loads((scene.folder / "model-june" / "recipe.json").read_text())
    assert len(recipe["warm_start"]) == 64
    assert Recommender.load(scene.folder / "model-june").model.num_items == 54
    ask = next(c.text for c in commands(PAGE) if c.text.startswith("curl"))
    for _ in range(300):  # until the server has swapped the version in
        with pytest.MonkeyPatch.context() as patch:
            (found,) = json.loads(scene.run(ask, patch))["predictions"]
        if found["valid"] == 54 - 2:
            break
        time.sleep(0.1)
    assert found["valid"] == 52
    assert "ERROR" not in scene.served() and "Traceback" not in scene.served()
