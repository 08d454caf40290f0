"""Ways to train faster that were tried, and are not in the package, on PyTorch.

    python -m benchmarks.speed.tried

1. The output layer in one pass over blocks of items: logits, likelihood, gradients and
   Adam's step while a block is in the cache, with the blocks of logits kept or computed
   a second time.
2. Adam's step of the first layer on the rows alone that a batch has clicked.

Each beside what the package does, in alternation, in the shape of ML-20M or of Gowalla.
The first checks that it computes the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from benchmarks.speed.tables import markdown, number
from keras_multvae.backend.torch.adam import fused_adam
from keras_multvae.backend.torch.ops import affine, multinomial_nll
from keras_multvae.backend.torch.products import product
from keras_multvae.heap import retain_freed_memory

USERS, UNITS, ENTRIES = 500, 600, 34_000
ITEMS = {"ML-20M": 20_108, "Gowalla": 40_981}
# Of a batch of 500 users, with half of the clicks dropped.
CLICKED_ROWS = {"ML-20M": 6_800, "Gowalla": 5_600}
BLOCKS = (512, 2048, 8192)
ROUNDS = 15
STEP = torch.tensor(1)
RATES = (torch.tensor(1e-3), 0.9, 0.999, 1e-8)
Found = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Clicks:
    """The entries of a batch, sorted by item."""

    users: torch.Tensor
    items: torch.Tensor
    total: torch.Tensor

    @classmethod
    def drawn(cls, items: int) -> Clicks:
        users = torch.randint(0, USERS, (ENTRIES,))
        found = torch.sort(torch.randint(0, items, (ENTRIES,))).values
        return cls(users, found, torch.bincount(users, minlength=USERS).float())

    def within(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Users and places of the entries in a block of items."""
        ends = torch.searchsorted(self.items, torch.tensor([start, stop])).tolist()
        part = slice(*ends)
        return self.users[part], self.items[part] - start


class Layer:
    """Kernel, bias and moments of the output layer, in blocks of items."""

    def __init__(self, items: int, width: int) -> None:
        generator = torch.Generator().manual_seed(0)
        kernel = 0.05 * torch.randn(UNITS, items, generator=generator)
        self.kernels = [part.contiguous() for part in kernel.split(width, 1)]
        self.biases = [torch.zeros(part.shape[1]) for part in self.kernels]
        self.moments = [
            (torch.zeros_like(part), torch.zeros_like(part)) for part in self.kernels
        ]
        self.starts = [width * block_id for block_id in range(len(self.kernels) + 1)]

    def update(self, block_id: int, gradient: torch.Tensor) -> None:
        fused_adam(
            self.kernels[block_id], *self.moments[block_id], gradient, STEP, *RATES
        )


def whole(layer: Layer, hidden: torch.Tensor, clicks: Clicks) -> Found:
    """What the package does: (users,) likelihoods and the hidden layer's gradient."""
    inputs = [hidden, layer.kernels[0], layer.biases[0]]
    for tensor in inputs:
        tensor.requires_grad_()
    ones = torch.ones(ENTRIES)
    nll = multinomial_nll(affine(*inputs), clicks.users, clicks.items, ones)
    to_hidden, to_kernel, _ = torch.autograd.grad(nll.mean(), inputs)
    for tensor in inputs:
        tensor.requires_grad_(False)
    layer.update(0, to_kernel)
    return nll.detach(), to_hidden


def in_blocks(layer: Layer, hidden: torch.Tensor, clicks: Clicks, kept: bool) -> Found:
    """The same block by block; the logits are `kept` or computed a second time."""

    def logits_of(block_id: int) -> torch.Tensor:
        return product(hidden, layer.kernels[block_id], layer.biases[block_id])

    def within(block_id: int) -> tuple[torch.Tensor, torch.Tensor]:
        return clicks.within(*layer.starts[block_id : block_id + 2])

    order = range(len(layer.kernels))
    norm, picked, blocks = torch.zeros(USERS), [], []
    for block_id in order:
        logits = logits_of(block_id)
        picked.append(logits[within(block_id)])
        norm += logits.exp_().sum(1)
        blocks.append(logits if kept else None)
    log_pi = torch.cat(picked) - norm.log()[clicks.users]
    nll = -torch.zeros(USERS).index_add(0, clicks.users, log_pi)
    scale, turned = clicks.total / (USERS * norm), hidden.T.contiguous()
    to_hidden = torch.zeros_like(hidden)
    for block_id in order:
        block, blocks[block_id] = blocks[block_id], None
        gradient = logits_of(block_id).exp_() if block is None else block
        gradient.mul_(scale[:, None])
        users, places = within(block_id)
        flat = users * gradient.shape[1] + places
        gradient.view(-1).index_add_(0, flat, torch.full(flat.shape, -1 / USERS))
        gradient.sum(0)
        to_hidden += product(gradient, layer.kernels[block_id].T)
        layer.update(block_id, product(turned, gradient))
    return nll, to_hidden


def output_layer(items: int) -> dict[str, Callable[[], Found]]:
    """The ways of the output layer, by name."""
    torch.manual_seed(0)
    hidden, clicks = torch.randn(USERS, UNITS).tanh(), Clicks.drawn(items)
    layer = Layer(items, items)
    ways: dict[str, Callable[[], Found]] = {
        "as it is": lambda: whole(layer, hidden, clicks)
    }
    for width in BLOCKS:
        for kept in (True, False):
            cut = Layer(items, width)
            how = "kept" if kept else "computed twice"
            ways[f"in blocks of {width} items, logits {how}"] = (
                lambda cut=cut, kept=kept: in_blocks(cut, hidden, clicks, kept)
            )
    return ways


def first_layer(items: int, clicked: int) -> dict[str, Callable[[], None]]:
    """The ways of Adam's step on the first layer, by name."""
    tables = [torch.zeros(items, UNITS) for _ in range(3)]
    gradient = torch.randn(items, UNITS)
    rows = torch.sort(torch.randperm(items)[:clicked]).values
    of_rows = gradient[rows]

    def some() -> None:
        parts = [table.index_select(0, rows) for table in tables]
        fused_adam(*parts, of_rows, STEP, *RATES)
        for table, part in zip(tables, parts, strict=True):
            table.index_copy_(0, rows, part)

    return {
        "all rows": lambda: fused_adam(*tables, gradient, STEP, *RATES),
        f"{clicked:,} clicked rows, without catching up": some,
    }


def timed(ways: dict[str, Callable[[], object]]) -> list[list[str]]:
    """A line a way: milliseconds and processor time, medians of alternating rounds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with retain_freed_memory():
        for _ in range(ROUNDS + 1):
            for name, way in ways.items():
                wall, cpu = time.perf_counter(), time.process_time()
                way()
                found[name].append(
                    (time.perf_counter() - wall, time.process_time() - cpu)
                )
    lines = []
    for name, samples in found.items():
        walls, cpus = zip(*samples[1:], strict=True)
        lines.append([name, *(number(1000 * median(each)) for each in (walls, cpus))])
    return lines


def main() -> None:
    """Prints a table for each way and shape."""
    for shape, items in ITEMS.items():
        ways = output_layer(items)
        expected = ways["as it is"]()
        for way in list(ways.values())[1:]:
            for one, other in zip(way(), expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
        for what, lines in (
            ("the output layer", timed(ways)),
            ("Adam on the first layer", timed(first_layer(items, CLICKED_ROWS[shape]))),
        ):
            print(f"\n{shape}, {what}, {torch.get_num_threads()} threads:\n")
            print(markdown(["", "ms", "ms of processor time"], lines))


if __name__ == "__main__":
    main()
