"""Kinds of bad cases, built from a good one, and the findings that each must end in."""

import gzip
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from mbhseg.imaging import geometry
from mbhseg.imaging.nifti import nifti_bytes

A, B, C = "ID_0000000a_ID_00000000aa", "ID_0000000b_ID_00000000bb", "ID_0000000b_ID_00000000bc"
SHAPE = (32, 32, 6)
SCAN, MASK1, MASK3 = "image.nii.gz", "label_annot_1.nii.gz", "label_annot_3.nii.gz"
Volumes = dict[str, Any]  # member's name -> image, or bytes


def affine_of(tilt: float = 12) -> np.ndarray:
    affine = np.diag([-0.5, 0.5, 5, 1.0])
    affine[:3, 3] = 8, -8, -15
    c, s = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    return np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]]) @ affine


def head(seed: int = 0) -> np.ndarray:
    """A ball of brain in bone in air, HU."""
    x, y, _ = np.ogrid[-1:1:32j, -1:1:32j, 0:6]
    r = np.hypot(x, y) + np.zeros(SHAPE)
    brain = np.random.default_rng(seed).normal(35, 5, SHAPE)
    return np.where(r < 0.7, brain, np.where(r < 0.85, 900, -1000)).round()


def drawing(dx: int = 0) -> np.ndarray:
    """All five classes in the brain, moved by some voxels."""
    labels = np.zeros(SHAPE)
    for label in range(1, 6):
        labels[8 + 2 * label + dx : 10 + 2 * label + dx, 12:18, 2:4] = label
    return labels


def image(values: np.ndarray, affine: np.ndarray | None = None, dtype: str = "int16") -> Any:
    """An image with a qform only, as the data set's."""
    made = nib.Nifti1Image(values.astype(dtype), None, dtype=dtype)
    made.set_qform(affine_of() if affine is None else affine, 1)
    made.set_sform(None, 0)
    made.header.set_xyzt_units("mm")
    return made


def good(seed: int = 0) -> Volumes:
    return {
        SCAN: image(head(seed)),
        MASK1: image(drawing(), dtype="uint16"),
        MASK3: image(drawing(1), dtype="uint16"),
    }


