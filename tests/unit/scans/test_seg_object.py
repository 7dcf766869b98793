"""A DICOM-SEG says the labels again, plane by plane, to whoever reads it by the standard."""

import highdicom as hd
import numpy as np
import pydicom
import pytest

from mbhseg.errors import InputError
from mbhseg.scans import dicom, seg_object
from tests.dicoms import write_multiframe, write_series
from tests.heads import blocks, head

LABELS = blocks((48, 40, 5))
AFFINE = np.array([[-0.5, 0, 0, 12], [0, -0.5, 0.4, 9], [0, 0, 5, -30], [0, 0, 0, 1.0]])


def read_back(path, scan):
    """Labels [x, y, z] on the planes of the scan, found by the frames' positions."""
    seg = hd.seg.segread(path)
    volume = seg.get_volume(combine_segments=True, skip_overlap_checks=True)
    labels = np.zeros(scan.hu.shape, np.uint8)
    to_index = np.linalg.inv(np.diag((-1, -1, 1, 1)) @ scan.affine)
    for index in np.ndindex(volume.spatial_shape):
        if volume.array[index]:
            x, y, z = np.rint((to_index @ volume.affine @ (*index, 1))[:3]).astype(int)
            labels[x, y, z] = volume.array[index]
    return seg, labels


@pytest.mark.parametrize("multiframe", [False, True])
def test_says_the_labels_again(tmp_path, multiframe):
    straight = np.diag((-0.5, -0.5, 5.0, 1.0))
    if multiframe:
        files = [write_multiframe(tmp_path / "m.dcm", head(LABELS), straight)]
    else:
        files = write_series(tmp_path / "s", head(LABELS), straight, order=(3, 1, 4, 0, 2))
    scan = dicom.read(files, "s", "s")
    seg_object.write(tmp_path / "out" / "seg.dcm", scan, LABELS)
    seg, labels = read_back(tmp_path / "out" / "seg.dcm", scan)
    np.testing.assert_array_equal(labels, LABELS)
    assert seg.Modality == "SEG"
    assert seg.FrameOfReferenceUID == scan.dicom[0].FrameOfReferenceUID
    assert [s.SegmentLabel.split()[0] for s in seg.SegmentSequence] == [
        *("EDH", "IPH", "IVH", "SAH", "SDH")
    ]
    assert (seg.SeriesInstanceUID, seg.PatientID) != (scan.dicom[0].SeriesInstanceUID, "")
    seg_object.write(tmp_path / "again.dcm", scan, LABELS)
    assert pydicom.dcmread(tmp_path / "again.dcm").SOPInstanceUID == seg.SOPInstanceUID


def test_a_tilted_series(tmp_path):
    """Each frame keeps the position and the source of its plane; the volume is sheared."""
    scan = dicom.read(write_series(tmp_path / "s", head(LABELS), AFFINE), "s", "s")
    seg_object.write(tmp_path / "seg.dcm", scan, LABELS)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    sources = [header.SOPInstanceUID for header in scan.dicom]
    labels = seg.get_pixels_by_source_instance(
        sources, combine_segments=True, skip_overlap_checks=True
    )
    np.testing.assert_array_equal(labels.T, LABELS)


def test_a_series_that_lacks_what_it_takes(tmp_path):
    scan = dicom.read(write_series(tmp_path / "s", head(LABELS), AFFINE), "s", "s")
    for header in scan.dicom:
        del header.FrameOfReferenceUID
    with pytest.raises(InputError, match=r"DICOM-SEG.*Frame Of Reference"):
        seg_object.write(tmp_path / "seg.dcm", scan, LABELS)
