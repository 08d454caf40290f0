"""ENOSPC, EIO and EACCES at operations on files of prepare, train, recommend, export.

    python -m benchmarks.reliability.writes --seed 0 --tries 500

Each try has an operation fail, over an older result or fresh. The command must end in
one line; the older result stays whole (or the new one is, where the fault came after
it had taken its name), and without faults the command then does what it should.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability import faults
from benchmarks.reliability.commands import COMMANDS, make_data
from benchmarks.reliability.kills import WEIGHTS, fresh, go_on, uninterrupted
from benchmarks.reliability.tries import Tries, options

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}


def main() -> None:
    parser = options(__doc__ or "", 500)
    parser.add_argument("--commands", nargs="+", choices=WEIGHTS, default=[*WEIGHTS])
    given = parser.parse_args()
    faults.reload()
    tries = Tries(given)
    faults.warm()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made, _ = faults.forked(partial(make_data, folder))
        if made.error or made.signal:
            raise RuntimeError(made.said)
        known = {name: uninterrupted(folder, COMMANDS[name]) for name in given.commands}
        kinds = {
            f"{name}, {error}, {at}": 0
            for at in range(max(WEIGHTS.values()))
            for name in given.commands
            if at < WEIGHTS[name]
            for error in ERRORS
        }
        tries.run(kinds, partial(attack, folder, known))
    for found in tries._done.values():
        found["kind"] = found["kind"].rpartition(", ")[0]
    print(f"Backend: {os.environ.get('KERAS_BACKEND')}.")
    print(tries.table())


def attack(
    folder: Path, known: dict[str, Any], kind: str, rng: np.random.Generator
) -> tuple[str, bool]:
    name, error, _ = kind.split(", ")
    command = COMMANDS[name]
    wanted, operations, older = known[name]
    fresh(folder)
    over = bool(rng.integers(2)) and name != "export"
    more = ["--overwrite"] if over and name == "train" else []
    if over:
        shutil.rmtree(folder / "work")
        shutil.copytree(older, folder / "work")
    at = int(rng.integers(1, operations + 1))
    ended, _ = command.run(
        folder,
        *more,
        at=at,
        error=ERRORS[error],
        sticky=error == "ENOSPC",
        exchange=bool(rng.integers(4)),
    )
    if ended.hung or ended.signal:
        return f"crash or hang, signal {ended.signal}, at {at}", False
    found = command.found(folder)
    if found not in ([wanted] if over else [None, wanted]):
        return f"after {error} at {at}: {str(found)[:300]}", False
    if ended.error is not None:
        lines = [line for line in ended.said.splitlines() if " error: " in line]
        if len(lines) != 1 or "Traceback (most" in ended.said.split(lines[0])[0]:
            return f"no one line after {error} at {at}: {ended.said[-600:]}", False
    outcome = go_on(command, folder, more)
    if outcome is not None:
        return f"after {error} at {at}: {outcome}", False
    if command.found(folder) != wanted:
        return f"in the end, after {error} at {at}, another result", False
    return "one line" if ended.error else "did not matter", True


if __name__ == "__main__":
    main()
