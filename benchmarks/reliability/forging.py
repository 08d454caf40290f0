"""Files with odd fields, and folders that are signed again after such a change."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

DEEP = "@deep@"
ODD: list[Any] = [
    None,
    -1,
    0,
    1.5,
    2**31 - 1,
    2**63,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x" * 10_000,
    "/etc/passwd",
    "../../etc/passwd",
    "\0",
    "\ud800",
    [],
    {},
    [[]],
    True,
    DEEP,
]
HEADERS = ("(" * 3000, "-" * 5000 + "1", "{" * 200, "1" * 9000, "'" + "a" * 9000)


def changed(value: Any, rng: np.random.Generator) -> tuple[Any, str]:
    """JSON with another value at a random place, and what it is."""
    path: list[Any] = []
    parent, here = None, value
    while isinstance(here, dict | list) and here and (not path or rng.random() < 0.8):
        keys = list(here) if isinstance(here, dict) else range(len(here))
        path.append(keys[int(rng.integers(len(keys)))])
        parent, here = here, here[path[-1]]
    odd = ODD[int(rng.integers(len(ODD)))]
    if parent is None:
        return odd, f"all of it {str(odd)[:20]!r}"
    if isinstance(parent, dict) and rng.random() < 0.3:
        # Another name for what is there.
        name = str(odd) if odd != "\ud800" else "odd"
        parent[name] = parent.pop(path[-1])
        return value, f"{path} named {name[:20]!r}"
    if rng.random() < 0.15:
        del parent[path[-1]]
        return value, f"{path} gone"
    parent[path[-1]] = odd
    return value, f"{path} {str(odd)[:20]!r}"


def as_text(value: Any) -> str:
    text = json.dumps(value, indent=1)
    return text.replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000) + "\n"


def array(file: Path, rng: np.random.Generator) -> str:
    """Puts what must not be into an array of ours."""
    found = np.load(file)
    kind = file.stem
    if rng.random() < 0.15 or not len(found):
        deep = HEADERS[int(rng.integers(len(HEADERS)))].encode()
        size = len(deep).to_bytes(2, "little")
        file.write_bytes(b"\x93NUMPY\x01\x00" + size + deep + found.tobytes())
        return "a header that is none"
    place = int(rng.integers(len(found)))
    what = odd_values(kind, len(found))
    value = what[int(rng.integers(len(what)))]
    found[place] = value
    write(file, found)
    return f"{value} at {place}"


def odd_values(kind: str, size: int) -> list[Any]:
    """What must not be in an array of that name, but for one or two."""
    integers = [-1, -7, 0, 2**31 - 1, -(2**31), size]
    if kind in ("indptr", "timestamps", "positions"):
        return [*integers, 2**63 - 1, -(2**63), 2**40]
    if kind in ("indices", "fractions"):
        return [*integers, 10**9]
    return [np.nan, np.inf, -np.inf, -1, 0, 1e-45, 3.4e38, 1e-38]


def write(file: Path, values: np.ndarray) -> None:
    """As `np.save`, in format 1.0."""
    with file.open("wb") as opened:
        np.lib.format.write_array(opened, values, (1, 0), allow_pickle=False)


def archive(file: Path, rng: np.random.Generator) -> str:
    """Forges an array of an .npz file; its own checksums are right again."""
    with np.load(file) as arrays:
        found = dict(arrays)
    name = list(found)[int(rng.integers(len(found)))]
    how = int(rng.integers(4))
    if how == 0:
        del found[name]
    elif how == 1:
        found[name] = found[name].ravel()[:1]
    elif how == 2:
        found[name] = np.full_like(found[name], -7)
    else:
        flat = found[name].reshape(-1).copy()
        odd = [np.nan, 3.4e38] if flat.dtype.kind == "f" else [2**31 - 1, -5]
        flat[int(rng.integers(len(flat)))] = odd[int(rng.integers(2))]
        found[name] = flat.reshape(found[name].shape)
    content = io.BytesIO()
    np.savez(content, **found)
    file.write_bytes(content.getvalue())
    return f"{name} forged in way {how}"


def sign(folder: Path) -> None:
    """Puts right all sums of a folder, from the innermost manifest out."""
    manifests = [*folder.rglob("manifest.json"), *folder.rglob("metadata.json")]
    manifests += [*folder.glob("recipe.json"), *folder.glob("*.json")]
    for path in sorted(set(manifests), key=lambda each: -len(each.parts)):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            continue
        if not isinstance(content, dict) or "sha256" not in content:
            continue
        files = content.get("files")
        for name, listed in (files if isinstance(files, dict) else {}).items():
            try:
                bytes_ = (path.parent / name).read_bytes()
            except (OSError, ValueError):
                continue
            if isinstance(listed, dict):
                listed |= {
                    "bytes": len(bytes_),
                    "sha256": hashlib.sha256(bytes_).hexdigest(),
                }
        content.pop("sha256")
        try:
            text = json.dumps(
                {**content, "sha256": "0" * 64}, indent=1, ensure_ascii=False
            )
            raw = (text + "\n").encode()
        except ValueError:
            continue
        total = hashlib.sha256(raw).hexdigest().encode()
        path.write_bytes(raw[:-68] + total + raw[-4:])
