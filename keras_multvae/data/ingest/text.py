"""Reading delimited text block by block, without losing a record; private.

polars reads the fields. This module detects what polars would silently accept: stray
quotes, records with too many or too few fields, other encodings.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from keras_multvae.data.ingest.blocks import Block
from keras_multvae.data.ingest.dialect import Dialect, likely_separator
from keras_multvae.extras import import_extra
from keras_multvae.typing import Frame

# The bytes of a block, and the maximum length of a quoted field.
BLOCK, LONGEST = 1 << 22, 1 << 26
# Substitutes for separators of several bytes, as polars accepts one byte only.
_STAND_INS = tuple(bytes([code]) for code in (0x1F, 0x1E, 0x1D, 0x1C, 0x01, 0x02))


class TextError(ValueError):
    """An error in a text file, with its line."""


class TextFile:
    """A delimited text file.

    Args:
        path: The file, compressed or not, by its suffix.
        suffix: Its suffix, such as ".tsv.gz".
        dialect: Its dialect.

    Attributes:
        names: The names of the fields.
        blank_lines: The number of blank lines skipped in the last reading.
        bytes_read: The uncompressed bytes read in it so far.

    Raises:
        ValueError: The file is empty, or its header cannot be read.
    """

    def __init__(self, path: Path, suffix: str, dialect: Dialect) -> None:
        self.path, self._dialect = path, dialect
        self._unreadable = f"{path} cannot be read as {suffix or 'text'}"
        self.separator = dialect.separator_of(suffix)
        self._quote = dialect.quote_of(suffix)
        self.blank_lines = self.bytes_read = 0
        if self._quote == self.separator:
            raise ValueError(f"`quote` and `separator` are both {self.separator!r}.")
        first = next((b for b in self._blocks(header=False) if b.records), None)
        if first is None:
            raise ValueError(f"{path} is empty.")
        start, end = (int(side[0]) for side in first.bounds)
        with self._blaming_bytes(first):
            line = first.data[start:end].decode().rstrip("\r")
        self.first_record = line.replace(first.separator.decode(), self.separator)
        fields = _fields(line, first.separator.decode(), self._quote)
        self._check_first(fields, first.line_at(start))
        self.names = list(dialect.columns or fields)

    def frames(self, columns: list[str]) -> Iterator[Frame]:
        """Yields frames of text columns, one for each block.

        Raises:
            ValueError: A record that cannot be read, with its line.
        """
        polars = import_extra("polars", "data")
        self.blank_lines = 0
        for block in self._blocks():
            frame = self._read(polars, block, columns)
            self.blank_lines += (
                len(block.outside(b"\n")) - block.records
                if (block.has_blank_lines)
                else 0
            )
            yield frame

    def line_of(self, record: int) -> int:
        """The number of the line where a record begins; reads the file again."""
        for block in self._blocks():
            if record < block.records:
                return block.line_of(record)
            record -= block.records
        raise IndexError(record)

    def hint(self) -> str:
        """A hint at the option that would find missing columns, or ""."""
        other = likely_separator(self.first_record, self.separator)
        if other is not None:
            return (
                f" Its fields seem to be separated by {other!r}: name it "
                f"(separator={other!r}, --separator {_shell(other)})."
            )
        if self._dialect.columns is None and any(map(_is_number, self.names)):
            return (
                " It seems to have no header: name its fields (columns=[...], "
                "--columns user,item,rating,timestamp)."
            )
        return ""

    def _read(self, polars: ModuleType, block: Block, columns: list[str]) -> Frame:
        stray = block.first_stray_quote()
        if stray is not None:
            raise self._stray(block, stray)
        number = len(self.names)
        # polars notices extra fields only if it reads the last column.
        places = {name: self.names.index(name) for name in columns}
        if not block.records:
            return polars.DataFrame(schema=dict.fromkeys(columns, polars.String))
        try:
            frame = polars.read_csv(
                block.compact,
                has_header=False,
                schema={f"c{place}": polars.String for place in range(number)},
                columns=sorted({*places.values(), number - 1}),
                separator=block.separator.decode(),
                quote_char=self._quote,
                null_values=self._dialect.nulls,
            )
        except polars.exceptions.PolarsError as error:
            raise self._unread(block, str(error)) from None
        if block.separators() != block.records * (number - 1):
            raise self._unread(block, "fields are missing")
        if frame.height != block.records:
            raise self._unread(block, f"{frame.height} were read")
        frame = frame.select(polars.col(f"c{p}").alias(n) for n, p in places.items())
        if block.plain or len(self.separator.encode()) == 1:
            return frame
        stand_in = polars.lit(block.separator.decode())
        return frame.with_columns(
            polars.all().str.replace_all(stand_in, self.separator, literal=True)
        )

    def _unread(self, block: Block, what: str) -> TextError:
        """The error for a line that polars cannot read, with a hint."""
        with self._blaming_bytes(block):
            block.data.decode()
        uneven = block.first_uneven(len(self.names))
        if uneven is None:
            last = block.line_at(len(block.data) - 1)
            return TextError(
                f"{self._unreadable}: {block.records} records in the lines "
                f"{block.first_line} to {last}; {what}."
            )
        record, found = uneven
        quotes = (
            ""
            if self._quote is not None
            else " If fields stand in quotes, say so: quote='\"', --quote '\"'."
        )
        return TextError(
            f"{self._unreadable}: line {block.line_of(record)} has {found} "
            f"fields, where {len(self.names)} were expected "
            f"({', '.join(self.names[:6])}).{quotes}"
        )

    def _stray(self, block: Block, offset: int) -> TextError:
        return TextError(
            f"{self._unreadable}: in line {block.line_at(offset)} a quote "
            f"({self._quote}) neither opens nor closes a field. If quotes are plain "
            "text, pass quote='none' (--quote none); otherwise double it inside a "
            "quoted field."
        )

    def _check_first(self, fields: list[str], line: int) -> None:
        """Checks the first record against `columns`."""
        names = self._dialect.columns
        if names is None:
            return
        if len(names) != len(fields):
            raise TextError(
                f"{self.path}: `columns` has {len(names)} names "
                f"({', '.join(names)}), line {line} has {len(fields)} fields, parted "
                f"by {self.separator!r}.{self.hint()} Name every field."
            )
        if {n.lower() for n in names} & {f.lower() for f in fields}:
            raise TextError(
                f"{self.path}: line {line} looks like a header "
                f"({', '.join(fields)}). `columns` is for files without one; name "
                "the columns as the header does (user_column=..., --user-column)."
            )

    def _blocks(self, header: bool = True) -> Iterator[Block]:
        """Yields blocks of whole records, without the header if `header` is true."""
        skip = header and self._dialect.columns is None
        rest, line = b"", 1
        for piece in self._pieces():
            rest += piece
            end = self._last_end(rest)
            if end == 0:
                if len(rest) > LONGEST and self._quote is not None:
                    raise self._stray(*self._unclosed(rest, line))
                continue
            whole, rest = rest[:end], rest[end:]
            block = self._block(whole, line)
            if skip and block.records:
                cut = int(block.bounds[1][0]) + 1
                block = Block(
                    block.data[cut:], block.line_at(cut), block.separator, block.quote
                )
                skip = False
            line += whole.count(b"\n")
            if block.data:
                yield block
        if rest:
            raise self._stray(*self._unclosed(rest, line))

    def _unclosed(self, data: bytes, line: int) -> tuple[Block, int]:
        """The block that an unclosed quote begins in, and its position."""
        block = self._block(data, line)
        stray = block.first_stray_quote()
        return block, int(block.quotes[0]) if stray is None else stray

    def _block(self, data: bytes, line: int) -> Block:
        quote = None if self._quote is None else self._quote.encode()
        separator = self.separator.encode()
        if len(separator) == 1:
            return Block(data, line, separator, quote)
        stand_in = next((byte for byte in _STAND_INS if byte not in data), None)
        if stand_in is None:
            raise TextError(
                f"{self._unreadable} with the separator {self.separator!r}: "
                "its fields hold control characters of every kind."
            )
        return Block(data.replace(separator, stand_in), line, stand_in, quote)

    def _last_end(self, data: bytes) -> int:
        """The end of the last whole record."""
        end = data.rfind(b"\n") + 1
        quote = None if self._quote is None else self._quote.encode()
        if quote is None or end == 0 or data.count(quote, 0, end) % 2 == 0:
            return end
        ends = Block(data, 1, b",", quote).outside(b"\n")
        return int(ends[-1]) + 1 if len(ends) else 0

    def _pieces(self) -> Iterator[bytes]:
        """Yields the file as UTF-8; the last line gets a line break."""
        encoding = self._dialect.encoding or "utf-8"
        decode = None
        if encoding != "utf-8":
            decode = codecs.getincrementaldecoder(encoding)()
        line, last = 1, b"\n"
        self.bytes_read = 0
        with opened(self.path) as file:
            while True:
                piece = file.read(BLOCK)
                more = bool(piece)
                self.bytes_read += len(piece)
                if decode is not None:
                    piece = self._decoded(decode, piece, line, encoding)
                elif line == 1 and last == b"\n":
                    piece = piece.removeprefix(codecs.BOM_UTF8)
                if piece:
                    line, last = line + piece.count(b"\n"), piece[-1:]
                    yield piece
                if not more:
                    break
        if last != b"\n":
            yield b"\n"

    def _decoded(self, decode: Any, piece: bytes, line: int, encoding: str) -> bytes:
        """A piece of the file, decoded to UTF-8; raises with the line of a bad byte."""
        try:
            text = decode.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(encoding, "replace").count("\n")
            raise TextError(
                f"{self._unreadable}: line {line} is not {encoding} ({error.reason}). "
                "Name the encoding that it has: encoding='cp1252', --encoding cp1252."
            ) from None
        return text.removeprefix("\ufeff").encode()

    @contextmanager
    def _blaming_bytes(self, block: Block) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            likely = "utf-16" if b"\0" in error.object[:64] else "latin-1"
            raise TextError(
                f"{self._unreadable}: line {block.line_at(error.start)} is "
                f"not UTF-8 (byte {error.object[error.start]:#x}). Name its encoding: "
                f"encoding='{likely}', --encoding {likely}."
            ) from None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, decompressed if its name ends in .gz or .zst."""
    packed = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix.lower())
    if packed is None:
        with path.open("rb") as file:
            yield file
        return
    pyarrow = import_extra("pyarrow", "data")
    with pyarrow.input_stream(str(path), compression=packed) as file:
        yield file


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yields the lines of a file, also of PyArrow's, which has no iterator."""
    rest = b""
    while piece := file.read(BLOCK):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _fields(line: str, separator: str, quote: str | None) -> list[str]:
    if quote is None:
        return line.split(separator)
    return next(csv.reader(io.StringIO(line), delimiter=separator, quotechar=quote))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shell(separator: str) -> str:
    return "tab" if separator == "\t" else f"'{separator}'"
