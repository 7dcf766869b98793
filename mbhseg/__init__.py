"""Multi-rater hemorrhage segmentation on head CT: the library behind the workflow."""

__version__ = "0.1.0"
