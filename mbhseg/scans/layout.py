"""Names in a folder of predicted scans; `mbhseg.scans.outputs` describes the files of one scan."""

VOLUMES, FAILED = "volumes.csv", "failed.tsv"
ENTROPY, MOSAICS, ANIMATIONS, DICOM_SEG = "entropy", "mosaics", "animations", "dicomseg"
VIEWER, REPORT = "viewer", "report"
