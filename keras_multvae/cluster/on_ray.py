"""Distributing the shards of a job over a Ray cluster."""

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

# How often to retry a shard whose worker died: nodes may be killed, but a shard that
# kills its workers must not be retried for ever.
RETRIES = 3

P = ParamSpec("P")


def _alone(function: Callable[P, int]) -> Callable[P, int]:
    """Lets one job at a time fill the folder `out`, the second argument."""

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
    """Writes rankings for all users to Parquet files, on a Ray cluster.

    The users are divided into shards. A worker process loads the recommender once, and
    writes one file for each shard, `OUT/parts/part-00000.parquet` and so on, with the
    columns of `Recommender.recommend_to_parquet`. `OUT/manifest.json` describes the
    job, and has `"complete": true` once every part is there. After an interruption, a
    second call does the rest. If a node dies, its shard is done on another.

    All nodes must find the folders under the same paths, on a shared file system, and
    have keras_multvae, Ray and the backend of this process installed in the same
    versions.

    Args:
        model: Folder of a recommender.
        out: The folder to fill.
        histories: A prepared folder, an interactions folder, or files of events for
            `read_interactions`; by default the histories of the recommender. Events are
            first converted by this process to the folder `OUT.histories`, which is
            removed when the job is complete.
        part: The part of a prepared folder; held-out users by their fold-in.
        reading: Keyword arguments of `read_interactions` for files of events.
        address: The address of the cluster for `ray.init`: "auto", "10.0.0.1:6379". By
            default the cluster that this process is connected to, that of RAY_ADDRESS,
            one on this machine, or else a new one on this machine.
        num_workers: Int >= 1, shards in progress at a time; by default as many as fit.
        resources: The resources of a worker, by Ray's names, as in `{"num_cpus": 4,
            "num_gpus": 1}`. By default all processors of the smallest node, or fewer if
            `num_workers` would not fit.
        shard_size: Int >= 1, users in a shard.
        progress: Bool, whether to show a bar on standard error.
        **options: `k`, `exclude_seen`, `allow`, `deny`, `niche`, `on_unknown` and
            `batch_size`, as in `Recommender.recommend`.

    Returns:
        The number of rows in all parts.

    Raises:
        ImportError: Ray or pyarrow is not installed.
        ConnectionError: No cluster answers at `address`.
        FileExistsError: `out` holds something else, or the parts of a job with
            another model, other histories or options.
        FolderInUseError: Another job fills `out`.
        RuntimeError: A shard failed, or lost its worker repeatedly; with the reason.
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
        # Absolute, as workers have other working directories.
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
    """The options of `Recommender.recommend`, converted for JSON."""
    options = {"k": 10, "exclude_seen": True, "on_unknown": "raise", **options}
    for name in ("allow", "deny"):
        if options.get(name) is not None:
            options[name] = as_ids(list(options[name])).tolist()
    return options


def _gather_events(job: Job, folder: Path, reading: Mapping[str, Any]) -> Job:
    """Converts files of events to a folder of interactions; returns the changed job."""
    items = Vocabulary.load(job.model / storage.ITEMS)
    with spilling_into(folder.parent):
        unknown = job.options["on_unknown"]
        events = of_events(job.histories, items, unknown, **reading)
        save_interactions(events, folder)
    return replace(job, histories=folder)


@contextlib.contextmanager
def connected(ray: ModuleType, address: str | None) -> Iterator[None]:
    """A context with a connection to the cluster; an existing one stays open."""
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
    """Raises `OSError` if there is no server; Ray would try for minutes, then exit."""
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

    It uses tasks rather than actors: an actor of a dead node waits until it fits
    elsewhere, for ever if other actors fill the cluster. A task goes to any free
    worker. Ray reuses worker processes, with the model that they have loaded.
    """
    if not shards:
        return
    fill = ray.remote(
        **(resources or {"num_cpus": processors(ray, num_workers)}),
        max_retries=RETRIES,
        # Otherwise Ray would end a worker with a GPU after each task.
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
    """Called by Ray in a worker process; registers the caller's models first."""
    registry.take_over(models)
    job.fill(shard)


def _check(ray: ModuleType, done: object, shard: int, users: range) -> None:
    """Raises the error of a failed shard."""
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
    """The processors of a worker: those of a node, or fewer for many workers."""
    nodes = [
        int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]
    ]
    # A head node may have none, and an autoscaling cluster may have no other node yet.
    smallest = min((node for node in nodes if node), default=1)
    return max(min(smallest, sum(nodes) // (num_workers or 1)), 1)
