"""The user x item matrix together with the raw ids of its users and items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from scipy import sparse

from keras_multvae.data.columns.csr import check_parts, csr_over, rows_of, without_zeros
from keras_multvae.data.columns.events import EventFrames
from keras_multvae.data.columns.mapped import check_clean
from keras_multvae.data.columns.row_blocks import (
    Arrays,
    Part,
    checked_rows,
    parts_of,
    renumber_columns,
    select_entries,
    select_rows,
)
from keras_multvae.data.ingest.entries import build_entries
from keras_multvae.data.ingest.events import array_chunks, check_values, checked_weights
from keras_multvae.data.ingest.frames import ROLES, frame_chunks
from keras_multvae.data.ingest.ids import converter
from keras_multvae.data.vocabulary import Vocabulary, as_vocabulary
from keras_multvae.typing import Chunk, Clicks, Frame


@dataclass(frozen=True, eq=False)
class Interactions(EventFrames):
    """A sparse user x item matrix of interactions, with the ids of both axes.

    Make one with `from_events`, `from_dataframe`, `from_matrix` or `read_interactions`;
    the constructor takes arrays that already fit together. As a data frame it has a row
    for each entry: user_id, item_id, value and, if there are times, timestamp (UTC).

    Args:
        matrix: (users, items) CSR, float32, item indices sorted within each user, no
            duplicates, no explicit zeros. 1 for a binary interaction, else a count.
        users: `Vocabulary` of the rows.
        items: `Vocabulary` of the columns.
        timestamps: Optional (entries,) int64 seconds since 1970, aligned with
            `matrix.data`; of an entry's first event in file order.
        positions: Optional (entries,) int64, the source row of each entry's first
            event. They are what "file order" means in the splits.
        user_weights: Optional (users,) float32 sample weights, finite and >= 0.
        counts: The numbers of events read and lost to each filter, by name.
        fractions: Optional (entries,) int32 nanoseconds after the seconds of
            `timestamps`; none where all are 0.

    Raises:
        ValueError: Sizes that disagree, a matrix not as above, or a bad weight.
    """

    matrix: sparse.csr_matrix
    users: Vocabulary
    items: Vocabulary
    timestamps: np.ndarray | None = None
    positions: np.ndarray | None = None
    user_weights: np.ndarray | None = None
    counts: dict[str, int] = field(default_factory=dict)
    fractions: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.users), len(self.items))
        names = ("timestamps", "fractions", "positions")
        check_parts(self.matrix, shape, {name: getattr(self, name) for name in names})
        check_clean(self.matrix)
        if self.user_weights is not None:
            weights = checked_weights(self.user_weights, shape[0], "user_weights")
            object.__setattr__(self, "user_weights", weights)

    @classmethod
    def from_events(
        cls,
        users: object,
        items: object,
        *,
        ratings: object = None,
        values: object = None,
        timestamps: object = None,
        min_rating: float | None = None,
        min_user_items: int = 1,
        min_item_users: int = 1,
        k_core: int | None = None,
        duplicates: Literal["collapse", "count"] = "collapse",
        drop_missing: bool = False,
        time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto",
        id_type: Literal["auto", "str", "int"] = "auto",
    ) -> Interactions:
        """Builds the matrix from events in file order.

        Events below `min_rating` are dropped first, then repeated pairs are merged,
        then items with too few users are dropped, then users with too few items: once
        each, not repeated to a fixed point. Users are sorted (ints by number), items
        are in the order of first appearance among the remaining events.

        Args:
            users: (events,) raw user ids, all int or all str; a list, a NumPy array, or
                a column of pandas, polars or PyArrow, as all that follow.
            items: (events,) raw item ids, all int or all str.
            ratings: Optional (events,) numbers, used by `min_rating` alone.
            values: Optional (events,) weights of the events, e.g. play counts, finite
                and >= 0; an event of weight 0 is dropped. 1 by default.
            timestamps: Optional (events,) seconds or milliseconds since 1970, dates,
                datetimes (those without a zone are UTC) or ISO text.
            min_rating: Optional, keep events with rating >= this; to be given with
                `ratings`.
            min_user_items: Int >= 1, distinct items a user must have.
            min_item_users: Int >= 1, distinct users an item must have.
            k_core: Optional int >= 1, in place of these two: users and items with fewer
                are dropped repeatedly, until all have as many.
            duplicates: How to merge events of the same (user, item) pair: "collapse"
                keeps the first one (without `values`, the matrix is then binary),
                "count" sums the values.
            drop_missing: Bool, whether to drop and count events with a missing value;
                by default they are refused.
            time_unit: Unit of numeric timestamps. "auto" reads 1e11 and more as
                milliseconds, 1e14 and more as microseconds, 1e17 and more as
                nanoseconds, and refuses columns that are ambiguous.
            id_type: "str" converts all ids to text, "int" accepts only whole numbers,
                also as text; by default ids keep their type.

        Returns:
            The interactions, with `positions`, with `timestamps` if given, and with
            what each filter lost in `counts`.

        Raises:
            ValueError: Empty or unequal columns, bad numbers, nothing left.
            TypeError: Ids of mixed types, or neither int nor str.

        Example:

        >>> clicks = Interactions.from_events([7, 7, 3], ["b", "a", "b"])
        >>> clicks.users.ids.tolist(), clicks.items.ids.tolist()
        ([3, 7], ['b', 'a'])
        >>> clicks.matrix.toarray()
        array([[1., 0.],
               [1., 1.]], dtype=float32)

        References:
            docs/method.md, protocol, step 1 (Liang et al. 2018, section 4.1).
        """
        chunks = array_chunks(
            users, items, ratings=ratings, values=values, timestamps=timestamps
        )
        return from_chunks(
            chunks,
            min_rating=min_rating,
            min_user_items=min_user_items,
            min_item_users=min_item_users,
            k_core=k_core,
            duplicates=duplicates,
            drop_missing=drop_missing,
            time_unit=time_unit,
            convert=dict.fromkeys(("users", "items"), converter(id_type)),
        )

    @classmethod
    def from_dataframe(
        cls,
        df: Frame,
        *,
        user_column: str = "user_id",
        item_column: str = "item_id",
        rating_column: str | None = None,
        value_column: str | None = None,
        timestamp_column: str | None = None,
        id_type: Literal["auto", "str", "int"] = "auto",
        **filters: Any,
    ) -> Interactions:
        """Builds the matrix from a pandas or polars DataFrame of events.

        Args:
            df: The DataFrame; neither library is imported here.
            user_column: Name of the column of user ids.
            item_column: Name of the column of item ids.
            rating_column: Optional, the column for `min_rating`.
            value_column: Optional, the column of event weights.
            timestamp_column: Optional, times of any kind that `from_events` takes.
            id_type: As in `from_events`.
            **filters: `min_rating`, `min_user_items`, `min_item_users`, `k_core`,
                `duplicates`, `drop_missing` and `time_unit`, as in `from_events`.

        Returns:
            The interactions.

        Raises:
            TypeError: Not a DataFrame.
            ValueError: A missing column, or what `from_events` raises.
        """
        columns = (user_column, item_column, rating_column, value_column)
        names = dict(zip(ROLES, (*columns, timestamp_column), strict=True))
        convert = dict.fromkeys(("users", "items"), converter(id_type))
        return from_chunks(frame_chunks(df, names), convert=convert, **filters)

    @classmethod
    def from_matrix(
        cls, matrix: Clicks, users: object = None, items: object = None
    ) -> Interactions:
        """Builds interactions from a SciPy sparse matrix.

        Args:
            matrix: (users, items) SciPy sparse matrix of finite values >= 0.
            users: Optional raw user ids of the rows; 0, 1, ... by default.
            items: Optional raw item ids of the columns; 0, 1, ... by default.

        Returns:
            The interactions; `matrix` itself is not changed.

        Raises:
            TypeError: Not a sparse matrix.
            ValueError: Negative or non-finite values, or the wrong number of ids.

        Example:

        >>> from scipy import sparse
        >>> Interactions.from_matrix(sparse.eye(3), items=["a", "b", "c"])
        Interactions(3 users, 3 items, 3 entries)
        """
        matrix = without_zeros(matrix)
        check_values(matrix.data)
        of_users, of_items = map(as_vocabulary, (users, items), matrix.shape)
        return cls(matrix, of_users, of_items)

    @property
    def num_users(self) -> int:
        """The number of users."""
        return len(self.users)

    @property
    def num_items(self) -> int:
        """The number of items."""
        return len(self.items)

    @property
    def num_entries(self) -> int:
        """The number of stored (user, item) pairs."""
        return int(self.matrix.data.size)

    @property
    def rows(self) -> np.ndarray:
        """(entries,) int64 user index of each entry."""
        return rows_of(self.matrix.indptr)

    def __repr__(self) -> str:
        return (
            f"Interactions({self.num_users} users, {self.num_items} items, "
            f"{self.num_entries} entries)"
        )

    def select_users(self, indices: object) -> Interactions:
        """The interactions of the users at `indices`, in that order.

        Args:
            indices: 1-D int array of user indices, none twice.

        Returns:
            The interactions, over the same items.

        Raises:
            IndexError: Indices that are no ints in 0..users-1.
        """
        indices = checked_rows(indices, self.num_users)
        weights = self.user_weights
        return self._of(
            *select_rows(self.matrix.indptr, self._arrays, indices),
            users=self.users.take(indices),
            user_weights=None if weights is None else weights[indices],
        )

    def select_entries(self, mask: np.ndarray) -> Interactions:
        """The same users and items with some of the entries.

        Args:
            mask: (entries,) bool, True for entries to keep.

        Returns:
            The interactions; users may have empty rows.
        """
        mask = np.asarray(mask, bool)
        return self._of(*select_entries(self.matrix.indptr, self._arrays, mask))

    def with_items(self, items: Vocabulary) -> Interactions:
        """The same interactions over another item vocabulary.

        Args:
            items: The new columns. Entries of other items are dropped, and users
                without entries keep an empty row. Text ids are converted to its kind;
                see `Vocabulary.from_text`.

        Returns:
            The interactions.
        """
        ids = items.from_text(self.items.ids)
        number = items.lookup(ids).astype("int32")
        entries = renumber_columns(self.matrix.indptr, self._arrays, number)
        return self._of(*entries, items=items)

    def parts(self) -> Iterator[Part]:
        """Yields the entries by blocks of users that fit in memory.

        Returns:
            An iterator of blocks. Each has `start`, the number of entries before it;
            `indptr`, (users + 1,) ints from 0; `arrays`, (entries,) each: `indices`,
            `values` and, if there are any, `timestamps` and `positions`; `file_order`,
            (entries,) sort keys for the order in the file, or by (user, item) without
            positions.

        Example:

        >>> clicks = Interactions.from_events([7, 7, 3], ["b", "a", "b"])
        >>> [part.arrays["indices"].tolist() for part in clicks.parts()]
        [[0, 0, 1]]
        """
        return parts_of(self.matrix.indptr, self._arrays)

    @property
    def _arrays(self) -> Arrays:
        arrays = {"indices": self.matrix.indices, "values": self.matrix.data}
        for name in ("timestamps", "fractions", "positions"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        return arrays

    def _of(self, indptr: np.ndarray, arrays: Arrays, **changed: Any) -> Interactions:
        """A copy with other entries and, by name, other users, weights or items."""
        users, items = (changed.get(n, getattr(self, n)) for n in ("users", "items"))
        shape = (len(users), len(items))
        changed |= {n: arrays.get(n) for n in ("timestamps", "fractions", "positions")}
        matrix = csr_over(arrays["values"], arrays["indices"], indptr, shape)
        return replace(self, matrix=matrix, counts={}, **changed)


def from_chunks(chunks: Iterable[Chunk], **filters: Any) -> Interactions:
    """Builds the matrix from chunks of events; see `entries.build_entries`."""
    kept = build_entries(chunks, **filters)
    shape = (len(kept.user_ids), len(kept.item_ids))
    return Interactions(
        csr_over(kept.values, kept.indices, kept.indptr, shape),
        Vocabulary(kept.user_ids),
        Vocabulary(kept.item_ids),
        timestamps=kept.timestamps,
        fractions=kept.fractions,
        positions=kept.positions,
        counts=kept.counts,
    )
