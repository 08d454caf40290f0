"""What is known of items besides clicks: labels, words, numbers, vectors."""

from keras_multvae.features.encoding import KINDS
from keras_multvae.features.feature import Feature
from keras_multvae.features.item_features import ItemFeatures

__all__ = ["KINDS", "Feature", "ItemFeatures"]
