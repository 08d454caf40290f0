"""Files and folders that survive kills, other writers and flipped bits."""

from keras_multvae.files.locks import FolderInUseError, lock
from keras_multvae.files.reading import (
    DamagedFileError,
    check_replaceable,
    open_regular,
    read_format,
    read_json,
)
from keras_multvae.files.replacing import (
    discard,
    existing_folder,
    new_parents,
    replace_file,
    replace_folder,
    sweep,
    write_json,
)
from keras_multvae.files.sums import check_files, sums_of, write_manifest

__all__ = [
    "DamagedFileError",
    "FolderInUseError",
    "check_files",
    "check_replaceable",
    "discard",
    "existing_folder",
    "lock",
    "new_parents",
    "open_regular",
    "read_format",
    "read_json",
    "replace_file",
    "replace_folder",
    "sums_of",
    "sweep",
    "write_json",
    "write_manifest",
]
