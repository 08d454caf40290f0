"""Rows of matrices of features, sparse or dense."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.features.feature import Matrix


def unit_rows(rows: Matrix) -> Matrix:
    """Rows of length 1; those of length 0 stay."""
    if sparse.issparse(rows):
        return scaled(rows, np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1))))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def shares(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """Non-negative rows that add up to 1; those that add up to 0 stay."""
    return scaled(rows, np.asarray(rows.sum(axis=1)))


def scaled(rows: sparse.csr_matrix, by: np.ndarray) -> sparse.csr_matrix:
    """Each row divided by its number, if that is above 0, else multiplied by 0."""
    by = by.ravel()
    scale = np.divide(1, by, out=np.zeros(len(by)), where=by > 0)
    return sparse.csr_matrix(sparse.diags_array(scale) @ rows)
