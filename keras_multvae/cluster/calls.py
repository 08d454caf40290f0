"""Calls a function on the nodes of a Ray cluster, several times at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import keras

from keras_multvae.cluster.on_ray import connected, processors
from keras_multvae.extras import import_extra

# The argument of a call.
Task = TypeVar("Task")
# Seconds between two calls of `look`.
LOOK = 1.0


def calls_on_ray(
    function: Callable[[Task], None],
    arguments: Sequence[Task],
    look: Callable[[], None],
    address: str | None = None,
) -> None:
    """Calls `function` with each of the arguments, in a process of its own.

    Each call gets an even share of the cluster's processors, on one node. If a node
    dies, its call is not repeated, and the others continue.

    Args:
        function: A function of a module that is installed on the nodes.
        arguments: An argument for each call.
        look: Called about every second, until all have returned.
        address: See `recommend_on_ray`.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: No cluster answers at `address`.
        RuntimeError: All calls failed; the message has the reason of one.
    """
    ray = import_extra("ray", "ray")
    with connected(ray, address):
        called = ray.remote(
            num_cpus=processors(ray, len(arguments)),
            max_retries=0,
            runtime_env={"env_vars": {"KERAS_BACKEND": keras.backend.backend()}},
        )(function)
        running = [called.remote(each) for each in arguments]
        failures: list[Exception] = []
        try:
            while running:
                done, running = ray.wait(running, timeout=LOOK)
                look()
                for each in done:
                    try:
                        ray.get(each)
                    except ray.exceptions.RayError as error:
                        failures.append(getattr(error, "cause", None) or error)
        finally:
            for each in running:
                ray.cancel(each, force=True)
        if len(failures) == len(arguments):
            cause = failures[0]
            raise RuntimeError(
                f"All {len(failures)} processes on the cluster failed, the first one "
                f"with: {type(cause).__name__}: {cause}"
            ) from cause
