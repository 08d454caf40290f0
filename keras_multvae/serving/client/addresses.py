"""Addresses of servers, and the secrets in them."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote

HIDDEN = "***"


@dataclass(frozen=True)
class Address:
    """The address of a server.

    Attributes:
        scheme: "http", "https" or "grpc".
        place: The rest of the address, without user and password.
        headers: Headers of every request: user and password, if any.
        secrets: Texts that no error may show.
    """

    scheme: str
    place: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def without_secrets(self, text: str) -> str:
        """A text in which each secret is hidden."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


def parse_address(address: str) -> Address:
    """Reads an address.

    Raises:
        ValueError: The address is invalid; the message shows no secret.

    Example:

    >>> parse_address("http://ann:pass@localhost:8501")
    Address(scheme='http', place='localhost:8501')
    >>> parse_address("localhost:8500")
    Address(scheme='grpc', place='localhost:8500')
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "grpc", address
    scheme = scheme.lower()
    # A password may contain anything but "@" and "/".
    login, at, place = rest.rpartition("@")
    host = place.partition("/")[0]
    bad = not host or any(mark in place or mark in host for mark in "?#\\")
    bad |= any(letter.isspace() or not letter.isprintable() for letter in place)
    if scheme not in ("http", "https", "grpc") or bad or (at and scheme == "grpc"):
        shown = f"{HIDDEN}@{place}" if at else rest
        shown = shown.partition("?")[0]
        raise ValueError(
            "`address` must be as http://host:8501, or host:8500 for gRPC. "
            f"Received: {scheme + separator + shown!r}."
        )
    if not at:
        return Address(scheme, place)
    encoded = base64.b64encode(unquote(login).encode()).decode()
    password = login.partition(":")[2]
    secrets = {encoded, login, unquote(login), password, unquote(password)} - {""}
    return Address(
        scheme,
        place,
        {"Authorization": f"Basic {encoded}"},
        tuple(sorted(secrets, key=len, reverse=True)),
    )
