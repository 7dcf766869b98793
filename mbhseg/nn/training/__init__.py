"""A training from recipe to model."""
