"""Saving to and loading from a Hugging Face Hub on this machine, over sockets."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from conftest import contents, make_clicks
from hub_server import TOKEN, serving

import keras_multvae
from keras_multvae import EASE, ModelCard, MultVAE, Recommender, evaluate_ranking
from keras_multvae.cli import main
from keras_multvae.data import Interactions, strong_generalization
from keras_multvae.files import DamagedFileError, write_manifest
from keras_multvae.recommender import storage
from keras_multvae.recommender.address import address_of
from keras_multvae.recommender.hub import HubError
from keras_multvae.recommender.hub.transfer import OURS

hub = pytest.importorskip("huggingface_hub.constants")
# huggingface_hub uploads by an argument that its HTTP client has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ROOT = str(Path(keras_multvae.__file__).parents[1])
ADDRESS = "hf://user/films"
REPO = "user/films"
COMMAND = [sys.executable, "-m", "keras_multvae"]
CLICKS = Interactions.from_matrix(make_clicks(60, 12, density=0.5))
SPLIT = strong_generalization(CLICKS, 0, 20)
TRAIN = SPLIT.train
TITLES = {item: f"Film {item}" for item in TRAIN.items.ids.tolist()}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A Hub that huggingface_hub takes for the real one, logged in."""
    with serving() as server:
        for name, value in {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url
            + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(hub, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield server


@pytest.fixture(scope="module")
def recommender():
    model = MultVAE(TRAIN.num_items, 4, (16,), seed=0)
    return Recommender(model, TRAIN.items, histories=TRAIN, titles=TITLES)


def test_what_was_saved_is_loaded(server, recommender):
    recommender.save(ADDRESS)
    loaded = Recommender.load(ADDRESS)
    wanted, found = (
        each.recommend([0, 3], k=5).to_arrays() for each in (recommender, loaded)
    )
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.titles == recommender.titles
    assert server.repositories.messages[1:] == [
        (REPO, "main", "A recommender of keras_multvae")
    ]


@pytest.mark.once
def test_histories_stay_here_unless_they_are_asked_for(server, recommender):
    users = f"The histories of {TRAIN.num_users} users"
    recommender.save(ADDRESS)
    files = server.repositories.files(REPO)
    assert Recommender.load(ADDRESS).histories is None
    assert not any(name.startswith("histories") for name in files)
    assert "No user's history is in this repository" in files["README.md"].decode()
    recommender.save(ADDRESS, histories=True)
    files = server.repositories.files(REPO)
    assert users in files["README.md"].decode()
    loaded = Recommender.load(ADDRESS).histories
    assert (loaded.matrix != TRAIN.matrix).nnz == 0 and loaded.users == TRAIN.users
    # The next save without them takes them away again.
    recommender.save(ADDRESS)
    assert not any(n.startswith("histories") for n in server.repositories.files(REPO))
    assert Recommender.load(ADDRESS).histories is None
    assert len(server.repositories.messages) == 4


@pytest.mark.once
def test_histories_that_are_not_there_are_told(recommender):
    without = Recommender(recommender.model, TRAIN.items)
    with pytest.raises(ValueError, match="keeps no histories"):
        without.save(ADDRESS, histories=True)


@pytest.mark.once
def test_a_folder_may_be_without_histories(recommender, tmp_path):
    recommender.save(tmp_path / "m", histories=False)
    assert Recommender.load(tmp_path / "m").histories is None
    with pytest.raises(ValueError, match="`card` goes with an address"):
        recommender.save(tmp_path / "m", card=ModelCard())


def head(files):
    """The metadata of a repository's card."""
    return yaml.safe_load(files["README.md"].decode().split("---\n")[1])


@pytest.mark.once
def test_the_python_of_the_page_runs(server, recommender, capsys):
    page = (Path(ROOT) / "docs" / "hub.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    ids = TRAIN.items.extend([364, 588])
    model = MultVAE(len(ids), 4, (16,), seed=0)
    split = strong_generalization(CLICKS, 0, 20)
    names = {"recommender": Recommender(model, ids), "split": split}
    for block in blocks:
        if "evaluate_ranking" in block:
            names["recommender"] = recommender
        exec(block, names)
    assert capsys.readouterr().out.startswith("user 0:")
    assert head(server.repositories.files(REPO))["model-index"]
    assert (REPO, "experiment") in server.repositories.branches


@pytest.mark.once
def test_the_card_has_metadata_and_what_was_measured(server, recommender):
    report = evaluate_ranking(recommender.model, SPLIT.test, ["recall@5", "ndcg@5"])
    card = ModelCard("clicks of a shop", "ours alone", TRAIN, report)
    recommender.save(ADDRESS, card=card)
    files = server.repositories.files(REPO)
    found = head(files)
    assert found["library_name"] == "keras_multvae"
    assert found["pipeline_tag"] == "other"
    assert "multvae" in found["tags"] and "license" not in found
    (index,) = found["model-index"]
    (result,) = index["results"]
    assert index["name"] == "films" and result["dataset"]["name"] == "clicks of a shop"
    measured = {each["type"]: each["value"] for each in result["metrics"]}
    for name in ("recall@5", "ndcg@5"):
        assert measured[name] == pytest.approx(report.mean(name), abs=1e-6)
    text = files["README.md"].decode()
    assert 'Recommender.load("hf://user/films")' in text
    assert "| network | 12 - 16 - 4 - 16 - 12 |" in text
    assert "Licence of the data: ours alone." in text and "$" not in text


@pytest.mark.once
def test_a_licence_that_somebody_chose_stays(server, recommender):
    recommender.save(ADDRESS)
    files = dict(server.repositories.files(REPO))
    text = files["README.md"].replace(b"---\n", b"---\nlicense: mit\nlanguage: de\n", 1)
    files |= {
        "README.md": text.replace(b"tags:\n", b"tags:\n- mine\n"),
        "LICENSE": b"x",
    }
    server.repositories.add(REPO, files)
    recommender.save(ADDRESS)
    now = server.repositories.files(REPO)
    assert head(now)["license"] == "mit" and head(now)["language"] == "de"
    assert "mine" in head(now)["tags"] and now["LICENSE"] == b"x"


@pytest.mark.once
def test_a_baseline_goes_there_too(server):
    model = EASE(TRAIN.num_items).fit(TRAIN)
    Recommender(model, TRAIN.items).save(ADDRESS)
    files = server.repositories.files(REPO)
    assert "model.npz" in files and "| kind | EASE |" in files["README.md"].decode()
    loaded = Recommender.load(ADDRESS)
    np.testing.assert_array_equal(
        loaded.model.score(TRAIN.matrix), model.score(TRAIN.matrix)
    )


@pytest.mark.once
def test_another_kind_of_model_replaces_it_whole(server, recommender):
    recommender.save(ADDRESS)
    Recommender(EASE(TRAIN.num_items).fit(TRAIN), TRAIN.items).save(ADDRESS)
    files = server.repositories.files(REPO)
    assert {name for name in files if OURS.fullmatch(name)} == {
        "metadata.json", "items.json", "model.npz"
    }  # fmt: skip


@pytest.mark.once
def test_revisions(server, recommender):
    recommender.save(ADDRESS)
    other = Recommender(EASE(TRAIN.num_items).fit(TRAIN), TRAIN.items)
    other.save(f"{ADDRESS}@linear")
    commit = server.repositories.branches[REPO, "linear"]
    for revision in ("linear", commit):
        found = Recommender.load(f"{ADDRESS}@{revision}").model
        assert isinstance(found, EASE)
    assert isinstance(Recommender.load(ADDRESS).model, MultVAE)
    with pytest.raises(HubError, match=r"hf://user/films@nowhere could not be loaded"):
        Recommender.load(f"{ADDRESS}@nowhere")


@pytest.mark.once
def test_without_a_connection_the_last_download_is_taken(
    server, recommender, monkeypatch
):
    recommender.save(ADDRESS)
    Recommender.load(ADDRESS)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    asked = len(server.repositories.asked)
    assert Recommender.load(ADDRESS).items == TRAIN.items
    assert len(server.repositories.asked) == asked


@pytest.mark.once
@pytest.mark.parametrize(
    "place", ["/api/repos/create", "/preupload/", "/objects/batch", "/commit/"]
)
def test_a_failed_save_leaves_nothing(
    server, recommender, tmp_path, monkeypatch, place
):
    recommender.save(ADDRESS)
    before = server.repositories.branches[REPO, "main"]
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spool"))
    # huggingface_hub tries again some times, with pauses.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.repositories.fails_at = place
    with pytest.raises(HubError, match=r"could not be saved: .*(500|out of order)"):
        recommender.save(ADDRESS)
    assert server.repositories.branches[REPO, "main"] == before
    assert list((tmp_path / "spool").iterdir()) == []
    server.repositories.fails_at = None
    assert Recommender.load(ADDRESS).items == TRAIN.items


@pytest.mark.once
def test_no_error_shows_the_token(server, recommender, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", wrong := "hf_wrongwrongwrongwrong")
    with pytest.raises(HubError, match="hf auth login") as caught:
        recommender.save(ADDRESS)
    assert "401" in str(caught.value) and wrong not in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.__cause__ is None
    assert server.repositories.commits == {}


@pytest.mark.once
@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": b"x", "README.md": b"mine"},
        {"metadata.json": b'{"keras_version": "3"}', "config.json": b"{}"},
    ],
    ids=["weights", "another metadata.json"],
)
def test_a_repository_of_something_else_is_not_replaced(server, recommender, files):
    server.repositories.add(REPO, files)
    with pytest.raises(FileExistsError, match="something else than a recommender"):
        recommender.save(ADDRESS)
    assert server.repositories.files(REPO) == files


@pytest.mark.once
def test_a_repository_without_a_recommender_is_told(server):
    server.repositories.add(REPO, {"config.json": b"{}"})
    with pytest.raises(HubError, match=r"hf://user/films could not be loaded"):
        Recommender.load(ADDRESS)
    with pytest.raises(HubError, match=r"hf://user/none could not be loaded"):
        Recommender.load("hf://user/none")


@pytest.mark.once
@pytest.mark.parametrize(
    "text", ["hf://films", "hf://a/b/c", "hf://a/..", "hf://a/b@", "hf:/a/b c"]
)
def test_what_is_no_address(text, recommender):
    for call in (recommender.save, Recommender.load):
        with pytest.raises(ValueError, match=r"is hf://user/name or .* Received: 'hf:"):
            call(text)


@pytest.mark.once
def test_a_path_of_an_address_is_that_address():
    assert address_of(Path("hf://user/films")) == address_of(ADDRESS)


@pytest.mark.once
def test_without_huggingface_hub_the_extra_is_named(monkeypatch, recommender):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (recommender.save, Recommender.load):
        with pytest.raises(ImportError, match=r"keras_multvae\[hub\]"):
            call(ADDRESS)


@pytest.mark.once
def test_the_package_does_not_import_it():
    """Keras does, where it is installed."""
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "import keras_multvae\n"
        "for name in keras_multvae.__all__: getattr(keras_multvae, name)\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": ROOT,
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.once
def test_commands_take_an_address_by_hf_endpoint(server, recommender, tmp_path):
    """In a process of its own, where nothing but the environment is changed."""
    recommender.save(ADDRESS)
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": ROOT,
    }
    run = subprocess.run(
        [*COMMAND, "recommend", ADDRESS, "-k", "3", "--json"],
        env=environment, input="[0, 3]", capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    shown = json.loads(run.stdout)
    wanted = recommender.recommend([0, 3], k=3).items[0].tolist()
    assert shown["item_ids"] == wanted


def repository(recommender, tmp_path, change):
    """The files of a recommender that somebody changed, with right checksums."""
    folder = tmp_path / "hostile"
    recommender.save(folder, histories=False)
    change(folder)
    metadata = json.loads((folder / "metadata.json").read_text())
    content = {k: v for k, v in metadata.items() if k not in ("files", "sha256")}
    write_manifest(folder / "metadata.json", content)
    return contents(folder)


def lambda_layer(folder):
    inputs = keras.Input((12,))
    outputs = keras.layers.Lambda(lambda x: x + 1)
    model = keras.Sequential([inputs, outputs])
    model.save(folder / "model.keras")


def other_module(folder):
    """A config that names a module on the path, and a function to call."""
    config = {
        "module": "hostile_module",
        "class_name": "MultVAE",
        "config": {},
        "registered_name": "hostile_module>MultVAE",
    }
    replace_config(folder, lambda old: config)


def call_in_the_loss(folder):
    def change(old):
        call = {"module": "os", "class_name": "function", "config": "system"}
        old["compile_config"] = {"optimizer": "adam", "loss": call}
        return old

    replace_config(folder, change)


def replace_config(folder, change):
    path = folder / "model.keras"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = json.dumps(change(json.loads(parts["config.json"]))).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


class Trap:
    def __reduce__(self):
        return (os.system, ("touch trapped",))


def pickled_weights(folder):
    (folder / "model.keras").write_bytes(pickle.dumps(Trap()))


@pytest.mark.parametrize(
    "change", [lambda_layer, other_module, call_in_the_loss, pickled_weights]
)
def test_nothing_that_is_loaded_runs(
    server, recommender, tmp_path, monkeypatch, change
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile_module.py").write_text("open('trapped', 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    files = repository(recommender, tmp_path, change)
    server.repositories.add(REPO, files)
    with pytest.raises(DamagedFileError, match="no model of ours"):
        Recommender.load(ADDRESS)
    assert not (tmp_path / "trapped").exists()
    assert "hostile_module" not in sys.modules


@pytest.mark.once
def test_a_pickle_in_an_array_file_is_not_read(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = EASE(TRAIN.num_items).fit(TRAIN)

    def change(folder):
        trap = np.array([Trap()], dtype=object)
        file = io.BytesIO()
        np.savez(file, item_weights=trap, weights=trap)
        (folder / "model.npz").write_bytes(file.getvalue())

    server.repositories.add(
        REPO, repository(Recommender(model, TRAIN.items), tmp_path, change)
    )
    with pytest.raises(DamagedFileError, match="holds no EASE model"):
        Recommender.load(ADDRESS)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.once
def test_only_files_of_the_format_are_fetched(server, recommender, tmp_path):
    def change(folder):
        (folder / "model.pkl").write_bytes(pickle.dumps(Trap()))
        (folder / "setup.py").write_text("open('trapped', 'w')\n")

    server.repositories.add(REPO, repository(recommender, tmp_path, change))
    Recommender.load(ADDRESS)
    fetched = "\n".join(server.repositories.asked)
    assert "model.keras" in fetched
    assert "model.pkl" not in fetched and "setup.py" not in fetched


@pytest.mark.once
@pytest.mark.parametrize(
    "name", ["../../../trapped.json", "histories/../../x.json", "/etc/passwd"]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(
    server, recommender, tmp_path, name
):
    files = repository(recommender, tmp_path, lambda folder: None)
    metadata = json.loads(files["metadata.json"])
    metadata["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    files |= {"metadata.json": json.dumps(metadata).encode(), name: b"x"}
    server.repositories.add(REPO, files)
    with pytest.raises(
        DamagedFileError, match="must give bytes and sha256 by the path"
    ):
        Recommender.load(ADDRESS)
    assert not any(
        "trapped" in each or "passwd" in each for each in server.repositories.asked
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("items.json", b"../../etc/passwd"),
        ("model.keras", b"model"),
        ("items.json", None),
    ],
    ids=["the text of a symbolic link", "other weights", "missing"],
)
def test_what_is_not_what_was_written_is_refused(
    server, recommender, tmp_path, name, content
):
    files = repository(recommender, tmp_path, lambda folder: None)
    if content is None:
        del files[name]
    else:
        files[name] = content
    server.repositories.add(REPO, files)
    with pytest.raises((DamagedFileError, HubError), match=name):
        Recommender.load(ADDRESS)


@pytest.mark.once
def test_a_folder_without_checksums_is_refused(server, recommender, tmp_path):
    files = repository(recommender, tmp_path, lambda folder: None)
    metadata = json.loads(files["metadata.json"])
    del metadata["files"], metadata["sha256"]
    server.repositories.add(
        REPO, {**files, "metadata.json": json.dumps(metadata).encode()}
    )
    with pytest.raises(DamagedFileError, match="no list of files with checksums"):
        Recommender.load(ADDRESS)


@pytest.mark.once
def test_a_model_that_the_folder_names_is_not_imported(
    server, recommender, tmp_path, monkeypatch
):
    (tmp_path / "hostile_module.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def change(folder):
        metadata = json.loads((folder / "metadata.json").read_text())
        metadata["model"] = "hostile_module"
        (folder / "metadata.json").write_text(json.dumps(metadata))

    server.repositories.add(REPO, repository(recommender, tmp_path, change))
    with pytest.raises(DamagedFileError, match="'hostile_module' is not known"):
        Recommender.load(ADDRESS)
    assert "hostile_module" not in sys.modules


@pytest.mark.once
def test_training_is_not_written_there(tmp_path, capsys):
    with pytest.raises(ValueError, match="a folder of this machine"):
        storage.check_out(Path(ADDRESS))
    assert main(["train", str(tmp_path), "--out", ADDRESS]) == 1
    assert "no manifest" not in capsys.readouterr().err
