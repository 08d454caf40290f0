"""Addresses of recommenders on the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

# A Path has one slash where the address had two.
ADDRESS = re.compile(
    r"hf:/{1,2}(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^\s@]+))?", re.ASCII
)


@dataclass(frozen=True)
class Address:
    """A repository of the Hub, and what to take of it.

    Args:
        repo: "user/name".
        revision: A branch, a tag or a commit; None for the main branch.
    """

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"hf://{self.repo}{revision}"


def address_of(path: str | os.PathLike[str]) -> Address | None:
    """The address that a path is; None for a folder of this machine.

    Raises:
        ValueError: It begins with hf:/ and is no address.

    Example:

    >>> address_of("hf://user/films@v1")
    Address(repo='user/films', revision='v1')
    >>> address_of("models/films") is None
    True
    """
    text = os.fspath(path)
    if not text.startswith("hf:/"):
        return None
    found = ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError(
            "An address on the Hugging Face Hub is hf://user/name or "
            f"hf://user/name@revision. Received: {text!r}."
        )
    return Address(found["repo"], found["revision"])
