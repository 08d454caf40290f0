"""All features of all items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from scipy import sparse

from keras_multvae.features.encoding import encoded
from keras_multvae.features.feature import Feature, Matrix
from keras_multvae.features.kinds import SEPARATOR
from keras_multvae.tables import columns_of
from keras_multvae.typing import Column, Frame, Id, Value


class ItemFeatures:
    """Features of items, in the order of a vocabulary.

    Args:
        features: `Feature`s of the same items, each of another name.

    Raises:
        ValueError: No feature, two of one name, or of another number of items.

    Example:

    >>> films = {"genres": ["Drama|War", "Comedy"], "year": [1998, 2003]}
    >>> features = ItemFeatures.from_columns(films)
    >>> features
    ItemFeatures(2 items: genres (3 labels), year (number))
    >>> features["genres"].matrix.toarray()
    array([[0., 1., 1.],
           [1., 0., 0.]], dtype=float32)
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        names = [feature.name for feature in features]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"Give at least one feature, each of another name. Received: {names}."
            )
        sizes = {feature.name: feature.num_items for feature in features}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"All features must be of the same items. Received rows: {sizes}."
            )
        self._features = {feature.name: feature for feature in features}

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Column],
        kinds: Mapping[str, str] | None = None,
        separator: str = SEPARATOR,
    ) -> ItemFeatures:
        """Features from columns with a value for each item.

        Args:
            columns: By name: text, whose labels are parted by `separator`; lists of
                labels; numbers; or a matrix (items, width), sparse or dense.
            kinds: Optional, "labels", "words" (of free text) or "number" by name. By
                default a column is a number where all its values are.
            separator: Between labels.

        Raises:
            ValueError: See `ItemFeatures`; or what does not fit its kind.
        """
        kinds = kinds or {}
        unknown = set(kinds) - set(columns)
        if unknown:
            raise ValueError(
                f"`kinds` must be of the columns. Received: {sorted(unknown)}."
            )
        return cls(
            [
                encoded(name, column, kinds.get(name), separator=separator)
                for name, column in columns.items()
            ]
        )

    @classmethod
    def from_dataframe(
        cls,
        df: Frame,
        item_ids: Iterable[Id],
        *,
        item_column: str = "item_id",
        columns: Sequence[str] | None = None,
        kinds: Mapping[str, str] | None = None,
        separator: str = SEPARATOR,
    ) -> ItemFeatures:
        """Features from a pandas or polars DataFrame with a row for each item.

        Args:
            df: The DataFrame; neither library is imported here.
            item_ids: Raw ids of the items that the features are to be of, in their
                order, as `Vocabulary.ids`. An item without a row has nothing told.
            item_column: Name of the column of item ids.
            columns: Optional, the columns to take; all others by default.
            kinds: As in `from_columns`.
            separator: As in `from_columns`.

        Raises:
            ValueError: A missing column, no row of any of the items, or what
                `from_columns` raises.

        Example:

        >>> import polars
        >>> df = polars.DataFrame({"item_id": ["b", "a"], "colour": ["red", "blue"]})
        >>> features = ItemFeatures.from_dataframe(df, ["a", "b"])
        >>> features["colour"].column()
        [['blue'], ['red']]
        """
        if columns is None:
            columns = [name for name in df.columns if name != item_column]
        found = columns_of(df, [item_column, *columns])
        ids, wanted = found.pop(item_column), list(item_ids)
        if not set(ids) & set(wanted):
            raise ValueError(
                f"No row is of one of the items, whose ids are as {wanted[:1]}. "
                f"Received: {item_column} as {ids[:1]}."
            )
        return cls.from_columns(aligned(ids, found, wanted), kinds, separator)

    def like(
        self,
        columns: Mapping[str, Column] | Frame | ItemFeatures,
        separator: str = SEPARATOR,
    ) -> ItemFeatures:
        """The same features of other items, from their columns.

        Args:
            columns: As in `from_columns`, a DataFrame of them, or features; those
                beside these are passed over. A label or word that no item had says
                nothing.
            separator: Between labels.

        Raises:
            ValueError: A feature is missing, or does not fit.
        """
        if isinstance(columns, ItemFeatures):
            columns = {feature.name: feature.column() for feature in columns}
        elif hasattr(columns, "columns"):
            columns = columns_of(columns)
        missing = [name for name in self.names if name not in columns]
        if missing:
            raise ValueError(
                f"New items need the features of the others: {', '.join(self.names)}. "
                f"Missing: {', '.join(missing)}."
            )
        return ItemFeatures(
            [
                encoded(each.name, columns[each.name], like=each, separator=separator)
                for each in self
            ]
        )

    @property
    def names(self) -> list[str]:
        """Names of the features."""
        return list(self._features)

    @property
    def num_items(self) -> int:
        """Items that they are of."""
        return next(iter(self)).num_items

    def __iter__(self) -> Iterator[Feature]:
        return iter(self._features.values())

    def __getitem__(self, name: str) -> Feature:
        if name not in self._features:
            raise ValueError(
                f"There is no feature {name!r}, only {', '.join(self.names)}."
            )
        return self._features[name]

    def __repr__(self) -> str:
        shown = (
            f"{each.name} ({each.kind})"
            if each.kind == "number"
            else f"{each.name} ({each.matrix.shape[1]} {each.kind})"
            if each.values is not None
            else f"{each.name} ({each.kind} of {each.matrix.shape[1]})"
            for each in self
        )
        return f"ItemFeatures({self.num_items} items: {', '.join(shown)})"

    def labels(self, name: str) -> sparse.csr_matrix:
        """A feature of labels, CSR (items, labels) of 0 and 1.

        Raises:
            ValueError: There is no such feature, or it is a number or a vector.
        """
        feature = self[name]
        if feature.values is None:
            raise ValueError(
                f"The feature {name!r} must be labels or words. Received: a "
                f"{feature.kind}."
            )
        return feature.matrix

    def take(self, rows: np.ndarray) -> ItemFeatures:
        """The features of the items `rows`; see `Feature.take` for unknown ones, -1."""
        return ItemFeatures([feature.take(rows) for feature in self])

    def followed_by(self, others: ItemFeatures) -> ItemFeatures:
        """These items and then others, which have the same features."""
        joined = []
        for feature in self:
            other = others[feature.name]
            pair = (feature.matrix, other.matrix)
            if all(map(sparse.issparse, pair)):
                matrix = sparse.vstack(pair, "csr")
            else:
                matrix = np.concatenate([_dense(each) for each in pair])
            joined.append(Feature(feature.name, feature.kind, matrix, feature.values))
        return ItemFeatures(joined)

    def unit_rows(self) -> Matrix:
        """All features side by side, CSR or dense float32 (items, width).

        Each feature's rows are centred by its mean where it is a number or a vector,
        and scaled so that the mean of their squared lengths is 1: no feature weighs
        more than another for its unit or its number of columns.
        """
        return side_by_side(self, self)


