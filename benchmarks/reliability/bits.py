"""Bit flips, truncations and forged fields in every file of every folder.

    python -m benchmarks.reliability.bits --seed 0 --tries 3000

Each try copies a folder, damages one file and reads the folder in a process of its
own. A damaged file must be refused in one line that names it, or must not matter: the
folder holds what it held, to the last bit. Forged files are signed again, as somebody
would who knows the format: they must be refused in one line, or read and used without
a crash.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability import folders, forging
from benchmarks.reliability.faults import PATIENCE, forked, warm
from benchmarks.reliability.tries import Tries, options

DAMAGES = ("bit", "bit", "bit", "cut", "longer", "gone", "zeros", "pipe", "forged")


def main() -> None:
    given = options(__doc__ or "", 3000).parse_args()
    tries = Tries(given)
    warm()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made, _ = forked(partial(folders.make, folder))
        if made.error or made.signal:
            raise RuntimeError(made.said)
        wanted = {kind: digests(kind, folder / kind) for kind in folders.KINDS}
        kinds = {f"{k}, {d}": 0 for d in dict.fromkeys(DAMAGES) for k in folders.KINDS}
        tries.run(kinds, lambda name, rng: attack(folder, name, rng, wanted))
    print(f"Backend: {os.environ.get('KERAS_BACKEND')}. Patience: {PATIENCE:.0f} s.")
    print(tries.table())


def digests(kind: str, place: Path) -> str:
    found, _ = forked(partial(folders.digest, kind, place))
    if found.error or found.signal:
        raise RuntimeError(found.said)
    return str(found.value)


def attack(
    folder: Path, name: str, rng: np.random.Generator, wanted: dict[str, str]
) -> tuple[str, bool]:
    """Damages a copy of a folder and reads it."""
    kind, damage = name.split(", ")
    with tempfile.TemporaryDirectory() as copies:
        copy = Path(copies) / kind
        shutil.copytree(folder / kind, copy)
        for other in ("ease", "prepared"):
            if other != kind:
                os.symlink(folder / other, copy.with_name(other))
        files = sorted(f for f in copy.rglob("*") if f.is_file() and f.stat().st_size)
        file = files[rng.integers(len(files))]
        what = DAMAGE[damage](copy, file, rng)
        found, _ = forked(partial(read, kind, copy, damage == "forged"))
    where = f"{kind}/{file.relative_to(copy)}: {what}"
    if found.hung:
        return f"hang ({where})", False
    if found.signal:
        return f"crash by signal {found.signal} ({where})", False
    if found.error is not None:
        if not found.is_one_line or found.error[0] not in REFUSALS:
            return f"{found.error} ({where})", False
        # Without the file that says what a folder is, it is none: the folder is named.
        named = file.name in found.error[1] or (
            damage in ("gone", "pipe") and f"/{kind}" in found.error[1]
        )
        if damage != "forged" and not named:
            return f"file not named: {found.error[1]} ({where})", False
        return "refused", True
    if found.value == wanted[kind]:
        return "no difference", True
    if damage == "forged":
        return "a valid folder of other content", True
    return f"silent difference ({where})", False


# What the command line tells in one line.
REFUSALS = ("DamagedFileError", "FileNotFoundError", "FileExistsError", "ValueError")


def read(kind: str, place: Path, use: bool) -> str:
    if use and kind == "prepared":
        from keras_multvae.data import load_prepared

        folders.consume(load_prepared(place).split)
    return folders.digest(kind, place)


def bit(copy: Path, file: Path, rng: np.random.Generator) -> str:
    content = bytearray(file.read_bytes())
    place, number = int(rng.integers(len(content))), int(rng.integers(8))
    content[place] ^= 1 << number
    file.write_bytes(content)
    return f"bit {number} of byte {place}"


def cut(copy: Path, file: Path, rng: np.random.Generator) -> str:
    size = int(rng.integers(file.stat().st_size))
    os.truncate(file, size)
    return f"cut to {size} bytes"


def longer(copy: Path, file: Path, rng: np.random.Generator) -> str:
    with file.open("ab") as opened:
        opened.write(rng.bytes(int(rng.integers(1, 100))))
    return "longer"


def gone(copy: Path, file: Path, rng: np.random.Generator) -> str:
    file.unlink()
    return "gone"


def zeros(copy: Path, file: Path, rng: np.random.Generator) -> str:
    content = bytearray(file.read_bytes())
    start = int(rng.integers(len(content)))
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    file.write_bytes(content)
    return f"zeros from byte {start}"


def pipe(copy: Path, file: Path, rng: np.random.Generator) -> str:
    file.unlink()
    if rng.integers(2):
        os.mkfifo(file)
        return "a pipe"
    os.symlink("/dev/zero", file)
    return "a link to a device"


def forged(copy: Path, file: Path, rng: np.random.Generator) -> str:
    if file.suffix == ".json":
        text = json.loads(file.read_text(encoding="utf-8"))
        changed, what = forging.changed(text, rng)
        file.write_text(forging.as_text(changed), encoding="utf-8")
    elif file.suffix == ".npy":
        what = forging.array(file, rng)
    elif file.suffix == ".npz":
        what = forging.archive(file, rng)
    else:
        what = bit(copy, file, rng)
    forging.sign(copy)
    return what


DAMAGE: dict[str, Callable[[Path, Path, np.random.Generator], Any]] = {
    each.__name__: each for each in (bit, cut, longer, gone, zeros, pipe, forged)
}


if __name__ == "__main__":
    main()
