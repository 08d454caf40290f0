"""Mult-VAE in plain PyTorch with dense rows, as users write it: the yardstick."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import nn
from torch.nn import functional


class PlainMultVAE(nn.Module):
    """Input -> hidden -> latent -> hidden -> logits, as in the paper."""

    def __init__(self, num_items: int, hidden: int, latent: int, dropout: float):
        super().__init__()
        self.num_items = num_items
        self.dropout = dropout
        self.first = nn.Linear(num_items, hidden)
        self.second = nn.Linear(hidden, 2 * latent)
        self.third = nn.Linear(latent, hidden)
        self.last = nn.Linear(hidden, num_items)
        for layer in (self.first, self.second, self.third, self.last):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.trunc_normal_(layer.bias, std=0.001, a=-0.002, b=0.002)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows of clicks -> logits, mean and log-variance."""
        x = functional.normalize(x)
        x = functional.dropout(x, self.dropout, self.training)
        mean, log_var = self.second(torch.tanh(self.first(x))).chunk(2, dim=1)
        z = mean
        if self.training:
            z = mean + torch.randn_like(mean) * torch.exp(log_var / 2)
        return self.last(torch.tanh(self.third(z))), mean, log_var

    def score(self, histories: sparse.csr_matrix, batch_size: int = 500) -> np.ndarray:
        """Log pi of all items, as the models of the package give it."""
        self.eval()
        rows = []
        with torch.no_grad():
            for start in range(0, histories.shape[0], batch_size):
                x = histories[start : start + batch_size].toarray()
                logits = self(torch.from_numpy(x).float())[0]
                rows.append(functional.log_softmax(logits, dim=1).numpy())
        return np.concatenate(rows)


class Trainer:
    """One epoch after the other, beta rising with every step."""

    def __init__(
        self,
        model: PlainMultVAE,
        clicks: sparse.csr_matrix,
        batch_size: int,
        learning_rate: float,
        beta_cap: float,
        anneal_steps: float,
        seed: int,
    ):
        self.model, self.clicks, self.batch_size = model, clicks, batch_size
        self.beta_cap, self.anneal_steps = beta_cap, anneal_steps
        self.optimizer = torch.optim.Adam(model.parameters(), learning_rate, eps=1e-8)
        self.rng = np.random.default_rng(seed)
        self.step = 0

    def epoch(self) -> None:
        """One pass over the users in random order."""
        self.model.train()
        order = self.rng.permutation(self.clicks.shape[0])
        for start in range(0, len(order), self.batch_size):
            rows = self.clicks[order[start : start + self.batch_size]].toarray()
            x = torch.from_numpy(rows).float()
            logits, mean, log_var = self.model(x)
            nll = -(functional.log_softmax(logits, dim=1) * x).sum(1)
            kl = 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum(1)
            beta = min(self.beta_cap, self.step / self.anneal_steps)
            loss = (nll + beta * kl).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.step += 1


def top_k(
    model: PlainMultVAE, histories: sparse.csr_matrix, k: int, batch_size: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """Items and logits (users, k) of the best unseen items of each user."""
    model.eval()
    items, scores = [], []
    with torch.no_grad():
        for start in range(0, histories.shape[0], batch_size):
            rows = histories[start : start + batch_size].toarray()
            x = torch.from_numpy(rows).float()
            logits = model(x)[0]
            logits[x > 0] = -torch.inf
            best = torch.topk(logits, k, dim=1)
            items.append(best.indices.numpy())
            scores.append(best.values.numpy())
    return np.concatenate(items), np.concatenate(scores)
