"""The layers of the network."""

from keras_multvae.layers.beta import Beta
from keras_multvae.layers.decoder import ItemDecoder
from keras_multvae.layers.encoder import InteractionEncoder, PointEncoder
from keras_multvae.layers.sampler import CandidateSampler
from keras_multvae.layers.sampling import Sampling
from keras_multvae.layers.table_decoder import TableDecoder

__all__ = [
    "Beta",
    "CandidateSampler",
    "InteractionEncoder",
    "ItemDecoder",
    "PointEncoder",
    "Sampling",
    "TableDecoder",
]
