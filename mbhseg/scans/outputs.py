"""The files of one predicted scan: labels on its own voxels, pictures, measures of doubt.

Layout of a folder of results, every part but the labels optional:
    <name>.nii.gz                      uint8 labels 0..5 in the scan's geometry; arrays: and .npy
    probabilities/<name>.nii.gz        uint8 [x, y, z, 5], EDH..SDH, scl_slope 1/255
    entropy/<name>.nii.gz              uint8 [x, y, z], 0..1, scl_slope 1/255
    png/masks, png/overlays            <name>_<zzz>.png; <name>.png for a scan that is a picture
    mosaics/<name>.png                 all planes, nose up, small
    animations/<name>.gif              the same, one after the other
    dicomseg/<name>.dcm                DICOM Segmentation, for DICOM scans
    viewer/<name>.webp, <name>.json    what the page of `mbhseg.report.scans_page` shows of it
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging.animation import frame, gif_bytes
from mbhseg.imaging.display import resize_image, resize_labels, to_display
from mbhseg.imaging.masks import encode_mask
from mbhseg.imaging.nifti import scaled_nifti_bytes
from mbhseg.imaging.orientation import Turn
from mbhseg.imaging.overlays import mosaic, overlay
from mbhseg.imaging.png import encode_png
from mbhseg.imaging.windows import Window, to_grey
from mbhseg.predictions.gathering import Outcome
from mbhseg.predictions.writing import FULL, MASKS, OVERLAYS, WINDOW, case_file, write_case
from mbhseg.scans import seg_object
from mbhseg.scans.layout import ANIMATIONS, DICOM_SEG, ENTROPY, MOSAICS, VIEWER
from mbhseg.scans.preview import preview
from mbhseg.scans.scan import Scan

_PICTURE = Window("picture", 127.5, 255)  # of a PNG: its grey as it is
_TILE, _TILES, _COLUMNS = 160, 64, 8  # pixels, and how many
_FRAME = 384  # pixels of an animation, at most


@dataclass(frozen=True)
class Wanted:
    """Which files to write beside the labels."""

    pictures: bool
    mosaics: bool
    animations: bool
    probabilities: bool
    entropy: bool
    dicom_seg: bool
    viewer: bool


def write(folder: Path, scan: Scan, turn: Turn, outcome: Outcome, wanted: Wanted) -> None:
    """Write a scan's files below `folder`; the outcome lies on the turned voxels."""
    labels = turn.back(outcome.labels)
    if scan.kind == "png":
        _write_picture(folder, scan, labels[:, :, 0])
    else:
        likely = None
        if outcome.probabilities is not None:
            likely = turn.back(outcome.probabilities)
        write_case(folder, scan.name, labels, scan.image, wanted.pictures, probabilities=likely)
        if outcome.entropy is not None:
            data = scaled_nifti_bytes(turn.back(outcome.entropy), scan.image, 1 / FULL)
            _save(folder, f"{ENTROPY}/{case_file(scan.name)}", data)
        if wanted.dicom_seg and scan.dicom:
            seg_object.write(folder / DICOM_SEG / f"{scan.name}.dcm", scan, labels)
        if scan.kind == "npy":
            np.save(folder / f"{scan.name}.npy", np.ascontiguousarray(labels))
    if wanted.mosaics:
        _save(folder, f"{MOSAICS}/{scan.name}.png", encode_png(_mosaic(scan, turn, outcome)))
    if wanted.animations:
        _save(folder, f"{ANIMATIONS}/{scan.name}.gif", _animation(scan, turn, outcome))
    if wanted.viewer:
        shown = preview(scan, turn, outcome)
        text = json.dumps(shown.description, separators=(",", ":"), sort_keys=True)
        _save(folder, f"{VIEWER}/{scan.name}.json", text.encode())
        _save(folder, f"{VIEWER}/{scan.name}.webp", shown.sprite)


def _save(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _write_picture(folder: Path, scan: Scan, labels: NDArray[np.uint8]) -> None:
    shown = np.ascontiguousarray(to_display(labels))
    grey = to_grey(np.ascontiguousarray(to_display(scan.hu[:, :, 0])), _PICTURE)
    _save(folder, f"{MASKS}/{scan.name}.png", encode_mask(shown))
    _save(folder, f"{OVERLAYS}/{scan.name}.png", encode_png(overlay(grey, shown)))


def _small(
    scan: Scan, turn: Turn, outcome: Outcome, size: int, planes: NDArray[np.intp]
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Grey and labels of planes of the turned scan, [size, size], in display orientation."""
    hu = turn.there(scan.hu)
    window = _PICTURE if scan.kind == "png" else WINDOW
    small = []
    for z in planes:
        grey = to_grey(np.ascontiguousarray(to_display(hu[:, :, z])), window)
        labels = resize_labels(to_display(outcome.labels[:, :, z]), size)
        small.append((resize_image(grey, size), np.ascontiguousarray(labels)))
    return small


def _mosaic(scan: Scan, turn: Turn, outcome: Outcome) -> NDArray[np.uint8]:
    """The planes from the feet up, row by row; of very many every few."""
    depth = outcome.labels.shape[2]
    planes = np.linspace(0, depth - 1, min(depth, _TILES)).round().astype(int)
    return mosaic(
        [overlay(*pair) for pair in _small(scan, turn, outcome, _TILE, planes)], _COLUMNS, gap=2
    )


def _animation(scan: Scan, turn: Turn, outcome: Outcome) -> bytes:
    size = min(_FRAME, max(outcome.labels.shape[:2]))
    planes = np.arange(outcome.labels.shape[2])
    return gif_bytes([frame(*pair) for pair in _small(scan, turn, outcome, size, planes)])
