"""Volumes, planes and pictures: geometry, files, windows, colours. Knows no data set."""
