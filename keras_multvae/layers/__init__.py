"""The layers of the network."""

from keras_multvae.layers.beta import Beta
from keras_multvae.layers.decoder import Decoder, ItemDecoder
from keras_multvae.layers.dense_encoder import DenselyConnectedEncoder, FrozenEncoder
from keras_multvae.layers.encoder import InteractionEncoder, PointEncoder
from keras_multvae.layers.item_weights import ItemWeights
from keras_multvae.layers.prior import CompositePrior, Prior, StandardNormal
from keras_multvae.layers.sampler import CandidateSampler
from keras_multvae.layers.sampling import Sampling
from keras_multvae.layers.embedding_decoder import EmbeddingDecoder
from keras_multvae.layers.turns import Turns

__all__ = [
    "Beta",
    "CandidateSampler",
    "CompositePrior",
    "Decoder",
    "DenselyConnectedEncoder",
    "FrozenEncoder",
    "InteractionEncoder",
    "ItemDecoder",
    "ItemWeights",
    "PointEncoder",
    "Prior",
    "Sampling",
    "StandardNormal",
    "EmbeddingDecoder",
    "Turns",
]
