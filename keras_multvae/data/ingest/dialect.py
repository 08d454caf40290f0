"""How text files are written: what parts fields, quotes, spells and names them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from keras_multvae import checks

# What stands for a missing value where nothing else is said: database dumps write the
# second and third, pandas and R the last.
NULL = ("", "NULL", "\\N", "NaN")
# Fields of files without a header that need no further option, by their role.
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
    r"""How text files are written; None is what the file's kind has by default.

    Args:
        separator: What parts the fields, of any length; "\t" may be spelled out.
        quote: What fields with separators or line breaks in them stand between, or
            "none" where that character means nothing.
        encoding: As Python names it.
        null: How missing values are spelled; the empty field always is one.
        columns: The names of the fields, of files without a header.
        decimal: What numbers have before their fraction, "." or ",".

    Raises:
        ValueError: One of them makes no sense.
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
            # No shell passes a tab on as easily as it is typed.
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
        """What parts the fields of a file with that suffix."""
        return self.separator or ("\t" if suffix.startswith(".tsv") else ",")

    def quote_of(self, suffix: str) -> str | None:
        """What fields are quoted with.

        Nothing where a tab or more than one character parts them: who writes such
        files relies on that not to occur in a field, and leaves quotes as they are.
        """
        if self.quote is not None:
            return None if self.quote == "none" else self.quote
        separator = self.separator_of(suffix)
        return None if separator == "\t" or len(separator) > 1 else '"'

    def resolved(
        self, columns: dict[str, str | None], with_ratings: bool
    ) -> dict[str, str]:
        """Column names by role, where the fields' own names say what they are.

        Args:
            columns: Column name by role; None for what was not asked for.
            with_ratings: Whether anybody looks at ratings.
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
    """What seems to part the fields of a line, if that is something else."""
    counts = {c: line.count(c) for c in _CANDIDATES if c != used}
    best = max(counts, key=lambda c: counts[c])
    return best if counts[best] > line.count(used) else None
