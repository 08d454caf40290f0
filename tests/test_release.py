"""The release: links of the long description, and what the check finds missing."""

from __future__ import annotations

import datetime
import importlib.util
import subprocess
import tomllib
from pathlib import Path

import pytest

import keras_multvae

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/o/n"
TODAY = datetime.date.today().isoformat()


def script(name):
    """A module of release/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "release" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = script("check")


@pytest.fixture(scope="module")
def metadata():
    pytest.importorskip("hatchling")
    return script("metadata")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](docs/a.md#b)", f"[a]({ADDRESS}/blob/v1/docs/a.md#b)"),
        ("![a (b)](docs/a.png)", f"![a (b)]({ADDRESS}/raw/v1/docs/a.png)"),
        ("[![a](./a.png)](b)", f"[![a]({ADDRESS}/raw/v1/a.png)]({ADDRESS}/blob/v1/b)"),
        ("[`a`](b)", f"[`a`]({ADDRESS}/blob/v1/b)"),
        ('<img src="a.png">', f'<img src="{ADDRESS}/raw/v1/a.png">'),
        ('<a href="a.md">', f'<a href="{ADDRESS}/blob/v1/a.md">'),
        *(
            (text, text)
            for text in [
                "[a](https://b.c/d)",
                "[a](#b)",
                "[a](mailto:b@c)",
                "`[a](b)`",
                "```python\nx[0](b)\n```",
            ]
        ),
    ],
)
def test_relative_links_lead_to_the_files_of_the_tag(metadata, text, expected):
    assert metadata.absolute(text, ADDRESS, "v1") == expected
    assert metadata.absolute(text, "", "v1") == text


def test_every_link_of_the_readme_is_of_a_file_and_becomes_absolute(metadata):
    markdown = pytest.importorskip("readme_renderer.markdown")
    text = (ROOT / "README.md").read_text("utf-8")
    for found in metadata.LINK.finditer(text):
        if not metadata.ABSOLUTE.match(found["target"]):
            assert (ROOT / found["target"].partition("#")[0]).exists(), found["target"]
    html = markdown.render(metadata.absolute(text, ADDRESS, "v1"))
    assert check.relative_links(html) == []
    assert f'src="{ADDRESS}/raw/v1/docs/' in html
    assert check.relative_links(markdown.render(text)) != []


def test_without_an_address_there_are_no_urls(metadata):
    assert metadata.urls("") == {}
    assert metadata.urls(ADDRESS)["Issues"] == f"{ADDRESS}/issues"


@pytest.fixture
def project(tmp_path):
    """A checkout in which nothing is missing but archives."""
    (tmp_path / "keras_multvae").mkdir()
    (tmp_path / "keras_multvae" / "__init__.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.hatch.metadata.hooks.custom]\naddress = "{ADDRESS}"\n'
    )
    (tmp_path / "CITATION.cff").write_text(f"version: 1.2.0\ndate-released: {TODAY}\n")
    (tmp_path / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## 1.2.0 ({TODAY})\n\n## 1.1.0 (2020-01-01)\n"
    )
    for arguments in (["init", "-q"], ["add", "."], [*COMMIT, "-m", "all"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


COMMIT = ["-c", "user.name=n", "-c", "user.email=e", "commit", "-q"]


def test_only_archives_are_missing(project):
    *good, archives, description = check.lines(project)
    assert [line.split()[0] for line in good] == ["ok"] * 3
    assert archives.startswith("missing  one wheel and one .tar.gz in dist/, not []")
    assert description.startswith("missing  a wheel")


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("pyproject.toml", ADDRESS, "", "the project's address. Set `address`"),
        ("CITATION.cff", "1.2.0", "1.1.0", "has 1.2.0, CITATION.cff 1.1.0"),
        ("keras_multvae/__init__.py", "1.2.0", "1.3.0", "__init__.py has 1.3.0"),
        ("CHANGELOG.md", "## 1.2.0", "## 1.3.0", "heading of CHANGELOG.md 1.3.0"),
        ("CHANGELOG.md", TODAY, "unreleased", "YYYY-MM-DD)`, not (unreleased)"),
        ("CHANGELOG.md", f" ({TODAY})", "", "YYYY-MM-DD)`, not ()"),
        ("CITATION.cff", TODAY, "2020-01-01", "CITATION.cff 2020-01-01"),
    ],
)
def test_what_is_missing_is_told(project, file, old, new, says):
    path = project / file
    path.write_text(path.read_text().replace(old, new, 1))
    found = [line for line in check.lines(project) if says in line]
    assert len(found) == 1 and found[0].startswith("missing  ")
    assert any(
        line.startswith("missing  a clean working tree")
        for line in check.lines(project)
    )


def test_a_day_to_come_is_no_date(project):
    for file in ("CITATION.cff", "CHANGELOG.md"):
        path = project / file
        path.write_text(path.read_text().replace(TODAY, "2999-01-01"))
    assert any("2999-01-01 is in the future" in line for line in check.lines(project))


def test_another_tag_is_refused(project):
    subprocess.run(["git", "tag", "v1.2.0"], cwd=project, check=True)
    assert "ok       all is committed, tagged v1.2.0" in check.lines(project)
    subprocess.run(["git", "tag", "v9"], cwd=project, check=True)
    assert any(
        "the tag v1.2.0 at this commit, and no other" in line
        for line in check.lines(project)
    )


def test_what_is_cited_is_this_version():
    cited = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {keras_multvae.__version__}\n" in cited


def test_no_extra_brings_what_its_name_does_not_say():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert not any("tensorflow" in each for each in extras["data"])
    cpu, other = (each.partition(";")[2].strip() for each in extras["tensorflow-cpu"])
    from packaging.markers import Marker

    linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    for platform in (
        linux,
        {**linux, "platform_machine": "aarch64"},
        {"sys_platform": "darwin", "platform_machine": "arm64"},
    ):
        assert Marker(cpu).evaluate(platform) == (platform is linux)
        assert Marker(other).evaluate(platform) == (platform is not linux)


def test_an_extra_that_is_not_there_is_named(monkeypatch):
    from importlib import metadata as installed

    from keras_multvae.extras import import_extra

    with pytest.raises(ImportError, match=r'pip install "keras_multvae\[plots\]"'):
        import_extra("no_such_package", "plots")

    def none(name):
        raise installed.PackageNotFoundError(name)

    monkeypatch.setattr(installed, "distribution", none)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[plots\]" in the clone'):
        import_extra("no_such_package", "plots")
