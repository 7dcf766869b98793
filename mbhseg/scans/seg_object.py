"""Labels as a DICOM Segmentation object, which viewers overlay on the series."""

import hashlib
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code
from pydicom.uid import UID, generate_uid

from mbhseg import __version__
from mbhseg.classes import FOREGROUND
from mbhseg.errors import InputError, reason
from mbhseg.scans.scan import Scan

_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_HEMORRHAGE = Code("50960005", "SCT", "Hemorrhage")
_SERIES = 9100  # far from the series numbers of scanners


def write(path: Path, scan: Scan, labels: NDArray[np.uint8]) -> None:
    """Write the labels uint8 0..5 [x, y, z] of a DICOM scan, one binary segment per class.

    The object's UIDs are derived from the series and the labels. Raises InputError if the series
    lacks attributes that the standard requires.
    """
    stored = labels.T  # frame, row, column
    first = scan.dicom[0]
    if len(scan.dicom) == 1 and len(scan.frames) > 1:
        stored = np.zeros((int(first.NumberOfFrames), *stored.shape[1:]), np.uint8)
        stored[list(scan.frames)] = labels.T
    digest = hashlib.sha256(labels.tobytes(order="F")).hexdigest()
    try:
        segmentation = hd.seg.Segmentation(
            source_images=list(scan.dicom),
            pixel_array=np.ascontiguousarray(stored),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(c.label, f"{c.key} {c.name}") for c in FOREGROUND],
            series_instance_uid=_uid("series", str(first.SeriesInstanceUID), digest),
            series_number=_SERIES,
            sop_instance_uid=_uid("object", str(first.SeriesInstanceUID), digest),
            instance_number=1,
            manufacturer="mbhseg",
            manufacturer_model_name="FlexUNet",
            software_versions=__version__,
            device_serial_number="0",
            series_description="Hemorrhage (research only)",
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        segmentation.save_as(path)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            scan.where,
            f"cannot be written as DICOM-SEG ({reason(error)})",
            "Predict it without dicom_seg",
        ) from error


def _description(number: int, label: str) -> "hd.seg.SegmentDescription":
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=_ABNORMAL,
        segmented_property_type=_HEMORRHAGE,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="mbhseg FlexUNet",
            version=__version__,
            family=Code("123109", "DCM", "Artificial Intelligence"),
        ),
    )


def _uid(*words: str) -> UID:
    return generate_uid(entropy_srcs=list(words))
