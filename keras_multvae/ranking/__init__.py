"""From scores to the best items of each user, exactly."""

from keras_multvae.ranking.batches import rank, take_rows
from keras_multvae.ranking.topk import TopK, top_k

__all__ = ["TopK", "rank", "take_rows", "top_k"]
