"""Predictions on disk: written, read, post-processed, taken over from other systems."""