def aligned(
    ids: Sequence[Id], columns: Mapping[str, Sequence[Value]], item_ids: Iterable[Id]
) -> dict[str, list[Value]]:
    """Columns of items in another order, None for items that they have no row of."""
    rows = {item: row for row, item in enumerate(ids)}
    places = [rows.get(item, -1) for item in item_ids]
    return {
        name: [values[place] if place >= 0 else None for place in places]
        for name, values in columns.items()
    }


def side_by_side(features: ItemFeatures, measure: ItemFeatures) -> Matrix:
    """`unit_rows` of features, centred and scaled as those of other items are."""
    blocks: list[Matrix] = []
    for feature in features:
        own, of = feature.matrix, measure[feature.name].matrix
        if feature.values is None:
            mean = np.asarray(of.mean(axis=0)).reshape(1, -1)
            own, of = _dense(own) - mean, _dense(of) - mean
        square = float(of.multiply(of).sum() if sparse.issparse(of) else (of**2).sum())
        blocks.append(own * np.float32((max(of.shape[0], 1) / square) ** 0.5)
                      if square else own)  # fmt: skip
    if all(map(sparse.issparse, blocks)):
        return sparse.csr_matrix(sparse.hstack(blocks), dtype="float32")
    return np.concatenate([_dense(each) for each in blocks], 1).astype("float32")


def _dense(matrix: Matrix) -> np.ndarray:
    found = matrix.toarray() if sparse.issparse(matrix) else matrix
    return np.asarray(found)
