"""Trying again, ever more slowly."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from keras_multvae.serving.client.errors import ServingUnavailableError

FIRST_SECONDS, MAX_SECONDS = 0.1, 5.0
MAX_ASKED_SECONDS = 60.0  # A server that asks for more is given up.
T = TypeVar("T")


def with_retries(attempt: Callable[[], T], retries: int) -> T:
    """Calls `attempt`, and again while the server is unavailable.

    Between two calls it waits, twice as long each time, less a random share of it: many
    clients that a server lost at once shall not come back at once. A server that says
    when to come back is not asked before, and not at all if that is long.

    Args:
        attempt: What to call.
        retries: Int >= 0, calls after the first.

    Returns:
        What `attempt` gives.

    Raises:
        ServingUnavailableError: The last call's.
    """
    for number in range(retries):
        try:
            return attempt()
        except ServingUnavailableError as error:
            asked = error.retry_after or 0.0
            if asked > MAX_ASKED_SECONDS:
                raise
            longest = min(FIRST_SECONDS * 2**number, MAX_SECONDS)
            time.sleep(max(asked, random.uniform(longest / 2, longest)))
    return attempt()
