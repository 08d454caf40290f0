"""A folder that is replaced, with a fault at each of its operations on files.

Prints what was not as it should be, then how many faults there were.
"""

import errno
import shutil
import sys
import tempfile
import types
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Without the package's __init__, which would import Keras.
package = sys.modules["keras_multvae"] = types.ModuleType("keras_multvae")
package.__path__ = [str(ROOT / "keras_multvae")]
sys.path.insert(0, str(ROOT))

from benchmarks.reliability import faults  # noqa: E402
from keras_multvae.files import (  # noqa: E402
    check_files,
    existing_folder,
    read_format,
    replace_folder,
    write_json,
    write_manifest,
)


def write(folder, text):
    with replace_folder(folder / "out") as temporary:
        write_json(temporary / "a.json", text)
        (temporary / "deep").mkdir()
        (temporary / "deep" / "b").write_text(text)
        write_manifest(temporary / "manifest.json", {"format": "mine", "version": 1})


def read(folder):
    out = existing_folder(folder / "out")
    check_files(out, read_format(out / "manifest.json", "mine", 1))
    return (out / "deep" / "b").read_text()


def attack(folder, old, exchange, at, error):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if old:
        write(folder, "old")
    ended, count = faults.forked(
        partial(write, folder, "new"),
        folder=folder,
        at=at,
        error=error,
        sticky=error == errno.ENOSPC,
        exchange=exchange,
    )
    found = read(folder) if (folder / "out").exists() or old else None
    good = found in (("old", "new") if old else (None, "new"))
    good = good and (ended.error is None or (error and ended.is_one_line))
    # Whatever was left, the next one clears away.
    write(folder, "again")
    left = sorted(each.name for each in folder.iterdir())
    if not good or read(folder) != "again" or left != ["out"]:
        print("bad:", old, exchange, at, error, found, ended.error, left)
    return count


faults.reload()
with tempfile.TemporaryDirectory() as place:
    tried = 0
    for old in (False, True):
        # Without an older folder there is nothing to exchange.
        for exchange in (True, False) if old else (True,):
            # Of ENOSPC and EACCES fewer operations count than of these.
            operations = attack(Path(place, "f"), old, exchange, 0, errno.EIO)
            for at in range(1, operations + 1):
                for error in (0, errno.EIO, errno.ENOSPC, errno.EACCES):
                    attack(Path(place, "f"), old, exchange, at, error)
                    tried += 1
print(tried, "faults")
