"""What the local server counts for Prometheus."""

from __future__ import annotations

import pytest
from server.asking import PREDICT

pytestmark = pytest.mark.once


def test_metrics_count(running, films):
    with running(films) as client:
        client.post(PREDICT, json={"instances": [["f1"]]})
        client.post(PREDICT, content=b"")
        page = client.get("/monitoring/prometheus/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    lines = page.text.splitlines()
    for line in (
        'keras_multvae_requests_total{method="predict",status="200"} 1.0',
        'keras_multvae_requests_total{method="predict",status="400"} 1.0',
        'keras_multvae_model_version{model="films"} 1.0',
        'keras_multvae_model_loads_total{model="films",outcome="loaded"} 1.0',
        "keras_multvae_batch_requests_count 1.0",
        'keras_multvae_request_seconds_count{method="predict"} 2.0',
        "keras_multvae_requests_in_flight 0.0",
    ):
        assert line in lines, page.text
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
