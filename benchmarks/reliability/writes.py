"""ENOSPC, EIO and EACCES at operations on files of the same commands as kills.

    python -m benchmarks.reliability.writes --seed 0 --tries 500

Each try has an operation fail, over an older result or fresh. The command must end in
one line; the older result stays whole (or the new one is, where the fault came after
it had taken its name), and without faults the command then does what it should.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability.commands import COMMANDS
from benchmarks.reliability.kills import (
    attack_commands,
    command_options,
    fresh,
    go_on,
    one_line,
    put_older,
)

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}


def main() -> None:
    given = command_options(__doc__ or "", 500).parse_args()
    attack_commands(given, ERRORS, attack)


def attack(
    folder: Path, known: dict[str, Any], kind: str, rng: np.random.Generator
) -> tuple[str, bool]:
    name, error, _ = kind.split(", ")
    command = COMMANDS[name]
    wanted, operations, older = known[name]
    fresh(folder)
    over = bool(rng.integers(2)) and command.over is not None
    more = list(command.over or ()) if over else []
    if over:
        put_older(folder, older)
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
    if ended.error is not None and one_line(ended.said) is None:
        return f"no one line after {error} at {at}: {ended.said[-600:]}", False
    outcome = go_on(command, folder, more)
    if outcome is not None:
        return f"after {error} at {at}: {outcome}", False
    if command.found(folder) != wanted:
        return f"in the end, after {error} at {at}, another result", False
    return "one line" if ended.error else "did not matter", True


if __name__ == "__main__":
    main()
