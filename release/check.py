"""What is missing for a release: `make release-check` builds dist/ and runs this.

Each line begins with ok or with missing; the exit status is 1 if anything is missing.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^## (\S+)(?: \((.*)\))?$", re.MULTILINE)


class MissingError(Exception):
    """Something that a release needs is not there; the message says what to do."""


def address(root: Path) -> str:
    """The project's address is set."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    found = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["address"]
    if not re.fullmatch(r"https://[^/\s]+/\S+[^/\s]", found):
        raise MissingError(
            "the project's address. Set `address` in pyproject.toml "
            f"([tool.hatch.metadata.hooks.custom]), now {found!r}, to one such as "
            "https://github.com/OWNER/keras_multvae."
        )
    return f"the project's address is {found}"


def versions(root: Path) -> str:
    """Package, citation and changelog have the same version and date."""
    package = _found(
        root / "keras_multvae" / "__init__.py", r'^__version__ = "([^"]+)"'
    )
    citation = root / "CITATION.cff"
    cited = _found(citation, r"^version: (\S+)$")
    released = _found(citation, r"^date-released: (\S+)$")
    headings = HEADING.findall((root / "CHANGELOG.md").read_text("utf-8"))
    version, date = headings[0] if headings else ("", "")
    if not version == cited == package:
        raise MissingError(
            f"one version everywhere: keras_multvae/__init__.py has {package}, "
            f"CITATION.cff {cited}, and the first heading of CHANGELOG.md {version}."
        )
    try:
        dated = datetime.date.fromisoformat(date)
    except ValueError:
        raise MissingError(
            f"the date of {version} in CHANGELOG.md: `## {version} (YYYY-MM-DD)`, not "
            f"({date})."
        ) from None
    if date != released:
        raise MissingError(
            f"one date: CHANGELOG.md has {date}, CITATION.cff {released}."
        )
    if dated > datetime.date.today():
        raise MissingError(f"a day that has come: {date} is in the future.")
    return f"version {version} of {date}, in package, citation and changelog"


def tree(root: Path) -> str:
    """Everything is committed, and a tag of this commit names the version."""
    if changed := _git(root, "status", "--porcelain"):
        raise MissingError(
            f"a clean working tree; git status shows:\n{changed.rstrip()}"
        )
    version = _found(
        root / "keras_multvae" / "__init__.py", r'^__version__ = "([^"]+)"'
    )
    tags = _git(root, "tag", "--points-at", "HEAD").split()
    if tags not in ([], [f"v{version}"]):
        raise MissingError(
            f"the tag v{version} at this commit, and no other: {' '.join(tags)}."
        )
    return f"all is committed, {'tagged ' + tags[0] if tags else 'and not tagged yet'}"


def archives(root: Path) -> str:
    """dist/ holds one wheel and one source archive, and twine accepts them."""
    found = sorted((root / "dist").glob("[!.]*"))
    if sorted(path.suffix for path in found) != [".gz", ".whl"]:
        raise MissingError(
            f"one wheel and one .tar.gz in dist/, not {[p.name for p in found]}: "
            "run `make dist`."
        )
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, found)],
        capture_output=True,
        text=True,
    )
    if checked.returncode:
        raise MissingError(
            f"archives that twine accepts:\n{checked.stdout}{checked.stderr}"
        )
    return f"twine accepts {' and '.join(path.name for path in found)}"


def description(root: Path) -> str:
    """The long description renders, and no link or picture of it is relative."""
    from readme_renderer import markdown

    wheels = list((root / "dist").glob("*.whl"))
    if len(wheels) != 1:
        raise MissingError("a wheel, to read its long description: run `make dist`.")
    with zipfile.ZipFile(wheels[0]) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    html = markdown.render(metadata.get_payload(decode=True).decode("utf-8"))
    if not html:
        raise MissingError("a long description that PyPI can render.")
    if relative := relative_links(html):
        raise MissingError(
            f"absolute links in the long description: {len(relative)} are relative, "
            f"such as {relative[0]}. They follow the project's address."
        )
    return "the long description renders, and its links are absolute"


def relative_links(html: str) -> list[str]:
    """The targets of links and pictures that lead nowhere from another site."""
    targets = re.findall(r'\b(?:href|src)="([^"]*)"', html)
    return [each for each in targets if not re.match(r"https?://|mailto:|#", each)]


CHECKS: tuple[Callable[[Path], str], ...] = (
    address,
    versions,
    tree,
    archives,
    description,
)


def lines(root: Path) -> Iterator[str]:
    """A line for each check."""
    for check in CHECKS:
        try:
            yield f"ok       {check(root)}"
        except MissingError as missing:
            yield f"missing  {missing}"


def _found(path: Path, pattern: str) -> str:
    found = re.search(pattern, path.read_text("utf-8"), re.MULTILINE)
    return "nothing" if found is None else found[1]


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
    ).stdout


def main() -> int:
    """Prints the lines; 1 if anything is missing."""
    found = list(lines(ROOT))
    print("\n".join(found))
    return int(any(line.startswith("missing") for line in found))


if __name__ == "__main__":
    sys.exit(main())
