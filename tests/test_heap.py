"""Memory of glibc that a training keeps; tests/backend/torch has more."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc"),
]
# In a process of its own, as it stays so. The main heap ends where sbrk says.
THREADS = """
import ctypes, sys, threading
from keras_multvae.heap import share_one_heap
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
if sys.argv[1] == "share":
    share_one_heap()
found = []
thread = threading.Thread(target=lambda: found.append(libc.malloc(100_000)))
thread.start()
thread.join()
print(0 < libc.sbrk(0) - found[0] < 1 << 30)
"""


@pytest.mark.parametrize(("how", "main"), [("share", "True"), ("leave", "False")])
def test_threads_share_the_main_heap(how, main):
    run = subprocess.run(
        [sys.executable, "-c", THREADS, how], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == main
