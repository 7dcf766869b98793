"""Your own scans: every format is read to one record, labels are written on the scan's voxels."""
