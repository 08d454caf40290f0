"""Time and memory of keras_multvae beside yardsticks.

Each measure prints a table and writes its samples as JSON, from which `report` makes
docs/performance.md and its plot. `all` does everything, at the defaults.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

from benchmarks.speed import (
    events,
    imports,
    items,
    load,
    memory,
    overhead,
    preparation,
    report,
    runtimes,
    scaling,
    scoring,
    serving,
    training,
)
from benchmarks.speed.options import Options
from benchmarks.speed.processes import ROOT

MEASURES = {
    "training": training,
    "scoring": scoring,
    "serving": serving,
    "runtimes": runtimes,
    "load": load,
    "memory": memory,
    "overhead": overhead,
    "preparation": preparation,
    "events": events,
    "scaling": scaling,
    "items": items,
    "imports": imports,
}
ON_GOWALLA = ("training", "scoring")


def main(argv: list[str] | None = None) -> None:
    """Runs what the command line asks for."""
    given = parser().parse_args(argv)
    options = Options(
        **{
            f.name: getattr(given, f.name)
            for f in fields(Options)
            if hasattr(given, f.name)
        }
    )
    if given.command in MEASURES:
        run(given.command, options)
    else:
        if given.command == "all":
            run_all(options)
        report.write(options.results, given.docs, MEASURES)
        print(f"Written: {given.docs}/performance.md")


def run_all(options: Options) -> None:
    """Every measure with its systems and rounds; Gowalla, too, if there is a file."""
    for measure, module in MEASURES.items():
        chosen = replace(options, systems=module.SYSTEMS, rounds=module.ROUNDS)
        run(measure, chosen)
        if measure in ON_GOWALLA and options.gowalla:
            run(measure, replace(chosen, work="gowalla"))


def run(measure: str, options: Options) -> None:
    """Measures, prints and writes."""
    result = MEASURES[measure].measure(options)
    work = "" if options.work == "synthetic" else options.work
    name = "-".join(filter(None, [measure, work, options.tag]))
    path = result.save(options.results, name)
    print(f"\n{measure}, {result.work}\n\n{MEASURES[measure].table(result)}\n\n{path}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    default = Options()
    top = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    everything = {"all": "every measure, then the report"}
    everything |= {name: module.__doc__ for name, module in MEASURES.items()}
    everything |= {"report": report.__doc__}
    for name, words in everything.items():
        sub = commands.add_parser(name, help=words, description=words)
        add = sub.add_argument
        add("--results", type=Path, default=default.results, help="folder of the JSON")
        if name in ("all", "report"):
            add(
                "--docs", type=Path, default=ROOT / "docs", help="where the report goes"
            )
        if name == "report":
            continue
        add("--cache", type=Path, default=default.cache, help="folder of what is kept")
        add("--gowalla", type=Path, metavar="FILE", help="gowalla.npz")
        add(
            "--movielens",
            type=Path,
            metavar="FILE",
            help="ratings.csv of MovieLens latest-small",
        )
        add("--users", type=_count, default=default.users, help="of the matrix")
        add("--rows", type=_count, default=default.rows, help="of the ratings file")
        add("--batch-size", type=_count, default=default.batch_size)
        add("--threads", type=_count, default=default.threads)
        if name == "all":
            continue
        module = MEASURES[name]
        add("--rounds", type=_count, default=module.ROUNDS, help="samples of each")
        if name == "load":
            add("--seconds", type=_count, default=default.seconds, help="of a round")
        add("--tag", default="", help="goes into the name of the result's file")
        add(
            "--systems",
            nargs="+",
            choices=module.SYSTEMS,
            default=module.SYSTEMS,
            metavar="NAME",
            help=", ".join(module.SYSTEMS),
        )
        if name in ON_GOWALLA:
            add("--work", choices=("synthetic", "gowalla"), default=default.work)
    return top


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, not {text!r}")
    return int(text)
