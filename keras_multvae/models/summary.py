"""How a model shows itself: its settings, and a summary with the layers' shapes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import keras
import numpy as np

from keras_multvae import compat, ragged
from keras_multvae.settings import Settings
from keras_multvae.tables import settings_text
from keras_multvae.typing import Shape, Tensor


class Summary(keras.Model):
    """Methods of a `RankingModel` that show it."""

    num_items: int
    settings: Settings

    def __repr__(self) -> str:
        if not hasattr(self, "settings"):  # while it is being made
            return super().__repr__()
        settings = {"num_items": self.num_items, **self.settings.arguments()}
        return f"{type(self).__name__}({settings_text(settings)})"

    def summary(self, *args: object, **kwargs: object) -> None:
        """As `keras.Model.summary`, with the shapes of the layers' outputs.

        Keras knows no shapes of layers whose input is a batch of clicks: they are those
        of a call of the model on one click. None stands for the number of users.

        Args:
            *args: See `keras.Model.summary`.
            **kwargs: See `keras.Model.summary`.

        Example:

        >>> from keras_multvae import MultDAE
        >>> lines = []
        >>> model = MultDAE(num_items=50, latent_dim=4, seed=0)
        >>> model.summary(print_fn=lines.append)
        >>> "(None, 4)" in lines[0], "(None, 50)" in lines[0]
        (True, True)
        """
        with ExitStack() as stack:
            shapes = [stack.enter_context(_recorded(layer)) for layer in self.layers]
            self.call_on_one_click()
        compat.print_summary(self, [each[:1] for each in shapes], *args, **kwargs)

    def call_on_one_click(self) -> None:
        """Calls the model, in inference, on somebody who clicked the first item."""
        one = np.ones(1, "int32")
        self(dict(zip(ragged.KEYS, (one, one - 1, one.astype("float32")), strict=True)))


@contextmanager
def _recorded(layer: keras.layers.Layer) -> Iterator[list[Shape]]:
    """The output shapes of a layer's calls in the `with` block, in order."""
    shapes: list[Shape] = []
    call = layer.call

    def recording(*args: object, **kwargs: object) -> Tensor:
        outputs = call(*args, **kwargs)
        shapes.append(keras.tree.map_structure(_without_users, outputs))
        return outputs

    layer.call = recording
    try:
        yield shapes
    finally:
        del layer.call


def _without_users(tensor: Tensor) -> Shape:
    _, *rest = tensor.shape
    return (None, *rest)
