r"""Data-parallel training on PyTorch, with its DistributedDataParallel.

    KERAS_BACKEND=torch torchrun --nproc-per-node 2 examples/train_with_ddp.py \
      prepared --out model

Each process trains on its part of every batch, and the gradients are averaged.
`prepared` is a folder that `keras-multvae prepare` wrote. Keras has no data parallelism
of its own on PyTorch, so the loop over the batches is here and not in `fit`.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import keras
import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from keras_multvae import LinearBeta, MultVAE, Recommender, evaluate_ranking
from keras_multvae.data import UserBatches, load_prepared


def own_part(batch: Any) -> Any:
    """What this process trains on: one of the equal blocks of a batch."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return keras.tree.map_structure(lambda array: np.split(array, world)[rank], batch)


def train(model: MultVAE, batches: UserBatches, epochs: int) -> list[float]:
    """Trains a compiled model, and gives the mean loss of each epoch."""
    # Gives all processes the weights of the first, and averages gradients from now on.
    parallel = DistributedDataParallel(model)
    variables = model.trainable_variables
    model.optimizer.build(variables)
    history = []
    for _ in range(epochs):
        losses = []
        for index in range(len(batches)):
            batch = tensors(own_part(batches[index]))
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            model.zero_grad()
            logits = parallel(x, training=True)
            loss = model.compute_loss(x, y, logits, sample_weight)
            loss.backward()
            with torch.no_grad():
                gradients = [variable.value.grad for variable in variables]
                model.optimizer.apply(gradients, variables)
            losses.append(loss.detach())
        batches.on_epoch_end()
        total = torch.stack(losses).mean()
        torch.distributed.all_reduce(total)
        history.append(float(total) / torch.distributed.get_world_size())
    return history


def tensors(part: Any) -> Any:
    """The arrays of a part of a batch as tensors."""
    return keras.tree.map_structure(keras.ops.convert_to_tensor, part)


def main() -> None:
    """Trains, evaluates and saves; the first process alone does the last two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared")
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=500)
    options = parser.parse_args()
    torch.distributed.init_process_group()
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    split = load_prepared(options.prepared).split
    # Another seed for each process is other noise; the weights are those of the first.
    model = MultVAE(split.train.num_items, seed=rank)
    model.compile()
    batch_size = options.batch_size // world * world
    batches = UserBatches(split.train, batch_size, partitions=world)
    steps = options.epochs * len(batches)
    model.set_beta_schedule(LinearBeta(cap=0.2, total_steps=steps * 2.5))
    for epoch, loss in enumerate(train(model, batches, options.epochs), start=1):
        if rank == 0:
            print(f"epoch {epoch}: loss {loss:.3f}")
    if rank == 0:
        if split.test is not None:
            print(evaluate_ranking(model, split.test))
        Recommender(model, split.train.items).save(options.out)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
