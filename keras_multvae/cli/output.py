"""What the commands show: progress and words on standard error, JSON on the other."""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
from rich.status import Status

from keras_multvae.progress import console, progress
from keras_multvae.training.checkpoint import steps_done


def say(text: str) -> None:
    """A line of words on standard error."""
    console.print(text, markup=False)


def working(text: str) -> Status:
    """A context that shows a sign of life on standard error."""
    return console.status(text)


def answer(value: dict[str, Any], text: str, as_json: bool) -> None:
    """The result on standard output: one JSON object, or words."""
    print(json.dumps(value, ensure_ascii=False) if as_json else text)
    sys.stdout.flush()


class TrainingProgress(keras.callbacks.Callback):
    """A bar over the steps of a training, with the latest validation NDCG@100."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = progress()

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the bar."""
        steps, epochs = self.params["steps"], self.params["epochs"]
        self.task = self.bar.add_task(
            "training",
            total=steps * epochs,
            completed=steps_done(self.model),
        )
        self.bar.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """One step on."""
        self.bar.advance(self.task)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Shows the epoch and its validation NDCG@100."""
        ndcg = (logs or {}).get("val_ndcg_at_100")
        words = "" if ndcg is None else f", validation NDCG@100 {ndcg:.4f}"
        self.bar.update(self.task, description=f"epoch {epoch + 1}{words}")

    def on_train_end(self, logs: Any = None) -> None:
        """Ends the bar."""
        self.bar.stop()
