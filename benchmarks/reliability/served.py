"""A local server to attack: its model, and the traffic that must not suffer."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.speed.load import MODEL, exported, local_server, some_histories
from benchmarks.speed.options import Options
from benchmarks.speed.traffic import predict_request

SEEDS = (1, 2, 4)  # Those of the versions that `exported` makes.
# What systems start processes with.
SOFT_FILES = 1024


def prepared(work: Path) -> tuple[Path, dict[int, list[dict[str, Any]]], list[bytes]]:
    """Exported versions, their answers to some histories, and requests for these."""
    histories, file = some_histories(), work / "known.json"
    if not file.exists():
        work.mkdir(parents=True, exist_ok=True)
        known = exported(Options(threads=2), work, histories)
        file.write_text(json.dumps(known))
    answers = {int(seed): rows for seed, rows in json.loads(file.read_text()).items()}
    requests = [predict_request(MODEL, history) for history in histories]
    return work / MODEL, answers, requests


@contextmanager
def attacked(folder: Path, log: Path) -> Iterator[tuple[int, int]]:
    """Process id and port of a server with few open files allowed at its start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(SOFT_FILES, soft), hard))
    server = local_server(folder, len(os.sched_getaffinity(0)), log)
    try:
        pid, port = server.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard), hard))
    try:
        yield pid, port
    finally:
        server.__exit__(None, None, None)


def alive(pid: int) -> bool:
    """Whether the server still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
