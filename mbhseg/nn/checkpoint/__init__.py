"""The state of a training that is not complete. Knows nothing of how one trains."""
