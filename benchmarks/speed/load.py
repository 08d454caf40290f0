"""The local server under load: latency, the rate it holds, and swaps meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import data, results
from benchmarks.speed.child import status
from benchmarks.speed.options import Options
from benchmarks.speed.processes import ROOT, System, Worker, environment, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number
from benchmarks.speed.traffic import Client, Known, Traffic, predict_request, send

MEDIAN, P99, MEMORY = "median, ms", "p99, ms", "RSS, MiB"
ASKED, FAILED, WRONG = "requests", "failed", "wrong"
STEADY, HELD = "steady", "held"
SYSTEMS = ["local server"]
ROUNDS = 10  # of holding
RATE, LIMIT_MS = 50.0, 100.0
# The rate that is held, of the highest that was: swaps take their share of the cores.
ROOM = 0.6
HISTORIES = 200
MODEL = "load"
# What comes while the rate is held, by the share of the time that has passed.
EVENTS = ((0.25, "2"), (0.5, "damaged"), (0.75, "4"))


def measure(options: Options) -> Result:
    """A minute at 50 a second; the highest rate; that rate for `rounds` minutes."""
    with tempfile.TemporaryDirectory() as out:
        histories = some_histories()
        known = exported(options, Path(out), histories)
        folder = Path(out, "served", MODEL)
        folder.mkdir(parents=True)
        _appear(Path(out), folder, "1")
        requests = [predict_request(MODEL, history) for history in histories]
        with local_server(folder, options.threads, Path(out, "log")) as (pid, port):
            return asyncio.run(
                _drive(options, Path(out), folder, requests, Known(known), pid, port)
            )


async def _drive(
    options: Options,
    out: Path,
    folder: Path,
    requests: list[bytes],
    known: Known,
    pid: int,
    port: int,
) -> Result:
    samples: dict[str, dict[str, list[float]]] = {}

    def note(phase: str, traffic: Traffic) -> None:
        for quantity, value in (
            (MEDIAN, traffic.percentile(50)),
            (P99, traffic.percentile(99)),
            (ASKED, len(traffic.milliseconds) + len(traffic.failed)),
            (FAILED, len(traffic.failed)),
            (WRONG, traffic.wrong),
            (MEMORY, status("VmRSS", pid) / 2**20),
        ):
            samples.setdefault(quantity, {}).setdefault(phase, []).append(value)
        say(f"{phase}: p99 {traffic.percentile(99):.1f} ms, {traffic.bad} bad")

    client = Client("127.0.0.1", port)

    async def ask(rate: float, seconds: float, **more: Any) -> Traffic:
        return await send(client, requests, known, rate, seconds, **more)

    await ask(RATE, max(options.seconds / 6, 1))  # not counted
    note(STEADY, await ask(RATE, options.seconds))
    highest = await highest_rate(ask, options.seconds / 6)
    rate = ROOM * highest
    events = list(EVENTS)
    start, whole = time.monotonic(), options.rounds * options.seconds
    failures: list[str] = []

    def happen() -> None:
        if events and time.monotonic() - start >= events[0][0] * whole:
            say(f"version {events[0][1]} appears")
            _appear(out, folder, events.pop(0)[1])

    for number_ in range(options.rounds):
        traffic = await ask(
            rate, options.seconds, seed=1 + number_, every_second=happen
        )
        note(HELD, traffic)
        failures += traffic.failed
    client.close()
    return Result(
        "load",
        f"one user a request, {data.NUM_ITEMS:,} items, k = 100",
        samples,
        options.shown("rounds", "seconds", "threads"),
        notes={
            "highest": highest,
            "rate": rate,
            "version": known.newest,
            "failures": failures[:10],
        },
        machine=results.machine(),
    )


async def highest_rate(ask: Callable[..., Any], seconds: float) -> float:
    """The highest rate with p99 below the limit and nothing bad."""

    async def holds(rate: float) -> bool:
        traffic = await ask(rate, seconds)
        say(f"{rate:.0f} a second: p99 {traffic.percentile(99):.1f} ms")
        return not traffic.bad and traffic.percentile(99) < LIMIT_MS

    low, high = RATE, RATE * 1.5
    while await holds(high):
        low, high = high, high * 1.5
    for _ in range(3):
        middle = (low + high) / 2
        if await holds(middle):
            low = middle
        else:
            high = middle
    return low


def some_histories() -> list[list[str]]:
    rng = np.random.default_rng(0)
    most = max(data.NUM_ITEMS // 4, 5)
    sizes = data.activity(rng, HISTORIES, data.ITEMS_PER_USER, 5, most)
    return [
        rng.choice(data.NUM_ITEMS, min(size, most), replace=False).astype(str).tolist()
        for size in sizes
    ]


def exported(
    options: Options, out: Path, histories: list[list[str]]
) -> dict[int, list[dict[str, Any]]]:
    """Versions 1, 2 and 4, and what each answers when TensorFlow alone is asked."""
    target = "benchmarks.speed.systems"
    versions = [1, 2, 4]
    system = System(
        "export", f"{target}.exporting:Exporting", {}, {"KERAS_BACKEND": "tensorflow"}
    )
    with Worker(system, options.threads) as worker:
        worker.call("seeds", items=data.NUM_ITEMS, out=str(out / MODEL), seeds=versions)
    known = {}
    for version in versions:
        made = {"path": str(out / MODEL / str(version)), "items": data.NUM_ITEMS}
        with Worker(
            System("known", f"{target}.served:Served", made), options.threads
        ) as worker:
            _, known[version] = worker.call("answers", histories=histories)
    return known


def _appear(out: Path, folder: Path, name: str) -> None:
    """A version is there, from one moment to the next."""
    if name == "damaged":
        damaged = folder / "3"
        damaged.mkdir()
        (damaged / "saved_model.pb").write_bytes(b"half a file")
    else:
        (folder / name).symlink_to(out / MODEL / name)


@contextmanager
def local_server(folder: Path, threads: int, log: Path) -> Iterator[tuple[int, int]]:
    """Process id and port of a local server."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "keras_multvae",
                "serve",
                str(folder),
                "--port",
                "0",
            ],
            stderr=file,
            cwd=ROOT,
            env=environment(threads) | {"KERAS_BACKEND": "tensorflow"},
            preexec_fn=lambda: os.sched_setaffinity(
                0, sorted(os.sched_getaffinity(0))[:threads]
            ),
        )
    try:
        while not (found := re.search(r"127\.0\.0\.1:(\d+)/ and", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(f"The server ended:\n{log.read_text()}")
            time.sleep(0.1)
        yield process.pid, int(found[1])
    finally:
        process.terminate()
        process.wait()


def figures(quantity: str, phase: str) -> Callable[[Result], dict[str, float]]:
    """The worst round of a phase."""
    return lambda result: {phase: max(result.samples[quantity][phase])}


def spread(result: Result) -> dict[str, float]:
    """p99 over the median at 50 requests a second."""
    return {"local server": result.median(P99, STEADY) / result.median(MEDIAN, STEADY)}


def bad(result: Result) -> dict[str, float]:
    """Failed requests and wrong answers, of all."""
    return {
        "local server": float(
            sum(
                sum(values)
                for quantity in (FAILED, WRONG)
                for values in result.samples[quantity].values()
            )
        )
    }


def table(result: Result) -> str:
    """A line for 50 requests a second, and one a round of holding."""
    rows = []
    for phase in result.samples[MEDIAN]:
        rate = RATE if phase == STEADY else result.notes["rate"]
        columns = [
            result.samples[quantity][phase]
            for quantity in (MEDIAN, P99, ASKED, FAILED, WRONG, MEMORY)
        ]
        for place, values in enumerate(zip(*columns, strict=True), 1):
            shown = [number(value, 1) for value in values[:2]]
            shown += [number(value, 0) for value in values[2:]]
            name = phase if phase == STEADY else f"{phase}, {place}"
            rows.append([name, number(rate, 0), *shown])
    lines = markdown(
        ["", "requests/s", MEDIAN, P99, ASKED, FAILED, WRONG, MEMORY], rows
    )
    return (
        f"{lines}\n\nHighest rate with p99 below {LIMIT_MS:.0f} ms: "
        f"{result.notes['highest']:.0f} requests/s; {100 * ROOM:.0f}% of it was held, "
        f"and version {result.notes['version']} answered at the end."
    )
