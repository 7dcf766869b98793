"""Scores of label volumes: pure functions on arrays and tables.

Counts come first and keep their names everywhere: rows of a confusion matrix are the
reference's labels, columns the candidate's. A score that is undefined is NaN, never 0.
"""
