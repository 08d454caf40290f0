"""Executes the notebooks of docs/notebooks/ anew and stores their outputs.

    make notebooks
    python docs/run_notebooks.py quickstart shop

Each runs in a temporary folder, on Keras' configured backend.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent / "notebooks"
# What a page of the documentation should weigh, in bytes.
MAX_NOTEBOOK, MAX_IMAGE = 600_000, 100_000
# Seconds that a cell may take.
TIMEOUT = 1200
_IMAGE = "image/png"
_LOGGED = re.compile(
    r"WARNING: All log messages before absl|[IWE]\d{4} [\d:.]+ |"
    # As of models that are compiled one after the other.
    r"(INFO|WARNING):tensorflow:"
)
_MACHINE = re.compile(r" at 0x[0-9a-f]+|/(tmp|home|root|work|usr|opt)/")


def executed(path: Path) -> NotebookNode:
    """A notebook with the outputs of a run of all its cells, top to bottom.

    Raises:
        CellExecutionError: A cell failed; it shows the cell and the traceback.
        ValueError: Outputs that are too large, or that only this machine understands.
    """
    # Frameworks tell of the machine on standard error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=TIMEOUT,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": folder}},
        ).execute()
    # As of any Python, so that only what changed changes the file.
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if not is_noise(each)]
    check(notebook, path.name)
    return notebook


def is_noise(output: NotebookNode) -> bool:
    """Whether an output is nothing but what frameworks log."""
    if output.output_type != "stream":
        return False
    return all(map(_LOGGED.match, output.text.splitlines()))


def check(notebook: NotebookNode, name: str) -> None:
    """Raises ValueError if the outputs are not fit to be stored."""
    text = nbformat.writes(notebook)
    if len(text.encode()) > MAX_NOTEBOOK:
        raise ValueError(
            f"{name} must be at most {MAX_NOTEBOOK:,} bytes. It has {len(text):,}."
        )
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            # In base64, 4 characters for 3 bytes.
            if len(data.get(_IMAGE, "")) * 3 / 4 > MAX_IMAGE:
                raise ValueError(f"{name} has an image over {MAX_IMAGE:,} bytes.")
            shown = [value for name, value in data.items() if name != _IMAGE]
            found = _MACHINE.search(str([output.get("text", ""), *shown]))
            if found:
                raise ValueError(
                    f"{name} shows {found[0]!r} in the outputs of:\n{cell.source}"
                )


def main() -> None:
    """Executes all notebooks, or those that are named."""
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        nbformat.write(executed(path), path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
