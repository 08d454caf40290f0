"""Recorded steps, with a stand-in for CUDA's graphs that runs the step again."""

from __future__ import annotations

import contextlib

import keras
import numpy as np
import pytest
from conftest import make_clicks

from keras_multvae import BetaAnneal, MultVAE
from keras_multvae.data import UserBatches

if keras.backend.backend() != "torch":
    pytest.skip("of PyTorch", allow_module_level=True)

import torch

from keras_multvae.backend.torch import graphs, ops, ranking, sparse


class Graph:
    """Runs what was recorded, on the very tensors that it was recorded on."""

    def __init__(self):
        self.generators, self.runs = [], 0

    def register_generator_state(self, generator):
        self.generators.append(generator)

    def pool(self):
        return None

    def replay(self):
        self.runs += 1
        graphs._sources.append(lambda seeds: next(generators))
        generators = iter(self.generators)
        self.logs.update(self.step(self.batch))
        graphs._sources.pop()


@pytest.fixture
def recorded(monkeypatch):
    """Recordings that were made, on a machine that seems to have a GPU."""
    made = []

    class Recording(graphs._Recording):
        def record(self, step, stream, pool):
            self._logs = {}
            self._graph.step, self._graph.batch = step, self._batch
            self._graph.logs = self._logs
            made.append(self._graph)

    class Stream:
        def wait_stream(self, other):
            pass

    monkeypatch.setattr(graphs, "_Recording", Recording)
    monkeypatch.setattr(graphs, "_device", lambda: "cpu")
    monkeypatch.setattr(ops, "upload", lambda batch: batch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    return made


def trained(alike):
    model = MultVAE(30, 4, (8,), seed=1)
    model.steps_alike = alike
    model.compile()
    batches = UserBatches(make_clicks(70, 30), 10, seed=2)
    batches.upload = None
    callbacks = [BetaAnneal(total_steps=30)]
    history = model.fit(batches, epochs=3, callbacks=callbacks, verbose=0).history
    return history, [weight.numpy() for weight in model.trainable_variables]


def test_a_recorded_step_trains_as_the_step_does(recorded, monkeypatch):
    monkeypatch.setattr("keras_multvae.backend.upload", lambda batch: batch)
    history, weights = trained(True)
    assert sum(graph.runs for graph in recorded) >= 21 - 2 * graphs.WARM_UP
    expected, others = trained(False)
    assert history == expected
    for found, wanted in zip(weights, others, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_cannot_be_recorded_goes_on_without(recorded, monkeypatch):
    monkeypatch.setattr("keras_multvae.backend.upload", lambda batch: batch)

    def refuse(self, step, stream, pool):
        raise RuntimeError("operation not permitted")

    monkeypatch.setattr(graphs._Recording, "record", refuse)
    with pytest.warns(UserWarning, match="operation not permitted"):
        history, _ = trained(True)
    assert history == trained(False)[0]


def test_constants_are_made_once_and_never_changed():
    constants = graphs._Constants()
    with constants:
        first = torch.as_tensor(2.0)
        first.add_(1)
        second = torch.as_tensor(2.0)
        assert torch.as_tensor(2, dtype=torch.int32).dtype == torch.int32
    assert float(second) == 2
    assert len(constants._kept) == 2


def test_the_ways_of_a_gpu_compute_what_those_of_a_cpu_do():
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.integers(-3, 3, (50, 40)).astype("float32"))
    scores[0, :5] = -torch.inf
    scores[1, 3] = -0.0
    for found, wanted in zip(
        ranking._top_k_by_keys(scores, 7), ranking.top_k(scores, 7), strict=True
    ):
        assert found.tolist() == wanted.tolist()
    values = torch.tensor([1.0, 0, 2, 0, 0])
    offsets = sparse._padding(values, torch.tensor(2)).int()
    assert offsets.tolist() == [3]
    # The last user's entries, from the fourth on, were all dropped.
    assert sparse._padding(values, torch.tensor(3)).tolist() == [3]
    assert sparse._padding(values, torch.tensor(4)).tolist() == [4]
    product = torch.nn.functional.embedding_bag(
        torch.tensor([1, 0, 2, 0, 0], dtype=torch.int32),
        torch.eye(3),
        torch.cat([torch.tensor([0, 2], dtype=torch.int32), offsets]),
        mode="sum",
        per_sample_weights=values,
    )[:2]
    assert product.tolist() == [[0, 1, 0], [0, 0, 2]]
