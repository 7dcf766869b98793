"""The archive, and what quality control finds in it."""
