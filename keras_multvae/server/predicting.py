"""A prediction, whatever protocol asks for it: version, limits, batches, counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from keras_multvae.server.catalogue import Catalogue
from keras_multvae.server.http import run
from keras_multvae.server.limits import Budget, Hold
from keras_multvae.server.metrics import Metrics
from keras_multvae.server.parsing import Request
from keras_multvae.server.servable import Servable
from keras_multvae.server.versions import ModelManager

# Larger bodies are read or written in a thread.
SMALL_BODY, SMALL_ANSWER = 64 * 2**10, 10_000  # bytes, numbers
# Name, version and label of a request.
Which: TypeAlias = tuple[str, int | None, str | None]


@dataclass(frozen=True)
class Predicted:
    """A request and its answer.

    Attributes:
        request: What was asked.
        outputs: An array for each output.
        version: The version that answered.
    """

    request: Request
    outputs: dict[str, np.ndarray]
    version: int

    @property
    def size(self) -> int:
        """Values in all outputs."""
        return sum(array.size for array in self.outputs.values())


class Api:
    """What the APIs of all protocols have in common.

    Args:
        manager: Finds the version that answers.
        metrics: Counts requests.
        max_body: Int, maximum bytes of a request.
        budget: Limits the bytes of waiting requests.
    """

    def __init__(
        self, manager: ModelManager, metrics: Metrics, max_body: int, budget: Budget
    ) -> None:
        self._manager = manager
        self._metrics = metrics
        self._max_body = max_body
        self._budget = budget

    async def predict(
        self, which: Which, hold: Hold, read: Callable[[Servable], Awaitable[Request]]
    ) -> Predicted:
        """The answer of a version, which stays in memory meanwhile.

        Args:
            which: The version.
            hold: Counts the bytes of the request.
            read: Reads the request for that version.

        Raises:
            StatusError: There is no such version, or the request is wrong or too large.
        """
        in_flight = self._metrics.in_flight.track_inprogress()
        with self._manager.get(*which).used() as servable, in_flight:
            request = await read(servable)
            hold.add(servable.cost(request.signature, request.inputs))
            large = request.size > SMALL_ANSWER
            await run(large, self._count, servable.catalogue, request)
            outputs = await servable.batcher.submit(request.signature, request.inputs)
        return Predicted(request, outputs, servable.number)

    def _count(self, catalogue: Catalogue | None, request: Request) -> None:
        """Counts unknown ids, for operators."""
        histories = request.inputs.get("item_ids")
        if catalogue is None or histories is None or histories.ndim != 2:
            return
        unknown, empty = catalogue.count_unknown(histories)
        self._metrics.unknown_ids.inc(unknown)
        self._metrics.empty_histories.inc(empty)
