"""The code and its pages use the field's words; CHANGELOG.md has the old ones."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
# Words that no longer occur, and what they are called now.
OLD = {
    r"bag_sizes|bags|bag_matmul|is_bags|needs_bags|bag batch": "ragged batch",
    r"fillers?|absent_logit": "padding items, padding_logit",
    r"gathered_weights|undistributed|placement_of": "unsharded_weights, single_device",
    r"kept_memory": "retain_freed_memory",
    r"working[ _]set|WorkingSet": "unique_ids",
    r"take_rows|trains_rows|takes_rows|RowwiseTraining|adam_rows": "sparse gradients",
    r"item[ _]tables?|HasItemTables|TableDecoder|TableInitializer": "item embeddings",
    r"backend\.(whole|agreed|is_first|gather|rows|inference|resting)": "contract.py",
    r"distribution\.(spread|gathered)": "shard, unshard",
    r"models[./](growth|placement)": "weight_transfer, device_scope",
    r"Kept\(|Encoded|Ids\(": "EventBuffer, CodedIds, IdEncoder",
    r"CROWD|FAINT|MOST_\w+": "MAX_... and the unit",
    r"(its|their) own affair|The opposite of|that are none": "plain words",
    r"as do not fit|A process that there is not|has not gets": "plain sentences",
}
# Files that keep a word: stored keys, and files as they once were.
KEPT = re.compile(
    r"CHANGELOG.md|LICENSE|tests/(fixtures|formats|data/fixtures)/|tests/test_words.py"
)
TEXT = {".py", ".md", ".toml", ".yml", ".js", ".html", ".css"}


def texts():
    """Path and content of every text file that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in TEXT and path.is_file() and not KEPT.match(name):
            yield name, path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("old", "new"), OLD.items(), ids=[*OLD.values()])
def test_an_old_word_does_not_occur(old, new):
    pattern = re.compile(rf"(?<![\w\\])(?:{old})(?!\w)")
    found = [
        f"{name}: {match.group()}"
        for name, text in texts()
        for match in pattern.finditer(text)
    ]
    assert not found, f"now: {new}"


def lines_of_bodies(path):
    """Lines in functions with their numbers; no docstrings, signatures or brackets."""
    text = path.read_text(encoding="utf-8")
    numbers = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            numbers.update(
                n for each in body for n in range(each.lineno, each.end_lineno + 1)
            )
    for number, line in enumerate(text.splitlines(), 1):
        if number in numbers and re.search(r"\w", line):
            yield number, line.strip()


def test_no_six_lines_of_the_package_stand_twice():
    places = {}
    for path in sorted((ROOT / "keras_multvae").rglob("*.py")):
        lines = list(lines_of_bodies(path))
        for start in range(len(lines) - 5):
            window = tuple(line for _, line in lines[start : start + 6])
            place = f"{path.relative_to(ROOT)}:{lines[start][0]}"
            places.setdefault(window, []).append(place)
    assert not [found for found in places.values() if len(found) > 1]
