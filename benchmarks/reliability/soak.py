"""The local server under load for long: swaps, damaged and slow copies, SIGTERM.

At 60% of the highest rate that it holds, with ten new versions, three that are damaged
and two that are copied slowly, evenly over the time. At the end clients that keep their
connections ask without a pause while it is told to end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability.served import SEEDS, alive, attacked, prepared
from benchmarks.reliability.tries import options
from benchmarks.speed.child import status
from benchmarks.speed.load import MODEL, RATE, ROOM, highest_rate
from benchmarks.speed.traffic import Client, Known, Traffic, send

SWAPS, DAMAGED, SLOWLY = 10, 3, 2
KEPT = 3  # versions that stay in the folder
BUSY = 24  # clients at the end
COPY_SECONDS = 20.0


def events() -> list[str]:
    """What happens, in its order: damage and slow copies among the swaps."""
    found = ["swap"] * SWAPS
    for place, what in ((2, "damaged"), (4, "slow"), (6, "damaged"), (9, "slow"),
                        (12, "damaged")):  # fmt: skip
        found.insert(place, what)
    return found


class Folder:
    """The folder that is served, and what appears in it.

    Args:
        path: The folder.
        exported: Where the exported versions are.
        answers: Theirs, by seed.
        known: Learns which versions may answer.
    """

    def __init__(
        self, path: Path, exported: Path, answers: dict[int, Any], known: Known
    ) -> None:
        self.path, self._exported, self._known = path, exported, known
        self._answers = answers
        self.number = 1
        self.copying: asyncio.Task[None] | None = None

    def happen(self, what: str) -> None:
        """A version comes, and the oldest go."""
        self.number += 1
        seed = SEEDS[self.number % len(SEEDS)]
        source, target = self._exported / str(seed), self.path / str(self.number)
        if what == "damaged":
            shutil.copytree(source, target)
            with next(target.glob("variables/*.data*")).open("r+b") as file:
                file.seek(10_000)
                file.write(b"\0\1\2\3")
            return
        # Hard for `known` to tell from the version that has the same weights, which
        # three versions ago was.
        self._known.answers[self.number] = self._answers[seed]
        if what == "slow":
            self.copying = asyncio.get_running_loop().create_task(
                _copy_slowly(source, target)
            )
        else:
            hidden = self.path / f".{self.number}"
            shutil.copytree(source, hidden)
            hidden.rename(target)
        for old in sorted(self.path.iterdir(), key=lambda each: each.name):
            if old.name.isdecimal() and int(old.name) <= self.number - KEPT:
                shutil.rmtree(old)


async def _copy_slowly(source: Path, target: Path) -> None:
    files = sorted(path for path in source.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in files)
    for path in files:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as read, place.open("wb") as written:
            while part := read.read(2**20):
                written.write(part)
                written.flush()
                await asyncio.sleep(COPY_SECONDS * len(part) / total)


async def _busy(port: int, request: bytes, over: asyncio.Event) -> tuple[int, int]:
    """One client that asks without a pause: (answered, lost)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    answered = 0
    while True:
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        except (OSError, EOFError):
            return answered, 1
        if not head.startswith(b"http/1.1 200"):
            return answered, 1
        answered += 1
        if b"connection: close" in head or over.is_set():
            writer.close()
            return answered, 0


async def _end(pid: int, port: int, requests: list[bytes]) -> tuple[int, int, float]:
    """SIGTERM while clients ask: (answered, lost, seconds until it has ended)."""
    over = asyncio.Event()
    tasks = [
        asyncio.create_task(_busy(port, requests[number], over))
        for number in range(BUSY)
    ]
    await asyncio.sleep(3)
    start = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    found = await asyncio.wait_for(asyncio.gather(*tasks), 60)
    while alive(pid) and time.monotonic() - start < 60:
        await asyncio.sleep(0.05)
    seconds = time.monotonic() - start
    return sum(a for a, _ in found), sum(lost for _, lost in found), seconds


async def _drive(
    given: argparse.Namespace,
    folder: Folder,
    known: Known,
    requests: list[bytes],
    pid: int,
    port: int,
) -> bool:
    client = Client("127.0.0.1", port)

    async def ask(rate: float, seconds: float, **more: Any) -> Traffic:
        return await send(client, requests, known, rate, seconds, **more)

    await ask(RATE, 5)
    highest = await highest_rate(ask, 5)
    rate, coming = ROOM * highest, events()
    whole, start = 60 * given.minutes, time.monotonic()
    every, failed, wrong = whole / (len(coming) + 1), 0, 0

    def happen() -> None:
        done = SWAPS + DAMAGED + SLOWLY - len(coming)
        busy = folder.copying is not None and not folder.copying.done()
        if coming and not busy and time.monotonic() - start >= every * (done + 1):
            print(f"{coming[0]}: version {folder.number + 1}", file=sys.stderr)
            folder.happen(coming.pop(0))

    print("| until, s | requests/s | answered | failed | wrong | median, ms | p99, ms "
          "| version | RSS, MiB |\n" + "| --- " * 9 + "|")  # fmt: skip
    piece = min(60.0, whole / 5)
    for number in range(round(whole / piece)):
        some = await ask(rate, piece, seed=given.seed + number, every_second=happen)
        failed, wrong = failed + len(some.failed), wrong + some.wrong
        row = [f"{time.monotonic() - start:.0f}", f"{rate:.0f}", len(some.milliseconds)]
        row += [len(some.failed), some.wrong, f"{some.percentile(50):.1f}"]
        row += [f"{some.percentile(99):.1f}", known.newest]
        row += [f"{status('VmRSS', pid) / 2**20:.0f}"]
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
        for text in some.failed[:3]:
            print(text, file=sys.stderr)
    client.close()
    answered, lost, seconds = await _end(pid, port, requests)
    print(
        f"\nHighest rate {highest:.0f} requests/s. {failed} failed, {wrong} wrong; "
        f"{folder.number - DAMAGED} of {folder.number} versions to be served, newest "
        f"{known.newest}. SIGTERM beside {BUSY} busy clients: {answered} answered, "
        f"{lost} lost, ended after {seconds:.1f} s."
    )
    return not (failed or wrong or lost)


def main() -> int:
    """Runs it and prints a line a minute."""
    parser = options(__doc__ or "", 1)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir(), "km-reliability")
    )
    given = parser.parse_args()
    exported, answers, requests = prepared(given.work)
    with tempfile.TemporaryDirectory() as out:
        path = Path(out, MODEL)
        path.mkdir()
        shutil.copytree(exported / "1", path / "1")
        known = Known({1: answers[1]})
        folder = Folder(path, exported, answers, known)
        with attacked(path, Path(out, "log")) as (pid, port):
            good = asyncio.run(_drive(given, folder, known, requests, pid, port))
        print(f"The log has {Path(out, 'log').stat().st_size} bytes.")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