def write(path: Path, cases: Mapping[str, Volumes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for case, volumes in cases.items():
            for name, volume in volumes.items():
                data = volume if isinstance(volume, bytes) else nifti_bytes(volume)
                archive.writestr(f"top/{case}/{name}", data)
    return path


def with_header(**fields: Any) -> Callable[[Volumes], Volumes]:
    """The scan's header with other values."""

    def change(volumes: Volumes) -> Volumes:
        for name, value in fields.items():
            volumes[SCAN].header[name] = value
        return volumes

    return change


def with_scan(make: Callable[[], Any]) -> Callable[[Volumes], Volumes]:
    return lambda volumes: volumes | {SCAN: make()}


def with_mask(make: Callable[[], Any]) -> Callable[[Volumes], Volumes]:
    return lambda volumes: volumes | {MASK1: make()}


def with_affine(affine: np.ndarray) -> Callable[[Volumes], Volumes]:
    """Scan and masks with another affine, as qform if it can be one, else as sform."""

    def change(volumes: Volumes) -> Volumes:
        for volume in volumes.values():
            volume.set_sform(affine, 1)
            volume.set_qform(None, 0)
            volume.header.set_zooms(np.maximum(geometry.spacing(affine), 1e-9))
        return volumes

    return change


def sized(x: float, y: float, z: float) -> np.ndarray:
    return np.diag([-x, y, z, 1.0])


def shifted(mm: float) -> np.ndarray:
    affine = affine_of()
    affine[0, 3] += mm
    return affine


def put(values: np.ndarray, value: float) -> np.ndarray:
    values = values.copy()
    values[3, 4, 5] = value
    return values


def sheared() -> np.ndarray:
    affine = np.diag([-0.5, 0.5, 5, 1.0])
    affine[1, 2] = -1.3
    return affine


def set_zooms(volumes: Volumes) -> Volumes:
    volumes = with_affine(affine_of())(volumes)
    volumes[SCAN].header["pixdim"][3] = 4
    return volumes


def two_forms(volumes: Volumes) -> Volumes:
    volumes[SCAN].set_sform(shifted(3), 1)
    volumes[MASK1].set_sform(shifted(3), 1)
    volumes[MASK3].set_sform(shifted(3), 1)
    return volumes


def without_forms(volumes: Volumes) -> Volumes:
    for volume in volumes.values():
        volume.set_qform(None, 0)
    return volumes


def without_place(volume: Any) -> bytes:
    """The image with a sform of NaN."""
    data = bytearray(volume.to_bytes())
    struct.pack_into("<h", data, 254, 1)
    struct.pack_into("<12f", data, 280, *[np.nan] * 12)
    return zipped(bytes(data))


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, 1)


NOT_HU = image(np.random.default_rng(1).integers(0, 255, SHAPE))
E, W, I = "error", "warning", "info"  # noqa: E741
CASES: dict[str, tuple[Callable[[Volumes], Volumes], list[tuple[str, str, str]]]] = {
    # unreadable
    "scan is no gzip": (with_scan(lambda: b"junk"), [(E, SCAN, "not a readable NIfTI volume")]),
    "scan is cut short": (
        with_scan(lambda: nifti_bytes(image(head()))[:-99]),
        [(E, SCAN, "cut short")],
    ),
    "scan is empty": (with_scan(lambda: b""), [(E, SCAN, "not a readable NIfTI volume")]),
    "mask is cut short": (
        with_mask(lambda: nifti_bytes(image(drawing()))[:-9]),
        [(E, MASK1, "cut short")],
    ),
    "bytes after the scan": (
        with_scan(lambda: zipped(image(head()).to_bytes() + b"tail")),
        [(W, SCAN, "4 bytes after the voxels")],
    ),
    # shape
    "scan is a plane": (
        with_scan(lambda: image(head()[:, :, 0])),
        [(E, SCAN, "shape (32, 32) ")],
    ),
    "scan is a series": (
        with_scan(lambda: image(np.stack([head(), head()], axis=3))),
        [(E, SCAN, "shape (32, 32, 6, 2) ")],
    ),
    "scan has no voxels": (
        with_scan(lambda: zipped(image(head()).to_bytes()[:42] + bytes(2) + bytes(400))),
        [(E, SCAN, "not a readable NIfTI volume")],
    ),
    "mask of another shape": (
        with_mask(lambda: image(drawing()[:, :, 1:])),
        [(E, MASK1, "shape 32 x 32 x 5, but the scan's is 32 x 32 x 6")],
    ),
    "mask is a plane": (
        with_mask(lambda: image(drawing()[:, :, 2])),
        [(E, MASK1, "shape (32, 32) ")],
    ),
    "bytes after the mask": (
        with_mask(lambda: nifti_bytes(image(drawing())) + b"tail"),
        [(W, MASK1, "4 bytes after the voxels")],
    ),
    "mask turned": (
        with_mask(lambda: image(np.swapaxes(drawing(), 1, 2))),
        [(E, MASK1, "shape 32 x 6 x 32")],
    ),
    # intensity
    "NaN": (
        with_scan(lambda: image(put(head(), np.nan), dtype="float32")),
        [(E, SCAN, "1 voxels are NaN or infinite")],
    ),
    "infinity": (
        with_scan(lambda: image(put(head(), -np.inf), dtype="float64")),
        [(E, SCAN, "1 voxels are NaN or infinite")],
    ),
    "only NaN": (
        with_scan(lambda: image(head() * np.nan, dtype="float32")),
        [(E, SCAN, "6,144 voxels are NaN or infinite")],
    ),
    "constant": (with_scan(lambda: image(head() * 0 - 7)), [(E, SCAN, "every voxel is -7")]),
    "8-bit grey": (with_scan(lambda: NOT_HU), [(E, SCAN, "8-bit grey")]),
    "scaled to 0..1": (
        with_scan(lambda: image((head() + 1000) / 1900, dtype="float32")),
        [(E, SCAN, "8-bit grey")],
    ),
    "MR": (
        with_scan(lambda: image(np.abs(head()) * 1.5)),
        [(E, SCAN, "no air, so MR")],
    ),
    "CT numbers with an offset": (
        with_scan(lambda: image(head() + 1024)),
        [(E, SCAN, "no air, so MR")],
    ),
    "standardised": (
        with_scan(lambda: image((head() - 30) / 700, dtype="float32")),
        [(E, SCAN, "too close")],
    ),
    "odd lowest value": (
        with_scan(lambda: image(put(head(), -33762), dtype="int32")),
        [(W, SCAN, "lowest value -33762")],
    ),
    "odd highest value": (
        with_scan(lambda: image(put(head(), 31701))),
        [(W, SCAN, "highest value 31701")],
    ),
    "padding": (with_scan(lambda: image(put(head(), -3024))), []),
    "no air": (
        with_scan(lambda: image(np.clip(head(), -100, 900))),
        [(W, SCAN, "no air")],
    ),
    "no bone": (
        with_scan(lambda: image(np.clip(head(), -1000, 100))),
        [(W, SCAN, "no bone")],
    ),
    "no brain": (
        with_scan(lambda: image(np.where(np.abs(head()) < 200, -300, head()))),
        [
            (W, MASK1, "slice 2, 3 lie in air"),
            (W, MASK3, "slice 2, 3 lie in air"),
            (W, SCAN, "0.0 % of the voxels"),
        ],
    ),
    # geometry
    "no form": (
        without_forms,
        [(W, n, "qform_code and sform_code are 0") for n in (SCAN, MASK1, MASK3)],
    ),
    "two forms": (
        two_forms,
        [(W, n, "qform and sform are 3 mm apart") for n in (SCAN, MASK1, MASK3)],
    ),
    "unit": (with_header(xyzt_units=1), [(W, SCAN, "unit is not mm")]),
    "flat affine": (
        with_affine(np.diag([0.5, 0.5, 0, 1.0])),
        [(E, SCAN, "affine maps")],
    ),
    "NaN affine": (
        lambda volumes: {name: without_place(volume) for name, volume in volumes.items()},
        [(E, n, "affine has a value that is not finite") for n in (SCAN, MASK1, MASK3)],
    ),
    "sagittal": (
        with_affine(np.array([[0, 0, 5, 0], [0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 1.0]])),
        [(E, SCAN, "orientation ASR")],
    ),
    "metres": (with_affine(sized(5e-4, 5e-4, 5e-3)), [(E, SCAN, "voxels of 0.0005 x 0.0005")]),
    "micrometres": (with_affine(sized(500, 500, 5000)), [(E, SCAN, "voxels of 500 x 500")]),
    "large pixels": (with_affine(sized(3, 3, 5)), [(W, SCAN, "unusual")]),
    "thin slices": (with_affine(sized(0.5, 0.5, 0.1)), [(W, SCAN, "unusual")]),
    "oblong pixels": (with_affine(sized(0.5, 0.6, 5)), [(W, SCAN, "not square")]),
    "tilted too far": (with_affine(affine_of(40)), [(W, SCAN, "slices tilted by 40.0 degrees")]),
    "sheared": (
        with_affine(sheared()),
        [],
    ),
    "pixdim": (set_zooms, [(I, SCAN, "pixdim says 0.5 x 0.5 x 4 mm, the affine 0.5 x 0.5 x 5")]),
    "no pixdim": (
        lambda volumes: (
            with_affine(affine_of())(volumes)
            and volumes
            | {
                SCAN: zipped(
                    volumes[SCAN].to_bytes()[:80] + bytes(12) + volumes[SCAN].to_bytes()[92:]
                )
            }
        ),
        [
            (W, SCAN, "header: pixdim[1,2,3] should be non-zero"),
            (I, SCAN, "pixdim says 1 x 1 x 1 mm"),
        ],
    ),
    "mask rounded": (with_mask(lambda: image(drawing(), shifted(5e-4))), []),
    "mask a little aside": (
        with_mask(lambda: image(drawing(), shifted(0.05))),
        [(W, MASK1, "affine differs from the scan's by 0.05 mm")],
    ),
    "mask half a voxel aside": (
        with_mask(lambda: image(drawing(), shifted(0.25))),
        [(E, MASK1, "affine differs from the scan's by 0.25 mm")],
    ),
    "mask of another tilt": (
        with_mask(lambda: image(drawing(), affine_of(14))),
        [(E, MASK1, "affine differs from the scan's by")],
    ),
    # labels
    "label 6": (
        with_mask(lambda: image(put(drawing(), 6))),
        [(E, MASK1, "label 6 is outside 0..5")],
    ),
    "label -1": (
        with_mask(lambda: image(put(drawing(), -1))),
        [(E, MASK1, "label -1 is outside 0..5")],
    ),
    "label 1.5": (
        with_mask(lambda: image(put(drawing(), 1.5), dtype="float64")),
        [(E, MASK1, "label 1.5 is not a whole number")],
    ),
    "label NaN": (
        with_mask(lambda: image(put(drawing(), np.nan), dtype="float32")),
        [(E, MASK1, "label nan is not a whole number")],
    ),
    "label almost whole": (
        with_mask(lambda: image(drawing() * 1.0001, dtype="float64")),
        [],
    ),
    "scan in a mask's place": (
        with_mask(lambda: image(head())),
        [(E, MASK1, "label 900 is outside 0..5")],
    ),
    # raters
    "empty mask": (
        with_mask(lambda: image(drawing() * 0)),
        [(W, MASK1, "rater 1 drew nothing, another one did")],
    ),
    "all masks empty": (
        lambda v: v | dict.fromkeys((MASK1, MASK3), image(drawing() * 0)),
        [(I, "", "no rater drew a bleed")],
    ),
    "same mask twice": (
        lambda v: v | {MASK3: v[MASK1]},
        [(W, MASK3, "the mask is rater 1's, voxel for voxel")],
    ),
    "flipped mask": (
        with_mask(lambda: image(np.roll(drawing(), 14, axis=1))),
        [(W, MASK1, "slice 2, 3 lie in air")],
    ),
    "one rater": (
        lambda v: {SCAN: v[SCAN], MASK3: v[MASK3]},
        [(I, "", "rater 3 is the only one")],
    ),
    "no rater": (lambda v: {SCAN: v[SCAN]}, [(E, "", "no rater's mask")]),
    "no scan": (lambda v: {MASK1: v[MASK1], MASK3: v[MASK3]}, [(E, "", "no image")]),
    "nothing but a note": (
        lambda v: {"note.txt": b"x"},
        [(E, "", "no image"), (E, "", "no rater's mask"), (I, "note.txt", "outside the layout")],
    ),
}
