"""Metrics for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
PREFIX = "keras_multvae"
# Kinds of refusals: too many connections; too slow, or no HTTP; a foreign Host or
# Origin; requests that are wrong, for something unknown, too large, or while too many
# wait.
REFUSED = (
    "connections",
    "slow",
    "malformed",
    "host",
    "origin",
    "invalid",
    "not_found",
    "too_large",
    "too_much_waiting",
    "queue_full",
)


class Count:
    """The status of a request, and when its last byte had come."""

    def __init__(self) -> None:
        self.status = "200"
        self.start()

    def start(self) -> None:
        """The last byte has come now."""
        self.since = time.perf_counter()


class Metrics:
    """The counters of a server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            f"{PREFIX}_requests",
            "Answered requests, by HTTP status; gRPC by that of its code.",
            ["method", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            f"{PREFIX}_request_seconds",
            "From the last byte of a request to its answer.",
            ["method"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            f"{PREFIX}_requests_in_flight",
            "Requests that are being answered.",
            registry=self.registry,
        )
        self.batch_size = Histogram(
            f"{PREFIX}_batch_requests",
            "Requests that were run as one.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.refused_requests = Counter(
            f"{PREFIX}_refused_requests",
            "Requests and connections that were turned away, by kind.",
            ["kind"],
            registry=self.registry,
        )
        for kind in REFUSED:
            # So that Prometheus sees the first one as an increase.
            self.refused_requests.labels(kind)
        self.unknown_ids = Counter(
            f"{PREFIX}_unknown_ids",
            "Item ids of requests, padding apart, that the model does not know.",
            registry=self.registry,
        )
        self.empty_histories = Counter(
            f"{PREFIX}_empty_histories",
            "Rows of item_ids in which the model knows no id.",
            registry=self.registry,
        )
        self.version = Gauge(
            f"{PREFIX}_model_version",
            "The version that is served; 0 if none is.",
            ["model"],
            registry=self.registry,
        )
        self.loads = Counter(
            f"{PREFIX}_model_loads",
            "Versions that were loaded, or could not be.",
            ["model", "outcome"],
            registry=self.registry,
        )

    def refused(self, kind: str) -> None:
        """Counts a refusal; `kind` is one of `REFUSED`."""
        self.refused_requests.labels(kind).inc()

    @contextmanager
    def counted(self, method: str) -> Iterator[Count]:
        """A context that counts a request to a method, and its latency."""
        count = Count()
        try:
            yield count
        except BaseException as error:
            status = getattr(error, "status_code", 500)  # of Starlette's own errors
            count.status = str(getattr(error, "http_status", status))
            raise
        finally:
            self.requests.labels(method, count.status).inc()
            seconds = time.perf_counter() - count.since
            self.latency.labels(method).observe(seconds)

    def page(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
