"""Tries of an attack: numbered, each with its own random numbers, and counted."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def options(what: str, tries: int) -> argparse.ArgumentParser:
    """The options that every attack has."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=tries)
    parser.add_argument(
        "--state",
        type=Path,
        help="a file for what is done: the same command goes on after an interruption",
    )
    return parser


class Tries:
    """Outcomes by kind of attack.

    Args:
        given: The parsed `options`.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.seed, self.tries = given.seed, given.tries
        self._state: Path | None = given.state
        self._done: dict[int, dict[str, Any]] = {}
        if self._state is not None and self._state.exists():
            for line in self._state.read_text().splitlines():
                found = json.loads(line)
                if found["seed"] == self.seed:
                    self._done[found["number"]] = found

    def run(
        self, kinds: dict[str, Any], attack: Callable[..., tuple[str, bool]]
    ) -> None:
        """Calls `attack(kind, rng)`, -> (outcome, whether it is as it should be)."""
        names = list(kinds)
        for number in range(self.tries):
            if number in self._done:
                continue
            kind = names[number % len(names)]
            outcome, good = attack(kind, np.random.default_rng((self.seed, number)))
            self.note(number, kind, outcome, good)

    def note(self, number: int, kind: str, outcome: str, good: bool) -> None:
        """Keeps what became of a try."""
        found = {"seed": self.seed, "number": number, "kind": kind}
        found |= {"outcome": outcome, "good": bool(good)}
        self._done[number] = found
        if self._state is not None:
            with self._state.open("a") as file:
                file.write(json.dumps(found) + "\n")
        if not good:
            print(f"try {number}, {kind}: {outcome}", file=sys.stderr)

    def table(self, shown_as: Callable[[str], str] = str) -> str:
        """A line a kind: tries, those that were not as they should be, outcomes.

        Args:
            shown_as: A function of a kind, the line in which it counts.
        """
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        bad: Counter[str] = Counter()
        for each in self._done.values():
            kind = shown_as(each["kind"])
            kinds[kind][each["outcome"]] += 1
            bad[kind] += not each["good"]
        lines = ["| attack | tries | bad | outcomes |", "| --- | --- | --- | --- |"]
        for kind, outcomes in kinds.items():
            shown = ", ".join(
                f"{count} {what}" for what, count in outcomes.most_common()
            )
            total = sum(outcomes.values())
            lines.append(f"| {kind} | {total} | {bad[kind]} | {shown} |")
        total = sum(sum(each.values()) for each in kinds.values())
        lines.append(f"| all | {total} | {sum(bad.values())} | |")
        return "\n".join(lines)

    @property
    def done(self) -> int:
        """Tries that need not be made again: those from 0 on without a gap."""
        return next(n for n in range(len(self._done) + 1) if n not in self._done)

    @property
    def bad(self) -> int:
        """Tries that were not as they should be."""
        return sum(not found["good"] for found in self._done.values())
