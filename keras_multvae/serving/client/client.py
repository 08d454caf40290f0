"""`Recommender`'s methods, answered by a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from keras_multvae import checks
from keras_multvae.data.columns.clicks import is_matrix
from keras_multvae.data.vocabulary import PADDING
from keras_multvae.ranking import TopK, first_columns
from keras_multvae.recommender import Recommendations
from keras_multvae.recommender.histories import Rows, as_rows, listed
from keras_multvae.serving.client.addresses import parse_address
from keras_multvae.serving.client.answers import (
    ASKED,
    Signature,
    Signatures,
    check_answer,
    concatenated,
    understood,
)
from keras_multvae.serving.client.errors import InvalidRequestError
from keras_multvae.serving.client.rest import RestTransport
from keras_multvae.serving.client.retrying import with_retries
from keras_multvae.serving.client.rpc import RpcTransport
from keras_multvae.serving.client.v2 import InferTransport
from keras_multvae.serving.versions import LAST_VERSION
from keras_multvae.typing import Histories, Id, Json

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

PROTOCOLS: dict[str, type[RestTransport | InferTransport]] = {
    "tensorflow": RestTransport,
    "v2": InferTransport,
}
ROWS = 256  # users in a request; more are split into several


class ServingClient:
    """Recommends through a server, with methods of `Recommender`.

    The server is TensorFlow Serving or `keras-multvae serve`, with a SavedModel of
    `export_saved_model`. Item ids that the model does not know are ignored.

    A request is retried if there is no server or it is too busy (UNAVAILABLE, status
    429, 502, 503 or 504), after a pause or when the server says (`Retry-After`). This
    is safe, as predictions change nothing. Other failures are not retried: neither
    refused requests nor those that time out while the server works on them.

    Args:
        address: "http://host:8501" for HTTP, with "user:password@" before the host if
            required; "host:8500" or "grpc://host:8500" for gRPC, which needs TensorFlow
            and the package tensorflow-serving-api.
        model: Name of the model on the server.
        version: Int >= 1; by default the latest.
        timeout: Float, seconds for each try, from looking up the server's name to the
            last byte of its answer.
        retries: Int >= 0, tries after the first.
        protocol: "tensorflow", TensorFlow Serving's REST API, or "v2", the Open
            Inference Protocol with binary data; over gRPC "tensorflow" alone.

    Raises:
        ValueError: An argument out of its range.
        ImportError: The packages for this kind of address are not installed.

    All methods raise

    - `InvalidRequestError` for a request that the server refuses,
    - `ModelNotFoundError` for a model or version that it does not have,
    - `ServingTimeoutError` and `ServingUnavailableError`,
    - `ServingError`, their base class, for any other error, and for an answer that is
      malformed or larger than 64 MiB.

    Example:

    >>> with ServingClient("http://localhost:8501", "movielens") as client:
    ...     client.recommend([1, 364, 588], k=5).items[0]  # doctest: +SKIP
    array([ 595,  527,  480,  593, 2571])
    """

    def __init__(
        self,
        address: str,
        model: str,
        version: int | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        protocol: Literal["tensorflow", "v2"] = "tensorflow",
    ) -> None:
        found = parse_address(address)
        if not model or "/" in model or ":" in model:
            raise ValueError(f"`model` must be a model's name. Received: {model!r}.")
        if version is not None:
            version = checks.integer("version", version)
            if version > LAST_VERSION:
                raise ValueError(f"`version` must be below 2**63. Received: {version}.")
        timeout = checks.number("timeout", timeout, above=0)
        self._retries = checks.integer("retries", retries, at_least=0)
        self._transport: RestTransport | InferTransport | RpcTransport
        if protocol not in PROTOCOLS:
            raise ValueError(
                f"`protocol` must be {' or '.join(PROTOCOLS)}. Received: {protocol!r}."
            )
        if found.scheme != "grpc":
            self._transport = PROTOCOLS[protocol](found, model, version, timeout)
        elif protocol == "tensorflow":
            self._transport = RpcTransport(found.place, model, version, timeout)
        else:
            raise ValueError(
                f"protocol={protocol!r} is spoken over HTTP. Give an address as "
                f"http://host:8501. Received: {address!r}."
            )
        self._shown = (f"{found.scheme}://{found.place}", model, version)

    def __repr__(self) -> str:
        address, model, version = self._shown
        versioned = "" if version is None else f", version={version}"
        return f"ServingClient({address!r}, {model!r}{versioned})"

    def recommend(
        self,
        histories: Histories,
        *,
        k: int = 10,
        allow: Iterable[Id] | None = None,
        deny: Iterable[Id] | None = None,
    ) -> Recommendations:
        """Ranks the items outside each history, as `Recommender.recommend` does.

        Args:
            histories: Raw item ids (any iterable: a list, set, array, column,
                iterator), or several such histories, as an iterable or as a dict from
                users to them.
            k: Int >= 1, items for each user; fewer if fewer are left.
            allow: Optional raw ids; no other items are recommended.
            deny: Optional raw ids that are never recommended.

        Returns:
            `Recommendations`, one entry for each user, also for a single history.

        Raises:
            ValueError: k < 1, or an empty `allow`.
        """
        k = checks.integer("k", k)
        allowed = [] if allow is None else listed(allow, "allow")
        if allow is not None and not allowed:
            raise ValueError("`allow` leaves no item to recommend.")
        denied = [] if deny is None else listed(deny, "deny")
        names, rows, _ = self._rows(histories)
        users = len(rows)
        found = self._predict(
            "recommend",
            {
                "item_ids": self._ids(rows),
                "k": np.full(users, k, "int32"),
                "deny": self._ids([denied] * users),
                "allow": self._ids([allowed] * users),
            },
            k,
        )
        return self._recommendations(names, found, "user_id")

    def similar_items(self, item_ids: Sequence[Id], k: int = 10) -> Recommendations:
        """The items with the most similar output vectors.

        Args:
            item_ids: Raw ids; unknown ones get no similar items.
            k: Int >= 1; at most the `k` of the export are returned.

        Returns:
            `Recommendations`, one entry for each id; scores are cosines in [-1, 1].
        """
        k = checks.integer("k", k)
        items = listed(item_ids, "item_ids")
        ids = self._ids([[item] for item in items])
        found = self._predict("similar_items", {"item_ids": ids[:, -1]}, k)
        return self._recommendations(items, found, "similar_to")

    def embed(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of q(z | x) of each user, (users, latent_dim) float32.

        A MultDAE's z is a point: the variance is zero.
        """
        rows = self._rows(histories).rows
        found = self._predict("embed", {"item_ids": self._ids(rows)})
        mean = found["mean"]
        if "log_variance" not in found:
            return mean, np.zeros_like(mean)
        return mean, np.exp(found["log_variance"])

    def score(self, histories: Histories, candidates: object) -> np.ndarray:
        """Scores of chosen items, as `model.score` gives them for all.

        Args:
            histories: As for `recommend`.
            candidates: A list of raw item ids for all users, or a list of such lists,
                one for each user.

        Returns:
            (users, candidates) float32, log pi_i(z) for a multinomial VAE; -inf for
            unknown ids, and where a user has fewer candidates than another.

        Raises:
            ValueError: The wrong number of lists of candidates.
        """
        rows = self._rows(histories).rows
        given = self._rows(candidates, "candidates")
        wanted = given.rows * (len(rows) if given.single else 1)
        if len(wanted) != len(rows):
            raise ValueError(
                "`candidates` must be one list, or one a user. Received: "
                f"{len(wanted)} lists for {len(rows)} users."
            )
        ids = self._ids(wanted)
        found = self._predict(
            "score", {"item_ids": self._ids(rows), "candidates": ids}, ids.shape[1]
        )
        scores = np.where(found["known"], found["scores"], np.float32(-np.inf))
        return scores[:, 1:]

    def close(self) -> None:
        """Closes the connections; so does leaving a `with` block."""
        self._transport.close()

    def __enter__(self) -> ServingClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _signatures(self) -> Signatures:
        return with_retries(partial(understood, self._describe), self._retries)

    def _describe(self) -> dict[str, dict[str, Json]]:
        found = self._transport.signatures()
        for name in set(ASKED) & set(found):
            if "item_ids" not in found[name]["inputs"]:
                raise ValueError(f"{name} has no input item_ids")
        return found

    def _signature(self, name: str) -> Signature:
        """The inputs and outputs of a signature; raises if the model has none."""
        if name not in self._signatures:
            raise InvalidRequestError(
                f"The model has no signature {name!r}, only "
                f"{', '.join(sorted(self._signatures))}. Export it with "
                "export_saved_model of this version of keras_multvae."
            )
        return self._signatures[name]

    @property
    def _kind(self) -> str:
        """The kind of the model's ids: "str" or "int"."""
        dtype = self._signature("recommend")["inputs"]["item_ids"]
        return "str" if dtype is object else "int"

    def _rows(self, histories: Histories, name: str = "histories") -> Rows:
        """Histories as lists of ids; refuses matrices and counts."""
        if is_matrix(histories):
            raise ValueError(
                f"`{name}` must be lists of item ids: the server knows no columns. "
                f"Received: {type(histories).__name__}."
            )
        found = as_rows(histories, name)
        if any(isinstance(row, Mapping) for row in found.rows):
            raise ValueError(
                f"`{name}` must be lists of item ids: a SavedModel counts each item "
                "once. Received a dict."
            )
        return found

    def _ids(self, rows: Sequence[Any]) -> np.ndarray:
        """(rows, 1 + longest) ids, with a padding column first, and padded at the end.

        TensorFlow Serving pads requests in a batch with their first element, which must
        therefore be padding.
        """
        kind = self._kind
        type_ = str if kind == "str" else int | np.integer
        for row in rows:
            for item in row:
                if not isinstance(item, type_) or isinstance(item, bool):
                    raise TypeError(
                        f"The model's item ids are {kind}. Received: {item!r}."
                    )
        width = 1 + max(map(len, rows), default=0)
        ids = np.full(
            (len(rows), width), PADDING[kind], object if kind == "str" else "int64"
        )
        for place, row in zip(ids, rows, strict=True):
            place[1 : 1 + len(row)] = row
        return ids

    def _predict(
        self, signature: str, inputs: dict[str, np.ndarray], width: int | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature for all rows; no more columns than `width`."""
        outputs = self._signature(signature)["outputs"]
        users = len(inputs["item_ids"])
        parts = []
        for start in range(0, users, ROWS):
            some = {name: each[start : start + ROWS] for name, each in inputs.items()}
            ask = partial(self._ask, signature, some, outputs, width)
            parts.append(with_retries(partial(understood, ask), self._retries))
        if not parts:
            raise ValueError(
                "There is nothing to ask: no history and no item is given."
            )
        return understood(partial(concatenated, parts))

    def _ask(
        self,
        signature: str,
        inputs: dict[str, np.ndarray],
        outputs: Mapping[str, DTypeLike],
        width: int | None,
    ) -> dict[str, np.ndarray]:
        """One request for some rows, with a checked answer."""
        found = self._transport.predict(signature, inputs, outputs)
        check_answer(signature, found, len(inputs["item_ids"]), width)
        return {
            # A server that batches may return more columns than requested.
            name: array[:, :width] if width and array.ndim > 1 else array
            for name, array in found.items()
        }

    def _recommendations(
        self,
        users: list[Id],
        found: dict[str, np.ndarray],
        column: Literal["user_id", "similar_to"],
    ) -> Recommendations:
        items, scores = found["item_ids"], found["scores"]
        valid = np.minimum(found["valid"], scores.shape[1]).astype("int64")
        names, indices = np.unique(items, return_inverse=True)
        top = TopK(
            indices.reshape(items.shape),
            np.where(
                first_columns(valid, scores.shape[1]), scores, np.float32(-np.inf)
            ),
            valid,
        )
        return Recommendations(users, top, names, column=column)
