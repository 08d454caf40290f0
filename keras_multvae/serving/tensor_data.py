"""Arrays as the bytes of the Open Inference Protocol's binary extension.

References:
    - https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""

from __future__ import annotations

import struct

import numpy as np

LENGTH = struct.Struct("<I")
# How each datatype of the protocol is stored; BYTES have a length of their own each.
DTYPES = {
    "BYTES": "O",
    "BOOL": "<b1",
    "FP32": "<f4",
    "FP64": "<f8",
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
}


def pack(array: np.ndarray, stored: str) -> bytes:
    r"""An array as bytes, row by row; strings are bytes in an object array.

    Example:

    >>> pack(np.array([[b"ab", b""]], object), "O")
    b'\x02\x00\x00\x00ab\x00\x00\x00\x00'
    """
    if stored == "O":
        values = array.reshape(-1).tolist()
        return b"".join(LENGTH.pack(len(value)) + value for value in values)
    return array.astype(stored).tobytes()


def unpack(data: bytes, stored: str, count: int) -> np.ndarray:
    """The values of an array, (count,).

    Raises:
        ValueError: The bytes are not those of so many values.
    """
    if stored == "O":
        return _strings(data, count)
    array = np.frombuffer(data, stored)
    if len(array) != count:
        raise ValueError(f"they hold {len(array)} values")
    if array.dtype == bool:
        return array.view("u1") != 0  # As any byte may come.
    return array.astype(array.dtype.newbyteorder("="))


def _strings(data: bytes, count: int) -> np.ndarray:
    found = np.empty(count, object)
    place = 0
    for number in range(count):
        start = place + LENGTH.size
        if start > len(data):
            raise ValueError("there are too few values")
        place = start + LENGTH.unpack_from(data, start - LENGTH.size)[0]
        if place > len(data):
            raise ValueError("a value is longer than the data")
        found[number] = data[start:place]
    if place != len(data):
        raise ValueError("there is more behind the last value")
    return found
