"""DICOM files of a CT volume, written by pydicom in the habits of several scanners."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

SYNTAXES = {
    "rle": gdcm.TransferSyntax.RLELossless,
    "jpegls": gdcm.TransferSyntax.JPEGLSLossless,
    "j2k": gdcm.TransferSyntax.JPEG2000Lossless,
    "jpeg": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
}
TO_LPS = np.diag((-1.0, -1.0, 1.0, 1.0))


def blank(sop_class: str, **fields: Any) -> FileDataset:
    """A CT object without pixels; its unique ids follow from nothing but a counter."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.PatientID = ds.PatientName = "phantom"
    ds.PatientBirthDate, ds.PatientSex, ds.AccessionNumber = "", "O", ""
    ds.StudyID, ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = (
        "1",
        "20250101",
        "101010",
        "",
    )
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.3.4", "1.2.3.5"
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.Modality = "1.2.3.6", 2, "CT"
    ds.SeriesDescription, ds.Manufacturer, ds.PositionReferenceIndicator = "head", "", ""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.KVP, ds.PatientPosition = 120, "HFS"
    for key, value in fields.items():
        setattr(ds, key, value)
    return ds


def geometry_of(affine: np.ndarray) -> tuple[np.ndarray, list[float], list[float]]:
    """LPS affine, orientation and pixel spacing of a RAS affine."""
    lps = TO_LPS @ affine
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    cosines = [*(lps[:3, 0] / steps[0]), *(lps[:3, 1] / steps[1])]
    return lps, [round(float(c), 9) for c in cosines], [float(steps[1]), float(steps[0])]


def set_pixels(ds: Dataset, stored: np.ndarray) -> None:
    """Stored numbers int16 [row, column] or [frame, row, column]."""
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.PixelData = np.ascontiguousarray(stored, "<i2").tobytes()


def write_series(
    folder: Path,
    hu: np.ndarray,
    affine: np.ndarray,
    slope: float = 1.0,
    intercept: float = -1024.0,
    order: Iterable[int] | None = None,
    syntax: str | None = None,
    suffix: str = ".dcm",
    **fields: Any,
) -> list[Path]:
    """One file a plane of HU [x, y, z] with an affine in mm (RAS+), numbered in `order`."""
    folder.mkdir(parents=True, exist_ok=True)
    lps, cosines, pixel = geometry_of(affine)
    paths = []
    for number, z in enumerate(order if order is not None else range(hu.shape[2])):
        ds = blank(CTImageStorage, InstanceNumber=number + 1)
        ds.ImageOrientationPatient, ds.PixelSpacing = cosines, pixel
        ds.ImagePositionPatient = [float(v) for v in (lps @ (0, 0, z, 1))[:3]]
        ds.SliceThickness = 5.0
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, intercept, "HU"
        set_pixels(ds, np.rint((hu[:, :, z].T - intercept) / slope))
        for key, value in fields.items():
            setattr(ds, key, value)
        path = folder / f"IM{number:04d}{suffix}"
        ds.save_as(path, enforce_file_format=True)
        if syntax:
            recompress(path, syntax)
        paths.append(path)
    return paths


def write_multiframe(
    path: Path, hu: np.ndarray, affine: np.ndarray, groups: bool = True, syntax: str | None = None
) -> Path:
    """One enhanced CT object, its frames from the last plane to the first.

    `syntax` is a transfer syntax's UID: GDCM would make the geometry over.
    """
    lps, cosines, pixel = geometry_of(affine)
    ds = blank(EnhancedCTImageStorage, NumberOfFrames=hu.shape[2])
    measures, orientation, values = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = pixel, 5.0
    orientation.ImageOrientationPatient = cosines
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1.0, -1024.0, "HU"
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([values])
    frames = []
    for z in reversed(range(hu.shape[2])):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [float(v) for v in (lps @ (0, 0, z, 1))[:3]]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    if groups:
        ds.SharedFunctionalGroupsSequence = Sequence([shared])
        ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    set_pixels(ds, np.rint(hu.T[::-1] + 1024))
    if syntax:
        ds.compress(syntax, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def recompress(path: Path, syntax: str) -> None:
    """Store the file's pixels in another transfer syntax, without loss."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(SYNTAXES[syntax]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
