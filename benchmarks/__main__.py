"""`python -m benchmarks`: see `benchmarks.speed.command`."""

from benchmarks.speed.command import main

main()
