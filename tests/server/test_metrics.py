"""What the local server counts for Prometheus."""

from __future__ import annotations

import pytest
from server.asking import PREDICT

pytestmark = pytest.mark.once


def test_metrics_count(running, films):
    with running(films) as client:
        client.post(PREDICT, json={"instances": [["f1"]]})
        client.post(PREDICT, content=b"")
        histories = [["f1", "f2"], ["?", "f1"], ["?", "??"], ["", ""]]
        client.post(PREDICT, json={"instances": histories})
        client.get("/elsewhere")
        client.post(PREDICT, headers={"host": "evil.test"})
        client.post(PREDICT, headers={"origin": "http://evil.test"})
        client.post(PREDICT, json={"instances": [["f1"]] * 10_001})
        page = client.get("/monitoring/prometheus/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    lines = page.text.splitlines()
    for line in (
        'keras_multvae_requests_total{method="predict",status="200"} 2.0',
        'keras_multvae_requests_total{method="predict",status="400"} 1.0',
        'keras_multvae_model_version{model="films"} 1.0',
        'keras_multvae_model_loads_total{model="films",outcome="loaded"} 1.0',
        "keras_multvae_batch_requests_count 2.0",
        'keras_multvae_request_seconds_count{method="predict"} 4.0',
        "keras_multvae_requests_in_flight 0.0",
        "keras_multvae_unknown_ids_total 3.0",
        "keras_multvae_empty_histories_total 2.0",
        'keras_multvae_refused_requests_total{kind="invalid"} 1.0',
        'keras_multvae_refused_requests_total{kind="not_found"} 1.0',
        'keras_multvae_refused_requests_total{kind="host"} 1.0',
        'keras_multvae_refused_requests_total{kind="origin"} 1.0',
        'keras_multvae_refused_requests_total{kind="too_large"} 1.0',
        'keras_multvae_refused_requests_total{kind="slow"} 0.0',
    ):
        assert line in lines, page.text
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
