"""Training, validation and test parts: strong generalisation, by date, last out."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from keras_multvae.data.csr import number_by_first_appearance
from keras_multvae.data.interactions import Interactions


@dataclass(frozen=True, eq=False)
class FoldIn:
    """Held-out users: what the model is shown of them, and what it must find.

    Args:
        input: Interactions folded in.
        targets: Interactions to be predicted, of the same users and items in the same
            order. A user's row may be empty.

    Raises:
        ValueError: The users or the items of the two differ.
    """

    input: Interactions
    targets: Interactions

    def __post_init__(self) -> None:
        for name in ("users", "items"):
            if getattr(self.input, name) != getattr(self.targets, name):
                raise ValueError(
                    f"`input` and `targets` must have the same {name} in the same "
                    f"order. Received: {getattr(self.input, name)} and "
                    f"{getattr(self.targets, name)}."
                )

    @property
    def num_users(self) -> int:
        """Held-out users."""
        return self.input.num_users

    def __repr__(self) -> str:
        return (
            f"FoldIn({self.num_users} users, {self.input.num_entries} input entries, "
            f"{self.targets.num_entries} targets)"
        )


@dataclass(frozen=True, eq=False)
class Split:
    """What to train on, to choose settings by, and to report on.

    Args:
        train: The training interactions; their item vocabulary is that of all parts.
        validation: Optional held-out users for choosing settings.
        test: Optional held-out users for the final figures.
        settings: How the split was made; goes into the prepared folder's manifest.

    Raises:
        ValueError: A part has other items than `train`.
    """

    train: Interactions
    validation: FoldIn | None = None
    test: FoldIn | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            part = getattr(self, name)
            if part is not None and part.input.items != self.train.items:
                raise ValueError(
                    f"`{name}` must have the items of `train` in the same order. "
                    f"Received: {part.input.items}, expected {self.train.items}."
                )

    @classmethod
    def from_holdout(
        cls,
        train: Interactions,
        test: Interactions,
        validation: Interactions | None = None,
    ) -> Split:
        """The split of a data set that comes with its own train and test files.

        This is weak generalisation: the same users train and are tested, on clicks
        that were held out. What the model is shown of a user are the training clicks,
        for the test also those of the validation.

        Args:
            train: What to train on.
            test: Held-out clicks of users of `train`, the targets of the test.
            validation: Optional held-out clicks for choosing settings.

        Returns:
            The split, over the items of `train`. Held-out clicks on other items are
            dropped; `settings["dropped"]` counts them.

        Raises:
            ValueError: A held-out user has no training clicks, or a click is in two
                parts.

        Example:

        >>> train = Interactions.from_events([1, 1, 2, 2], list("abbc"))
        >>> test = Interactions.from_events([2, 1], list("ac"))
        >>> Split.from_holdout(train, test).test
        FoldIn(2 users, 4 input entries, 2 targets)
        """
        seen, dropped = train, {}
        validation_part = None
        if validation is not None:
            validation_part = _holdout(train, validation, "validation")
            seen = _with_clicks(train, validation_part.targets)
            kept = validation_part.targets.num_entries
            dropped["validation"] = validation.num_entries - kept
        test_part = _holdout(seen, test, "test")
        dropped["test"] = test.num_entries - test_part.targets.num_entries
        settings = {"method": "from_holdout", "dropped": dropped}
        return cls(train, validation_part, test_part, settings)


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
    """Holds out whole users, and of each a part of the items as targets.

    By default this is the paper's protocol to the letter: NumPy's legacy random
    stream, seeded anew for the permutation of the users, for the validation and for
    the test targets. The items are those of the training users, in the order of their
    first appearance in the file; held-out users lose the others.

    Args:
        interactions: All users, already filtered, in file order (`positions`); without
            positions they count as ordered by (user, item).
        num_validation_users: Int >= 0; 0 gives no validation part.
        num_test_users: Int >= 0; 0 gives no test part.
        seed: Int, of the legacy stream.
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
        PAPER.md, protocol, steps 2 to 4 (Liang et al. 2018, section 4.1).
    """
    for name, number in (
        ("num_validation_users", num_validation_users),
        ("num_test_users", num_test_users),
    ):
        if number < 0:
            raise ValueError(f"`{name}` must be >= 0. Received: {number}.")
    if not 0 < target_fraction < 1:
        raise ValueError(
            "`target_fraction` must lie between 0 and 1, both excluded. Received: "
            f"{target_fraction}."
        )
    num_users = interactions.num_users
    num_train = num_users - num_validation_users - num_test_users
    if num_train < 1:
        raise ValueError(
            f"Cannot hold out {num_validation_users} validation and {num_test_users} "
            f"test users of {num_users}: at least one user must be left to train on. "
            "Hold out fewer, or filter less."
        )

    def stream() -> np.random.RandomState | np.random.Generator:
        return np.random.RandomState(seed) if generator is None else generator

    order = stream().permutation(num_users)
    train_users, validation_users, test_users = (
        np.sort(part)
        for part in np.split(order, [num_train, num_train + num_validation_users])
    )
    train = _with_own_items(interactions.select_users(train_users))

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


def temporal_split(
    interactions: Interactions, validation_from: int, test_from: int
) -> Split:
    """Splits at two dates that are the same for all users.

    Training sees what happened before `validation_from`. Validation shows the model the
    same period of each user and asks for what the user did from then until
    `test_from`; the test shows everything before `test_from` and asks for the rest.
    Items not seen in training are dropped, and so are held-out users left with no input
    or no target.

    Args:
        interactions: With `timestamps`.
        validation_from: Int, seconds since 1970; the first second of validation.
        test_from: Int, seconds since 1970, later; the first second of the test.

    Returns:
        The split; the same user may be in several parts.

    Raises:
        ValueError: No timestamps, dates in the wrong order, or a part without users.
    """
    time = _timestamps(interactions)
    if validation_from >= test_from:
        raise ValueError(
            "`validation_from` must be before `test_from`. Received: "
            f"{validation_from} and {test_from}."
        )
    parts = _split_by_masks(
        interactions,
        train=time < validation_from,
        validation=(time >= validation_from) & (time < test_from),
        test=time >= test_from,
    )
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        if part is None:
            raise ValueError(
                f"The dates leave no user in the {name} part: validation_from="
                f"{validation_from}, test_from={test_from}, while the events run from "
                f"{time.min()} to {time.max()}."
            )
    return _split(
        parts,
        interactions,
        method="temporal_split",
        validation_from=int(validation_from),
        test_from=int(test_from),
    )


def leave_last_out(interactions: Interactions) -> Split:
    """Holds out each user's last event for the test and the one before for validation.

    Events of the same second count in file order. Users with fewer than three events
    train whole. The test's input includes the validation target. Items not seen in
    training are dropped, and so are held-out users left with no target.

    Args:
        interactions: With `timestamps`.

    Returns:
        The split; the same user may be in all three parts.

    Raises:
        ValueError: No timestamps, or no user with three events and known items.

    Example:

    >>> clicks = Interactions.from_events(
    ...     [1, 1, 1, 2, 2, 2], list("abcbca"), timestamps=[1, 2, 3, 1, 3, 2]
    ... )
    >>> split = leave_last_out(clicks)
    >>> split.train.items.ids.tolist(), split.test
    (['a', 'b'], None)
    """
    time = _timestamps(interactions)
    rows = interactions.rows
    order = np.lexsort((interactions.file_order, time, rows))
    ends = interactions.matrix.indptr[1:].astype("int64")
    from_end = np.empty(len(rows), "int64")
    # `order` keeps users together, so a user's events end where its row does.
    from_end[order] = ends[rows[order]] - 1 - np.arange(len(rows))
    long = (np.diff(interactions.matrix.indptr) >= 3)[rows]
    parts = _split_by_masks(
        interactions,
        train=~long | (from_end >= 2),
        validation=long & (from_end == 1),
        test=long & (from_end == 0),
    )
    if parts[1] is None and parts[2] is None:
        raise ValueError(
            "No user has three events whose last ones are of items known to training; "
            f"received {interactions}."
        )
    return _split(parts, interactions, method="leave_last_out")


_Parts = tuple[Interactions | None, FoldIn | None, FoldIn | None]


def _split(parts: _Parts, source: Interactions, **settings: Any) -> Split:
    train, validation, test = parts
    assert train is not None
    settings["source_counts"] = source.counts
    return Split(train, validation, test, settings)


def _split_by_masks(
    interactions: Interactions,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
) -> _Parts:
    """Parts from masks of entries; the test's input is all that is not its target."""
    if not train.any():
        return None, None, None
    seen = interactions.select_entries(train)
    seen = _with_own_items(seen.select_users(_non_empty(seen)))

    def fold_in(input_mask: np.ndarray, target_mask: np.ndarray) -> FoldIn | None:
        inputs = interactions.select_entries(input_mask).with_items(seen.items)
        targets = interactions.select_entries(target_mask).with_items(seen.items)
        users = np.intersect1d(_non_empty(inputs), _non_empty(targets))
        if len(users) == 0:
            return None
        return FoldIn(inputs.select_users(users), targets.select_users(users))

    return seen, fold_in(train, validation), fold_in(train | validation, test)


