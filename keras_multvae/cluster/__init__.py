"""Batch recommendation on a cluster that Ray runs."""

from keras_multvae.cluster.on_ray import recommend_on_ray

__all__ = ["recommend_on_ray"]
