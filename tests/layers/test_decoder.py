from __future__ import annotations

import keras
import numpy as np

from keras_multvae import ItemDecoder


def numpy(tensors):
    return [keras.ops.convert_to_numpy(t) for t in tensors]


def test_seeds_decide_the_weights():
    make = {seed: numpy(ItemDecoder(9, 2, (4,), seed=seed).weights) for seed in (1, 2)}
    again = numpy(ItemDecoder(9, 2, (4,), seed=1).weights)
    assert all(np.array_equal(a, b) for a, b in zip(make[1], again, strict=True))
    assert not np.array_equal(make[1][0], make[2][0])


def test_decoder_config_and_width():
    layer = ItemDecoder(9, 2, (4,), seed=3, dtype="mixed_bfloat16")
    copy = ItemDecoder.from_config(layer.get_config())
    assert copy.dtype_policy.name == "mixed_bfloat16"
    logits = layer(np.zeros((5, 2), "float32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert layer.compute_output_shape((5, 2)) == (5, 9)
