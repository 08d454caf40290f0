"""Columns and matrices that may be larger than memory."""
