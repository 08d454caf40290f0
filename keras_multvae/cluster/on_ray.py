"""Deals the shards of a job out to the machines of a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from functools import wraps
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, ParamSpec

import keras

from keras_multvae import checks, registry
from keras_multvae.cluster.job import Job
from keras_multvae.data import Vocabulary, save_interactions
from keras_multvae.data.columns.spilled import spilling_into
from keras_multvae.data.vocabulary import as_ids
from keras_multvae.extras import import_extra
from keras_multvae.files import discard, lock, new_parents
from keras_multvae.progress import counting
from keras_multvae.recommender import storage
from keras_multvae.recommender.events import holds_events, of_events

# How often a shard is done again whose worker died: nodes may be killed, but a shard
# that kills its workers must come to an end.
RETRIES = 3

P = ParamSpec("P")


def _alone(function: Callable[P, int]) -> Callable[P, int]:
    """Has one job at a time fill a folder, which is the second argument, `out`."""

    @wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> int:
        given = kwargs["out"] if "out" in kwargs else args[1]
        out = Path(given).resolve()  # type: ignore[arg-type]
        with new_parents(out), lock(out):
            return function(*args, **kwargs)

    return locked


@_alone
def recommend_on_ray(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    histories: str | os.PathLike[str] | None = None,
    *,
    part: Literal["train", "validation", "test"] = "train",
    reading: Mapping[str, Any] | None = None,
    address: str | None = None,
    num_workers: int | None = None,
    resources: Mapping[str, float] | None = None,
    shard_size: int = 10_000,
    progress: bool = False,
    **options: Any,
) -> int:
    """Ranks the items for all users on a Ray cluster, into a folder of Parquet files.

    The users are dealt out in shards. A worker process loads the recommender once,
    and writes one file a shard, `OUT/parts/part-00000.parquet` and so on, with the
    columns of `Recommender.recommend_to_parquet`. `OUT/manifest.json` says what the
    job is, and `"complete": true` once every part is there. Called again after an
    interruption, it does what is left. A shard whose node dies is done on another.

    All nodes must find the folders under the same paths, on a shared file system, and
    have keras_multvae, Ray and the backend of this process installed in the same
    versions.

    Args:
        model: Folder of a recommender.
        out: The folder to fill.
        histories: Whose users: a prepared folder, an interactions folder, or files of
            events as `read_interactions` takes them. By default the histories that the
            recommender keeps. Events are gathered by this process first, into
            `OUT.histories`, which goes when the job is complete.
        part: Which users of a prepared folder; held-out ones by their fold-in.
        reading: How files of events are read: `user_column` and other keyword arguments
            of `read_interactions`.
        address: Of the cluster, as `ray.init` takes it: "auto", "10.0.0.1:6379". By
            default the one that this process is connected to, that RAY_ADDRESS names
            or that runs on this machine, else a new one on this machine alone.
        num_workers: Int >= 1, shards in work at a time; by default as many as there is
            room for.
        resources: What a worker takes of its node, by Ray's names, as in
            `{"num_cpus": 4, "num_gpus": 1}`. By default all processors of the smallest
            node, or fewer if `num_workers` would not find room.
        shard_size: Int >= 1, users a shard.
        progress: Bool, whether to show a bar on standard error.
        **options: `k`, `exclude_seen`, `allow`, `deny`, `niche`, `on_unknown` and
            `batch_size`, as in `Recommender.recommend`.

    Returns:
        Rows in all parts.

    Raises:
        ImportError: Ray or pyarrow is not installed.
        ConnectionError: No cluster answers at `address`.
        FileExistsError: `out` holds something else, or the parts of a job with
            another model, other histories or options.
        FolderInUseError: Another job fills `out`.
        RuntimeError: A shard failed, with its reason, or lost its worker again and
            again.
        UnknownIdError: Events of unknown items, with on_unknown="raise".
        ValueError: `num_workers` or `shard_size` is no integer >= 1.

    Example:

    >>> recommend_on_ray(
    ...     "model", "recommendations", "prepared", address="auto", k=100
    ... )  # doctest: +SKIP
    >>> polars.read_parquet("recommendations/parts")  # doctest: +SKIP

    References:
        https://docs.ray.io/en/latest/ray-core/fault_tolerance/tasks.html
    """
    if num_workers is not None:
        num_workers = checks.integer("num_workers", num_workers)
    shard_size = checks.integer("shard_size", shard_size)
    ray = import_extra("ray", "ray")
    parquet = import_extra("pyarrow.parquet", "ray")
    job = Job(
        # Absolute, as workers have working directories of their own.
        model=Path(model).resolve(),
        histories=Path(model if histories is None else histories).resolve(),
        part=part,
        out=Path(out).resolve(),
        shard_size=shard_size,
        options=_plain_options(options),
    )
    if not job.model.is_dir():
        raise FileNotFoundError(f"There is no folder {job.model}.")
    gathered = job.out.with_name(job.out.name + ".histories")
    if histories is None:
        job = replace(job, histories=job.model / storage.HISTORIES)
    elif holds_events(job.histories):
        job = _gather_events(job, gathered, reading or {})
    num_users = job.count_users()
    missing = job.start(num_users)
    with contextlib.ExitStack() as stack:
        done_users = num_users - sum(len(job.users(i, num_users)) for i in missing)
        shown = counting(
            "recommending", num_users, completed=done_users, shown=progress
        )
        advance = stack.enter_context(shown)
        if missing:
            stack.enter_context(connected(ray, address))
        done = _filled(ray, job, missing, num_users, num_workers, resources)
        for shard in stack.enter_context(contextlib.closing(done)):
            advance(len(job.users(shard, num_users)))
    job.finish(num_users)
    if job.histories == gathered:
        discard(gathered)
    paths = map(job.path, job.shards(num_users))
    return sum(parquet.read_metadata(path).num_rows for path in paths)


def _plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `Recommender.recommend`, as they can be written as JSON."""
    options = {"k": 10, "exclude_seen": True, "on_unknown": "raise", **options}
    for name in ("allow", "deny"):
        if options.get(name) is not None:
            options[name] = as_ids(list(options[name])).tolist()
    return options


