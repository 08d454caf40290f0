"""Time and memory against yardsticks: `python -m benchmarks --help`."""
