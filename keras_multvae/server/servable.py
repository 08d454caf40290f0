"""A version in memory, with its batches, titles and limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from keras_multvae.server.batching import Batcher
from keras_multvae.server.catalogue import Catalogue, read_catalogue
from keras_multvae.server.limits import Arrays, Limits
from keras_multvae.server.model import LoadedModel, warm_up

logger = logging.getLogger(__name__)


@dataclass
class State:
    """The reported state of a version.

    Attributes:
        state: LOADING, AVAILABLE, UNLOADING or END.
        error: Why it could not be loaded, or what it waits for; "" if all is well.
    """

    state: str
    error: str = ""


class Servable:
    """A loaded version, and the number of requests that use it.

    Args:
        number: Int, the version.
        origin: The resolved path of its folder.
        model: The SavedModel.
        catalogue: Its titles, if any.
        executor: The thread pool of inference.
        threads: Int, the number of threads.
        on_batch: Called with the number of requests in each batch.

    Attributes:
        examples: Example histories for the page; None until they are made.
    """

    def __init__(
        self,
        number: int,
        origin: Path,
        model: LoadedModel,
        catalogue: Catalogue | None,
        executor: Executor,
        threads: int,
        on_batch: Callable[[int], None],
    ) -> None:
        self.number = number
        self.origin = origin
        self.model = model
        self.catalogue = catalogue
        self.limits = Limits(len(catalogue.ids) if catalogue else model.largest)
        self.batcher = Batcher(
            model.run,
            lambda name: model.signatures[name].rowwise,
            executor,
            threads,
            on_batch,
            self._rows_at_once,
        )
        self.examples: list[list[dict[str, str]]] | None = None
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    def cost(self, signature: str, inputs: Arrays) -> int:
        """The bytes of a request; `StatusError` if it asks for too much."""
        return self.limits.cost(inputs, self.model.signatures[signature].outputs)

    def _rows_at_once(self, signature: str, inputs: Arrays) -> int:
        outputs = self.model.signatures[signature].outputs
        return self.limits.rows_at_once(inputs, outputs)

    @contextlib.contextmanager
    def used(self) -> Iterator[Servable]:
        """A context that keeps the version in memory while a request is answered."""
        self._users += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def unused(self) -> None:
        """Waits until no request uses the version."""
        await self._unused.wait()


def load(folder: Path) -> tuple[LoadedModel, Catalogue | None]:
    """Loads and warms up a version. Runs in a thread.

    Raises:
        Exception: Any error of the version.
    """
    model = LoadedModel(folder)
    try:
        count = warm_up(model, folder)
        catalogue = read_catalogue(folder, model.run)
    except BaseException:
        model.close()
        raise
    logger.info("%s is loaded, %d requests warmed it", folder, count)
    return model, catalogue
