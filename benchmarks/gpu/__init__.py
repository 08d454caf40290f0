"""What `benchmarks/gpu/run` measures on a GPU: see `benchmarks.gpu.__main__`."""
