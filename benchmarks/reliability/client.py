"""Hostile servers against `ServingClient`: tries end in time, with a typed error."""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.reliability.hostile import KINDS, hostile
from benchmarks.reliability.tries import Tries, options

TIMEOUT, LATE = 1.0, 0.5  # seconds
USER, PASSWORD = "ann", "s3cret-of-ann"


def attack(kind: str, rng: np.random.Generator) -> tuple[str, bool]:
    """Asks a server of a kind once; REST, or gRPC as kinds of "gRPC: " do."""
    from keras_multvae.serving.client import ServingClient, ServingError

    rpc = kind.startswith("gRPC: ")
    with hostile(kind.removeprefix("gRPC: "), rng, always=rpc) as port:
        address = f"127.0.0.1:{port}"
        if not rpc:
            address = f"http://{USER}:{PASSWORD}@{address}"
        start, text = time.monotonic(), ""
        # A try for the metadata, then one for the answer.
        with ServingClient(address, "films", timeout=TIMEOUT, retries=0) as client:
            try:
                if not rpc:
                    _ = client._signatures
                    start = time.monotonic()
                client.recommend([[3]], k=2)
                outcome, good = "an answer", True
            except ServingError as error:
                outcome, good, text = type(error).__name__, True, str(error)
            except Exception as error:
                outcome, good = f"{type(error).__name__}: {error}"[:100], False
            seconds = time.monotonic() - start
    if seconds > TIMEOUT + LATE:
        outcome, good = f"{outcome} after {seconds:.1f} s", False
    secrets = (PASSWORD, "YW5uOnMzY3JldC1vZi1hbm4=")
    if any(secret in text for secret in secrets) or "\n" in text:
        outcome, good = f"{outcome} with a secret or several lines", False
    return outcome, good


def kinds() -> dict[str, None]:
    """All kinds, those of gRPC last: a gRPC client knows no HTTP/1."""
    plain = ["silence", "noise", "hangs up", "resets", "HTTP/0.9", "an HTTP/2 preface"]
    plain += ["drips without a length", "a body without end"]
    return dict.fromkeys([*KINDS, *(f"gRPC: {kind}" for kind in plain)])


def main() -> int:
    """Runs the tries and prints the table."""
    given = options(__doc__ or "", 500).parse_args()
    tries = Tries(given)
    tries.run(kinds(), attack)
    print(tries.table())
    return int(tries.bad > 0)


if __name__ == "__main__":
    sys.exit(main())
