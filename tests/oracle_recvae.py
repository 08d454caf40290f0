"""RecVAE and ImplicitSLIM in float64 NumPy; no code is shared with us."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DEPTH = 5


@dataclass
class Encoder:
    """Kernels and biases of all layers, scales and shifts of five norms."""

    layers: list[tuple[np.ndarray, np.ndarray]]
    norms: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, encoder) -> Encoder:
        """The weights of an encoder, as float64."""
        arrays = [v.numpy().astype("float64") for v in encoder.weights]
        pairs = list(zip(arrays[::2], arrays[1::2], strict=True))
        return cls(pairs[: DEPTH + 1], pairs[DEPTH + 1 :])

    def __call__(self, x, mask=None):
        """Mean and log-variance for dense rows; mask: what dropout multiplies with."""
        norm = np.sqrt((x**2).sum(1, keepdims=True))
        h = x / np.where(norm == 0, 1, norm)
        h = h if mask is None else h * mask
        outputs = []
        for k, ((w, b), (scale, shift)) in enumerate(
            zip(self.layers[:DEPTH], self.norms, strict=True)
        ):
            h = h @ w + b + (sum(outputs) if k else 0)
            h = h / (1 + np.exp(-h))
            center = h - h.mean(1, keepdims=True)
            h = center / np.sqrt((center**2).mean(1, keepdims=True) + 0.1)
            h = h * scale + shift
            outputs.append(h)
        w, b = self.layers[DEPTH]
        return np.split(h @ w + b, 2, axis=1)


def log_normal(z, mean, variance):
    return -0.5 * np.log(2 * np.pi * variance) - (z - mean) ** 2 / (2 * variance)


def log_prior(z, old_mean, old_log_var):
    """Of each user; the density itself, without any trick against underflow."""
    density = 0.15 * np.exp(log_normal(z, 0, 1))
    density += 0.75 * np.exp(log_normal(z, old_mean, np.exp(old_log_var)))
    density += 0.10 * np.exp(log_normal(z, 0, np.exp(10)))
    return np.log(density).sum(1)


def kl(z, mean, log_var, old_mean, old_log_var):
    """The estimate of each user's KL at one z."""
    log_q = log_normal(z, mean, np.exp(log_var)).sum(1)
    return log_q - log_prior(z, old_mean, old_log_var)


def terms(encoder, old, decoder, x, eps=None, mask=None):
    """Each user's negative log-likelihood and KL, and the logits."""
    mean, log_var = encoder(x, mask)
    z = mean if eps is None else mean + eps * np.exp(log_var / 2)
    f = z @ decoder[0] + decoder[1]
    pi = np.exp(f - f.max(1, keepdims=True))
    pi /= pi.sum(1, keepdims=True)
    return -(x * np.log(pi)).sum(1), kl(z, mean, log_var, *old(x)), f


def objective(encoder, old, decoder, x, gamma, eps=None, mask=None):
    """What training minimises, averaged over users."""
    nll, divergence, _ = terms(encoder, old, decoder, x, eps, mask)
    return (nll + gamma * x.sum(1) * divergence).mean()


def implicit_slim(w, x, l2, alpha, min_clicks):
    """A table (units, items) after the update, with dense items x items matrices."""
    n = x.sum(0)
    gram = x.T @ x
    a = w * (n >= min_clicks)
    d = np.diag(1 / (n + l2))
    m = (l2 * a + a @ gram) @ d @ d
    c = l2 * m + m @ gram
    inner = c - c @ a.T @ np.linalg.inv(np.eye(len(w)) / alpha + c @ a.T) @ c
    return alpha * w @ a.T @ inner
