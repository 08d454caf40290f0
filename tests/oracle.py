"""Mult-VAE in float64 NumPy, written from the paper and sharing no code with us."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Weights:
    """Kernels and biases of encoder and decoder, in the order of the layers."""

    encoder: list[tuple[np.ndarray, np.ndarray]]
    decoder: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, model) -> Weights:
        """The weights of a `MultVAE`, as float64."""
        arrays = [v.numpy().astype("float64") for v in model.trainable_variables]
        pairs = list(zip(arrays[::2], arrays[1::2], strict=True))
        layers = len(model.hidden_dims) + 1
        return cls(pairs[:layers], pairs[layers:])


def forward(weights, x, eps=None, mask=None):
    """Logits, mean and log-variance for dense rows x.

    eps: (users, K) standard normal noise, None for z = mean.
    mask: what dropout multiplies the normalised input with, None for 1.
    """
    norm = np.sqrt((x**2).sum(1, keepdims=True))
    hidden = x / np.where(norm == 0, 1, norm)
    hidden = hidden if mask is None else hidden * mask
    hidden = _mlp(weights.encoder, hidden)
    mean, log_var = np.split(hidden, 2, axis=1)
    z = mean if eps is None else mean + eps * np.sqrt(np.exp(log_var))
    return _mlp(weights.decoder, z), mean, log_var


def forward_dae(weights, x):
    """Logits of Mult-DAE for dense rows x: a point z, tanh after all but the last."""
    norm = np.sqrt((x**2).sum(1, keepdims=True))
    z = np.tanh(_mlp(weights.encoder, x / np.where(norm == 0, 1, norm)))
    return _mlp(weights.decoder, z)


def _mlp(layers, hidden):
    for i, (kernel, bias) in enumerate(layers):
        hidden = hidden @ kernel + bias
        if i < len(layers) - 1:
            hidden = np.tanh(hidden)
    return hidden


def nll(likelihood, x, f, c1=10.0, c0=1.0):
    """Negative log-likelihood of each user."""
    if likelihood == "multinomial":
        pi = np.exp(f - f.max(1, keepdims=True))
        pi /= pi.sum(1, keepdims=True)
        return -(x * np.log(pi)).sum(1)
    if likelihood == "gaussian":
        confidence = np.where(x > 0, c1, c0)
        return (confidence / 2 * (x - f) ** 2).sum(1)
    s = 1 / (1 + np.exp(-f))
    return -(x * np.log(s) + (1 - x) * np.log(1 - s)).sum(1)


def kl(mean, log_var):
    """KL(N(mean, var) || N(0, I)) of each user."""
    return 0.5 * (np.exp(log_var) + mean**2 - 1 - log_var).sum(1)


def objective(weights, x, beta, likelihood="multinomial", **noise):
    """What training minimises, averaged over users."""
    f, mean, log_var = forward(weights, x, **noise)
    return (nll(likelihood, x, f) + beta * kl(mean, log_var)).mean()


def gradients(weights, x, beta, **kwargs):
    """Central differences of the objective in every weight, in the layers' order."""
    return differences(weights, lambda: objective(weights, x, beta, **kwargs))


def differences(weights, value, step=1e-5):
    """Central differences of `value()` in every weight, in the layers' order."""
    result = []
    for layers in (weights.encoder, weights.decoder):
        for pair in layers:
            for array in pair:
                gradient = np.zeros_like(array)
                for index in np.ndindex(array.shape):
                    old = array[index]
                    array[index] = old + step
                    up = value()
                    array[index] = old - step
                    down = value()
                    array[index] = old
                    gradient[index] = (up - down) / (2 * step)
                result.append(gradient)
    return result


def ranking_metrics(scores, seen, targets, k):
    """Recall@k and NDCG@k of each user that has a target, by sorting."""
    recalls, ndcgs = [], []
    for user in range(scores.shape[0]):
        wanted = set(np.flatnonzero(targets[user]))
        if not wanted:
            continue
        unseen = [i for i in range(scores.shape[1]) if not seen[user, i]]
        top = sorted(unseen, key=lambda i: (-scores[user, i], i))[:k]
        gains = [1 / np.log2(r + 2) for r, i in enumerate(top) if i in wanted]
        best = min(k, len(wanted))
        recalls.append(len(gains) / best)
        ndcgs.append(sum(gains) / sum(1 / np.log2(r + 2) for r in range(best)))
    return np.array(recalls), np.array(ndcgs)
