"""Requests that no server should be sent, by name: (rng) -> the bytes on the wire."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.reliability.hostile import mutated

PATH = "/v1/models/load:predict"
SIGNATURES = ["serving_default", "recommend", "discover", "score", "embed",
              "similar_items", "recommend_examples", "none such", 5]  # fmt: skip
PATHS = ["/", "/v1", "/v1/models/load", "/v1/models/load/metadata",
         "/v1/models/" + "x" * 9999, "/v1/models/load/versions/" + "9" * 999,
         "/v1/models/load/labels/x", "/../../etc", "/%00%ff%2e%2e/",
         "/api/search?q=" + "a+" * 999, "/api/similar?id=" + "x" * 9999, "//",
         "/monitoring/prometheus/metrics", "/page.js", "/v1/models/load:predict",
         "/api/search?q=%ff%fe&q=2&q[]=3"]  # fmt: skip
Rng = np.random.Generator


def post(
    body: bytes, *headers: str, path: str = PATH, host: str = "localhost"
) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", *headers]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _json(value: Any, *headers: str, **options: Any) -> bytes:
    return post(json.dumps(value).encode(), *headers, **options)


def good() -> dict[str, Any]:
    return {
        "signature_name": "recommend",
        "inputs": {"item_ids": [["1", "2"]], "k": [5], "deny": [[]], "allow": [[]]},
    }


def _rows(rng: Rng) -> bytes:
    count = int(rng.choice([100, 1000, 10_000, 10_001, 100_000, 1_000_000]))
    row = b'["%d"]' % rng.integers(20_000)
    name = b"instances" if rng.random() < 0.5 else b"inputs"
    return post(b'{"' + name + b'":[' + b",".join([row] * count) + b"]}")


def _long(rng: Rng) -> bytes:
    count = int(rng.choice([1000, 50_000, 100_000, 100_001, 900_000]))
    return post(
        b'{"instances":[[' + b",".join([b'"%d"' % rng.integers(9)] * count) + b"]]}"
    )


def _wide(rng: Rng) -> bytes:
    rows, k = int(rng.choice([1, 60, 500])), int(rng.choice([20_000, 2**31 - 1]))
    inputs = {"item_ids": [["1"]] * rows, "k": [k] * rows, "deny": [[]] * rows,
              "allow": [[]] * rows}  # fmt: skip
    return _json({"signature_name": "recommend", "inputs": inputs})


def _candidates(rng: Rng) -> bytes:
    rows, width = int(rng.choice([1, 30])), int(rng.choice([1000, 20_000]))
    ids = list(map(str, rng.integers(0, 40_000, width)))
    inputs = {"item_ids": [["1"]] * rows, "candidates": [ids] * rows}
    return _json({"signature_name": "score", "inputs": inputs})


def _uneven(rng: Rng) -> bytes:
    inputs = {"item_ids": [["1"]] * int(rng.choice([1, 3, 9000])), "k": [3],
              "deny": [[]] * int(rng.choice([1, 2, 9000])), "allow": [[]]}  # fmt: skip
    return _json({"signature_name": "recommend", "inputs": inputs})


def _values(rng: Rng) -> bytes:
    return post(b'{"inputs":[' + b"1," * int(rng.choice([500_000, 4_000_000])) + b"1]}")


def _objects(rng: Rng) -> bytes:
    each = [b"{}", b"[]", b'{"a":1}', b'{"b64":"MQ=="}', b"[[[]]]"][
        int(rng.integers(5))
    ]
    return post(b'{"instances":[' + b",".join([each] * 300_000) + b"]}")


def _large(rng: Rng) -> bytes:
    return post(b" " * int(rng.choice([8 * 2**20, 8 * 2**20 + 1, 20 * 2**20])))


def _bomb(rng: Rng) -> bytes:
    packed = gzip.compress(b"[" * int(rng.choice([10**5, 10**8])))
    return post(packed, "Content-Encoding: gzip")


def _deep(rng: Rng) -> bytes:
    start = b'{"instances":' + [b"[", b'{"a":'][int(rng.integers(2))] * 100_000
    return post(start)


def _mutated(rng: Rng) -> bytes:
    value = mutated(good(), rng)
    if rng.random() < 0.5:
        value = mutated(value, rng)
    if isinstance(value, dict) and rng.random() < 0.5:
        value["signature_name"] = SIGNATURES[int(rng.integers(len(SIGNATURES)))]
    return _json(value)


def _cut(rng: Rng) -> bytes:
    body = bytearray(json.dumps(good()).encode())
    for _ in range(int(rng.integers(1, 4))):
        body[int(rng.integers(len(body)))] = int(rng.integers(256))
    return post(bytes(body[: int(rng.integers(len(body) + 1))]))


def _noise(rng: Rng) -> bytes:
    return post(rng.bytes(int(rng.integers(0, 3000))))


def _example(rng: Rng) -> bytes:
    import base64

    data = base64.b64encode(
        rng.bytes(int(rng.choice([5, 500, 100_000, 200_000])))
    ).decode()
    rows = [{"b64": data}] + [{"b64": ""}] * int(rng.choice([0, 63]))
    return _json({"signature_name": "recommend_examples", "inputs": {"examples": rows}})


def _page(rng: Rng) -> bytes:
    body = mutated({"picked": ["1", "2"], "niche": 0.5}, rng)
    if rng.random() < 0.2:
        body = {"picked": ["1"] * int(rng.choice([200, 201, 100_000]))}
    return _json(body, path="/api/recommend")


def _get(rng: Rng) -> bytes:
    method = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "FOO", "CONNECT"]
    path = PATHS[int(rng.integers(len(PATHS)))]
    chosen = method[int(rng.integers(len(method)))]
    return f"{chosen} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _host(rng: Rng) -> bytes:
    hosts = [
        "evil.test",
        "evil.test:8501",
        "localhost.evil.test",
        "10.0.0.1",
        "a@b",
        "[x]",
    ]
    return _json(good(), host=hosts[int(rng.integers(len(hosts)))])


def _origin(rng: Rng) -> bytes:
    origins = ["http://evil.test", "null", "https://localhost:1", "file://", "x"]
    return _json(good(), f"Origin: {origins[int(rng.integers(len(origins)))]}")


def _framing(rng: Rng) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n".encode()
    ways = [b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            b"Content-Length: -1\r\n\r\n",
            b"Content-Length: 99999999999999999999\r\n\r\n{",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 5000 + b"0\r\n\r\n",
            b"Transfer-Encoding: gzip\r\n\r\n", b"A: " + b"b" * 100_000 + b"\r\n\r\n",
            b"A: b\r\n" * 5000 + b"\r\n", b"A\x00: b\r\n\r\n", b" folded: x\r\n\r\n",
            b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"]  # fmt: skip
    return head + ways[int(rng.integers(len(ways)))]


def _wire(rng: Rng) -> bytes:
    """A good request with some of its bytes changed, header and all."""
    data = bytearray(_json(good()))
    for _ in range(int(rng.integers(1, 8))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(data[: int(rng.integers(1, len(data) + 1))])


def _pipelined(rng: Rng) -> bytes:
    return _json(good()) * int(rng.integers(2, 100))


KINDS: dict[str, Callable[[Rng], bytes]] = {
    "many rows": _rows,
    "a long row": _long,
    "a large k": _wide,
    "many candidates": _candidates,
    "rows of different number": _uneven,
    "many values": _values,
    "many objects": _objects,
    "a large body": _large,
    "gzip that inflates": _bomb,
    "deep nesting": _deep,
    "JSON changed": _mutated,
    "JSON cut": _cut,
    "bytes": _noise,
    "examples of bytes": _example,
    "the page's requests changed": _page,
    "paths and methods": _get,
    "foreign hosts": _host,
    "foreign origins": _origin,
    "bad framing": _framing,
    "a request changed": _wire,
    "pipelined requests": _pipelined,
}
