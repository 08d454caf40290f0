"""RecVAE in plain PyTorch with dense rows, written from the paper: the yardstick."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from scipy import sparse
from torch import nn
from torch.nn import functional

DEPTH, WEIGHTS, WIDE = 5, (0.15, 0.75, 0.1), 10.0


class PlainEncoder(nn.Module):
    """Five layers, each of which sees the sum of all before it."""

    def __init__(self, num_items: int, width: int, latent: int):
        super().__init__()
        sizes = [num_items] + [width] * (DEPTH - 1)
        self.layers = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=0.1) for _ in sizes)
        self.mean = nn.Linear(width, latent)
        self.log_var = nn.Linear(width, latent)

    def forward(self, x: torch.Tensor, dropout: float) -> tuple[torch.Tensor, ...]:
        """Rows of clicks -> mean and log-variance."""
        h = functional.dropout(functional.normalize(x), dropout, training=True)
        total = 0.0
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = norm(functional.silu(layer(h) + total))
            total = total + h
        return self.mean(h), self.log_var(h)


class PlainRecVAE(nn.Module):
    """The encoder, the encoder of the epoch before, a linear decoder.

    With `glorot` the layers begin as those of the package, else as PyTorch's do.
    """

    def __init__(self, num_items: int, width: int, latent: int, glorot: bool = False):
        super().__init__()
        self.num_items = num_items
        self.encoder = PlainEncoder(num_items, width, latent)
        self.decoder = nn.Linear(latent, num_items)
        for layer in self.modules() if glorot else ():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.trunc_normal_(layer.bias, std=0.001, a=-0.002, b=0.002)
        self.old = copy.deepcopy(self.encoder).requires_grad_(False)

    def loss(self, x: torch.Tensor, gamma: float, dropout: float) -> torch.Tensor:
        """What training minimises, averaged over users."""
        mean, log_var = self.encoder(x, dropout)
        z = mean + torch.randn_like(mean) * torch.exp(log_var / 2)
        with torch.no_grad():
            old = self.old(x, 0.0)
        zero = torch.zeros_like(z)
        parts = [(zero, zero), old, (zero, zero + WIDE)]
        log_prior = torch.stack(
            [
                math.log(w) + _log_normal(z, *p)
                for w, p in zip(WEIGHTS, parts, strict=True)
            ]
        ).logsumexp(0)
        kl = (_log_normal(z, mean, log_var) - log_prior).sum(1)
        nll = -(functional.log_softmax(self.decoder(z), dim=1) * x).sum(1)
        return (nll + gamma * x.sum(1) * kl).mean()

    def score(self, histories: sparse.csr_matrix, batch_size: int = 500) -> np.ndarray:
        """Log pi of all items, as the models of the package give it."""
        rows = []
        with torch.no_grad():
            for start in range(0, histories.shape[0], batch_size):
                x = histories[start : start + batch_size].toarray()
                mean, _ = self.encoder(torch.from_numpy(x).float(), 0.0)
                logits = self.decoder(mean)
                rows.append(functional.log_softmax(logits, dim=1).numpy())
        return np.concatenate(rows)


def _log_normal(
    z: torch.Tensor, mean: torch.Tensor, log_var: torch.Tensor
) -> torch.Tensor:
    square = (z - mean) ** 2 / log_var.exp()
    return -0.5 * (math.log(2 * math.pi) + log_var + square)


class RecTrainer:
    """One pass over the users after the other, three for the encoder, one not."""

    def __init__(
        self,
        model: PlainRecVAE,
        clicks: sparse.csr_matrix,
        batch_size: int,
        learning_rate: float,
        gamma: float,
        dropout: float,
        seed: int,
        encoder_passes: int = 3,
        decoder_passes: int = 1,
    ):
        self.model, self.clicks, self.batch_size = model, clicks, batch_size
        self.gamma, self.dropout = gamma, dropout
        halves = (model.encoder, model.decoder)
        self.optimizers = [
            torch.optim.Adam(half.parameters(), learning_rate) for half in halves
        ]
        self.turns = [0] * encoder_passes + [1] * decoder_passes
        self.rng = np.random.default_rng(seed)
        self.passes = 0

    def one_pass(self) -> None:
        """One pass over the users in random order."""
        model, half = self.model, self.turns[self.passes % len(self.turns)]
        if half == 1:
            model.old.load_state_dict(model.encoder.state_dict())
        optimizer = self.optimizers[half]
        order = self.rng.permutation(self.clicks.shape[0])
        for start in range(0, len(order), self.batch_size):
            rows = self.clicks[order[start : start + self.batch_size]].toarray()
            x = torch.from_numpy(rows).float()
            model.zero_grad()
            model.loss(x, self.gamma, 0.0 if half else self.dropout).backward()
            optimizer.step()
        self.passes += 1
