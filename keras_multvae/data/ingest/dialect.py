"""The dialect of text files: separators, quotes, encoding, names of fields."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from keras_multvae import checks

# Default spellings of a missing value: the second and third are from database dumps,
# the last from pandas and R.
NULL = ("", "NULL", "\\N", "NaN")
# Names of fields, by role, that need no further option in files without a header.
NAMED = {
    "users": "user",
    "items": "item",
    "ratings": "rating",
    "values": "value",
    "timestamps": "timestamp",
}
_CANDIDATES = ("::", "\t", ";", "|", ",")


@dataclass(frozen=True)
class Dialect:
    r"""The dialect of a text file; None is the default of the file's kind.

    Args:
        separator: The text between fields, of any length; "\t" may be spelled out.
        quote: The character around fields that contain separators or line breaks, or
            "none".
        encoding: Python's name of the encoding.
        null: The spelling of missing values, besides the empty field.
        columns: The names of the fields of a file without a header.
        decimal: The decimal mark of numbers, "." or ",".

    Raises:
        ValueError: An argument is invalid.
    """

    separator: str | None = None
    quote: str | None = None
    encoding: str | None = None
    null: Sequence[str] | None = None
    columns: Sequence[str] | None = None
    decimal: str = "."

    def __post_init__(self) -> None:
        checks.choice("decimal", self.decimal, (".", ","))
        self._check_separator()
        quote = self.quote
        if quote not in (None, "none") and not (
            isinstance(quote, str) and len(quote) == 1 and quote.isascii()
        ):
            raise checks.refused("quote", 'one ASCII character or "none"', quote)
        if self.encoding is not None:
            self._set("encoding", _encoding(self.encoding))
        if isinstance(self.null, str):
            self._set("null", (self.null,))
        if self.columns is not None:
            self._set("columns", tuple(self.columns))
            if len(set(self.columns)) < len(self.columns):
                raise checks.refused("columns", "names, none twice", self.columns)

    def _check_separator(self) -> None:
        separator = self.separator
        if separator is None:
            return
        if separator in ("\\t", "tab"):
            # A tab is hard to pass through a shell.
            self._set("separator", "\t")
        elif not isinstance(separator, str) or not separator or "\n" in separator:
            raise checks.refused("separator", "text without line breaks", separator)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def given(self) -> list[str]:
        """The options that were given, by name."""
        return [
            name
            for name, value in vars(self).items()
            if value is not None and (name, value) != ("decimal", ".")
        ]

    @property
    def nulls(self) -> list[str]:
        """The spellings of a missing value."""
        return list(dict.fromkeys(["", *(NULL if self.null is None else self.null)]))

    def separator_of(self, suffix: str) -> str:
        """The separator of a file with this suffix."""
        return self.separator or ("\t" if suffix.startswith(".tsv") else ",")

    def quote_of(self, suffix: str) -> str | None:
        """The quote character, or None.

        By default None if the separator is a tab or longer than a character, as such
        files rely on separators that occur in no field, and have quotes as plain text.
        """
        if self.quote is not None:
            return None if self.quote == "none" else self.quote
        separator = self.separator_of(suffix)
        return None if separator == "\t" or len(separator) > 1 else '"'

    def resolved(
        self, columns: dict[str, str | None], with_ratings: bool
    ) -> dict[str, str]:
        """Column names by role, completed by the names of the fields.

        Args:
            columns: Column name by role, or None.
            with_ratings: Whether ratings are needed.
        """
        own = self.columns or ()
        found = {}
        for role, name in columns.items():
            if (
                NAMED[role] in own
                and name not in own
                and (role in ("users", "items") or name is None)
            ):
                name = NAMED[role]
                if role == "ratings" and not with_ratings:
                    continue
            if name is not None:
                found[role] = name
        return found


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(
            f"`encoding` must be one that Python knows, as utf-8, latin-1 or cp1252. "
            f"Received: {name!r}."
        ) from None


def likely_separator(line: str, used: str) -> str | None:
    """The likely separator of a line, if it differs from the one that was used."""
    counts = {c: line.count(c) for c in _CANDIDATES if c != used}
    best = max(counts, key=lambda c: counts[c])
    return best if counts[best] > line.count(used) else None