def _holdout(seen: Interactions, held_out: Interactions, name: str) -> FoldIn:
    """Held-out clicks as targets, with what else is known of their users as input."""
    targets = held_out.with_items(seen.items)
    rows = seen.users.lookup(targets.users.ids)
    if (rows < 0).any():
        unknown = targets.users.ids[rows < 0]
        raise ValueError(
            f"`{name}` must hold users of `train`. Received {len(unknown)} others, as "
            f"{unknown[0]!r}; hold out whole users with strong_generalization()."
        )
    inputs = seen.select_users(rows)
    both = inputs.matrix.multiply(targets.matrix).nnz
    if both:
        raise ValueError(
            f"`{name}` must hold clicks that no earlier part has. Received {both} that "
            "are in both: a model would be shown what it has to find."
        )
    return FoldIn(inputs, targets)


def _with_clicks(seen: Interactions, more: Interactions) -> Interactions:
    """The clicks of both, for the users of the first."""
    rows = seen.users.lookup(more.users.ids)
    moved = more.matrix.tocoo()
    shape = seen.matrix.shape
    added = csr_matrix((moved.data, (rows[moved.row], moved.col)), shape=shape)
    return Interactions.from_matrix(
        seen.matrix + added, users=seen.users.ids, items=seen.items.ids
    )


