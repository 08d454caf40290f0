"""Code in models and data: whatever is loaded, none of it runs.

    python -m benchmarks.reliability.payloads --seed 0 --tries 100

Each try puts a payload, which would leave a file behind if it ran, into a folder of
ours or into a file of events, signs the folder again, as somebody would who knows the
format, and reads it in a process of its own, whose working directory is the folder. The
file must not be there afterwards, and what cannot be read is refused in one line. A
SavedModel is not among these: it is a program, for TensorFlow as for everybody.
"""

from __future__ import annotations

import base64
import io
import json
import marshal
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability import folders, forging
from benchmarks.reliability.bits import REFUSALS
from benchmarks.reliability.faults import forked, warm
from benchmarks.reliability.tries import Tries, options

RAN = "ran"
# What the command line tells in one line.
TOLD = (*REFUSALS, "TextError", "TypeError")
EVENTS = "user,item\n"


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = str(ran)

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.ran),)


def main() -> None:
    given = options(__doc__ or "", 100).parse_args()
    tries = Tries(given)
    warm()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # That a payload does run where somebody lets it.
        ran = folder / RAN
        forked(partial(pickle.loads, pickle.dumps(Payload(ran))))
        if not ran.exists():
            raise RuntimeError("The payload does nothing: this attack shows nothing.")
        made, _ = forked(partial(folders.make, folder))
        if made.error or made.signal:
            raise RuntimeError(made.said)
        tries.run({name: 0 for name in PAYLOADS}, partial(attack, folder))
    print(f"Backend: {os.environ.get('KERAS_BACKEND')}.")
    print(tries.table())


def attack(folder: Path, name: str, rng: np.random.Generator) -> tuple[str, bool]:
    """Puts a payload into a copy and reads it."""
    kinds, put = PAYLOADS[name]
    kind = kinds[int(rng.integers(len(kinds)))]
    with tempfile.TemporaryDirectory() as place:
        copy, ran = Path(place) / kind, Path(place) / RAN
        if kind == "events":
            copy.mkdir()
        else:
            shutil.copytree(folder / kind, copy)
        for other in {"ease", "prepared"} - {kind}:
            os.symlink(folder / other, copy.with_name(other))
        put(copy, ran, rng)
        forging.sign(copy)
        found, _ = forked(partial(read, kind, copy))
        if ran.exists():
            return "it ran", False
    if found.hung or found.signal:
        return f"crash or hang, signal {found.signal} ({kind})", False
    if found.error is None:
        return "not looked at", True
    if found.error[0] in TOLD and found.is_one_line:
        return "refused", True
    return f"{found.error} ({kind})", False


def read(kind: str, copy: Path) -> None:
    os.chdir(copy)
    if kind != "events":
        folders.digest(kind, copy)
        return
    from keras_multvae.data import read_interactions

    for file in sorted(copy.iterdir()):
        read_interactions(file)


def in_arrays(copy: Path, ran: Path, rng: np.random.Generator) -> None:
    """Pickled objects in place of an array."""
    files = [*copy.rglob("*.npy"), *copy.rglob("*.npz")]
    file = files[int(rng.integers(len(files)))]
    objects = np.array([Payload(ran)] * 3, dtype=object)
    if file.suffix == ".npy":
        np.save(file, objects, allow_pickle=True)
        return
    with np.load(file) as arrays:
        found = {key: objects for key in arrays.files}
    content = io.BytesIO()
    np.savez(content, **found)
    file.write_bytes(content.getvalue())


def a_pickle(copy: Path, ran: Path, rng: np.random.Generator) -> None:
    """A pickle in place of any file."""
    files = sorted(file for file in copy.rglob("*") if file.is_file())
    file = files[int(rng.integers(len(files)))]
    file.write_bytes(pickle.dumps(Payload(ran)))


