"""SIGKILL at operations on files of prepare, train, tune, recommend and export.

    python -m benchmarks.reliability.kills --seed 0 --tries 1000

Each try has a command killed once, twice or three times in a row, at operations that
are chosen by the seed, fresh or over an older result. After each kill the name holds
the older result, the new one, or nothing where there was nothing. Then the command is
called again, and with the option that its refusal names, if it refuses: the result
must be that of an uninterrupted run, and nothing may be left beside it. One in four
tries is as on a system that cannot exchange names, where a kill may leave the older
result under a hidden name; the next run puts it back.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability import faults
from benchmarks.reliability.commands import COMMANDS, Command, make_data
from benchmarks.reliability.tries import Tries, options

# Under PyTorch an export starts a process under TensorFlow, some ten seconds.
WEIGHTS = {"prepare": 8, "train": 6, "tune": 2, "recommend": 5, "export": 1}


def main() -> None:
    given = command_options(__doc__ or "", 1000).parse_args()
    attack_commands(given, ("fresh", "over an older one"), attack)


def command_options(what: str, tries: int) -> argparse.ArgumentParser:
    """The options of an attack on commands."""
    parser = options(what, tries)
    parser.add_argument("--commands", nargs="+", choices=WEIGHTS, default=[*WEIGHTS])
    return parser


def attack_commands(
    given: argparse.Namespace, hows: Iterable[str], attack: Callable[..., Any]
) -> None:
    """Tries an attack on commands, in each of some ways, and prints what came of it.

    Args:
        given: The parsed `command_options`.
        hows: The ways.
        attack: A function of the folder to work in, what is known of each command, the
            kind as "command, way, number", and random numbers.
    """
    faults.reload()
    made_tries = Tries(given)
    faults.warm()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made, _ = faults.forked(partial(make_data, folder))
        if made.error or made.signal:
            raise RuntimeError(made.said)
        known = {name: uninterrupted(folder, COMMANDS[name]) for name in given.commands}
        for name, (_, operations, _) in known.items():
            print(f"{name}: {operations} operations on files")
        kinds = {
            f"{name}, {how}, {at}": 0
            for at in range(max(WEIGHTS.values()))
            for name in given.commands
            if at < WEIGHTS[name]
            for how in hows
        }
        made_tries.run(kinds, partial(attack, folder, known))
    print(f"Backend: {os.environ.get('KERAS_BACKEND')}.")
    # The number of a kind only weighs it.
    print(made_tries.table(lambda kind: kind.rpartition(", ")[0]))


def uninterrupted(folder: Path, command: Command) -> tuple[Any, int, Any]:
    """What a run comes to, its operations, and an older result, of the same content."""
    fresh(folder)
    ended, operations = command.run(folder)
    if ended.error or ended.signal:
        raise RuntimeError(ended.said)
    found = command.found(folder)
    older = folder / "older" / command.name
    left_out = shutil.ignore_patterns(command.beside) if command.beside else None
    shutil.copytree(folder / "work", older, ignore=left_out)
    return found, operations, older


def put_older(folder: Path, older: Path) -> None:
    """An older result, under the name that the command is to write to."""
    shutil.rmtree(folder / "work")
    shutil.copytree(older, folder / "work")


def fresh(folder: Path) -> None:
    shutil.rmtree(folder / "work", ignore_errors=True)
    (folder / "work").mkdir()


def attack(
    folder: Path, known: dict[str, Any], kind: str, rng: np.random.Generator
) -> tuple[str, bool]:
    name, how, _ = kind.split(", ")
    command = COMMANDS[name]
    wanted, operations, older = known[name]
    fresh(folder)
    over = how != "fresh" and command.over is not None
    more = list(command.over or ()) if over else []
    if over:
        put_older(folder, older)
    exchange = bool(rng.integers(4))
    here = [wanted] if over else [None, wanted]
    kills = 0
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(1, operations + 1))
        ended, _ = command.run(folder, *more, at=at, exchange=exchange)
        if (
            ended.error
            and not ended.hung
            and (named := options_of(command, ended.said))
        ):
            # Refused, as it was interrupted: the kill is to meet what goes on with it.
            more = named[:1]
            ended, _ = command.run(folder, *more, at=at, exchange=exchange)
        if ended.hung:
            return f"hang at operation {at}", False
        kills += ended.signal != 0
        found = command.found(folder)
        hidden = not exchange and over and found is None
        if not hidden and found not in here:
            return f"after a kill at {at}: {str(found)[:200]}", False
        if not over and found is not None:
            break
    outcome = go_on(command, folder, more)
    if outcome is not None:
        return outcome, False
    found = command.found(folder)
    if found != wanted:
        return f"in the end: {str(found)[:200]}", False
    left = [p.name for p in (folder / "work").rglob(".*")]
    left += [p.name for p in (folder / "work").glob("*.training")]
    if left:
        return f"left behind: {left}", False
    return f"as uninterrupted, after {kills} kills", True


def one_line(said: str) -> str | None:
    """The one line of an error in what a command said; None if it is not one."""
    lines = [line for line in said.splitlines() if " error: " in line]
    if len(lines) != 1 or "Traceback (most" in said.split(lines[0])[0]:
        return None
    return lines[0]


def options_of(command: Command, said: str) -> list[str]:
    """The options with which to go on that a refusal names."""
    line = one_line(said) or ""
    return [option for option in command.again if option in line]


def go_on(command: Command, folder: Path, more: list[str]) -> str | None:
    """Calls the command until it is done, as its lines say; else what went wrong."""
    refused = ""
    for _ in range(3):
        ended, _ = command.run(folder, *more)
        if ended.error is None and not ended.signal:
            return None
        line = one_line(ended.said)
        if line is None:
            return f"no one line: {ended.said[-300:]}"
        refused = line
        if command.name == "export" and "exists" in refused:
            return None  # It was finished before the kill.
        named = options_of(command, ended.said)
        if not named:
            break
        more = [named[0] if named[0] not in more else named[-1]]
    return f"refused: {refused}"


if __name__ == "__main__":
    main()
