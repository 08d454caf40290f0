"""The long description and the links of a release: README, with absolute addresses.

Hatchling runs this for each build. What PyPI shows lies in no repository, so a relative
picture or link of README would lead nowhere there. The project's address stands in
pyproject.toml alone; the forms of the links are GitHub's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# Fenced blocks and spans of code, whose text stays as it is.
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
# What stands before the target of a Markdown link or picture, or of an HTML attribute.
LINK = re.compile(
    r"""(?P<before>(?P<picture>!\[[^\[\]]*)?\]\(|\b(?P<name>src|srcset|href)=")"""
    r"""(?P<target>[^\s)"]+)"""
)
# What leads somewhere from PyPI too: an address, or a heading of the page.
ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|#", re.IGNORECASE)


class ProjectMetadata(MetadataHookInterface):
    """Sets `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """See Hatchling; `metadata` is the table [project]."""
        address = self.config.get("address", "").rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        version = _version(Path(self.root))
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute(text, address, f"v{version}"),
        }
        metadata["urls"] = urls(address)


def urls(address: str) -> dict[str, str]:
    """The links beside the description on PyPI; none without an address."""
    if not address:
        return {}
    return {
        "Repository": address,
        "Documentation": f"{address}/blob/main/README.md",
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


def absolute(text: str, address: str, tag: str) -> str:
    """Markdown whose relative links lead to the files of a tag.

    Args:
        text: README.
        address: Of the project, without a slash at the end; "" leaves all as it is.
        tag: Of the release, such as "v0.1.0".

    Example:

    >>> absolute("[Method](docs/method.md)", "https://github.com/o/n", "v1")
    '[Method](https://github.com/o/n/blob/v1/docs/method.md)'
    """
    if not address:
        return text

    def of(match: re.Match[str]) -> str:
        if ABSOLUTE.match(match["target"]):
            return match[0]
        path = match["target"].removeprefix("./")
        shown = match["picture"] or match["name"] in ("src", "srcset")
        kind = "raw" if shown else "blob"
        return f"{match['before']}{address}/{kind}/{tag}/{path}"

    parts = CODE.split(text)
    # Code is in brackets in the pattern, so it has the odd places.
    parts[::2] = [LINK.sub(of, part) for part in parts[::2]]
    return "".join(parts)


def _version(root: Path) -> str:
    """`__version__` of the package, which need not be importable here."""
    text = (root / "keras_multvae" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    assert found is not None, "keras_multvae/__init__.py has no __version__"
    return found[1]
