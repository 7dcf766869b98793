"""Predictions against the raters, and the raters against each other."""
