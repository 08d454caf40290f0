"""The layers of the network."""

from keras_multvae.layers.beta import Beta
from keras_multvae.layers.decoder import ItemDecoder
from keras_multvae.layers.encoder import InteractionEncoder, PointEncoder
from keras_multvae.layers.sampling import Sampling

__all__ = ["Beta", "InteractionEncoder", "ItemDecoder", "PointEncoder", "Sampling"]
