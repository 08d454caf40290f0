"""The server's process: a socket, a loop, and an orderly end."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from keras_multvae.server.app import MAX_BODY, make_app
from keras_multvae.server.model import disable_xla
from keras_multvae.serving.versions import name_of, versions_in

# Longer than clients and proxies keep idle connections, so that it is they who close.
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 30  # for requests that are being answered when the server is to end
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        "keras_multvae.server": {"handlers": ["stderr"], "level": "INFO"},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING"},
        # It calls the loader deprecated that TensorFlow Serving uses.
        "tensorflow": {"level": "ERROR"},
    },
}


def serve(
    folder: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8501,
    max_body: int = MAX_BODY,
) -> None:
    """Serves a model until SIGTERM or Ctrl-C, with TensorFlow Serving's REST API.

    - `POST /v1/models/NAME[/versions/V]:predict`, `GET /v1/models/NAME[/versions/V]`
      and `.../metadata` answer as TensorFlow Serving does, errors included.
    - A new version folder takes over as soon as it is loaded and warm; no request
      fails meanwhile. A damaged one is reported and left alone.
    - `/monitoring/prometheus/metrics` is for Prometheus, `/` a page to try the model.
    - At the end, requests under way are still answered.

    The graph runs in TensorFlow alone, with XLA disabled for this whole process.

    Args:
        folder: The model's folder, as in `saved_models/NAME`.
        host: The address to listen on; by default no other machine can reach it.
        port: Int, the port; 0 for any that is free.
        max_body: Int, bytes of the largest request.

    Raises:
        FileNotFoundError: There is no such folder, or no version in it.
        OSError: The port is taken, or the address not this machine's.
        ImportError: TensorFlow is not installed.

    Example:

    >>> serve("saved_models/movielens")  # doctest: +SKIP
    movielens: http://127.0.0.1:8501/ and http://127.0.0.1:8501/v1/models/movielens

    References:
        - https://www.tensorflow.org/tfx/serving/api_rest
    """
    folder = Path(folder)
    _check(folder)
    listening = listen(host, port)
    disable_xla()
    # What is imported stays: collections need not go through it while requests wait.
    gc.freeze()
    config = uvicorn.Config(
        make_app(folder, max_body),
        lifespan="on",
        log_config=LOGGING,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    shown, bound = listening.getsockname()[:2]
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{bound}"
    name = name_of(folder)
    print(f"{name}: {address}/ and {address}/v1/models/{name}", file=sys.stderr)
    with listening, _quiet_end():
        uvicorn.Server(config).run(sockets=[listening])


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


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `OSError` with what to do if there can be none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        # asyncio sends small packets at once (TCP_NODELAY) only where the protocol is
        # named; else every answer would wait 40 ms for the client's acknowledgement.
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
    """Uvicorn raises the signal again that ended it: that is no failure here."""
    handlers = {
        each: signal.signal(each, lambda *_: None)
        for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
