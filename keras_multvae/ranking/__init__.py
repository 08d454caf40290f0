"""From scores to the best items of each user, exactly."""

from keras_multvae.ranking.batches import rank, select_rows
from keras_multvae.ranking.topk import TopK, first_columns, top_k

__all__ = ["TopK", "first_columns", "rank", "select_rows", "top_k"]
