"""Predictions on disk: written, read, post-processed, adopted from other systems."""
