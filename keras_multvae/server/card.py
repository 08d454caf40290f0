"""The model card as a page."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from markdown_it import MarkdownIt

from keras_multvae.server.status import StatusError
from keras_multvae.serving.versions import CARD

EMPTY_HEAD = re.compile(r"<thead>\s*<tr>\s*(<th></th>\s*)+</tr>\s*</thead>\s*")


def card_page(folder: Path) -> str:
    """A version's model card as HTML; HTML in the card itself is shown as text.

    Raises:
        StatusError: The version has no card.
    """
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StatusError(
            "NOT_FOUND", f"This version came without {CARD}. Export it again."
        ) from None
    card = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    # Markdown has no tables without a head, and the card's have nothing in theirs.
    card = EMPTY_HEAD.sub("", card)
    page = files("keras_multvae.server").joinpath("static", "card.html")
    return Template(page.read_text(encoding="utf-8")).substitute(card=card)
