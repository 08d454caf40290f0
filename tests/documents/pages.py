"""The commands of README and docs/, as they stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = (
    "prepare|train|tune|evaluate|compare|recommend|similar|export|add-items|serve|demo"
)
PROGRAMS = r"keras-multvae|python3?|make|uv|pip|docker|curl|ray|torchrun"
# A command in a line of words; `keras-multvae` alone may be left out there.
INLINE = re.compile(rf"([A-Z_]+=\S+ )*((\.venv/bin/)?({PROGRAMS})|{COMMANDS}) \S")
INDENTED = re.compile(rf" {{4}}([A-Z_]+=\S+ )*(\.venv/bin/)?({PROGRAMS}|echo) \S")


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        inline: Whether it stands in a line of words, where it may be a part of one.
    """

    page: str
    line: int
    text: str
    inline: bool = False

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def commands(page: Path) -> list[Command]:
    """All commands of a page, in its order."""
    return list(_commands(page.relative_to(ROOT).as_posix(), page.read_text("utf-8")))


def python_blocks(page: Path) -> list[str]:
    """The Python code of a page."""
    text = page.read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _commands(name: str, text: str) -> Iterator[Command]:
    language, waiting = None, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            assert not waiting, f"{name}:{number}: a command that does not end"
            language = line[3:].strip() if language is None else None
        elif language == "sh" or (language is None and (waiting or _begins(line))):
            waiting += line + "\n"
            if is_whole(waiting):
                if shlex.split(waiting, comments=True):
                    # As a shell has it; shlex would keep the line break.
                    text = re.sub(r"\\\n\s*", "", waiting.strip())
                    yield Command(name, number, text)
                waiting = ""
        elif language is None:
            for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
                if INLINE.match(span):
                    yield Command(name, number, span, inline=True)
    assert not waiting


def _begins(line: str) -> bool:
    return INDENTED.match(line) is not None


def is_whole(text: str) -> bool:
    """Whether a command goes on in no further line."""
    if text.endswith("\\\n"):
        return False
    found = re.search(r"<<'?(\w+)'?", text)
    if found:
        return text.endswith(f"\n{found[1]}\n")
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True
