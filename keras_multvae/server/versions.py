"""Watching a model's folder, and swapping the served version."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from keras_multvae.server.aside import aside
from keras_multvae.server.folder import Found, Marks, Stillness, look_at, numbers_in
from keras_multvae.server.metrics import Metrics
from keras_multvae.server.servable import Servable, State, load
from keras_multvae.server.status import StatusError, invalid, not_found
from keras_multvae.serving.versions import name_of
from keras_multvae.serving.whole import NotWholeError, check_whole
from keras_multvae.typing import Model

logger = logging.getLogger(__name__)
POLL_SECONDS = 1.0  # As TensorFlow Serving's own default.
# The number of checks without a change after which a version counts as complete, or as
# damaged.
STILL_LOOKS = 5
# Time limits for listing a folder and for loading a version.
LOOK_SECONDS, LOAD_SECONDS = 5.0, 30.0
# Inference threads. Operations use all cores anyway; a second thread lets short
# requests overtake a long one.
THREADS = 2
T = TypeVar("T")


class ModelManager:
    """Serves the newest version of a model that can be loaded.

    A new version takes over when it is complete, loaded and warm; the old one is
    unloaded when its requests are answered. A version that cannot be loaded is retried
    only when its files change; until then the old version is served. A version that
    blocks, as on a mount whose server is gone, does not hold up others. If the served
    version's folder is removed, the newest remaining one takes over; if none remains,
    it is served from memory. The folder or a version may be a symbolic link: the model
    has the link's name, and a new target of the link counts as a new version, whatever
    its number.

    All methods run in the event loop; loading and inference have threads.

    Args:
        folder: The model's folder, with a folder for each version; its name is the
            model's.
        metrics: Counts loads.
        poll_seconds: Float, seconds between two checks of the folder.
        labels: Labels of the served version, whichever that is.
    """

    def __init__(
        self,
        folder: Path,
        metrics: Metrics,
        poll_seconds: float = POLL_SECONDS,
        labels: Iterable[str] = (),
    ) -> None:
        self.folder = folder
        self.name = name_of(folder)
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._labels = frozenset(labels)
        self._served: Servable | None = None
        self._states: dict[int, State] = {}
        self._failed: dict[int, Marks] = {}
        self._still = Stillness(STILL_LOOKS * poll_seconds)
        # Calls on versions that have not returned; None stands for the folder itself.
        self._away: dict[int | None, asyncio.Future[Any]] = {}
        self._inference = ThreadPoolExecutor(THREADS, "infer")
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Loads the first version, and starts watching."""
        for _ in range(STILL_LOOKS + 2):
            await self._check_safely()
            waits = any(each.state == "LOADING" for each in self._states.values())
            if self._served is not None or not waits:
                break
            await asyncio.sleep(self._poll_seconds)
        self._spawn(self._watch())

    async def close(self) -> None:
        """Stops watching, and frees the memory."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._served is not None:
            await self._served.unused()
            await aside(self._served.model.close)
            self._served = None
        self._inference.shutdown()

    def get(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Servable:
        """The version that answers a request; `StatusError` if there is none."""
        self._check_label(name, label)
        served = self._served
        if name != self.name or served is None or version not in (None, served.number):
            raise not_found(name, version)
        return served

    def states(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> dict[int, State]:
        """The states of a version or of all, newest first."""
        self._check_label(name, label)
        if label is not None:
            version = self.get(name).number
        wanted = {
            number: state
            for number, state in sorted(self._states.items(), reverse=True)
            if name == self.name and version in (None, number)
        }
        if not wanted:
            which = "any versions" if version is None else f"version {version}"
            raise StatusError("NOT_FOUND", f"Could not find {which} of model {name}")
        return wanted

    def _check_label(self, name: str, label: str | None) -> None:
        if label is not None and name == self.name and label not in self._labels:
            raise invalid("Unrecognized servable version label: ", label)

    async def check(self) -> None:
        """Checks the folder once, and loads newer versions.

        Raises:
            OSError: The folder cannot be read.
            TimeoutError: Reading it takes too long.
        """
        found = await self._in_time(None, LOOK_SECONDS, numbers_in, self.folder)
        served = self._served.number if self._served else None
        for number in [*self._states]:
            if number not in found and number != served:
                self._forget(number)
        for number, folder in found.items():
            if number in self._away:
                continue
            try:
                known = await self._in_time(number, LOOK_SECONDS, look_at, folder)
            except (OSError, TimeoutError) as error:
                if number != served:
                    self._refuse(number, "END", _text(error))
                continue
            if known is None:
                self._forget(number)
                continue
            if self._served and (number, known.origin) == (served, self._served.origin):
                break
            if await self._try(number, known):
                break

    async def _try(self, number: int, found: Found) -> bool:
        """Loads a version if it is time; returns whether it is served now."""
        still = self._still.has(number, found.marks)
        state = self._states.get(number)
        if self._failed.get(number) == found.marks:
            if still and state is not None and state.state == "LOADING":
                # It still waits for files.
                self._refuse(number, "END", state.error)
            return False
        if not found.listed and not still:
            self._wait(number, "its files are still changing")
            return False
        if isinstance(found.marks, str):
            self._failed[number] = found.marks
            self._refuse(number, "END", found.marks)
            return False
        self._failed[number] = found.marks
        try:
            if found.listed:
                work = self._in_time(number, LOAD_SECONDS, check_whole, found.origin)
                await work
        except NotWholeError as error:
            if still:
                self._refuse(number, "END", str(error))
            else:
                self._wait(number, str(error))
            return False
        except TimeoutError:
            # It is checked again when the call has returned.
            self._failed.pop(number)
            self._wait(number, "reading its files takes long")
            return False
        except (OSError, ValueError) as error:
            self._refuse(number, "END", _text(error))
            return False
        return await self._load(number, found.origin)

    async def _load(self, number: int, folder: Path) -> bool:
        """Loads a version and serves it; whether that succeeded in time."""
        if not self._serves(number):
            self._states[number] = State("LOADING")
        loading = aside(load, folder)
        try:
            loaded = await self._until(number, LOAD_SECONDS, loading)
        except TimeoutError:
            self._wait(number, "loading takes long")
            loading.add_done_callback(partial(self._take_late, number, folder))
            return False
        except Exception as error:
            self._refuse(number, "END", _text(error))
            return False
        self._serve(number, folder, *loaded)
        return True

    def _take_late(self, number: int, folder: Path, loading: Any) -> None:
        """Serves a version that took long to load, if it is still the newest."""
        if loading.cancelled():
            return
        error = loading.exception()
        if error is not None:
            self._refuse(number, "END", _text(error))
        elif number in self._states and (
            self._served is None or self._served.number < number
        ):
            self._serve(number, folder, *loading.result())
        else:
            self._states.pop(number, None)
            self._failed.pop(number, None)
            aside(loading.result()[0].close)

    def _serve(self, number: int, folder: Path, model: Model, catalogue: Any) -> None:
        """Makes a loaded version the served one."""
        servable = Servable(
            number,
            folder,
            model,
            catalogue,
            self._inference,
            THREADS,
            self._metrics.batch_size.observe,
        )
        previous, self._served = self._served, servable
        self._failed.pop(number, None)
        self._states[number] = State("AVAILABLE")
        self._metrics.version.labels(self.name).set(number)
        self._metrics.loads.labels(self.name, "loaded").inc()
        logger.info("version %d is served", number)
        if previous is not None:
            self._spawn(self._give_up(previous))

    def _serves(self, number: int) -> bool:
        """Whether it is served, perhaps from the former target of a link."""
        return self._served is not None and self._served.number == number

    def _wait(self, number: int, text: str) -> None:
        """Records that a version is not ready yet."""
        state = self._states.get(number)
        if not self._serves(number):
            self._states[number] = State("LOADING", text)
        if state is None or not state.error:
            logger.info("version %d is waited for: %s", number, text)

    def _refuse(self, number: int, state: str, text: str) -> None:
        """Records that a version cannot be loaded."""
        if self._states.get(number) != State(state, text):
            logger.error("version %d cannot be loaded: %s", number, text)
            self._metrics.loads.labels(self.name, "failed").inc()
        if not self._serves(number):
            self._states[number] = State(state, text)

    def _forget(self, number: int) -> None:
        """Removes what is known of a version."""
        if not self._serves(number):
            self._states.pop(number, None)
        self._failed.pop(number, None)
        self._still.forget(number)

    async def _give_up(self, servable: Servable) -> None:
        """Unloads a version when its requests are answered."""
        # The new version may have the same number.
        own = not self._serves(servable.number)
        if own:
            self._states[servable.number] = State("UNLOADING")
        await servable.unused()
        await aside(servable.model.close)
        if own:
            self._states[servable.number] = State("END")
        logger.info("version %d is unloaded", servable.number)

    async def _watch(self) -> None:
        """Checks the folder every few seconds."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            await self._check_safely()

    async def _check_safely(self) -> None:
        if None in self._away:
            return
        try:
            await self.check()
        except (OSError, TimeoutError) as error:
            logger.error("%s cannot be read: %s", self.folder, _text(error))
        except Exception:
            # Keep serving and watching, whatever the error.
            logger.exception("%s cannot be looked at", self.folder)

    async def _in_time(
        self,
        what: int | None,
        seconds: float,
        function: Callable[..., T],
        *arguments: Any,
    ) -> T:
        """Calls a function aside; `TimeoutError` if it takes too long."""
        return await self._until(what, seconds, aside(function, *arguments))

    async def _until(
        self, what: int | None, seconds: float, future: asyncio.Future[T]
    ) -> T:
        """Waits for a call; raises TimeoutError if it takes too long."""
        done, _ = await asyncio.wait([future], timeout=seconds)
        if done:
            return future.result()
        # No further call until it returns.
        self._away[what] = future

        def back(_: object) -> None:
            self._away.pop(what, None)
            if not future.cancelled():
                future.exception()  # asyncio warns of errors that are not retrieved.

        future.add_done_callback(back)
        raise TimeoutError(f"it does not answer within {seconds:g} seconds")

    def _spawn(self, work: Any) -> None:
        """Runs a coroutine in the background until the server ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
