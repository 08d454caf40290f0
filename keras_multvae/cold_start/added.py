"""A model with items that it was not trained on: their tables from their features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from keras_multvae.abilities import HasItemVectors, TakesNewItems, require
from keras_multvae.cold_start import linear_path
from keras_multvae.cold_start.calibration import (
    FOLDS,
    LEAST_SHARE,
    MAX_SHARE,
    Audience,
    Calibration,
    Fold,
    Predicted,
    calibrated,
)
from keras_multvae.cold_start.evidence import (
    HALF_KNOWN,
    FewClicks,
    half_known,
)
from keras_multvae.cold_start.ridge import Regression
from keras_multvae.cold_start.tables import ItemTable, item_embeddings
from keras_multvae.data import FoldIn
from keras_multvae.features.feature import Matrix
from keras_multvae.typing import Model

# Judges, and numbers of their scores, at most.
USERS, MAX_SCORES = 1000, 1 << 24
# Clicks with which an item is half known, as they are tried; without end, features
# alone count.
HALVES = (np.inf, 300.0, 100.0, 30.0, 10.0)


@dataclass
class Known:
    """What new items are judged by.

    Args:
        design: Features of all items, known ones first, (known + new, width).
        counts: (known,) clicks that the model was trained on.
        judges: `FoldIn` over the known items: users' clicks and what they clicked
            besides.
        clicks: Optional CSR (users, known + new) with the clicks that new items have.
    """

    design: Matrix
    counts: np.ndarray
    judges: FoldIn
    clicks: sparse.csr_matrix | None = None


def with_items(
    model: Model,
    known: Known,
    warm_loss: float = 0.005,
    boost: float = 0.0,
    seed: int = 0,
) -> tuple[Model, Calibration]:
    """A copy of the model with new items after its own; see `Recommender.add_items`."""
    require(model, HasItemVectors, "add_items()")
    require(model, TakesNewItems, "add_items()")
    return _Addition(model, known, seed).done(warm_loss, boost)


class _Addition:
    """The parts of one addition, each a step of docs/method.md."""

    def __init__(self, model: Model, known: Known, seed: int) -> None:
        self.model, self.known, self.seed = model, known, seed
        self.path = model.linear_path
        self.network = model if self.path is None else model.without_linear_path()
        self.items = model.num_items
        self.new = known.design.shape[0] - self.items
        rows = {each.kind: each.rows() for each in item_embeddings(self.network)}
        self.vectors, self.biases = rows["vectors"], rows["biases"]
        judges = known.judges
        most = max(MAX_SCORES // self.items, 1)
        users = np.flatnonzero(np.diff(judges.targets.matrix.indptr))
        if len(users) == 0:
            raise ValueError(
                f"`judges` must have users with something to find. Received: {judges}."
            )
        users = np.random.default_rng(seed).permutation(users)[: min(USERS, most)]
        self.seen = judges.input.matrix[np.sort(users)].astype("float32")
        self.targets = judges.targets.matrix[np.sort(users)]
        self.queries = self.network.query_vectors(self.seen)
        self.metric = _root_of_covariance(self.queries)
        self.weights = self._weights()

    def _weights(self) -> np.ndarray:
        """How well each item is known, n / (n + half), and half from the residuals."""
        counts = self.known.counts
        weights = counts / (counts + HALF_KNOWN)
        regression = Regression(self.design, weights)
        told = self.vectors @ self.metric
        residuals = told[regression.judged] - regression.left_out(
            told, regression.fit(told)
        )
        squares = (residuals**2).sum(axis=1)
        half = half_known(counts[regression.judged], squares)
        found: np.ndarray = counts / (counts + half)
        return found

    @property
    def design(self) -> Matrix:
        """Features of the known items."""
        return self.known.design[: self.items]

    def done(self, warm_loss: float, boost: float) -> tuple[Model, Calibration]:
        """The model with the new items."""
        regression = Regression(self.design, self.weights)
        penalty = regression.fit(self.vectors @ self.metric).penalty
        near = None
        path: np.ndarray | float = 0.0
        if self.path is not None:
            near = linear_path.neighbours(
                self.design, self.known.design[self.items :], self.weights
            )
            path = self._path_logits(near, self.seen)
        grown = self.network.with_new_items(self.items + self.new)
        tables = item_embeddings(grown)
        choice, found = self._chosen(regression, penalty, tables, path, warm_loss)
        choice = choice._replace(shift=choice.shift + boost)
        predicted = self._new_items(regression, tables, found, path)
        kinds = [table.kind for table in tables]
        found[kinds.index("vectors")], found[kinds.index("biases")] = self._calibrated(
            self._audience, predicted, choice
        )
        for table, rows in zip(tables, found, strict=True):
            table.assign_last(rows)
        if self.path is not None and near is not None:
            matrix = linear_path.grown(self.path.matrix(), near, self._path_worth)
            grown = grown.with_linear_path(matrix, self._path_weight)
        return grown, choice

    def _chosen(
        self,
        regression: Regression,
        penalty: float,
        tables: list[ItemTable],
        path: np.ndarray | float,
        warm_loss: float,
    ) -> tuple[Calibration, list[np.ndarray]]:
        """How strongly new items compete, and their rows by table.

        Where they have clicks, these count what is best for all items within the
        budget. Features alone come first: clicks have to do better.
        """
        few = self._few_clicks()
        folds: Iterable[Fold] = self._folds(penalty, few is not None)
        if few is not None:
            folds = list(folds)  # They are the same for every choice.
        best: tuple[Calibration, list[np.ndarray]] | None = None
        for half in HALVES if few is not None else HALVES[:1]:
            if few is not None:
                few.half_known = half
            found = [self._predicted(regression, each, penalty, few) for each in tables]
            predicted = self._new_items(regression, tables, found, path)
            shown = (self._shown(fold, few) for fold in folds)
            choice = calibrated(shown, self._audience, predicted, warm_loss)
            if best is None or _worth(choice, warm_loss) > _worth(best[0], warm_loss):
                best = choice, found
        assert best is not None
        return best

    def _new_items(
        self,
        regression: Regression,
        tables: list[ItemTable],
        found: list[np.ndarray],
        path: np.ndarray | float,
    ) -> Predicted:
        """What the rows of new items come to."""
        rows = {table.kind: each for table, each in zip(tables, found, strict=True)}
        mean = regression.mean(self.vectors)
        return Predicted(mean, rows["vectors"], rows["biases"][:, 0], path)

    @cached_property
    def _audience(self) -> Audience:
        """All judges."""
        logits = self._logits(self.seen, self.queries)
        return Audience(self.queries, logits, self.seen, self.targets)

    def _predicted(
        self,
        regression: Regression,
        table: ItemTable,
        penalty: float,
        few: FewClicks | None,
    ) -> np.ndarray:
        """The rows of new items in one table."""
        rows = table.rows()[: self.items]
        fitted = regression.fit(rows)
        if table.kind != "biases":
            # Most of a row is where no user's vector points: its error says nothing.
            fitted.penalty = penalty
        found = regression.predict(self.known.design[self.items :], fitted)
        if few is not None:
            found = few.mixed(found, *self._new_clicks, few.fit(rows))
        return found

    def _calibrated(
        self, audience: Audience, predicted: Predicted, choice: Calibration
    ) -> tuple[np.ndarray, np.ndarray]:
        """The vectors stretched, and the biases shifted and bounded."""
        vectors = predicted.stretched(choice.scale)
        bounded = audience.lists.bounded(
            predicted.biases + choice.shift, self.queries @ vectors.T + predicted.path
        )
        return vectors, bounded[:, None]

    def _shown(self, fold: Fold, few: FewClicks | None) -> tuple[Audience, Predicted]:
        """A fold whose items are shown with clicks, if new items have any."""
        if few is None:
            return fold.audience, fold.predicted
        places = fold.predicted.places
        assert places is not None and fold.counts is not None
        vectors, levels = (
            few.standing_in(by_features, rows, places, fold.weights, fold.counts)
            for by_features, rows in (
                (fold.predicted.vectors, self.vectors),
                (fold.predicted.biases[:, None], self.biases),
            )
        )
        shown = replace(fold.predicted, vectors=vectors, biases=levels[:, 0])
        return fold.audience, shown

    def _folds(self, penalty: float, with_clicks: bool) -> Iterator[Fold]:
        """Known items that stand for new ones, some at a time."""
        share = float(np.clip(self.new / self.items, LEAST_SHARE, MAX_SHARE))
        rng = np.random.default_rng(self.seed)
        trained = np.flatnonzero(self.weights > 0)
        if len(trained) < 2 * FOLDS:
            return
        for _ in range(FOLDS):
            count = max(int(share * len(trained)), 1)
            places = np.sort(rng.choice(trained, count, replace=False))
            weights = self.weights.copy()
            weights[places] = 0
            # The users have not clicked them: nobody has.
            seen = self.seen @ sparse.diags_array((weights > 0) * 1.0)
            seen = sparse.csr_matrix(seen, dtype="float32")
            seen.eliminate_zeros()
            queries = self.network.query_vectors(seen)
            audience = Audience(
                queries, self._logits(seen, queries), seen, self.targets
            )
            regression = Regression(self.design, weights)
            fitted = regression.fit(self.vectors)
            fitted.penalty = penalty
            of_biases = regression.fit(self.biases)
            design = self.design[places]
            vectors = regression.predict(design, fitted)
            levels = regression.predict(design, of_biases)
            counts = rng.choice(self._new_counts, count) if with_clicks else None
            path: np.ndarray | float = 0.0
            if self.path is not None:
                near = linear_path.neighbours(self.design, design, weights, places)
                path = self._path_logits(near, seen)
            predicted = Predicted(fitted.mean, vectors, levels[:, 0], path, places)
            yield Fold(audience, predicted, weights, counts)

    def _logits(self, seen: sparse.csr_matrix, queries: np.ndarray) -> np.ndarray:
        """Of the known items, (users, items) float32."""
        logits = queries @ self.vectors.T + self.biases[:, 0]
        if self.path is not None:
            logits += self._path_weight * (seen @ self.path.matrix()).toarray()
        return logits.astype("float32")

    @cached_property
    def _path_weight(self) -> float:
        """What the path's scores are multiplied by, w."""
        return float(self.path.weight.numpy())

    @cached_property
    def _path_worth(self) -> float:
        """What neighbours' columns of the path are multiplied by."""
        return linear_path.worth(self.path.matrix(), self.design, self.weights)

    def _path_logits(
        self, near: sparse.csr_matrix, seen: sparse.csr_matrix
    ) -> np.ndarray:
        """What the path adds to logits of new items, (users, new)."""
        weight = self._path_weight * self._path_worth
        found: np.ndarray = weight * ((seen @ self.path.matrix()) @ near.T).toarray()
        return found

    @cached_property
    def _new_clicks(self) -> tuple[sparse.csr_matrix, np.ndarray]:
        """The clicks of new items, and their users' vectors."""
        clicks = self.known.clicks
        assert clicks is not None
        new = sparse.csr_matrix(clicks[:, self.items :])
        users = np.flatnonzero(np.diff(new.indptr))
        own = sparse.csr_matrix(clicks[users][:, : self.items], dtype="float32")
        return new[users], self.network.query_vectors(own)

    def _few_clicks(self) -> FewClicks | None:
        """What clicks tell, where a new item has any."""
        clicks = self.known.clicks
        if clicks is None or clicks[:, self.items :].nnz == 0:
            return None
        return FewClicks(
            sparse.csr_matrix(clicks[:, : self.items]),
            self.network.query_vectors,
            self.weights,
            self.vectors @ self.metric,
            self.seed,
        )

    @property
    def _new_counts(self) -> np.ndarray:
        """(new,) clicks of the new items."""
        assert self.known.clicks is not None
        counts = np.asarray((self.known.clicks > 0).sum(axis=0)).ravel()
        found: np.ndarray = counts[self.items :]
        return found


def _worth(choice: Calibration, warm_loss: float) -> tuple[bool, float]:
    """Whether it holds the budget, and what it gains."""
    return (choice.warm_loss or 0.0) <= warm_loss, choice.gain or 0.0


def _root_of_covariance(queries: np.ndarray) -> np.ndarray:
    """(units, units): lengths after it are spreads of logits over users."""
    centred = queries - queries.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / max(len(queries), 1))
    root: np.ndarray = vectors * np.sqrt(np.maximum(values, 0))
    return root
