"""Scans of a lab's own: every format read to one record, labels written back on its voxels."""
