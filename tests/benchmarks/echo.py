"""A system that does what the tests of the processes need."""

from __future__ import annotations

import os

import numpy as np


class Echo:
    def __init__(self, word="hello"):
        self.word = word

    def say(self, times):
        print("noise on the standard output")
        return self.word * times

    def fill(self, mib):
        self.kept = np.ones(mib << 20, "uint8")

    def fail(self):
        raise OSError("no more paper")

    def cores(self):
        return len(os.sched_getaffinity(0)), os.environ["OMP_NUM_THREADS"]
