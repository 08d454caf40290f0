"""Strong generalisation: holding out whole users by the paper's protocol."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from keras_multvae import checks
from keras_multvae.data.interactions import Interactions
from keras_multvae.data.splits.base import FoldIn, Split, with_own_items


def strong_generalization(
    interactions: Interactions,
    num_validation_users: int,
    num_test_users: int,
    *,
    seed: int = 98765,
    target_fraction: float = 0.2,
    min_items: int = 5,
    generator: np.random.Generator | None = None,
) -> Split:
    """Holds out whole users, and a share of each one's items as targets.

    By default this is exactly the paper's protocol: NumPy's legacy random stream,
    seeded again for the permutation of the users, the validation targets and the test
    targets. The items are those of the training users, in the order of their first
    appearance in the file; held-out users lose the others.

    Args:
        interactions: All users, already filtered, in file order (`positions`); without
            positions, ordered by (user, item).
        num_validation_users: Int >= 0; 0 gives no validation part.
        num_test_users: Int >= 0; 0 gives no test part.
        seed: Int, the seed of the legacy stream.
        target_fraction: Float in (0, 1), the share of a held-out user's items that
            become targets, rounded down.
        min_items: Int, held-out users with fewer items keep all of them as input.
        generator: Optional NumPy `Generator` to draw from, in place of the protocol's
            legacy stream and its three seeds; `seed` is then not used.

    Returns:
        The split. Users are in sorted order within each part.

    Raises:
        ValueError: Not enough users, or a fraction outside (0, 1).

    Example:

    >>> from scipy import sparse
    >>> clicks = Interactions.from_matrix(sparse.csr_matrix(np.ones((8, 10))))
    >>> strong_generalization(clicks, 2, 1).validation
    FoldIn(2 users, 16 input entries, 4 targets)

    References:
        docs/method.md, protocol, steps 2 to 4 (Liang et al. 2018, section 4.1).
    """
    num_validation_users = checks.integer(
        "num_validation_users", num_validation_users, at_least=0
    )
    num_test_users = checks.integer("num_test_users", num_test_users, at_least=0)
    target_fraction = checks.share("target_fraction", target_fraction, "(0, 1)")

    def stream() -> np.random.RandomState | np.random.Generator:
        return np.random.RandomState(seed) if generator is None else generator

    train_users, validation_users, test_users = _draw_users(
        interactions.num_users, num_validation_users, num_test_users, stream()
    )
    train = with_own_items(interactions.select_users(train_users))

    def hold_out(users: np.ndarray) -> FoldIn | None:
        if len(users) == 0:
            return None
        part = interactions.select_users(users).with_items(train.items)
        return _draw_targets(part, stream(), target_fraction, min_items)

    return Split(
        train,
        hold_out(validation_users),
        hold_out(test_users),
        {
            "method": "strong_generalization",
            "num_validation_users": num_validation_users,
            "num_test_users": num_test_users,
            "target_fraction": target_fraction,
            "min_items": min_items,
            "random": "RandomState"
            if generator is None
            else type(generator.bit_generator).__name__,
            "seed": seed if generator is None else None,
            "source_counts": interactions.counts,
        },
    )


def _draw_users(
    num_users: int,
    num_validation_users: int,
    num_test_users: int,
    random: np.random.RandomState | np.random.Generator,
) -> list[np.ndarray]:
    """The sorted users of the training, the validation and the test."""
    num_train = num_users - num_validation_users - num_test_users
    if num_train < 1:
        raise ValueError(
            f"Cannot hold out {num_validation_users} validation and {num_test_users} "
            f"test users of {num_users}: at least one user must be left to train on. "
            "Hold out fewer, or filter less."
        )
    order = random.permutation(num_users)
    parts = np.split(order, [num_train, num_train + num_validation_users])
    return [np.sort(part) for part in parts]


def _draw_targets(
    interactions: Interactions,
    random: np.random.RandomState | np.random.Generator,
    target_fraction: float,
    min_items: int,
) -> FoldIn:
    """Draws the targets of held-out users; the rest is their input."""
    is_target = np.zeros(interactions.num_entries, bool)
    for part in interactions.parts():
        file_order = part.file_order
        for start, end in pairwise(part.indptr.tolist()):
            size = end - start
            # No draw for a short row, to follow the protocol's random stream.
            if size >= min_items:
                in_order = part.start + start + np.argsort(file_order[start:end])
                count = int(target_fraction * size)
                drawn = random.choice(size, size=count, replace=False)
                is_target[in_order[drawn]] = True
    return FoldIn(
        interactions.select_entries(~is_target), interactions.select_entries(is_target)
    )
