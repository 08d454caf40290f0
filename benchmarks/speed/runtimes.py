"""The same network as SavedModel and as ONNX model: latency for few and many users."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.speed import data, results
from benchmarks.speed.environments import Environment
from benchmarks.speed.options import Options
from benchmarks.speed.processes import System, Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number, ratio

USERS = (1, 100)
TIMES, ROUNDS = 50, 7
TARGET = "benchmarks.speed.systems"
PLAIN = "SavedModel"
# By name: the class, and the packages of an environment of its own, if it has one.
RUNTIMES: dict[str, tuple[str, Environment | None]] = {
    PLAIN: ("served:Served", None),
    "ONNX Runtime": ("onnx_served:OnnxRuntime", None),
    "OpenVINO": ("onnx_served:OpenVino", Environment(("openvino==2026.4.1", "numpy"))),
}
SYSTEMS = list(RUNTIMES)


def quantity(users: int) -> str:
    """The name of the samples of batches of so many users."""
    return f"ms, {users} user{'s' * (users > 1)}"


def measure(options: Options) -> Result:
    """Batches of each size, one process a runtime, in rounds."""
    samples: dict[str, dict[str, list[float]]] = {
        quantity(users): {name: [] for name in options.systems} for users in USERS
    }
    with tempfile.TemporaryDirectory() as out, ExitStack() as stack:
        _export(options, out)
        workers = {
            name: stack.enter_context(
                Worker(_system(name, options, out), options.threads)
            )
            for name in options.systems
        }
        for done in range(options.rounds):
            for users in USERS:
                for name, worker in workers.items():
                    worker.call("take", users=users)
                    worker.call("answer")
                    seconds = sum(worker.call("answer")[0] for _ in range(TIMES))
                    samples[quantity(users)][name].append(1000 * seconds / TIMES)
            say(f"round {done + 1} of {options.rounds}")
    return Result(
        "runtimes",
        f"{data.NUM_ITEMS:,} items, histories of 68, k = 100",
        samples,
        options.shown("rounds", "threads"),
        machine=results.machine(),
    )


def _export(options: Options, out: str) -> None:
    """Writes the same weights in both formats."""
    system = System(
        "export", f"{TARGET}.exporting:Exporting", {}, {"KERAS_BACKEND": "tensorflow"}
    )
    with Worker(system, options.threads) as worker:
        worker.call("both", items=data.NUM_ITEMS, out=out)


def _system(name: str, options: Options, out: str) -> System:
    target, environment = RUNTIMES[name]
    folder = "saved_model" if name == PLAIN else "onnx"
    arguments = {"path": str(Path(out, folder, "1")), "items": data.NUM_ITEMS}
    if name != PLAIN:
        arguments["threads"] = options.threads
    python = (
        {}
        if environment is None
        else {"python": str(environment.python(options.cache))}
    )
    return System(name, f"{TARGET}.{target}", arguments, **python)


def table(result: Result) -> str:
    """A line a runtime."""
    header = ["runtime"]
    for users in USERS:
        header += [f"{quantity(users)}, median", "least", "most", f"against {PLAIN}"]
    return markdown(
        header, [_row(result, name) for name in result.samples[quantity(1)]]
    )


def _row(result: Result, name: str) -> list[str]:
    row = [name]
    for users in USERS:
        samples = result.samples[quantity(users)]
        medians = result.medians(quantity(users))
        values = (medians[name], min(samples[name]), max(samples[name]))
        row += [number(each, 2) for each in values]
        row.append(ratio(medians[name], medians[PLAIN]) if PLAIN in medians else "")
    return row
