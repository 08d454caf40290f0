"""Results, tables and the page that is made of them."""

from __future__ import annotations

import pytest

from benchmarks.speed import memory, plot, report, results, targets, training
from benchmarks.speed.command import MEASURES
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number, ratio, spread

pytestmark = pytest.mark.once

RATES = {
    "TensorFlow, float32": [190.0, 210.0, 200.0],
    "JAX, float32": [300.0, 300.0, 300.0],
    "JAX, bfloat16": [450.0, 440.0, 460.0],
    "plain PyTorch": [100.0, 90.0, 110.0],
    "limit": [400.0, 400.0, 400.0],
    "limit, bfloat16": [900.0, 900.0, 900.0],
}
LIMIT = {
    "library": "NumPy",
    "products_ms": {"NumPy": 80.0, "JAX": 90.0},
    "weights": 24_500_000,
    "memory_ms": 20.0,
    "gb_per_s": 34.3,
}


def make(measure="training", samples=None, **options):
    defaults = {"work": "synthetic: 9 users", "settings": {"batch_size": 500}}
    machine = results.machine({"Cornac VAECF: torch": "2.13.0"})
    samples = samples or {training.RATE: RATES}
    return Result(measure, samples=samples, machine=machine, **(defaults | options))


def test_a_result_survives_its_file(tmp_path):
    result = make(notes={"limit": LIMIT})
    assert Result.load(result.save(tmp_path / "new", "training")) == result


@pytest.mark.parametrize("content", ["{", '{"measure": "training"}', '{"a": 1}', "[]"])
def test_a_foreign_file_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"x\.json is no result"):
        Result.load(path)


def test_the_machine_is_noted():
    found = results.machine()
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
    assert {"keras", "numpy", "scipy"} <= set(found["versions"])


def test_markdown():
    assert markdown(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"
    with pytest.raises(ValueError, match=r"Expected rows of 2 cells"):
        markdown(["a", "b"], [[1]])


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (99.96, "100.0"), (3.14159, "3.14"), (0.0456, "0.046")],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_spread_and_ratio():
    assert spread([3, 1, 2], 1) == ["2.0", "1.0", "3.0"]
    assert ratio(3, 2) == "1.50x"
    assert ratio(3, None) == ""


def test_the_table_of_training_has_absolute_figures_and_ratios():
    lines = training.table(make(notes={"limit": LIMIT})).splitlines()
    assert lines[3] == "| JAX, float32 | 300 | 300 | 300 | 3.00x | 75.0% |"
    assert lines[4].endswith("| 4.50x | 50.0% |")
    assert lines[5] == "| plain PyTorch | 100 | 90 | 110 | 1.00x | 25.0% |"
    assert "24.5 M weights x 28 bytes at 34.3 GB/s, 20 ms" in lines[-1]


def test_targets_pick_the_system_that_decides():
    memories = {
        memory.RESIDENT: {
            "JAX, float32": [130.0],
            "JAX, bfloat16": [990.0],
            "plain PyTorch": [100.0],
        }
    }
    rows = targets.table([make(), make("memory", memories)]).splitlines()[2:]
    assert [row.split(" | ")[1:] for row in rows] == [
        ["2.50x", "4.00x", "4.50x (JAX, bfloat16)", "aim met |"],
        ["1.90x", "2.50x", "3.00x (JAX, float32)", "aim met |"],
        ["2.40x", "2.80x", "2.00x (TensorFlow, float32)", "missed |"],
        ["83.0%", "90.0%", "75.0% (JAX, float32)", "missed |"],
        ["60.0%", "75.0%", "50.0% (JAX, bfloat16)", "missed |"],
        ["1.00x", "1.50x", "1.50x (JAX, bfloat16)", "aim met |"],
        ["at most 0.80x", "at most 0.50x", "1.30x (JAX, float32)", "missed |"],
    ]


def test_gowalla_does_not_decide():
    with_it = [make(), make(work="gowalla: 3 users", samples={training.RATE: {}})]
    assert targets.table(with_it) == targets.table([make()])


def test_the_page_is_written(tmp_path):
    make(notes={"limit": LIMIT}).save(tmp_path / "results", "training")
    report.write(tmp_path / "results", tmp_path, MEASURES)
    page = (tmp_path / "performance.md").read_text()
    assert "| JAX, float32 | 300 | 300 | 300 | 3.00x | 75.0% |" in page
    assert "(batch size 500;" in page
    assert report.MISSING in page
    assert "$" not in page
    assert (tmp_path / "performance.png").stat().st_size > 5000


def test_without_results_there_is_no_page(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run a measure first"):
        report.write(tmp_path, tmp_path, MEASURES)


def test_the_plot_shows_the_ratios():
    figure = plot.ratios([make()])
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [9.0, 4.0, 1.0, 4.5, 3.0, 2.0]
