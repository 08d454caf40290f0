"""Settings check themselves, and come back from JSON."""

from __future__ import annotations

import numpy as np
import pytest

from keras_multvae import GaussianNLL, MultDAE, MultVAE, SampledSoftmax

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "config",
    [
        MultVAE.Config(),
        MultVAE.Config(
            np.int64(8),
            np.array([5, 4]),
            dropout=np.float32(0.25),
            tied=np.bool_(True),
            head=SampledSoftmax(5, "popularity", "bfloat16"),
        ),
        MultDAE.Config(likelihood="logistic", l2=0),
    ],
)
def test_json_there_and_back(config):
    assert type(config).from_json(config.to_json()) == config


def test_a_likelihood_of_ones_own_goes_through_json():
    config = MultVAE.Config(likelihood=GaussianNLL(4.0, 0.5))
    found = MultVAE.Config.from_json(config.to_json()).likelihood
    assert type(found) is GaussianNLL
    assert (found.clicked_confidence, found.unclicked_confidence) == (4.0, 0.5)


def test_numpy_scalars_become_pythons_own():
    config = MultVAE.Config(np.int32(8), (np.int64(5),), np.float32(0.5))
    assert type(config.latent_dim) is int
    assert type(config.hidden_dims[0]) is int
    assert type(config.dropout) is float


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"latent_dim": 0}, "`latent_dim` must be an integer >= 1. Received: "),
        ({"latent_dim": True}, "latent_dim=True"),
        ({"latent_dim": 2.0}, "latent_dim=2.0"),
        ({"hidden_dims": 600}, "`hidden_dims` must be a sequence of integers >= 1"),
        ({"hidden_dims": "600"}, "hidden_dims='600'"),
        ({"hidden_dims": [5, 0]}, "hidden_dims=[5, 0]"),
        ({"dropout": 1}, "`dropout` must be a number in [0, 1)"),
        ({"dropout": float("nan")}, "dropout=nan"),
        ({"likelihood": "poisson"}, "one of multinomial, gaussian, logistic or a "),
        ({"likelihood": 3}, "likelihood=3"),
        ({"tied": 1}, "`tied` must be True or False"),
        ({"tied": True, "hidden_dims": ()}, "hidden_dims=()"),
        ({"head": "sampled"}, "`head` must be None or SampledSoftmax"),
        ({"head": SampledSoftmax(), "likelihood": "gaussian"}, "Leave `head` out"),
    ],
)
def test_what_is_wrong_is_named(settings, words):
    with pytest.raises(ValueError) as error:
        MultVAE.Config(**settings)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"latent": 3}, "MultVAEConfig has no setting 'latent'; it has latent_dim, "),
        ({"head": {"type": "half"}}, "`type` must be one of full, sampled"),
        ({"head": {"type": "sampled", "num": 3}}, "has no setting 'num'"),
        ({"dropout": "much"}, "dropout='much'"),
    ],
)
def test_what_is_wrong_in_json_is_named(values, words):
    with pytest.raises(ValueError) as error:
        MultVAE.Config.from_json(values)
    assert words in str(error.value)
