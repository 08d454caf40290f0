"""What the API pages need to know of the code beyond its syntax: mkdocs.yml names it.

The code is read, never imported, so that the site needs no backend.
"""

from __future__ import annotations

import ast
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import griffe

PAGES = Path(__file__).with_name("api")
# Where modules say which names they import once they are asked for.
LAZY = ("_PUBLIC", "_LAZY")
EXAMPLE = re.compile(r"^Example:\n\n(.*?)(?=^References:|\Z)", re.DOTALL | re.MULTILINE)
OTHER_PAGE = re.compile(r"docs/(\w+)\.md")
RETURNS = re.compile(r"(?m)(?<=^Returns:\n) .*")
# Links and blocks of code stay as they are, and so do headings.
NAME = re.compile(
    r"\[[^\]\n]*\][(\[][^)\]]*[)\]]|^```.*?^```|^#.*?$"
    r"|(?<![`\w\[])`([A-Z]\w+|[a-z]\w*_\w+)`(?!`)",
    re.DOTALL | re.MULTILINE,
)


@cache
def documented() -> dict[str, str]:
    """Names that have a place on an API page, and their whole names."""
    found = re.findall(
        r"^::: ([\w.]+)$",
        "\n".join(page.read_text("utf-8") for page in sorted(PAGES.glob("*.md"))),
        re.MULTILINE,
    )
    return {whole.rpartition(".")[2]: whole for whole in found}


class PublicNames(griffe.Extension):
    """Resolves names that are imported lazily, and turns docstrings into Markdown."""

    def on_module_members(self, *, mod: griffe.Module, **_: Any) -> None:
        """Adds the names that `__getattr__` imports."""
        for name in LAZY:
            if name in mod.members:
                lazy = ast.literal_eval(str(mod.members[name].value))
                for public, module in lazy.items():
                    whole = f"{mod.path}.{module}.{public}"
                    if public not in mod.members:
                        mod.set_member(public, griffe.Alias(public, whole))

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Has examples shown as code, and names lead to their place."""
        if obj.docstring is None:
            return
        text = EXAMPLE.sub(_as_section, obj.docstring.value)
        text = RETURNS.sub(_without_type, text)
        prose, examples, rest = text.partition("\nExamples:\n")
        prose = OTHER_PAGE.sub(r"[\g<0>](../\1.md)", prose)
        obj.docstring.value = linked(prose, obj.name) + examples + rest


def _as_section(found: re.Match[str]) -> str:
    """An example, which is not indented in our docstrings, as a section of Google's."""
    return "Examples:\n" + textwrap.indent(found[1], "    ")


def _without_type(found: re.Match[str]) -> str:
    """What is returned as text throughout: its type is in the signature."""
    return found[0].replace(": ", "&#58; ")


def linked(text: str, own: str = "") -> str:
    """The text, with the first mention of each documented name as a link.

    Args:
        text: Markdown.
        own: The name of what it describes, which needs no link.
    """
    seen = {own}

    def link(found: re.Match[str]) -> str:
        name = found[1]
        if name is None or name in seen or name not in documented():
            return found[0]
        seen.add(name)
        return f"[`{name}`][{documented()[name]}]"

    return NAME.sub(link, text)
