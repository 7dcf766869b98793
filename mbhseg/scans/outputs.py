"""The files of one predicted scan: labels on its own voxels, pictures, uncertainty.

Layout of a folder of results; all but the labels are optional:
    <name>.nii.gz                      uint8 labels 0..5 in the scan's geometry; arrays: also .npy
    probabilities/<name>.nii.gz        uint8 [x, y, z, 5], EDH..SDH, scl_slope 1/255
    entropy/<name>.nii.gz              uint8 [x, y, z], 0..1, scl_slope 1/255
    png/masks, png/overlays            <name>_<zzz>.png; <name>.png for a scan that is a picture
    mosaics/<name>.png                 all slices, nose up, small
    animations/<name>.gif              the same slices, one after the other
    dicomseg/<name>.dcm                DICOM Segmentation, for DICOM scans
    viewer/<name>.webp, <name>.json    for the page of `mbhseg.report.scans_page`
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
from mbhseg.predictions.writing import FULL, MASKS, OVERLAYS, case_file, write_case
from mbhseg.scans import seg_object
from mbhseg.scans.layout import ANIMATIONS, DICOM_SEG, ENTROPY, MOSAICS, VIEWER
from mbhseg.scans.preview import preview
from mbhseg.scans.scan import Scan

_PICTURE = Window("picture", 127.5, 255)  # of a PNG: its grey unchanged
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


def write(
    folder: Path, scan: Scan, turn: Turn, outcome: Outcome, wanted: Wanted, window: Window
) -> None:
    """Write a scan's files below `folder`; the outcome is on the turned voxels.

    `window` shows the CT in pictures, but for scans that are pictures: their grey stays.
    """
    window = _PICTURE if scan.kind == "png" else window
    labels = turn.back(outcome.labels)
    if scan.kind == "png":
        _write_picture(folder, scan, labels[:, :, 0], window)
    else:
        likely = None
        if outcome.probabilities is not None:
            likely = turn.back(outcome.probabilities)
        write_case(folder, scan.name, labels, scan.image, window, wanted.pictures, likely)
        if outcome.entropy is not None:
            data = scaled_nifti_bytes(turn.back(outcome.entropy), scan.image, 1 / FULL)
            _save(folder, f"{ENTROPY}/{case_file(scan.name)}", data)
        if wanted.dicom_seg and scan.dicom:
            seg_object.write(folder / DICOM_SEG / f"{scan.name}.dcm", scan, labels)
        if scan.kind == "npy":
            np.save(folder / f"{scan.name}.npy", np.ascontiguousarray(labels))
    if wanted.mosaics:
        picture = encode_png(_mosaic(scan, turn, outcome, window))
        _save(folder, f"{MOSAICS}/{scan.name}.png", picture)
    if wanted.animations:
        _save(folder, f"{ANIMATIONS}/{scan.name}.gif", _animation(scan, turn, outcome, window))
    if wanted.viewer:
        shown = preview(scan, turn, outcome)
        text = json.dumps(shown.description, separators=(",", ":"), sort_keys=True)
        _save(folder, f"{VIEWER}/{scan.name}.json", text.encode())
        _save(folder, f"{VIEWER}/{scan.name}.webp", shown.sprite)


def _save(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _write_picture(folder: Path, scan: Scan, labels: NDArray[np.uint8], window: Window) -> None:
    shown = np.ascontiguousarray(to_display(labels))
    grey = to_grey(np.ascontiguousarray(to_display(scan.hu[:, :, 0])), window)
    _save(folder, f"{MASKS}/{scan.name}.png", encode_mask(shown))
    _save(folder, f"{OVERLAYS}/{scan.name}.png", encode_png(overlay(grey, shown)))


def _small(
    scan: Scan, turn: Turn, outcome: Outcome, window: Window, size: int, planes: NDArray[np.intp]
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Grey and labels of slices of the turned scan, [size, size], in display orientation."""
    hu = turn.there(scan.hu)
    small = []
    for z in planes:
        grey = to_grey(np.ascontiguousarray(to_display(hu[:, :, z])), window)
        labels = resize_labels(to_display(outcome.labels[:, :, z]), size)
        small.append((resize_image(grey, size), np.ascontiguousarray(labels)))
    return small


def _mosaic(scan: Scan, turn: Turn, outcome: Outcome, window: Window) -> NDArray[np.uint8]:
    """The slices from the feet up, row by row; evenly chosen if there are very many."""
    depth = outcome.labels.shape[2]
    planes = np.linspace(0, depth - 1, min(depth, _TILES)).round().astype(int)
    tiles = _small(scan, turn, outcome, window, _TILE, planes)
    return mosaic([overlay(*pair) for pair in tiles], _COLUMNS, gap=2)


def _animation(scan: Scan, turn: Turn, outcome: Outcome, window: Window) -> bytes:
    size = min(_FRAME, max(outcome.labels.shape[:2]))
    planes = np.arange(outcome.labels.shape[2])
    return gif_bytes([frame(*pair) for pair in _small(scan, turn, outcome, window, size, planes)])
