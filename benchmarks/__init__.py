"""Speed and quality against yardsticks; see docs/results.md."""
