"""docs/performance.md and its plot, from the results."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from benchmarks.speed import plot, targets
from benchmarks.speed.results import Result

TEMPLATE = Path(__file__).with_name("performance.md")
MISSING = "Not measured."


def load(folder: Path) -> list[Result]:
    """All results in a folder, by name."""
    found = [Result.load(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise FileNotFoundError(f"{folder} has no results: run a measure first.")
    return found


def write(folder: Path, docs: Path, modules: Mapping[str, ModuleType]) -> None:
    """Writes performance.md, performance.png and scale.png to `docs`."""
    results = load(folder)
    plot.ratios(results).savefig(docs / "performance.png", dpi=120)
    for result in results:
        if result.measure == "items":
            plot.growing(result).savefig(docs / "scale.png", dpi=120)
    (docs / "performance.md").write_text(text(results, modules))


def text(results: Sequence[Result], modules: Mapping[str, ModuleType]) -> str:
    """The template with its tables filled in."""
    filled = {"targets": targets.table(results), "machine": machine(results)}
    for measure, module in modules.items():
        own = [result for result in results if result.measure == measure]
        filled[measure] = "\n\n".join(map(_block(module), own)) or MISSING
    return string.Template(TEMPLATE.read_text()).substitute(filled)


def _block(module: ModuleType):
    def block(result: Result) -> str:
        settings = ", ".join(
            f"{name.replace('_', ' ')} {value}"
            for name, value in result.settings.items()
        )
        return (
            f"{result.work.capitalize()} ({settings}; {result.machine['date']}, "
            f"{result.machine['revision']}):\n\n{module.table(result)}"
        )

    return block


def machine(results: Sequence[Result]) -> str:
    """Processor, memory and versions of the latest result."""
    last = max(results, key=lambda result: result.machine["date"]).machine
    versions: dict[str, str] = {}
    for result in results:
        versions |= result.machine["versions"]
    return (
        f"{last['cores']} cores of an {last['cpu']} ({', '.join(last['flags'])}), "
        f"{last['memory_gib']} GiB; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "."
    )
