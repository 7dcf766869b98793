"""Figures: tables and paths in, PNG files out; the same input gives the same bytes."""
