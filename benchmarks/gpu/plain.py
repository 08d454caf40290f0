"""Plain PyTorch beside it: eager and compiled, its dense rows made on the device."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional

from benchmarks.gpu import common
from benchmarks.gpu.common import arguments, peak_memory, say, set_precision, timed
from benchmarks.plain_torch import PlainMultVAE

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
K = 100


def dense(clicks: sparse.csr_matrix) -> torch.Tensor:
    """Rows on the device, of which the clicks alone travel."""
    rows = np.repeat(np.arange(clicks.shape[0]), np.diff(clicks.indptr))
    flat = torch.from_numpy(rows * clicks.shape[1] + clicks.indices).to(DEVICE)
    x = torch.zeros(clicks.shape, device=DEVICE)
    x.view(-1)[flat] = 1.0
    return x


class Training:
    """The paper's network and optimiser, as `benchmarks.plain_torch` has them."""

    def __init__(self, clicks: sparse.csr_matrix, size: int, precision: str) -> None:
        torch.manual_seed(0)
        self.clicks, self.size, self.precision = clicks, size, precision
        self.model = PlainMultVAE(clicks.shape[1], 600, 200, 0.5).to(DEVICE)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)
        self.loss = self._loss
        self.step = 0

    @contextlib.contextmanager
    def cast(self) -> Iterator[None]:
        with torch.autocast(DEVICE, torch.bfloat16, self.precision == "bfloat16"):
            yield

    def _loss(self, x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        with self.cast():
            logits, mean, log_var = self.model(x)
        nll = -(functional.log_softmax(logits.float(), dim=1) * x).sum(1)
        kl = 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum(1)
        return (nll + beta * kl).mean()

    def epoch(self) -> None:
        self.model.train()
        order = np.random.default_rng(self.step).permutation(self.clicks.shape[0])
        for start in range(0, len(order), self.size):
            x = dense(self.clicks[order[start : start + self.size]])
            beta = torch.tensor(min(0.2, self.step / 200_000), device=DEVICE)
            self.optimizer.zero_grad()
            self.loss(x, beta).backward()
            self.optimizer.step()
            self.step += 1
        wait()

    def recommend(self) -> None:
        self.model.eval()
        with torch.inference_mode(), self.cast():
            for start in range(0, self.clicks.shape[0], self.size):
                x = dense(self.clicks[start : start + self.size])
                logits = self.model(x)[0]
                logits[x > 0] = -torch.inf
                torch.topk(logits, K, dim=1).indices.cpu()


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    options = arguments(__doc__)
    matrix = common.clicks(options)
    users = matrix.shape[0]
    for compiled in (False, True):
        for precision in ("tf32", "bfloat16"):
            for size in common.batch_sizes(options)[: 2 if compiled else 3]:
                set_precision(precision)
                peak_memory(reset=True)
                training = Training(matrix, size, precision)
                if compiled:
                    training.loss = torch.compile(training._loss)
                start = time.perf_counter()
                training.epoch()
                first = time.perf_counter() - start
                seconds = timed(training.epoch, 1 if first > 5 else 2)
                say(
                    batch_size=size, precision=precision, compiled=compiled,
                    users_per_s=round(users / seconds), peak_gib=peak_memory(),
                )  # fmt: skip
                if not compiled and size == 4_096:
                    seconds = timed(training.recommend, 1)
                    say(precision=precision, top_100_users_per_s=round(users / seconds))
                del training


if __name__ == "__main__":
    main()