def _gather_events(job: Job, folder: Path, reading: Mapping[str, Any]) -> Job:
    """Turns files of events into a folder of interactions, and names it to the job."""
    items = Vocabulary.load(job.model / storage.ITEMS)
    with spilling_into(folder.parent):
        unknown = job.options["on_unknown"]
        events = of_events(job.histories, items, unknown, **reading)
        save_interactions(events, folder)
    return replace(job, histories=folder)


@contextlib.contextmanager
def connected(ray: ModuleType, address: str | None) -> Iterator[None]:
    """A connection to the cluster; one that was there before stays."""
    if address is None and ray.is_initialized():
        yield
        return
    try:
        _check_listening(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address=address, log_to_driver=False, logging_level="WARNING")
    except (ConnectionError, TimeoutError, socket.gaierror) as error:
        raise ConnectionError(
            f"No Ray cluster answers at {address or 'RAY_ADDRESS'} ({error}). Start "
            "one with `ray start --head`, join other machines by `ray start --address "
            "HOST:6379`, and check that this machine can reach it."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Raises `OSError` where nobody listens; Ray tries for minutes, then exits."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _filled(
    ray: ModuleType,
    job: Job,
    shards: list[int],
    num_users: int,
    num_workers: int | None,
    resources: Mapping[str, float] | None,
) -> Generator[int, None, None]:
    """Yields the shards as they are done.

    Tasks rather than actors: an actor of a dead node waits until there is room for it
    elsewhere, for ever if other actors fill the cluster, and its shard with it. A task
    goes to whichever worker is free. Ray keeps worker processes from task to task, and
    so the model that they have loaded.
    """
    if not shards:
        return
    fill = ray.remote(
        **(resources or {"num_cpus": processors(ray, num_workers)}),
        max_retries=RETRIES,
        # Ray ends a worker with a GPU after each task otherwise.
        max_calls=0,
        runtime_env={"env_vars": {"KERAS_BACKEND": keras.backend.backend()}},
    )(_fill)
    model = registry.find(storage.model_name(job.model)).model
    models = registry.handover(model, program=False)
    waiting = iter(shards)
    running: dict[object, int] = {}
    try:
        while True:
            free = len(shards) if num_workers is None else num_workers - len(running)
            for shard in islice(waiting, free):
                running[fill.remote(job, shard, models)] = shard
            if not running:
                return
            (done,), _ = ray.wait(list(running))
            shard = running.pop(done)
            _check(ray, done, shard, job.users(shard, num_users))
            yield shard
    finally:
        for future in running:
            ray.cancel(future)


def _fill(job: Job, shard: int, models: str) -> None:
    """What Ray calls in a worker process, which is to know the caller's models."""
    registry.take_over(models)
    job.fill(shard)


def _check(ray: ModuleType, done: object, shard: int, users: range) -> None:
    """Raises what became of a shard, if it failed."""
    try:
        ray.get(done)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise RuntimeError(
            f"Shard {shard} (users {users.start} to {users.stop - 1}) failed: "
            f"{type(cause).__name__}: {cause} Parts that are done stay, and the same "
            "call goes on from there."
        ) from cause


def processors(ray: ModuleType, num_workers: int | None) -> int:
    """Processors a worker takes: a node's, or fewer where there are more workers."""
    nodes = [
        int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]
    ]
    # A head node may be there without any; one that scales may have no other yet.
    smallest = min((node for node in nodes if node), default=1)
    return max(min(smallest, sum(nodes) // (num_workers or 1)), 1)
