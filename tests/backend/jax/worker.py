"""A process of a distributed training: see test_process.py.

    python worker.py FOLDER ADDRESS PROCESSES PROCESS JOBS

JOBS is a JSON list of jobs, done one after the other; the first process prints what
comes out of each as a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import keras
from conftest import make_clicks

from keras_multvae import distribution
from keras_multvae.data import Interactions, strong_generalization
from keras_multvae.training import Recipe, train

MODEL = {"latent_dim": 3, "hidden_dims": [6]}
TRAINING = {"batch_size": 20, "anneal_steps": 100, "partitions": 4}


def recipe(epochs, model="MultVAE", **settings):
    settings = {**MODEL, **settings}
    if settings["hidden_dims"] is None:  # a model without this setting
        del settings["hidden_dims"]
    return Recipe.from_json(
        {
            "model": model,
            "settings": settings,
            "training": {**TRAINING, "epochs": epochs},
        }
    )


class Kill(keras.callbacks.Callback):
    """Kills this process after a step, as the system would."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        self.step -= 1
        if self.step == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def do(job, folder, is_first):
    clicks = make_clicks(83, job["items"])
    split = strong_generalization(Interactions.from_matrix(clicks), 20, 3, seed=1)
    scope = nullcontext()
    if job["kind"] == "data":
        scope = distribution.data_parallel().scope()
    elif job["kind"] == "items":
        scope = distribution.item_parallel(job.get("parts")).scope()
    with scope:
        model, history = train(
            split,
            recipe(**job["recipe"]),
            folder / job["name"],
            save_every=0,
            resume=job.get("resume", False),
            overwrite=not job.get("resume", False),
            callbacks=[Kill(job["killed"])]
            if job.get("killed") and not is_first
            else [],
        )
        if is_first:  # a whole model, for one process alone
            scores = model.score(split.test.input.matrix)
            print(json.dumps({"history": history, "scores": scores.tolist()}))


def main():
    folder, address, processes, process, jobs = sys.argv[1:]
    if int(processes) > 1:
        keras.distribution.initialize(address, int(processes), int(process))
    for job in json.loads(jobs):
        do(job, Path(folder), process == "0")


if __name__ == "__main__":
    main()
