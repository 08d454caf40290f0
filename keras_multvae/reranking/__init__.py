"""Lists that are more than accurate: chosen anew among the best candidates."""

from keras_multvae.reranking.batches import rank_anew
from keras_multvae.reranking.greedy import reranked
from keras_multvae.reranking.settings import Items, Reranking

__all__ = ["Items", "Reranking", "rank_anew", "reranked"]
