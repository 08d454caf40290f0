"""Retries with increasing pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from keras_multvae.serving.client.errors import ServingUnavailableError

FIRST_SECONDS, MAX_SECONDS = 0.1, 5.0
MAX_ASKED_SECONDS = 60.0  # If a server asks for more, there is no retry.
T = TypeVar("T")


def with_retries(attempt: Callable[[], T], retries: int) -> T:
    """Calls `attempt` repeatedly while the server is unavailable.

    The pause doubles each time, minus a random share, so that clients that lost a
    server at the same time do not all return together. If the server says when to
    retry, it waits that long, or gives up if that is too long.

    Args:
        attempt: The function to call.
        retries: Int >= 0, calls after the first.

    Returns:
        The result of `attempt`.

    Raises:
        ServingUnavailableError: The error of the last call.
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
