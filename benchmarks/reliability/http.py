"""Hostile clients against the local server, beside 50 requests a second of good ones.

First the tries, from a process of their own, four at a time. Then 1,100 connections
that say nothing, and 500 that send a byte a second, a minute each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability.requests import KINDS
from benchmarks.reliability.served import alive, attacked, prepared
from benchmarks.reliability.tries import Tries, options
from benchmarks.speed.child import status
from benchmarks.speed.load import MODEL, RATE
from benchmarks.speed.processes import ROOT
from benchmarks.speed.traffic import Client, Known, Traffic, send

IDLE, SLOW = 1100, 500
UNFINISHED = ("bad framing", "a request changed")
REFUSED = {400, 403, 404, 405, 408, 413, 429, 431, 501, 503}
# What the bounds of keras_multvae/server/limits.py come to, beside the model: waiting
# bytes, two pieces, one body that is read, and the free bytes of each connection.
BOUND_MIB = 512 + 2 * 256 + 320 + 1000 * (0.25 + 0.0625)


def attack(port: int, kind: str, rng: np.random.Generator) -> tuple[str, bool]:
    """Sends a request of a kind, or half of it, and reads the answer, or does not."""
    data = KINDS[kind](rng)
    manner = rng.choice(["whole", "half", "unread"], p=[0.8, 0.1, 0.1])
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as it:
            if manner == "half":
                it.sendall(data[: len(data) // 2])
                return "left", True
            it.sendall(data)
            if manner == "unread":
                return "left", True
            if kind in UNFINISHED:
                # The server would wait for the rest as long as it does.
                it.shutdown(socket.SHUT_WR)
            head = it.recv(65536)
    except TimeoutError:
        return "no answer within 60 s", False
    except OSError:
        return "closed", True
    if not head:
        return "closed", True
    code = int(head.split(b" ", 2)[1])
    return str(code), code in REFUSED | {100, 200}


def attackers(port: int, given: argparse.Namespace) -> None:
    """All tries, in this process; an outcome a line."""
    names = list(KINDS)

    def one(number: int) -> None:
        kind = names[number % len(names)]
        outcome, good = attack(port, kind, np.random.default_rng((given.seed, number)))
        found = {"number": number, "kind": kind, "outcome": outcome, "good": good}
        # One call, as `print` makes two, between which another thread may write.
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(given.start, given.start + given.tries)))


async def _silent(port: int, count: int, drip: bool, seconds: float) -> None:
    """Connections that say nothing, or a byte a second; made anew when ended."""
    end = time.monotonic() + seconds

    async def one(number: int) -> None:
        await asyncio.sleep(number / count)
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while time.monotonic() < end:
                    if drip:
                        writer.write(b"P")
                        await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        if not await asyncio.wait_for(reader.read(100), 1):
                            break
                writer.close()
            await asyncio.sleep(1)

    await asyncio.gather(*(one(number) for number in range(count)))


def _helper(port: int, given: argparse.Namespace, *more: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.reliability.http", "--port", str(port)]
    return [*command, "--seed", str(given.seed), *more]


async def _beside(
    traffic: Any, command: list[str], note: Any = lambda line: None
) -> Traffic:
    """The traffic, in pieces of five seconds, for as long as a process runs."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, cwd=ROOT
    )
    whole = Traffic()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            note(json.loads(line))

    reading = asyncio.create_task(read())
    while process.returncode is None:
        some = await traffic()
        whole.milliseconds += some.milliseconds
        whole.failed += some.failed
        whole.wrong += some.wrong
    await reading
    return whole


async def _drive(
    given: argparse.Namespace,
    tries: Tries,
    known: Any,
    requests: Any,
    pid: int,
    port: int,
) -> list[str]:
    client, seed = Client("127.0.0.1", port), iter(range(10**9))

    async def traffic() -> Traffic:
        return await send(client, requests, known, RATE, 5, seed=next(seed))

    rows = []

    def row(name: str, found: Traffic) -> None:
        row_ = [name, len(found.milliseconds), len(found.failed), found.wrong]
        row_ += [f"{found.percentile(p):.1f}" for p in (50, 99, 100)]
        row_ += [f"{status('VmHWM', pid) / 2**20:.0f}", str(int(not alive(pid)))]
        rows.append("| " + " | ".join(map(str, row_)) + " |")
        print(rows[-1], *found.failed[:3], file=sys.stderr)

    await traffic()
    calm = Traffic()
    for _ in range(4):
        some = await traffic()
        calm.milliseconds += some.milliseconds
        calm.failed += some.failed
    row("nothing else", calm)

    def note(found: dict[str, Any]) -> None:
        tries.note(found["number"], found["kind"], found["outcome"], found["good"])

    more = ["--attack", "tries", "--tries", str(given.tries - tries.done)]
    more += ["--start", str(tries.done)]
    if given.tries > tries.done:
        row("the tries", await _beside(traffic, _helper(port, given, *more), note))
    for name, kind in ((f"{IDLE} silent connections", "idle"),
                       (f"{SLOW} clients at a byte a second", "slow")):  # fmt: skip
        found = await _beside(traffic, _helper(port, given, "--attack", kind,
                              "--seconds", str(given.seconds)))  # fmt: skip
        row(name, found)
    client.close()
    return rows


def main() -> int:
    """Starts a server, attacks it, and prints two tables."""
    parser = options(__doc__ or "", 2000)
    parser.add_argument("--seconds", type=float, default=60, help="of silence")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir(), "km-reliability")
    )
    parser.add_argument("--attack", choices=["tries", "idle", "slow"])
    parser.add_argument("--port", type=int)
    parser.add_argument("--start", type=int, default=0)
    given = parser.parse_args()
    if given.attack == "tries":
        attackers(given.port, given)
        return 0
    if given.attack:
        slow = given.attack == "slow"
        count = SLOW if slow else IDLE
        asyncio.run(_silent(given.port, count, slow, given.seconds))
        return 0
    versions, answers, requests = prepared(given.work)
    tries = Tries(given)
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out, MODEL)
        folder.mkdir()
        (folder / "1").symlink_to(versions / "1")
        log = Path(out, "log")
        with attacked(folder, log) as (pid, port):
            before = status("VmRSS", pid) / 2**20
            known = Known({1: answers[1]})
            rows = asyncio.run(_drive(given, tries, known, requests, pid, port))
        size = log.stat().st_size
    print(tries.table())
    print("\n| beside | answered | failed | wrong | median, ms | p99, ms | most, ms "
          "| peak RSS, MiB | ended |\n" + "| --- " * 9 + "|")  # fmt: skip
    print("\n".join(rows))
    print(
        f"\nThe server began with {before:.0f} MiB; its bound is {BOUND_MIB:.0f} MiB "
        f"above that. Its log has {size} bytes. {os.cpu_count()} cores for all."
    )
    return int(tries.bad > 0)


if __name__ == "__main__":
    sys.exit(main())
