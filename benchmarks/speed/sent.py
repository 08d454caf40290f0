"""What the devices of a distributed training send each other for a batch.

    KERAS_BACKEND=jax python -m benchmarks.speed.sent

Compiles a step of I-600-200-600-I over 20,000 items and 500 users for 4 devices of this
machine, once with the users and once with the items split up, and reads the operations
between devices in what XLA made of it. Bytes are those of an operation's result; what
XLA does in a loop counts once.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed.tables import markdown

DEVICES, USERS, ITEMS, CLICKS = 4, 500, 20_000, 68
STEP = """
import sys
from scipy import sparse
from keras_multvae import MultVAE, distribution
from keras_multvae.data import UserBatches
users, items, clicks = map(int, sys.argv[2:])
rows = sparse.random(users, items, clicks / items, "csr", "float32", rng=0)
rows.data[:] = 1
model = MultVAE(items)
model.compile()
with getattr(distribution, sys.argv[1])().scope():
    distribution.shard(model).fit(UserBatches(rows, users), verbose=0)
"""
KINDS = {"data": "data_parallel", "items": "item_parallel"}
BYTES = {"pred": 1, "bf16": 2, "f32": 4, "s32": 4, "u32": 4}
OPERATION = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)"
    r"(?:-start)?\("
)


def compiled_step(script: str, devices: int, *arguments: str) -> str:
    """XLA's text of the training step that a script compiles for so many devices."""
    with tempfile.TemporaryDirectory() as folder:
        flags = (
            f"--xla_force_host_platform_device_count={devices} "
            f"--xla_dump_hlo_as_text --xla_dump_to={folder}"
        )
        subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**os.environ, "XLA_FLAGS": flags},
            check=True,
        )
        found = Path(folder).glob("*jit_train_step*after_optimizations.txt")
        (text,) = (path.read_text() for path in found)
    return text


def operations(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The name of each operation between devices, and the shapes it results in."""
    for shapes, name in OPERATION.findall(text):
        yield name, tuple(re.findall(r"\w+\[[\d,]*\]", shapes))


def size(shape: str) -> int:
    """Bytes of a shape as XLA writes it, as in f32[500,600]."""
    kind, dims = shape.removesuffix("]").split("[")
    return BYTES[kind] * math.prod(map(int, filter(None, dims.split(","))))


def main() -> None:
    for kind, function in KINDS.items():
        text = compiled_step(STEP, DEVICES, function, *map(str, (USERS, ITEMS, CLICKS)))
        sent = Counter(
            (name, shape) for name, shapes in operations(text) for shape in shapes
        )
        total = sum(count * size(shape) for (_, shape), count in sent.items())
        rows = sorted(sent.items(), key=lambda row: -row[1] * size(row[0][1]))
        print(f"\n{kind}: {total / 1e6:.1f} MB; what is above 0.1 MB:\n")
        print(
            markdown(
                ["operation", "result", "times", "MB"],
                [
                    [name, shape, str(count), f"{count * size(shape) / 1e6:.1f}"]
                    for (name, shape), count in rows
                    if count * size(shape) > 1e5
                ],
            )
        )


if __name__ == "__main__":
    main()