def _draw_targets(
    part: Interactions,
    random: np.random.RandomState | np.random.Generator,
    target_fraction: float,
    min_items: int,
) -> FoldIn:
    is_target = np.zeros(part.num_entries, bool)
    file_order = part.file_order
    indptr = part.matrix.indptr
    for start, end in pairwise(indptr.tolist()):
        size = end - start
        # No draw at all for a short row: the stream must stay in step.
        if size >= min_items:
            in_order = start + np.argsort(file_order[start:end])
            count = int(target_fraction * size)
            is_target[in_order[random.choice(size, size=count, replace=False)]] = True
    return FoldIn(part.select_entries(~is_target), part.select_entries(is_target))


def _with_own_items(interactions: Interactions) -> Interactions:
    """Over the items that occur in it, in the order of first appearance in the file."""
    _, items = number_by_first_appearance(
        interactions.matrix.indices, interactions.file_order
    )
    return interactions.with_items(interactions.items.take(items))


def _non_empty(interactions: Interactions) -> np.ndarray:
    return np.flatnonzero(np.diff(interactions.matrix.indptr))


def _timestamps(interactions: Interactions) -> np.ndarray:
    if interactions.timestamps is None:
        raise ValueError(
            "This split needs timestamps; these interactions have none. Name the "
            "timestamp column when reading them."
        )
    return interactions.timestamps
