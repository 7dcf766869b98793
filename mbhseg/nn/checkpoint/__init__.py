"""The saved state of an unfinished training. Imports nothing of how one trains."""
