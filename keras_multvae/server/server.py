"""The server's process: socket, event loop and shutdown."""

from __future__ import annotations

import errno
import gc
import logging
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from keras_multvae import checks
from keras_multvae.server.app import GRACE_SECONDS, MAX_BODY, make_app
from keras_multvae.server.aside import any_left
from keras_multvae.server.connections import (
    BACKLOG,
    MAX_CONNECTIONS,
    RPC_CONNECTIONS,
    Guard,
    Server,
)
from keras_multvae.server.hosts import is_loopback
from keras_multvae.server.logs import LOGGING
from keras_multvae.server.model import disable_xla
from keras_multvae.server.rest import LABEL
from keras_multvae.server.rpc import import_stubs
from keras_multvae.serving.versions import (
    SAVED_MODEL,
    check_format,
    name_of,
    versions_in,
)

# Open files besides HTTP connections: of a model, of TensorFlow, of gRPC, and of
# connections that are not counted yet.
RESERVED_FILES = 2 * BACKLOG + RPC_CONNECTIONS + 256
# New objects after which Python looks for cycles; 700 by default.
GARBAGE = 50_000


def serve(
    folder: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8501,
    max_body: int = MAX_BODY,
    allowed_hosts: Sequence[str] = (),
    grpc_port: int | None = None,
    labels: Sequence[str] = (),
) -> None:
    """Serves a model until SIGTERM or Ctrl-C, with TensorFlow Serving's APIs and v2.

    - `POST /v1/models/NAME[/versions/V|/labels/L]:predict`, `GET /v1/models/NAME...`
      and `.../metadata` answer as TensorFlow Serving does, errors included.
    - `/v2` is the Open Inference Protocol, with binary data; with `grpc_port`, gRPC
      clients of TensorFlow Serving are answered too. See docs/protocols.md.
    - A new version folder takes over when it is loaded and warm; no request fails
      meanwhile. A damaged one is reported and ignored.
    - `/monitoring/prometheus/metrics` is for Prometheus, `/` is a page to try the
      model.
    - At the end, pending requests are still answered.

    The graph runs in TensorFlow alone, with XLA disabled for this whole process.

    Args:
        folder: The model's folder, as in `saved_models/NAME`.
        host: The address to listen on; by default only this machine can reach it.
        port: Int, the port; 0 for any free one.
        max_body: Int, maximum bytes of a request.
        allowed_hosts: Host names besides `host`, localhost and, if other machines can
            reach it, any IP address. Requests for other hosts are refused, as a page
            whose host name resolves to this machine could read answers. "*" allows any.
        grpc_port: Int, the port for gRPC on the same address, 8500 by TensorFlow
            Serving's custom, 0 for any free one; None for no gRPC, which needs the
            package tensorflow-serving-api.
        labels: Version labels, as "stable", which all lead to the served version.

    Raises:
        ValueError: An invalid port or label, or a folder of ONNX models.
        FileNotFoundError: There is no such folder, or no version in it.
        OSError: The port is taken, or the address is not this machine's.
        ImportError: TensorFlow is not installed, or what gRPC needs.

    Example:

    >>> serve("saved_models/movielens")  # doctest: +SKIP
    movielens: http://127.0.0.1:8501/ and http://127.0.0.1:8501/v1/models/movielens

    References:
        - https://www.tensorflow.org/tfx/serving/api_rest
    """
    port = _port("port", port)
    _check_labels(labels)
    folder = Path(folder)
    _check(folder)
    grpc_address = None
    if grpc_port is not None:
        grpc_address = _free_address(host, _port("grpc_port", grpc_port))
    listening = listen(host, port)
    disable_xla()
    # Python's threads switch every 5 ms by default, which delays a request several
    # times.
    sys.setswitchinterval(0.001)
    # Imported objects stay, so that collections need not go through them. Those of a
    # large body would set off hundreds of collections while it is parsed, and all other
    # requests would wait.
    gc.freeze()
    gc.set_threshold(GARBAGE)
    app = make_app(
        folder,
        max_body,
        allowed_hosts=(*allowed_hosts, host),
        any_address=not is_loopback(host),
        labels=labels,
        grpc_address=grpc_address,
    )
    server = Server(
        app,
        Guard(raise_open_files(), app.state.metrics.refused),
        log_config=LOGGING,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    address = f"http://{_address(listening)}"
    name = name_of(folder)
    rpc = "" if grpc_address is None else f", grpc://{grpc_address}"
    print(f"{name}: {address}/ and {address}/v1/models/{name}{rpc}", file=sys.stderr)
    with listening, _quiet_end():
        server.run(sockets=[listening])
    if any_left():
        # A thread that never returns may be within TensorFlow, which would crash at
        # exit.
        logging.shutdown()
        os._exit(0)


def _port(name: str, port: int) -> int:
    port = checks.integer(name, port, at_least=0)
    if port > 65535:
        raise ValueError(f"`{name}` must be from 0 to 65535. Received: {name}={port}.")
    return port


def _check_labels(labels: Sequence[str]) -> None:
    for label in labels:
        if not re.fullmatch(LABEL, label):
            raise ValueError(
                "A label is part of a URL: it may have no '/' and no ':', and not be "
                f"empty. Received: {label!r}."
            )


def _free_address(host: str, port: int) -> str:
    """An address for gRPC, which opens its sockets itself."""
    import_stubs()
    with listen(host, port) as listening:
        return _address(listening)


def _address(listening: socket.socket) -> str:
    """Address and port of a socket, as a URL has them."""
    shown, bound = listening.getsockname()[:2]
    return f"{f'[{shown}]' if ':' in shown else shown}:{bound}"


def raise_open_files() -> int:
    """Raises the limit of open files; returns the number of connections that fit.

    Most systems start processes with a low soft limit for programs that use `select`,
    which this one does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    elif soft == resource.RLIM_INFINITY:
        soft = wanted
    return min(MAX_CONNECTIONS, max(soft - RESERVED_FILES, soft // 4, 1))


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder}. Give the folder of a model, as in "
            "saved_models/NAME."
        )
    if (folder / "saved_model.pb").exists():
        raise FileNotFoundError(
            f"{folder} is a version of a model. Give the folder above it: "
            f"{Path(os.path.abspath(folder)).parent}."
        )
    if not versions_in(folder):
        raise FileNotFoundError(
            f"{folder} has no version folder, as in {folder / '1'}. Write one with "
            "`keras-multvae export`, or give the folder of one model."
        )
    check_format(folder, SAVED_MODEL)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `OSError` with a hint if there can be none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        # asyncio sets TCP_NODELAY only if the protocol is named; otherwise every answer
        # would wait 40 ms for the client's acknowledgement.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen()
        except OSError:
            listening.close()
            raise
        return listening
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"Port {port} of {host} is taken by another program. Choose another."
        else:
            text = f"Cannot listen on port {port} of {host}: {error}."
        raise OSError(text) from None


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Uvicorn raises the signal again that ended it, which is no failure here."""
    handlers = {
        each: signal.signal(each, lambda *_: None)
        for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
