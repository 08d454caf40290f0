"""Attacks on the package, by seed: what docs/reliability.md promises, tried."""
