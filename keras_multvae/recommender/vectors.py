"""Vectors of users and items, whose inner products rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import sparse

from keras_multvae.abilities import HasItemVectors, require
from keras_multvae.ranking import select_rows
from keras_multvae.recommender.histories import OnUnknown
from keras_multvae.recommender.parts import Parts
from keras_multvae.typing import Histories, Id


class VectorSearch(Parts):
    """What a `Recommender` gives to an index of vectors."""

    def _selected(
        self,
        histories: Histories,
        user_ids: Sequence[Id] | Literal["all"] | None,
        on_unknown: OnUnknown,
    ) -> tuple[list[Id], sparse.csr_matrix, np.ndarray]:
        raise NotImplementedError

    def query_vectors(
        self,
        histories: Histories = None,
        *,
        user_ids: Sequence[Id] | Literal["all"] | None = None,
        on_unknown: OnUnknown = "raise",
    ) -> np.ndarray:
        """Query vectors of users, for an index of `item_vectors`.

        The inner product of a user's vector with an item's is the item's logit. It
        ranks items as `recommend` does, but includes seen ones; log pi_i(z) of a
        multinomial VAE is the logit minus a constant of the user. So an index for
        maximum inner product search finds recommendations without scoring all items:
        see examples/approximate_search.py.

        Args:
            histories: See `recommend`.
            user_ids: See `recommend`.
            on_unknown: See `recommend`.

        Returns:
            float32 (users, units + 1): the input of the decoder's last layer, and a 1
            to multiply the item's bias.

        Raises:
            TypeError: A model without item vectors.
            UnknownIdError: See `recommend`, as for `ValueError`.

        Example:

        >>> from keras_multvae import MultVAE, Recommender
        >>> from keras_multvae.data import Vocabulary
        >>> model = MultVAE(num_items=3, latent_dim=2, hidden_dims=(4,), seed=0)
        >>> recommender = Recommender(model, Vocabulary(["a", "b", "c"]))
        >>> queries = recommender.query_vectors([["a"], ["b", "c"]])
        >>> (queries @ recommender.item_vectors().T).shape
        (2, 3)
        """
        require(self.model, HasItemVectors, "query_vectors()")
        _, matrix, rows = self._selected(histories, user_ids, on_unknown)
        hidden = self.model.query_vectors(select_rows(matrix, rows))
        return np.concatenate([hidden, np.ones((len(hidden), 1), "float32")], axis=1)

    def item_vectors(self) -> np.ndarray:
        """Vectors of all items, in the vocabulary's order; see `query_vectors`.

        Returns:
            float32 (items, units + 1): the decoder's output weights of each item, and
            its bias.

        Raises:
            TypeError: A model without item vectors.
        """
        require(self.model, HasItemVectors, "item_vectors()")
        vectors = [self.model.item_vectors, self.model.item_biases[:, None]]
        # Search libraries need contiguous rows.
        return np.ascontiguousarray(np.concatenate(vectors, axis=1))
