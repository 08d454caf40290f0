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


# Small blocks are never mapped on their own; the last one keeps the heap's end in use.
FREED = """
import ctypes
from keras_multvae.heap import retain_freed_memory, trim
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
with retain_freed_memory():
    blocks = [libc.malloc(60_000) for _ in range(2_000)]
    for block in blocks:
        ctypes.memset(block, 1, 60_000)
    for block in blocks[:-1]:
        libc.free(ctypes.c_void_p(block))
    before = resident()
    trim()
    print(before - resident() > 100_000_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_trim_returns_freed_memory_to_the_system():
    run = subprocess.run(
        [sys.executable, "-c", FREED], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "True"
