"""Plain PyTorch with dense rows: see `benchmarks.plain_torch`."""

from __future__ import annotations

import torch
from scipy import sparse

from benchmarks.plain_torch import PlainMultVAE, Trainer, top_k


class Plain:
    """The paper's network as users write it."""

    def __init__(self, clicks: str, batch_size: int) -> None:
        torch.manual_seed(0)
        self.clicks = sparse.load_npz(clicks)
        self.batch_size = batch_size
        self.model = PlainMultVAE(self.clicks.shape[1], 600, 200, 0.5)
        self.trainer = Trainer(
            self.model, self.clicks, batch_size, 1e-3, 0.2, 200_000, seed=0
        )

    def epoch(self) -> None:
        self.trainer.epoch()

    def recommend(self, k: int) -> int:
        """Ranks for all users; the number of items recommended."""
        items, _ = top_k(self.model, self.clicks, k, self.batch_size)
        return items.size
