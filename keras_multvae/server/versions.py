"""Which version is served: a folder is watched, and versions swapped under way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from keras_multvae.server.metrics import Metrics
from keras_multvae.server.servable import Servable, load
from keras_multvae.server.status import StatusError, invalid, not_found
from keras_multvae.serving.versions import name_of, versions_in

logger = logging.getLogger(__name__)
POLL_SECONDS = 1.0  # As TensorFlow Serving's own default.
# Of inference. The graph's operations have all cores anyway; a second thread keeps a
# long request from holding up all others.
THREADS = 2
T = TypeVar("T")


@dataclass
class State:
    """What is told about a version.

    Attributes:
        state: LOADING, AVAILABLE, UNLOADING or END.
        error: Why it could not be loaded; "" if nothing is wrong.
    """

    state: str
    error: str = ""


class ModelManager:
    """Serves the newest version of a model that can be loaded.

    A new version takes over when it is loaded and warm; the one before it is given up
    when its requests are answered. A version that cannot be loaded is tried again only
    once its files change, and the one before it goes on. If the served version's folder
    goes, the newest that is left takes over; if none is left, it goes on from memory.
    The folder, or a version, may be a symbolic link: the model has the link's name, and
    where the link comes to point elsewhere, what is there counts as new, whatever its
    number.

    All methods belong to the event loop; loading and inference have threads.

    Args:
        folder: The model's folder, with a folder a version; its name is the model's.
        metrics: Where loads are counted.
        poll_seconds: Float, seconds between two looks at the folder.
    """

    def __init__(
        self, folder: Path, metrics: Metrics, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self.folder = folder
        self.name = name_of(folder)
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._served: Servable | None = None
        self._states: dict[int, State] = {}
        self._failed: dict[int, Any] = {}
        self._loader = ThreadPoolExecutor(1, "load")
        self._inference = ThreadPoolExecutor(THREADS, "infer")
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Loads the first version, and watches from then on."""
        await self.check()
        self._spawn(self._watch())

    async def close(self) -> None:
        """Stops watching, and gives the memory back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._served is not None:
            await self._served.unused()
            await self._in_loader(self._served.model.close)
            self._served = None
        self._loader.shutdown()
        self._inference.shutdown()

    def get(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Servable:
        """The version that answers a request; `StatusError` if there is none."""
        if label is not None and name == self.name:
            raise invalid("Unrecognized servable version label: ", label)
        served = self._served
        if name != self.name or served is None or version not in (None, served.number):
            raise not_found(name, version)
        return served

    def states(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> dict[int, State]:
        """What is known of a version or of all, the newest first."""
        if label is not None and name == self.name:
            raise invalid("Unrecognized servable version label: ", label)
        wanted = {
            number: state
            for number, state in sorted(self._states.items(), reverse=True)
            if name == self.name and version in (None, number)
        }
        if not wanted:
            which = "any versions" if version is None else f"version {version}"
            raise StatusError("NOT_FOUND", f"Could not find {which} of model {name}")
        return wanted

    async def check(self) -> None:
        """Looks at the folder once, and loads what is newer than what is served."""
        found = await self._in_loader(versions_in, self.folder)
        served = self._served.number if self._served else None
        for number in [*self._states]:
            if number not in found and number != served:
                self._states.pop(number)
                self._failed.pop(number, None)
        for number, folder in found.items():
            origin = await self._in_loader(folder.resolve)
            if self._served and (number, origin) == (served, self._served.origin):
                break
            marks = await self._in_loader(_fingerprint, origin)
            if self._failed.get(number) == marks:
                continue
            if await self._load(number, origin):
                self._failed.pop(number, None)
                break
            self._failed[number] = marks

    async def _load(self, number: int, folder: Path) -> bool:
        # Of the same number, where a link points elsewhere: it answers meanwhile.
        known = self._states.get(number)
        again = self._served is not None and number == self._served.number
        if not again:
            self._states[number] = State("LOADING")
        loads = self._metrics.loads.labels
        try:
            servable = await self._in_loader(self._make, number, folder)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            logger.error("version %d cannot be loaded: %s", number, text)
            self._states[number] = known if again and known else State("END", text)
            loads(self.name, "failed").inc()
            return False
        previous, self._served = self._served, servable
        self._states[number] = State("AVAILABLE")
        self._metrics.version.labels(self.name).set(number)
        loads(self.name, "loaded").inc()
        logger.info("version %d is served", number)
        if previous is not None:
            self._spawn(self._give_up(previous))
        return True

    def _make(self, number: int, folder: Path) -> Servable:
        """Loads and warms a version. In the loader's thread."""
        model, catalogue = load(folder)
        return Servable(
            number,
            folder,
            model,
            catalogue,
            self._inference,
            THREADS,
            self._metrics.batch_size.observe,
        )

    async def _give_up(self, servable: Servable) -> None:
        # The one that took over may have its number.
        own = self._served is None or self._served.number != servable.number
        if own:
            self._states[servable.number] = State("UNLOADING")
        await servable.unused()
        await self._in_loader(servable.model.close)
        if own:
            self._states[servable.number] = State("END")
        logger.info("version %d is unloaded", servable.number)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.check()
            except Exception:
                # Whatever it is, what is served goes on, and so does the watch.
                logger.exception("%s cannot be read", self.folder)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_loader(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._loader, function, *arguments)


def _fingerprint(folder: Path) -> Any:
    """Something that changes with the files of a folder."""
    files = []
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            known = path.stat()
            files.append((str(path), known.st_size, known.st_mtime_ns))
    return files
