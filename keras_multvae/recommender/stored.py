"""Writing a recommender, as a folder or to the Hugging Face Hub."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

from keras_multvae.card import ModelCard
from keras_multvae.data import Interactions
from keras_multvae.recommender import hub, storage
from keras_multvae.recommender.address import address_of
from keras_multvae.recommender.hub.readme import render
from keras_multvae.recommender.parts import Parts


class Stored(Parts):
    """What a `Recommender` writes."""

    @property
    def _stored(self) -> Interactions:
        if self.histories is None:
            raise ValueError(
                "This recommender keeps no histories, so it knows no user ids. Make it "
                "with Recommender(..., histories=interactions)."
            )
        return self.histories

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        histories: bool | None = None,
        card: ModelCard | None = None,
    ) -> None:
        """Writes all that it has as one folder, atomically, or to the Hugging Face Hub.

        Args:
            folder: The folder to make. An older recommender there is replaced once
                the new one is complete; any other content is not touched. Or an
                address, hf://user/name or hf://user/name@branch: it is saved there in
                one commit, with a model card (extra `hub`; docs/hub.md).
            histories: Bool, whether users' histories go along. By default they go into
                a folder, and not to the Hub.
            card: On the Hub, what the model card is to say of data and quality.

        Raises:
            FileExistsError: `folder` holds something else.
            TypeError: The model is not registered: see `register_model`.
            ValueError: `histories` of a recommender that keeps none, or a card for a
                folder.
            OSError: The Hub could not be reached, or refused.
        """
        address = address_of(folder)
        if histories is None:
            histories = address is None and self.histories is not None
        kept = self._stored if histories else None
        parts = (self.titles, self.training, self.features)
        if address is None:
            if card is not None:
                raise ValueError("`card` goes with an address, as hf://user/name.")
            storage.write(Path(folder), self.model, self.items, kept, *parts)
            return
        with tempfile.TemporaryDirectory() as temporary:
            made = Path(temporary, "model")
            storage.write(made, self.model, self.items, kept, *parts)
            users = None if kept is None else kept.num_users
            about = (self.model, self.items, users, self.training, card or ModelCard())
            hub.upload(address, made, partial(render, address, *about))
