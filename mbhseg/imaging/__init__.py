"""Volumes, planes and pictures: geometry, files, windows, colours. Knows of no data set."""
