"""Clients that ask for too much, are silent, come from elsewhere, or end at the end."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest
from server.asking import PREDICT, check, error, eventually

pytest.importorskip("uvicorn")

from keras_multvae.cli import main
from keras_multvae.server import connections, limits
from keras_multvae.server import http as bodies
from keras_multvae.server.catalogue import Catalogue
from keras_multvae.server.connections import Guard
from keras_multvae.server.limits import Budget, Limits
from keras_multvae.server.logs import NotAgain
from keras_multvae.server.search import folded
from keras_multvae.server.status import StatusError

pytestmark = pytest.mark.once
COMMAND = ("-m", "keras_multvae", "serve")
BODY = json.dumps({"instances": [["f1"]]}).encode()
HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n".encode()
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def server(served, running, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "films"
    folder.mkdir()
    (folder / "1").symlink_to(served.folder / "1")
    with running(folder) as client:
        yield client


def connect(client):
    return socket.create_connection((client.base_url.host, client.base_url.port), 20)


def closed(it):
    """Whether the server ends a connection; what it said before that."""
    said = b""
    try:
        while part := it.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said


def test_many_rows_are_answered_in_pieces(served, server):
    rows = [[f"f{i % 30}", f"f{(7 * i) % 30}"] for i in range(1000)]
    found = server.post(PREDICT, json={"instances": rows}, timeout=60)
    answers = found.json()["predictions"]
    assert len(answers) == 1000
    for i in (0, 63, 64, 999):
        check(served.recommender, rows[i], answers[i])
    # As many columns as the largest k asks for, in whichever piece that is.
    count = limits.PIECE_ROWS * 2 + 5
    inputs = {
        "item_ids": rows[:count], "k": [1] * (count - 1) + [7],
        "deny": [[]] * count, "allow": [[]] * count,
    }  # fmt: skip
    body = {"signature_name": "recommend", "inputs": inputs}
    found = server.post(PREDICT, json=body).json()["outputs"]
    assert np.array(found["item_ids"]).shape == (count, 7)
    assert found["valid"] == inputs["k"]
    alone = served.recommender.recommend(rows[count - 1], k=7).items[0]
    assert found["item_ids"][-1] == alone.tolist()
    assert found["item_ids"][0][1:] == [""] * 6


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"instances": [["f1"]] * 100_000}, "100000 rows; 10000 are the most"),
        ({"inputs": [["f1"]] * 100_000}, "100000 rows; 10000 are the most"),
        ({"inputs": [["f1"] * 100_001]}, "100001 ids; 100000 are the most"),
        (b'{"inputs": [' + b"1," * 2_000_000 + b"1]}", "values; 1000000 are the most"),
        ({"signature_name": "score", "inputs": {
            "item_ids": [["f1"]] * 5000, "candidates": [["f1"] * 1] * 4999 + [["f2"]]}},
         None),
    ],
)  # fmt: skip
def test_what_is_too_much_is_refused(server, body, text):
    content = body if isinstance(body, bytes) else json.dumps(body)
    found = server.post(PREDICT, content=content, timeout=60)
    if text is None:
        assert found.status_code == 200
    else:
        assert text in error(found, 413)
    assert server.post(PREDICT, content=BODY).status_code == 200


def test_inputs_of_different_lengths_are_refused_before_the_graph(server):
    inputs = {"item_ids": [["f1"]] * 5000, "k": [3], "deny": [[]], "allow": [[]]}
    body = {"signature_name": "recommend", "inputs": inputs}
    assert "as many rows" in error(server.post(PREDICT, json=body), 400)


def test_the_bounds_follow_from_the_catalogue():
    ids = {"item_ids": np.zeros((100, 20), "int64")}
    for items, rows in ((30, 64), (20_000, 64), (1_000_000, 8), (50_000_000, 1)):
        limit = Limits(items)
        assert limit.rows_at_once(ids, [(-1, 100), (-1, 100), (-1,)]) == rows
        cost = rows * (limits.ITEM_BYTES * items + limits.VALUE_BYTES * 221)
        assert cost <= limits.PIECE_BYTES or rows == 1
    # All of a catalogue for one user, but not for many.
    asked = {"item_ids": np.zeros((1, 1)), "k": np.full(1, 2**31 - 1, "int32")}
    outputs = [(-1, -1), (-1, -1), (-1,)]
    assert Limits(10**7).cost(asked, outputs) > 0
    many = {name: np.repeat(array, 10, 0) for name, array in asked.items()}
    with pytest.raises(StatusError, match="smaller k"):
        Limits(10**7).cost(many, outputs)
    # Examples are read into rows as long as the longest.
    long = {"examples": np.array([b"x" * 50_000, b""], object)}
    assert Limits(30).rows_at_once(long, [(-1, 30)]) < 64
    with pytest.raises(StatusError, match="100000 are the most"):
        Limits(30).cost({"examples": np.array([b"x" * 100_001], object)}, [(-1, 1)])


@pytest.mark.parametrize("each", [b"[]", b"{}", b'{"b64":"MQ=="}', b"[[[]]]"])
def test_a_body_of_many_lists_is_refused_before_it_is_parsed(each):
    limits = Limits(30)
    limits.check_body(b"[" + b",".join([each] * 20_000) + b"]")
    with pytest.raises(StatusError, match="lists and objects") as found:
        limits.check_body(b"[" + b",".join([each] * 150_000) + b"]")
    assert found.value.http_status == 413


def test_brackets_in_ids_are_no_lists():
    ids = [f'Heat [{year}] \\" {{" \\' for year in range(120_000)]
    Limits(30).check_body(json.dumps({"instances": [ids]}).encode())


def test_waiting_bytes_are_bounded_and_small_requests_pass():
    budget = Budget(total=1000, free=100)
    with budget.hold() as first, budget.hold() as second, budget.hold() as small:
        first.add(900)
        second.add(150)
        with pytest.raises(StatusError, match="waiting") as caught:
            second.add(900)
        assert caught.value.http_status == 429
        small.add(100)
        assert budget.used == 800 + 50
    assert budget.used == 0
    with budget.hold() as alone:
        alone.add(10**6)


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.05)
    for name, seconds in (("header", 0.5), ("body", 1.0), ("read", 0.5), ("idle", 0.7)):
        monkeypatch.setitem(connections.MAX_SECONDS, name, seconds)
    monkeypatch.setattr(bodies.read_body, "__defaults__", (0.5,))


def test_silent_and_slow_clients_are_ended(running, films, hurried):
    with running(films) as client:
        starts = {
            "nothing": b"",
            "half a header": b"POST / HTT",
            "half a body": HEAD + b"Content-Length: 100\r\n\r\n{",
            "half a body of a page": b"GET / HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 100\r\n\r\n{",
            "idle": REQUEST,
        }
        its = {}
        for name, start in starts.items():
            its[name] = connect(client)
            its[name].sendall(start)
        said = {name: closed(it) for name, it in its.items()}
        assert said["nothing"] == b""
        assert said["half a header"].startswith(b"HTTP/1.1 408 ")
        assert said["half a body"].startswith(b"HTTP/1.1 408 ")
        assert said["half a body of a page"].startswith(b"HTTP/1.1 200 ")
        assert said["idle"].startswith(b"HTTP/1.1 200 ")
        # One that never reads its answers.
        with connect(client) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            many = json.dumps({"instances": [["f1"]] * 10_000}).encode()
            deaf.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(many) + many)
            page = "/monitoring/prometheus/metrics"
            eventually(lambda: 'kind="slow"} 5.0' in client.get(page).text)


def test_more_connections_than_may_be_make_room(running, films):
    guard = Guard(most=20)
    with running(films, guard=guard) as client:
        silent = [connect(client) for _ in range(100)]
        for _ in range(3):
            with httpx.Client(base_url=client.base_url) as fresh:
                assert fresh.post(PREDICT, content=BODY).status_code == 200
        assert len(guard.connections) <= 20
        for it in silent:
            it.close()


NO_HTTP = [b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01" + b"\0" * 300,
           b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
           HEAD + b"Content-Length: x\r\n\r\n", HEAD + b"Content-Length: -1\r\n\r\n",
           HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
           HEAD + b"A: " + b"b" * 200_000 + b"\r\n\r\n",
           b"GET /" + b"a" * 200_000]  # fmt: skip


@pytest.mark.parametrize("said", NO_HTTP, ids=range(len(NO_HTTP)))
def test_what_is_no_http_is_answered_and_ended(server, said):
    with connect(server) as it:
        try:
            it.sendall(said)
            it.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It was ended before it was sent.
        found = closed(it)
        assert found == b"" or found.startswith(b"HTTP/1.1 400 "), found
    assert server.post(PREDICT, content=BODY).status_code == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost", None, 200), ("LOCALHOST.:8501", None, 200),
        ("[::1]:80", None, 200), ("127.0.0.1:1", None, 200),
        ("films.test:8501", None, 200), ("evil.test", None, 403),
        ("evil.test:8501", None, 403), ("10.0.0.1", None, 403),
        ("localhost.evil.test", None, 403), ("evil@localhost", None, 403),
        ("", None, 403), ("a b", None, 403), ("[evil]", None, 403),
        ("localhost:8501", "http://localhost:8501", 200),
        ("localhost", "http://localhost:80", 200),
        ("localhost:8501", "http://localhost:8502", 403),
        ("localhost:8501", "http://evil.test", 403), ("localhost:8501", "null", 403),
        ("localhost:8501", "", 403),
    ],
)  # fmt: skip
def test_hosts_and_origins(
    served, running, tmp_path_factory, hosts, host, origin, status
):
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    found = hosts.post(PREDICT, content=BODY, headers=headers)
    assert found.status_code == status, found.text
    if status == 403:
        text = error(found, 403)
        assert ("--allowed-hosts" in text) != (origin is not None)
    # Reading is left to browsers, which let no foreign page read.
    wanted = 403 if status == 403 and origin is None else 200
    assert hosts.get("/api/model", headers=headers).status_code == wanted


@pytest.fixture(scope="module")
def hosts(served, running, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts") / "films"
    folder.mkdir()
    (folder / "1").symlink_to(served.folder / "1")
    with running(folder, allowed_hosts=["Films.test"]) as client:
        yield client


def test_a_line_is_not_said_again(caplog):
    seen = NotAgain()

    def passes(name, text, *values):
        record = logging.LogRecord(name, logging.WARNING, "", 0, text, values, None)
        return seen.filter(record)

    assert [passes("uvicorn.error", "bad %s", i) for i in range(3)] == [True] + [
        False
    ] * 2
    own = "keras_multvae.server.versions"
    assert [passes(own, "version %d", i) for i in (1, 1, 2)] == [True, False, True]


def test_bad_options_are_named(served, capsys):
    with pytest.raises(SystemExit):
        main(["serve", str(served.folder), "--port", "65536"])
    assert "65536 is no port" in capsys.readouterr().err


def one_error(one, other):
    """Whether one text becomes the other by one typing error at most."""
    differ = [i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) == len(other):
        swapped = len(differ) == 2 and differ[1] == differ[0] + 1
        first, last = (differ[0], differ[-1]) if differ else (0, 0)
        swapped = swapped and (one[first], one[last]) == (other[last], other[first])
        return len(differ) < 2 or swapped
    short, long = sorted((one, other), key=len)
    return short in [long[:i] + long[i + 1 :] for i in range(len(long))]


def test_the_search_is_that_of_going_through_all():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcé1·"), rng.integers(1, 7))) for _ in range(60)]
    titles = [" ".join(rng.choice(words, rng.integers(0, 4))) for _ in range(400)]
    weights = rng.random(400)
    order = np.argsort(-weights, kind="stable").tolist()
    catalogue = Catalogue("int", list(range(400)), titles, weights)
    # Blank titles are the id.
    texts = [(folded(titles[i].strip() or str(i)), i) for i in order]
    mistyped = 0
    for _ in range(500):
        query = " ".join(rng.choice(words, rng.integers(0, 3)))[: rng.integers(0, 13)]
        if rng.random() < 0.5 and query:
            place = rng.integers(len(query))
            query = query[:place] + rng.choice(list("abc ")) + query[place + 1 :]
        whole = folded(query)
        wanted = [f" {word}" for word in whole.split()]
        fitting = [pair for pair in texts if all(word in pair[0] for word in wanted)]
        if not fitting:
            kept = {w for w in whole.split()}
            kept = [
                w for w in kept if not any(o != w and o[: len(w)] == w for o in kept)
            ]
            fitting = [
                pair
                for pair in texts
                if all(
                    f" {word}" in pair[0] if len(word) < 3 or not word.isalpha()
                    else any(
                        one_error(word, other[: len(word) + more])
                        for other in pair[0].split() for more in (-1, 0, 1)
                    )
                    for word in kept
                )
            ]  # fmt: skip
            mistyped += bool(fitting)
        found = sorted(
            (text != whole, place) for place, (text, _) in enumerate(fitting)
        )
        found = [fitting[place][1] for _, place in found]
        if query.strip() in catalogue:
            found = list(dict.fromkeys([int(query), *found]))
        shown = [int(each["id"]) for each in catalogue.search(query, 30)]
        assert shown == found[:30], query
    assert mistyped > 20


def test_the_end_loses_no_request_on_busy_connections(served, tmp_path):
    """24 clients that keep their connections and ask without a pause."""
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "keras_multvae",
            "serve",
            str(served.folder),
            "--port",
            "0",
        ],
        stderr=log,
    )
    while b"/v1/models" not in (text := (tmp_path / "log").read_bytes()):
        assert server.poll() is None
        time.sleep(0.05)
    port = int(text.split(b"http://127.0.0.1:")[1].split(b"/")[0])
    lost, answered, said = [], [], []

    def ask():
        with socket.create_connection(("127.0.0.1", port), 60) as it:
            while True:
                try:
                    it.sendall(REQUEST)
                    head = b""
                    while b"\r\n\r\n" not in head:
                        part = it.recv(65536)
                        if not part:
                            raise OSError("closed")
                        head += part
                except OSError as error:
                    lost.append(error)
                    return
                head, _, body = head.partition(b"\r\n\r\n")
                length = int(
                    head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                )
                while len(body) < int(length):
                    body += it.recv(65536)
                answered.append(head[:12])
                if b"connection: close" in head.lower():
                    said.append(1)
                    return

    clients = [threading.Thread(target=ask) for _ in range(24)]
    try:
        for each in clients:
            each.start()
        eventually(lambda: len(answered) > 100, 60)
        server.send_signal(signal.SIGTERM)
        for each in clients:
            each.join(60)
        assert server.wait(60) == 0
    finally:
        server.kill()
        log.close()
    assert not lost
    assert len(said) == 24
    assert set(answered) == {b"HTTP/1.1 200"}


def test_uvicorn_has_what_connections_derive_from():
    """Its protocol is documented as an option, its methods are not."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    for name in ("connection_made", "connection_lost", "data_received", "shutdown",
                 "on_response_complete", "send_400_response"):  # fmt: skip
        assert callable(getattr(H11Protocol, name)), name
