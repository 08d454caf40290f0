"""The site's navigation has every page, and README's links lead somewhere."""

from __future__ import annotations

import re
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import yaml
from documents.pages import PAGES, ROOT

pytestmark = pytest.mark.once
DOCS = ROOT / "docs"


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose Python names and variables say nothing here."""


Loader.add_multi_constructor("!", lambda *_: None)
Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader)


def pages_of(nav):
    """Paths of a navigation, whatever their titles."""
    if isinstance(nav, str):
        yield nav
        return
    for entry in nav.values() if isinstance(nav, dict) else nav:
        yield from pages_of(entry)


@pytest.fixture
def hooks(monkeypatch):
    """The module docs/site_hooks.py."""
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.delitem(sys.modules, "site_hooks", raising=False)
    import site_hooks

    return site_hooks


def test_the_navigation_has_every_page_once(hooks):
    listed = list(pages_of(SITE["nav"]))
    assert len(listed) == len(set(listed))
    written = {path.relative_to(DOCS).as_posix() for path in PAGES[1:]}
    written |= {f"notebooks/{path.stem}.md" for path in DOCS.glob("notebooks/*.ipynb")}
    assert set(listed) == written | {hooks.EXAMPLES, *hooks.OF_ROOT}


def test_nothing_comes_from_elsewhere():
    assert SITE["theme"]["font"] is False
    named = [*SITE["extra_css"], *SITE["extra_javascript"]]
    named += SITE["extra"]["polyfills"]
    named += [SITE["theme"]["logo"], SITE["theme"]["favicon"]]
    for name in named:
        assert (DOCS / name).is_file()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_of_the_root_lead_to_files_and_headings(page):
    text = (ROOT / page).read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text)
    assert links
    for target, anchor in links:
        path = ROOT / (target or page)
        assert path.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{target}#{anchor}"


def slug(heading):
    """The anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower()))


COLAB = "https://colab.research.google.com/github/o/n/blob/v1.2.0/docs/notebooks"


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("https://github.com/o/n", COLAB),
        ("https://github.com/o/n/", COLAB),
        ("", None),
        ("https://codeberg.org/o/n", None),  # Colab cannot read it.
    ],
)
def test_notebooks_open_in_colab_if_the_address_is_set(
    address, folder, hooks, tmp_path, monkeypatch
):
    (tmp_path / "keras_multvae").mkdir()
    (tmp_path / "keras_multvae" / "__init__.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.hatch.metadata.hooks.custom]\naddress = "{address}"\n'
    )
    monkeypatch.setattr(hooks, "in_colab", partial(hooks.in_colab, root=tmp_path))

    def shown(page, text):
        file = SimpleNamespace(src_uri=page)
        return hooks.on_page_markdown(text, SimpleNamespace(file=file, meta={}))

    def opened(name):
        return f" ([in Colab]({folder}/{name}.ipynb))" if folder else ""

    own, other = "[a](quickstart.ipynb)", "[b](shop.ipynb)"
    found = shown("notebooks/quickstart.md", f"{own}, {other}")
    assert found == f"{own}{opened('quickstart')}, [b](shop.md){opened('shop')}"
    listed = shown("index.md", (DOCS / "index.md").read_text("utf-8"))
    for path in DOCS.glob("notebooks/*.ipynb"):
        assert f"(notebooks/{path.stem}.md){opened(path.stem)}" in listed
    assert ("colab" in listed) is (folder is not None)


def test_an_empty_corner_of_a_table_is_no_heading(hooks):
    markdown = pytest.importorskip("markdown")
    for align in ("---", ":---"):
        table = f"| | a |\n| {align} | ---: |\n| b | 1 |"
        html = markdown.markdown(table, extensions=["tables"])
        shown = hooks.on_page_content(html)
        assert re.search(r"<th[^>]*></th>", html) and "></th>" not in shown
        assert re.search(r"<tr>\s*<td></td>\s*<th[^>]*>a</th>\s*</tr>", shown)
