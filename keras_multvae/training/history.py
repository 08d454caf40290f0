"""The history of a training, a row an epoch, as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from keras_multvae.files import replace_file

# Of an epoch that was resumed within, the step after which its logs begin.
FROM_STEP = "from_step"
INTEGERS = ("epoch", "step", FROM_STEP)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Writes one row for each epoch as CSV, atomically."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in history for name in row))
    writer = csv.DictWriter(text, names or ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with replace_file(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def read_history(path: Path) -> list[dict[str, float]]:
    """What `write_history` wrote; a key that an epoch did not have is left out."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {
                key: int(value) if key in INTEGERS else float(value)
                for key, value in row.items()
                if value
            }
            for row in csv.DictReader(file)
        ]
