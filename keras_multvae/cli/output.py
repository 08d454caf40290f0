"""What the commands show: progress and words on standard error, JSON on the other."""

from __future__ import annotations

import json
import math
import sys
import time
from datetime import timedelta
from typing import Any

import keras
from rich.progress import ProgressColumn, Task
from rich.status import Status
from rich.text import Text

from keras_multvae.progress import console, progress
from keras_multvae.training.checkpoint import steps_done
from keras_multvae.typing import Logs


def log(text: str) -> None:
    """A line of words on standard error."""
    console.print(text, markup=False)


def status(text: str) -> Status:
    """A context that shows a sign of life on standard error."""
    return console.status(text)


def print_result(value: dict[str, Any], text: str, as_json: bool) -> None:
    """The result on standard output: one JSON object, or words."""
    print(json.dumps(value, ensure_ascii=False) if as_json else text)
    sys.stdout.flush()


class _Rate(ProgressColumn):
    """Users a second, once that is known."""

    def render(self, task: Task) -> Text:
        """See `rich.progress.ProgressColumn`."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} users/s")


class TrainingProgress(keras.callbacks.Callback):
    """How far a training is: a bar on a terminal, elsewhere a line an epoch.

    Args:
        num_users: That train.
    """

    def __init__(self, num_users: int) -> None:
        super().__init__()
        self.num_users = num_users
        self.bar = progress(_Rate()) if console.is_terminal else None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Starts the bar."""
        if self.bar is None:
            return
        self.task = self.bar.add_task(
            "training",
            total=self.num_users * self.params["epochs"],
            completed=self._users(steps_done(self.model)),
        )
        self.bar.start()

    def _users(self, steps: int) -> int:
        """Users of so many steps."""
        return round(steps * self.num_users / self.params["steps"])

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the clock."""
        self.began, self.epoch = time.monotonic(), epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """One step on."""
        if self.bar is not None:
            steps = self.epoch * self.params["steps"] + batch + 1
            self.bar.update(self.task, completed=self._users(steps))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Shows the epoch, its loss and its validation NDCG@100."""
        logs, epochs = logs or {}, self.params["epochs"]
        ndcg = logs.get("val_ndcg_at_100")
        words = f"epoch {epoch + 1} of {epochs}: loss {logs.get('loss', math.nan):.4f}"
        words += "" if ndcg is None else f", validation NDCG@100 {ndcg:.4f}"
        if self.bar is not None:
            self.bar.update(self.task, description=words)
            return
        # An epoch with its validation; the latest, as the first one also compiles.
        seconds = max(time.monotonic() - self.began, 1e-9)
        ahead = timedelta(seconds=round(seconds * (epochs - epoch - 1)))
        log(f"{words}, {self.num_users / seconds:,.0f} users/s, {ahead} left")

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Ends the bar."""
        if self.bar is not None:
            self.bar.stop()
