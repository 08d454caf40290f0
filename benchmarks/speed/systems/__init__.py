"""What is measured: a class a system, made and called by `benchmarks.speed.child`."""
