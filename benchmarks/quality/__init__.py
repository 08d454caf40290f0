"""Quality: what the models reach on real data."""