def in_configuration(copy: Path, ran: Path, rng: np.random.Generator) -> None:
    """Code, or the name of some, in the configuration of a Keras model."""
    path = copy / "model.keras"
    path = path if path.exists() else next(copy.rglob("last.keras"))
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    odd = _configurations(ran)[int(rng.integers(4))]
    if rng.integers(2):
        config = odd
    else:
        config["config"]["prior"] = config["config"]["likelihood"] = odd
    content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def _configurations(ran: Path) -> list[dict[str, Any]]:
    code = compile(f"__import__('pathlib').Path({str(ran)!r}).touch()", "x", "eval")
    lambda_code = base64.b64encode(marshal.dumps(code)).decode()
    return [
        {
            "class_name": "Lambda",
            "module": "keras.layers",
            "registered_name": None,
            "config": {
                "function": {
                    "class_name": "__lambda__",
                    "config": {"code": lambda_code, "defaults": None, "closure": None},
                }
            },
        },
        {
            "class_name": "system",
            "module": "os",
            "registered_name": None,
            "config": {"command": f"touch {ran}"},
        },
        {
            "class_name": "function",
            "module": "pathlib",
            "registered_name": None,
            "config": f"Path.touch({str(ran)!r})",
        },
        {
            "class_name": "Evil",
            "module": "evil",
            "registered_name": "evil>Evil",
            "config": {},
        },
    ]


def a_module(copy: Path, ran: Path, rng: np.random.Generator) -> None:
    """A module in the folder, which its metadata name as the model's."""
    text = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n"
    for name in ("evil.py", "sitecustomize.py", "keras_multvae_evil.py"):
        (copy / name).write_text(text)
    names = ("evil", "evil:Evil", "evil.Evil", "os:system", "evil>Evil")
    name = names[int(rng.integers(len(names)))]
    for file in ("metadata.json", "recipe.json", "study.json"):
        if (copy / file).exists():
            found = json.loads((copy / file).read_text())
            found["model"] = name
            if "models" in found:
                found["models"] = [name]
            found["import"] = found["module"] = "evil"
            (copy / file).write_text(json.dumps(found))


def outside(copy: Path, ran: Path, rng: np.random.Generator) -> None:
    """Names in an archive that lead out of the folder."""
    path = copy / "model.keras"
    path = path if path.exists() else next(copy.rglob("last.keras"))
    with zipfile.ZipFile(path, "a") as archive:
        for up in range(1, 6):
            archive.writestr("../" * up + RAN, b"")
        archive.writestr(str(ran), b"")


def events(copy: Path, ran: Path, rng: np.random.Generator) -> None:
    """Pickles, formulas and expressions in files of events."""
    how = int(rng.integers(4))
    if how == 0:
        suffix = (".csv", ".parquet", ".jsonl")[int(rng.integers(3))]
        (copy / f"events{suffix}").write_bytes(pickle.dumps(Payload(ran)))
    elif how == 1:
        cell = f"__import__('pathlib').Path({str(ran)!r}).touch()"
        formula = f"=cmd|'/c touch {ran}'!A1"
        (copy / "events.csv").write_text(f'{EVENTS}"{cell}","{formula}"\n')
    elif how == 2:
        rows = [{"user": {"py/reduce": ["os.system", f"touch {ran}"]}, "item": 1}]
        text = "\n".join(map(json.dumps, rows))
        (copy / "events.jsonl").write_text(text + "\n")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        odd = pickle.dumps(Payload(ran))
        extension = {
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": odd,
        }
        fields = [
            pa.field("user", pa.int64(), metadata=extension),
            pa.field("item", pa.int64()),
        ]
        columns = [pa.array([1, 2]), pa.array([3, 4])]
        schema = pa.schema(fields, metadata={b"pandas": odd})
        pq.write_table(pa.table(columns, schema=schema), copy / "events.parquet")


Put = Callable[[Path, Path, np.random.Generator], None]
WITH_ARRAYS = ("prepared", "interactions", "multvae", "ease", "sparse", "state")
WITH_KERAS = ("multvae", "state")
PAYLOADS: dict[str, tuple[tuple[str, ...], Put]] = {
    "pickled objects in an array": (WITH_ARRAYS, in_arrays),
    "a pickle in place of a file": (folders.KINDS, a_pickle),
    "code in a Keras configuration": (WITH_KERAS, in_configuration),
    "a module that the folder names": (("multvae", "ease", "state", "study"), a_module),
    "archive names that lead outside": (WITH_KERAS, outside),
    "files of events": (("events",), events),
}


if __name__ == "__main__":
    main()
