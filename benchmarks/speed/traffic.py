"""Requests that come when they come, whether or not those before are answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TIMEOUT = 10.0  # seconds


@dataclass
class Traffic:
    """What became of some requests.

    Attributes:
        milliseconds: From the time that a request was due to its whole answer.
        failed: Why, for each that failed.
        wrong: Answers that are not those of a version that may have given them.
    """

    milliseconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: int = 0

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.milliseconds or [np.inf], percent))

    @property
    def bad(self) -> int:
        return len(self.failed) + self.wrong


class Known:
    """The answers of each version to each history.

    Args:
        answers: By version, one {"item_ids", "scores", "valid"} a history.
    """

    def __init__(self, answers: dict[int, list[dict[str, Any]]]) -> None:
        self.answers = answers
        self.newest = min(answers)

    def note(self, history: int, answer: dict[str, Any], sent_at: int) -> bool:
        """Whether it is right for a request sent when version `sent_at` answered.

        A version that has answered once answers whatever is sent from then on, until
        a newer one does.
        """
        for version, answers in self.answers.items():
            if version >= sent_at and same(answers[history], answer):
                self.newest = max(self.newest, version)
                return True
        return False


def same(known: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether two answers agree, up to float32's rounding in batches of other sizes."""
    if known["valid"] != found["valid"]:
        return False
    off = np.abs(np.subtract(known["scores"], found["scores"]))
    if off.shape and off.max() > 1e-4:
        return False
    if known["item_ids"] == found["item_ids"]:
        return True
    # Scores that are nearly equal may change places, also with the first left out.
    scores = dict(zip(known["item_ids"], known["scores"], strict=True))
    last = known["scores"][-1]
    return all(
        abs(scores.get(item, last) - score) < 1e-4
        for item, score in zip(found["item_ids"], found["scores"], strict=True)
    )


class Client:
    """Keeps connections open and opens another when all are busy."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer; `OSError` if there is none, or one of failure."""
        head = b""
        while not head:
            fresh = not self._idle
            connection = await self._open() if fresh else self._idle.pop()
            reader, writer = connection
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
            except (OSError, EOFError):
                # A server may close what has been idle; a new one it must answer.
                if fresh:
                    raise
        text = head.decode().lower()
        length = int(text.partition("content-length:")[2].partition("\r\n")[0])
        body = await reader.readexactly(length)
        status = text.split(" ", 2)[1]
        if status != "200":
            raise OSError(f"status {status}: {body[:200].decode()}")
        self._idle.append(connection)
        return body

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self._address, limit=2**20)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


def predict_request(model: str, history: list[str]) -> bytes:
    """The bytes of a request over HTTP/1.1."""
    body = json.dumps({"instances": [{"item_ids": history}]}).encode()
    head = (
        f"POST /v1/models/{model}:predict HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def send(
    client: Client,
    requests: list[bytes],
    known: Known,
    rate: float,
    seconds: float,
    seed: int = 0,
    every_second: Callable[[], None] = lambda: None,
) -> Traffic:
    """Sends at random times, `rate` a second on average; waits for all answers."""
    traffic, loop = Traffic(), asyncio.get_running_loop()
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1 / rate, max(int(rate * seconds), 1)))
    histories = rng.integers(len(requests), size=len(due))

    async def one(history: int, at: float) -> None:
        sent_at = known.newest
        try:
            body = await asyncio.wait_for(client.ask(requests[history]), TIMEOUT)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            traffic.failed.append(f"{type(error).__name__}: {error}")
            return
        traffic.milliseconds.append(1000 * (loop.time() - at))
        (answer,) = json.loads(body)["predictions"]
        traffic.wrong += not known.note(history, answer, sent_at)

    tasks, start, told = set(), loop.time(), 0
    for history, at in zip(histories.tolist(), (start + due).tolist(), strict=True):
        await asyncio.sleep(max(at - loop.time(), 0))
        task = asyncio.create_task(one(history, at))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if at - start >= told:
            told += 1
            every_second()
    await asyncio.gather(*tasks)
    return traffic
