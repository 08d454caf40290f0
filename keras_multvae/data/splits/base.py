"""Training, validation and test parts, also of data that come already split."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

from keras_multvae.data.columns.csr import FirstAppearances, csr_over
from keras_multvae.data.columns.row_blocks import largest_of
from keras_multvae.data.interactions import Interactions
from keras_multvae.tables import ShowsTable, Table
from keras_multvae.typing import Json

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class FoldIn:
    """Held-out users: the input that the model gets, and the targets that it must rank.

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
        """The number of held-out users."""
        return self.input.num_users

    def __repr__(self) -> str:
        return (
            f"FoldIn({self.num_users} users, {self.input.num_entries} input entries, "
            f"{self.targets.num_entries} targets)"
        )


@dataclass(frozen=True, eq=False)
class Split(ShowsTable):
    """Training, validation and test parts of a data set.

    Args:
        train: The training interactions; their item vocabulary is that of all parts.
        validation: Optional held-out users for choosing settings.
        test: Optional held-out users for the final figures.
        settings: How the split was made; stored in the prepared folder's manifest.

    Raises:
        ValueError: A part has other items than `train`.
    """

    train: Interactions
    validation: FoldIn | None = None
    test: FoldIn | None = None
    settings: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            part = getattr(self, name)
            if part is not None and part.input.items != self.train.items:
                raise ValueError(
                    f"`{name}` must have the items of `train` in the same order. "
                    f"Received: {part.input.items}, expected {self.train.items}."
                )

    def __repr__(self) -> str:
        parts = (f"{name}={getattr(self, name)}" for name in _PARTS)
        return f"Split({', '.join(parts)})"

    def _table(self) -> Table:
        """A row for each part."""
        rows: list[list[object]] = [_sizes("train", self.train, None)]
        for name in _PARTS[1:]:
            part: FoldIn | None = getattr(self, name)
            if part is not None:
                rows.append(_sizes(name, part.input, part.targets))
        heading = ["part", "users", "entries read", "entries to predict"]
        made = f", by {self.settings['method']}" if "method" in self.settings else ""
        caption = f"Split over {self.train.num_items:,} items{made}"
        return Table(heading, rows, caption)

    def histories(self) -> Interactions:
        """All interactions of each user, from all parts.

        A `Recommender` keeps them so as not to recommend what a user already has.

        Returns:
            The interactions of the users of all parts, those of `train` first, over the
            same items. A click that several parts have counts once, with the largest
            of its values. There are no times.

        Example:

        >>> train = Interactions.from_events([1, 1, 2, 2], list("abbc"))
        >>> test = Interactions.from_events([2, 1], list("ac"))
        >>> Split.from_holdout(train, test).histories().matrix.toarray()
        array([[1., 1., 1.],
               [1., 1., 1.]], dtype=float32)
        """
        users, parts = self.train.users, [self.train]
        for fold_in in (self.validation, self.test):
            if fold_in is not None:
                parts += [fold_in.input, fold_in.targets]
                users = users.extend(fold_in.input.users.ids)
        rows = []
        for part in parts:
            own = np.arange(part.num_users)
            rows.append(np.full(len(users), -1))
            # The users of `train` come first and need no look-up.
            place = own if part is self.train else users.lookup(part.users.ids)
            rows[-1][place] = own
        matrices = [
            (
                each.matrix.indptr,
                {"indices": each.matrix.indices, "values": each.matrix.data},
            )
            for each in parts
        ]
        items = self.train.items
        indptr, arrays = largest_of(matrices, rows, len(items))
        matrix = csr_over(
            arrays["values"], arrays["indices"], indptr, (len(users), len(items))
        )
        return Interactions(matrix, users, items)

    @classmethod
    def from_holdout(
        cls,
        train: Interactions,
        test: Interactions,
        validation: Interactions | None = None,
    ) -> Split:
        """Makes the split of a data set that has its own train and test files.

        This is weak generalisation: the users of the test are users of the training,
        with held-out clicks. The input of a user are the training clicks, for the test
        also those of the validation.

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


def _sizes(name: str, read: Interactions, targets: Interactions | None) -> list[object]:
    hidden = "" if targets is None else f"{targets.num_entries:,}"
    return [name, f"{read.num_users:,}", f"{read.num_entries:,}", hidden]


def with_own_items(interactions: Interactions) -> Interactions:
    """Over the items that occur in it, in the order of first appearance."""
    appearances = FirstAppearances(interactions.num_items)
    for part in interactions.parts():
        appearances.add(part.arrays["indices"], part.file_order)
    return interactions.with_items(interactions.items.take(appearances.ordered()))


def _holdout(seen: Interactions, held_out: Interactions, name: str) -> FoldIn:
    """Held-out clicks as targets, and other clicks of their users as input."""
    targets = held_out.with_items(seen.items)
    rows = seen.users.lookup(seen.users.from_text(targets.users.ids))
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
    """The clicks of both arguments, for the users of the first."""
    rows = seen.users.lookup(more.users.ids)
    moved = more.matrix.tocoo()
    shape = seen.matrix.shape
    added = csr_matrix((moved.data, (rows[moved.row], moved.col)), shape=shape)
    return Interactions.from_matrix(
        seen.matrix + added, users=seen.users.ids, items=seen.items.ids
    )
