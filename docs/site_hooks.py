"""What the site shows besides the pages of docs/: mkdocs.yml names this file.

The changelog and its like lie in the repository's root, examples are Python files, and
notebooks have their own format. Each becomes a page, and links to them lead there.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_api import linked

ROOT = Path(__file__).resolve().parents[1]
# Pages that are files of the root.
OF_ROOT = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}
EXAMPLES = "examples.md"
EQUATIONS = "method.md"
# Pages that are a section by themselves, beside which there is nothing to choose.
ALONE = ("index.md", "faq.md")
# How nbconvert is to write what a cell has printed.
OUTPUTS = """\
{% extends "markdown/index.md.j2" %}
{% block stream %}
```{ .text .output }
{{ output.text | strip_ansi | trim }}
```
{% endblock stream %}
{% block data_text scoped %}
```{ .text .output }
{{ output.data["text/plain"] | trim }}
```
{% endblock data_text %}
"""
# x_u, E_q, σ²_k, h_(k−1): a letter with an index, outside of code.
INDEX = re.compile(r"`[^`\n]*`|(?<!\w)([^\W\d_]²?)_(\w{1,3}(?!\w)|\([^()\s]*\))")
# Code in a table: GitHub wants its bars escaped, Python-Markdown as they are.
CELL = re.compile(r"`[^`\n]*\\\|[^`\n]*`")
# The heading of a table's first column, where it has none.
CORNER = re.compile(r"(<tr[^>]*>\s*)<th(?: style=\"[^\"]*\")?></th>")
LINK = re.compile(r"(?<=\]\()(?!https?:)([\w./-]+)(#[\w.-]+)?(?=\))")
# A link to another notebook, from docs/ or from docs/notebooks/.
NOTEBOOK = re.compile(r"(\[[^\]\n]*\]\()(notebooks/)?(\w+)\.ipynb\)")
GITHUB = "https://github.com/"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not files of docs/."""
    made = {name: (ROOT / of).read_text("utf-8") for name, of in OF_ROOT.items()}
    made[EXAMPLES] = examples()
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        for made_of_it in _notebook(notebook, config):
            files.append(made_of_it)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Has links that lead out of docs/ lead to the pages made of what is there."""
    name = page.file.src_uri
    if name in ALONE:
        page.meta["hide"] = ["navigation"]
    source = OF_ROOT.get(name, f"docs/{name}")
    if name == EQUATIONS:
        markdown = INDEX.sub(_lowered, markdown)
    markdown = CELL.sub(lambda code: code[0].replace(r"\|", "|"), markdown)
    markdown = LINK.sub(lambda found: _link(found, source), markdown)
    markdown = NOTEBOOK.sub(lambda found: _to_notebook(found, name), markdown)
    return markdown if name in OF_ROOT else linked(markdown)


def on_page_content(html: str, **_: object) -> str:
    """Has the empty corner of a table be no heading, which would have no name."""
    return CORNER.sub(r"\1<td></td>", html)


def on_post_page(output: str, **_: object) -> str:
    """Gives the search a name, which the theme leaves out, for screen readers."""
    search = 'data-md-component="search" role="dialog"'
    return output.replace(search, f'{search} aria-label="Search"')


def _link(found: re.Match[str], source: str) -> str:
    """Where a link of a file of the repository leads on the site."""
    target, anchor = found[1], found[2] or ""
    path = (ROOT / source).parent.joinpath(target).resolve().relative_to(ROOT)
    if path.parts[0] == "docs" and source in OF_ROOT.values():
        return f"{path.relative_to('docs')}{anchor}"
    up = "../" * (len(Path(source).parts) - 2)
    if path.parts[0] == "examples":
        return f"{up}{EXAMPLES}#{path.stem}"
    pages = {of: page for page, of in OF_ROOT.items()} | {"README.md": "index.md"}
    page = pages.get(path.as_posix())
    return found[0] if page is None else f"{up}{page}{anchor}"


def _to_notebook(found: re.Match[str], name: str) -> str:
    """A link to a notebook as one to its page, and one that opens it in Colab."""
    before, folder, notebook = found[1], found[2] or "", found[3]
    colab = in_colab(notebook)
    opened = f" ([in Colab]({colab}))" if colab else ""
    if notebook == Path(name).stem:
        return found[0] + opened  # The notebook itself, from its page.
    return f"{before}{folder}{notebook}.md){opened}"


def in_colab(notebook: str, root: Path = ROOT) -> str:
    """Where Colab opens a notebook of the released version; "" if that is nowhere.

    Colab reads what is on GitHub, and the notebook installs the package from PyPI: both
    have a version once its tag is pushed.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    address = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["address"]
    if not address.startswith(GITHUB):
        return ""
    code = (root / "keras_multvae" / "__init__.py").read_text("utf-8")
    version = re.findall(r'^__version__ = "([^"]+)"$', code, re.MULTILINE)[0]
    path = f"{address.removeprefix(GITHUB).rstrip('/')}/blob/v{version}/docs/notebooks"
    return f"https://colab.research.google.com/github/{path}/{notebook}.ipynb"


def _lowered(found: re.Match[str]) -> str:
    """An index as HTML has it; code as it is."""
    base, index = found[1], found[2]
    return f"{base}<sub>{index.strip('()')}</sub>" if base else found[0]


def examples() -> str:
    """A page of all examples: what each is for, and its code."""
    parts = [
        "# Examples",
        "Whole programs, from the folder `examples` of the repository.",
    ]
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text("utf-8")
        told = ast.get_docstring(ast.parse(code)) or ""
        title, _, rest = told.partition("\n")
        body = code.partition('"""\n\n')[2].removeprefix(
            "from __future__ import annotations\n\n"
        )
        rest = re.sub(r"(?m)((?:^    .*\n)+)", _as_commands, rest + "\n")
        parts += [f"## {title.rstrip('.')} {{ #{path.stem} }}", rest.strip()]
        parts += [f'```python title="examples/{path.name}"\n{body.strip()}\n```']
    return "\n\n".join(parts) + "\n"


def _as_commands(found: re.Match[str]) -> str:
    lines = "\n".join(line[4:] for line in found[1].splitlines())
    return f"```sh\n{lines}\n```\n"


def _notebook(file: File, config: MkDocsConfig) -> list[File]:
    """A notebook as a page with its output, and the pictures of that."""
    from nbconvert import MarkdownExporter

    path = Path(file.src_uri)
    exporter = MarkdownExporter()
    exporter.raw_template = OUTPUTS
    text, made = exporter.from_filename(
        file.abs_src_path,
        {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"},
    )
    # Tables of pandas as the site has tables.
    text = re.sub(r"<style scoped>.*?</style>\n", "", text, flags=re.DOTALL)
    text = text.replace('<table border="1" class="dataframe">', "<table>")
    # What Keras prints of a model scrolls, so the keyboard must reach it.
    text = text.replace(
        '<pre style="white-space:pre', '<pre tabindex="0" style="white-space:pre'
    )
    title, _, rest = text.lstrip().partition("\n")
    text = f"{title}\n\n[This page as a notebook]({path.name})\n{rest}"
    pages = [File.generated(config, path.with_suffix(".md").as_posix(), content=text)]
    for picture, content in made["outputs"].items():
        place = (path.parent / picture).as_posix()
        pages.append(File.generated(config, place, content=content))
    return pages
