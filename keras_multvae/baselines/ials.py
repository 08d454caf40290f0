"""iALS: weighted matrix factorisation for clicks, fitted by the package implicit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.baselines.base import Baseline, stored
from keras_multvae.extras import import_extra
from keras_multvae.memory import require_scores
from keras_multvae.typing import Clicks


class IALS(Baseline):
    """Implicit alternating least squares: scores are `x_u . y_i`.

    User factors x and item factors y minimise, over *all* pairs of user and item,
    `sum c_ui (p_ui - x_u . y_i)^2 + regularization (sum |x_u|^2 + sum |y_i|^2)`. For a
    click or count r > 0, p = 1 and c = 1 + alpha r; everywhere else p = 0 and c = 1.

    Fitting needs implicit: `pip install "keras_multvae[ials]"`. Loading and scoring do
    not. Each iteration takes three steps of conjugate gradients for every user, then
    for every item. Scoring solves a user's own equations, given the item factors,
    exactly: a user needs a history and need not have been in training.

    Args:
        num_items: Int, size of the catalogue.
        factors: Int >= 1, size of x and y.
        regularization: Float > 0, not scaled by how often a user or an item occurs.
            Choose it and `alpha` on validation users.
        alpha: Float >= 0, the paper's. It is *not* the `alpha` of implicit, which
            weighs a click c = alpha r, without the 1.
        iterations: Int >= 1.
        seed: Int >= 0, of the first factors. The same seed gives the same factors to
            the last bit on the same machine, whatever the number of threads.

    Example:

    >>> clicks = sparse.csr_matrix([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    >>> model = IALS(3, factors=2, regularization=0.1).fit(clicks)
    >>> scores = model.score(sparse.csr_matrix([[1, 0, 0]]))
    >>> scores[0].round() + 0.0
    array([1., 1., 0.], dtype=float32)

    References:
        - [Hu et al., 2008](https://doi.org/10.1109/ICDM.2008.22)
        - [Takács et al., 2011](https://doi.org/10.1145/2043932.2043987), the steps of
          conjugate gradients
    """

    _learnt = "item_factors"

    def __init__(
        self,
        num_items: int,
        factors: int = 64,
        regularization: float = 10.0,
        alpha: float = 10.0,
        iterations: int = 15,
        seed: int = 0,
    ) -> None:
        super().__init__(num_items)
        self.factors = checks.integer("factors", factors)
        self.regularization = checks.number("regularization", regularization, above=0)
        self.alpha = checks.number("alpha", alpha)
        self.iterations = checks.integer("iterations", iterations)
        self.seed = checks.integer("seed", seed, at_least=0)
        self.item_factors: np.ndarray | None = None

    def fit(self, interactions: Clicks) -> IALS:
        """Computes the item factors, float32 (num_items, factors).

        Args:
            interactions: `Interactions`, or a SciPy or dense matrix (users, items).

        Returns:
            The model itself.

        Raises:
            ImportError: implicit is not installed.
            ValueError: Another number of items, or values that are negative or not
                finite.
        """
        confidences = self._counts(interactions)
        confidences.data *= np.float32(self.alpha)
        confidences.data += 1
        # implicit.als would use a GPU if there is one, and draw other numbers.
        als = import_extra("implicit.cpu.als", "ials")
        threadpoolctl = import_extra("threadpoolctl", "ials")
        # implicit's own threads each call BLAS: with BLAS threads too it slows down,
        # warns, and no longer repeats to the last bit.
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            solver = als.AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=1.0,  # uses the stored values as confidences
                iterations=self.iterations,
                random_state=self.seed,
            )
            solver.fit(confidences, show_progress=False)
        self.item_factors = solver.item_factors
        return self

    def score(self, histories: Clicks, batch_size: int = 500) -> np.ndarray:
        """`x_u . y_i` for histories (users, num_items), seen items unmasked.

        Args:
            histories: clicks or counts; an empty history scores 0.
            batch_size: Not used; users are solved one by one.

        Returns:
            float32 (users, num_items).

        Raises:
            ValueError: The model is not fitted, another number of items, or values
                that are negative or not finite.
        """
        items = self._fitted(self.item_factors)
        counts = self._counts(histories)
        require_scores(*counts.shape)
        return self._fold_in(counts, items) @ items.T

    def _fold_in(self, counts: sparse.csr_matrix, items: np.ndarray) -> np.ndarray:
        """x_u of every row: `(Y^T C Y + regularization I)^-1 Y^T C p`, in float64."""
        # Y^T C Y = Y^T Y + the sum over the user's own items of (c - 1) y y^T.
        wide = items.astype("float64")
        shared = wide.T @ wide + self.regularization * np.eye(self.factors)
        users = np.zeros((counts.shape[0], self.factors), "float32")
        for user in np.flatnonzero(np.diff(counts.indptr)):
            entries = slice(counts.indptr[user], counts.indptr[user + 1])
            own = wide[counts.indices[entries]]
            extra = self.alpha * counts.data[entries].astype("float64")
            matrix = shared + (own.T * extra) @ own
            users[user] = np.linalg.solve(matrix, (1 + extra) @ own)
        return users

    def _counts(self, interactions: Clicks) -> sparse.csr_matrix:
        """A copy in float32; implicit would count explicit zeros as clicks."""
        matrix = self._matrix(interactions)
        return sparse.csr_matrix(matrix, dtype="float32", copy=True)

    def _arrays(self) -> dict[str, Any]:
        return {
            "item_factors": self._fitted(self.item_factors),
            "regularization": self.regularization,
            "alpha": self.alpha,
            "iterations": self.iterations,
            "seed": self.seed,
        }

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> IALS:
        item_factors = stored(arrays, "item_factors", (None, None))
        num_items, factors = item_factors.shape
        model = cls(
            num_items,
            factors,
            float(arrays["regularization"]),
            float(arrays["alpha"]),
            int(arrays["iterations"]),
            int(arrays["seed"]),
        )
        model.item_factors = item_factors
        return model
