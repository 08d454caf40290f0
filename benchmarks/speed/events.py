"""Seconds and memory of preparing 20 to 100 million events from Parquet part files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.preparation import LIKED, PEAK, SECONDS, command, run
from benchmarks.speed.processes import say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number, spread

ROWS = (20_000_000, 50_000_000, 100_000_000)
ROWS_PER_PART = 5_000_000
HELD_OUT = 10_000
ALL = "all events, with their times"
COMMANDS = {
    ALL: "--timestamp-column timestamp",
    "ratings of 4 and more": LIKED,
}
# Which backend makes no difference to the work: preparing needs none.
SYSTEMS = list(catalogue.BACKENDS)
ROUNDS = 1


def measure(options: Options) -> Result:
    """The whole command, in fresh processes, in rounds."""
    backend = options.systems[0]
    samples: dict[str, dict[str, list[float]]] = {SECONDS: {}, PEAK: {}}
    notes = {}
    # With fewer `--rows`, a share of each number.
    scale = min(options.rows / ROWS[0], 1)
    for rows in (max(round(rows * scale), 1) for rows in ROWS):
        source = options.events(rows, parts=-(-rows // ROWS_PER_PART))
        for _ in range(options.rounds):
            for name, more in COMMANDS.items():
                with tempfile.TemporaryDirectory(dir=options.cache) as folder:
                    out = Path(folder) / "prepared"
                    words = command(source, out, min(HELD_OUT, rows // 2000), more)
                    seconds, peak = run(words, backend, options.threads)
                    parts = json.loads((out / "manifest.json").read_text())["parts"]
                label = f"{rows:,}, {name}"
                samples[SECONDS].setdefault(label, []).append(seconds)
                samples[PEAK].setdefault(label, []).append(peak / 2**30)
                notes[label] = sum(part["entries"] for part in parts.values())
                say(f"{label}: {seconds:.1f} s, {peak / 2**30:.2f} GiB")
    return Result(
        "events",
        f"{rows:,} events at most",
        samples,
        options.shown("rounds", "threads") | {"backend": backend},
        notes,
        results.machine(),
    )


def table(result: Result) -> str:
    """Entries, seconds and peaks."""
    return markdown(
        ["events", "entries", f"{SECONDS}, median", "least", "most", f"{PEAK}, median"],
        [
            [
                name,
                number(result.notes[name], 0),
                *spread(values, 1),
                number(result.median(PEAK, name), 2),
            ]
            for name, values in result.samples[SECONDS].items()
        ],
    )
