"""The curves of a training for TensorBoard, which need neither it nor TensorFlow.

An event file is a TFRecord of protocol buffers `Event`; of these, three fields and a
scalar are written: see tensorflow/core/util/event.proto and framework/summary.proto.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import keras

POLYNOMIAL = 0x82F63B78  # of CRC-32C, bits reversed


class Curves(keras.callbacks.Callback):
    """Writes the logs of each epoch where TensorBoard finds them.

    `loss` is the tag `loss` of `folder/train`, `val_loss` that of `folder/validation`,
    so that both stand in one chart; the step is the epoch, from 1.

    Args:
        folder: Where to; made at the end of the first epoch.

    Raises:
        FileExistsError: There is a file of that name.

    Example:

    >>> import tempfile
    >>> curves = Curves(tempfile.mkdtemp())
    >>> curves.on_epoch_end(0, {"loss": 2.0, "val_loss": 2.5})
    >>> sorted(path.name for path in curves.folder.iterdir())
    ['train', 'validation']
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"{folder} is a file: name a folder for the curves.")
        self.folder = folder
        self.files: list[Path] = []
        self.made: list[Path] = []

    def __repr__(self) -> str:
        return f"Curves({str(self.folder)!r})"

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Appends an epoch."""
        parts: dict[str, dict[str, float]] = {"train": {}, "validation": {}}
        for name, value in (logs or {}).items():
            part = "validation" if name.startswith("val_") else "train"
            parts[part][name.removeprefix("val_")] = float(value)
        if not self.files:
            self._begin([part for part, values in parts.items() if values])
        for file in self.files:
            with file.open("ab") as opened:
                opened.write(record(event(epoch + 1, parts[file.parent.name])))

    def _begin(self, parts: list[str]) -> None:
        # The name by which TensorBoard knows such a file; no two runs have the same.
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        for part in parts:
            folder = self.folder / part
            self.made += [
                each for each in (folder, *folder.parents) if not each.exists()
            ]
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{name}.{os.getpid()}"
            file.write_bytes(record(field(1, time.time()) + field(3, b"brain.Event:2")))
            self.files.append(file)

    def discard(self) -> None:
        """Removes what was written, and the folders that were made for it."""
        for file in self.files:
            file.unlink(missing_ok=True)
        for folder in self.made:
            # Somebody else may have put something there.
            with contextlib.suppress(OSError):
                folder.rmdir()


def event(step: int, values: Mapping[str, float]) -> bytes:
    """An `Event` with a scalar for each tag."""
    scalars = b"".join(
        field(1, field(1, tag.encode()) + field(2, struct.pack("<f", value), kind=5))
        for tag, value in values.items()
    )
    return field(1, time.time()) + field(2, step) + field(5, scalars)


def field(number: int, value: float | bytes, kind: int | None = None) -> bytes:
    """A field of a protocol buffer: a double, an int or bytes.

    Args:
        number: Of the field.
        value: A float, an int >= 0, or bytes.
        kind: 5 for bytes that are a number of 32 bits.
    """
    if isinstance(value, float):
        return _varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if kind == 5:
        return _varint(number << 3 | 5) + value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def record(data: bytes) -> bytes:
    """A TFRecord: length and data, each with its checksum."""
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)
