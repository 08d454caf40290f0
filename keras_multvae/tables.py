"""Tables: Markdown, the HTML of notebooks, DataFrames of pandas and polars."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from keras_multvae.extras import import_extra
from keras_multvae.typing import Column, Frame

# Rows that are shown; a table with more says how many are left out.
MAX_ROWS = 30
# Characters of a cell that are shown.
MAX_CHARACTERS = 200
_TEXT, _NUMBERS = "text-align:left", "text-align:right;white-space:nowrap"
_NUMBER = re.compile(r"(< )?([+-]?\d[\d,]*(\.\d+)?(e[+-]\d+)?)?( ± [\d.]+)?( s)?")


@dataclass(frozen=True)
class Table:
    """Cells of text under a heading.

    Args:
        heading: Names of the columns.
        rows: For each row as many cells; numbers are aligned to the right.
        caption: Optional line above.
        note: Optional line below.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    note: str = ""

    def markdown(self) -> str:
        """The table without caption and note."""
        rows = [self.heading, ["---"] * len(self.heading), *self.rows]
        return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)

    def html(self) -> str:
        """A `<table>` for notebooks, at most `MAX_ROWS` rows of it.

        Text is escaped and colours are the page's own, as pages are light or dark.

        Example:

        >>> Table(["title"], [["<b>"]]).html().count("&lt;b&gt;")
        1
        """
        rows = self.rows[:MAX_ROWS]
        numbers = [all(map(_is_number, column)) for column in zip(*rows, strict=True)]
        styles = [_NUMBERS if each else _TEXT for each in numbers]
        styles = styles or [_TEXT] * len(self.heading)
        lines = [_html_row("th", self.heading, styles)]
        lines += [_html_row("td", row, styles) for row in rows]
        more = len(self.rows) - len(rows)
        notes = [self.note, f"{more:,} more rows" if more else ""]
        return "".join(
            [
                "<div>",
                f"<div><b>{_short(self.caption)}</b></div>" if self.caption else "",
                f"<table>{''.join(lines)}</table>",
                *(f"<div>{_short(each)}</div>" for each in notes if each),
                "</div>",
            ]
        )


class ShowsTable:
    """What a notebook shows as a table: a subclass says which."""

    def _table(self) -> Table:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self._table().html()


class ToFrames:
    """What turns into data frames: a subclass gives the columns, and describes them."""

    def _columns(self) -> Mapping[str, Column]:
        raise NotImplementedError

    def to_pandas(self) -> Frame:
        """A pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        return import_extra("pandas", "data").DataFrame(self._columns())

    def to_polars(self) -> Frame:
        """A polars DataFrame, with the columns of `to_pandas`.

        Raises:
            ImportError: polars is not installed.
        """
        polars = import_extra("polars", "data")
        # An array of Python's objects would become a column of them, and not of text.
        lists = {
            name: column.tolist() if getattr(column, "dtype", None) == "O" else column
            for name, column in self._columns().items()
        }
        return polars.DataFrame(lists)


def columns_of(frame: Frame, names: Sequence[str] | None = None) -> dict[str, Column]:
    """Columns of a pandas or polars DataFrame by name, as lists of Python's values.

    Args:
        frame: The DataFrame.
        names: Optional, the columns that it must have; all by default.

    Raises:
        ValueError: It lacks one of them.
    """
    present = list(frame.columns)
    names = present if names is None else names
    check_columns(list(names), present, "The DataFrame")
    return {name: frame[name].to_list() for name in names}


def check_columns(
    wanted: list[str], found: list[str], source: str, hint: str = ""
) -> None:
    """Raises ValueError if a column is missing, and lists the columns."""
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"{source} has no column {', '.join(map(repr, missing))}. Columns found: "
            f"{', '.join(map(repr, found))}.{hint}"
        )


def one_line(value: object) -> str:
    """Text of a value without line breaks, cut to `MAX_CHARACTERS`."""
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def settings_text(settings: Mapping[str, object]) -> str:
    """Settings as arguments of a call: `l2=500.0, dropout=0.0`."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def _short(value: object) -> str:
    return escape(one_line(value))


def _html_row(tag: str, cells: Sequence[object], styles: Sequence[str]) -> str:
    found = (
        f'<{tag} style="{style}">{_short(cell)}</{tag}>'
        for cell, style in zip(cells, styles, strict=True)
    )
    return f"<tr>{''.join(found)}</tr>"


def _is_number(cell: object) -> bool:
    """Whether a cell is a number, with its standard error or unit, or empty."""
    return _NUMBER.fullmatch(str(cell)) is not None
