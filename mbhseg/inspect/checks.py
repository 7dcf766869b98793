"""Plausibility checks of single volumes, from header and voxels.

Each check returns remarks, none if all is well, and changes nothing.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.imaging import geometry
from mbhseg.imaging.drawn_planes import DrawnPlanes
from mbhseg.inspect.findings import Severity

ODD_HU = 4096  # 12-bit scanners end at 3071; extended scales seldom exceed this in tissue
AIR_HU = -200
BONE_HU = 200
BRAIN_HU = (0, 100)
_MIN_BRAIN = 0.005  # share of the voxels of a head scan; real ones have 0.1 and more
_MAX_IN_AIR, _MIN_DRAWN = 0.5, 10  # share and number of a plane's labelled voxels
# as scanned, or reduced to a matrix of 128; outside _ANY_MM the unit is wrong
_PIXEL_MM, _STEP_MM, _ANY_MM = (0.15, 2.5), (0.3, 15.0), (0.02, 50.0)
_MAX_TILT_DEG = 35.0


class Volume(Protocol):
    """What images and plane readers have in common: their geometry."""

    @property
    def header(self) -> nib.Nifti1Header: ...

    @property
    def affine(self) -> Any: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


class Remark(NamedTuple):
    """A finding without its case and file."""

    severity: Severity
    what: str
    remedy: str


def check_header(volume: Volume, notes: Iterable[str]) -> list[Remark]:
    """Remarks on the header's own consistency: forms, unit, and the reader's notes."""
    remarks = [_header_note(note) for note in notes]
    header = volume.header
    qcode, scode = int(header["qform_code"]), int(header["sform_code"])
    if not (qcode > 0 or scode > 0):
        remarks.append(
            Remark(
                "warning",
                "qform_code and sform_code are 0: orientation and position are a guess",
                "Convert the scan again with its geometry",
            )
        )
    elif qcode > 0 and scode > 0:
        apart = geometry.displacement_mm(header.get_qform(), header.get_sform(), volume.shape)
        if not apart <= _tolerance(volume):
            remarks.append(
                Remark(
                    "warning",
                    f"qform and sform are {apart:.3g} mm apart; the sform is used",
                    "Convert the scan again, or clear the wrong one",
                )
            )
    if int(header["xyzt_units"]) % 8 not in (0, 2):
        remarks.append(
            Remark("warning", "the spatial unit is not mm; mm is assumed", "Check the spacing")
        )
    return remarks


def _header_note(note: str) -> Remark:
    grave = "pixdim[1,2,3]" in note or "after the voxels" in note
    return Remark(
        "warning" if grave else "info",
        f"header: {note}" if "bytes after" not in note else note,
        "Convert the scan again" if grave else "Nothing to do",
    )


def check_geometry(image: Volume) -> list[Remark]:
    """Remarks on where the scan [x, y, z] lies and how large its voxels are."""
    affine = image.affine
    if geometry.is_degenerate(affine):
        return [Remark("error", "the affine maps the scan to no volume", "Convert the scan again")]
    remarks = []
    axes, (x, y, z) = geometry.orientation(affine), geometry.spacing(affine)
    if axes[2] not in "SI":
        remarks.append(
            Remark(
                "error",
                f"orientation {axes}: the third axis is not the slices of an axial scan",
                "Reorient the scan so that the third axis runs to the head or the feet",
            )
        )
    if not all(_ANY_MM[0] <= size <= _ANY_MM[1] for size in (x, y, z)):
        remarks.append(
            Remark(
                "error",
                f"voxels of {x:.4g} x {y:.4g} x {z:.4g} mm",
                "Check the unit, convert again",
            )
        )
    elif not (_inside(x, _PIXEL_MM) and _inside(y, _PIXEL_MM) and _inside(z, _STEP_MM)):
        remarks.append(
            Remark(
                "warning",
                f"voxels of {x:.4g} x {y:.4g} x {z:.4g} mm are unusual for head CT",
                "Check the spacing",
            )
        )
    if abs(x - y) > 0.01 * max(x, y):
        remarks.append(
            Remark("warning", f"pixels of {x:.4g} x {y:.4g} mm are not square", "Check the spacing")
        )
    stated = tuple(float(size) for size in image.header.get_zooms()[:3])
    if any(abs(a - b) > 0.01 * b for a, b in zip(stated, (x, y, z), strict=True)):
        remarks.append(
            Remark(
                "info",
                f"pixdim says {stated[0]:.4g} x {stated[1]:.4g} x {stated[2]:.4g} mm, "
                f"the affine {x:.4g} x {y:.4g} x {z:.4g}",
                "Nothing to do; the affine is used",
            )
        )
    if (tilt := geometry.tilt_deg(affine)) > _MAX_TILT_DEG:
        remarks.append(
            Remark("warning", f"slices tilted by {tilt:.1f} degrees", "Check the orientation")
        )
    return remarks


def _inside(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _tolerance(image: Volume) -> float:
    """A quarter of the smallest voxel edge: below it, no voxel is mistaken for its neighbour."""
    return max(geometry.GRID_TOLERANCE_MM, min(geometry.spacing(image.affine)) / 4)


def check_alignment(scan: Volume, mask: Volume) -> list[Remark]:
    """Remarks on a mask that does not lie on the voxels of its scan.

    Up to 1e-3 mm apart is equal. Up to a quarter of the smallest voxel edge, as from a rounded
    quaternion, is a warning: the voxels are the same, and the scan's geometry is used.
    """
    if scan.shape != mask.shape:
        a, b = (" x ".join(map(str, image.shape)) for image in (mask, scan))
        return [Remark("error", f"shape {a}, but the scan's is {b}", "Annotate this scan again")]
    apart = geometry.off_grid_mm(mask.affine, scan.affine, scan.shape)
    if not apart:
        return []
    grave = not apart <= _tolerance(scan)  # NaN too
    return [
        Remark(
            "error" if grave else "warning",
            f"affine differs from the scan's by {apart:.3g} mm",
            "Annotate this scan again, or copy the scan's header"
            if grave
            else "Nothing to do; the scan's is used",
        )
    ]


def check_intensity(values: NDArray[Any], low: float, high: float) -> list[Remark]:
    """Remarks on whether `values`, from `low` to `high` and finite, look like HU of a head."""
    if low == high:
        return [Remark("error", f"every voxel is {low:g}", "Fetch or convert the scan again")]
    span = f"values from {low:g} to {high:g}"
    again = "Convert the scan again, to HU"
    if low >= 0 and high <= 255:
        return [Remark("error", f"{span} look like 8-bit grey, not like HU", again)]
    if low >= 0:
        return [Remark("error", f"{span}: no air, so MR, or CT with an offset, not HU", again)]
    if high - low < BONE_HU - AIR_HU:
        return [Remark("error", f"{span} are too close for HU of a head", again)]
    remarks = []
    for value, name in ((low, "lowest"), (high, "highest")):
        if abs(value) > ODD_HU:
            what = f"{name} value {value:g} is no HU of tissue, metal or padding"
            remarks.append(Remark("warning", what, "Look at the scan; windows clip such values"))
    if low > AIR_HU:
        remarks.append(Remark("warning", f"{span}: no air around the head", "Look at the scan"))
    if high < BONE_HU:
        remarks.append(Remark("warning", f"{span}: no bone", "Look at the scan"))
    sample = values[::4, ::4]
    brain = float(((sample > BRAIN_HU[0]) & (sample <= BRAIN_HU[1])).mean())
    if brain < _MIN_BRAIN:
        remarks.append(
            Remark(
                "warning",
                f"only {100 * brain:.1f} % of the voxels lie in 0..100 HU, the range of brain",
                "Look at the scan",
            )
        )
    return remarks


Voxels = dict[int, NDArray[np.intp]]


def drawn_voxels(labels: DrawnPlanes) -> Voxels:
    """The labelled voxels: plane to voxel numbers in it, x running fastest.

    Planes without a label are left out, so later checks cost time only for labelled voxels.
    """
    planes = {z: np.flatnonzero(_flat(plane) > 0) for z, plane in labels.planes.items()}
    return {z: voxels for z, voxels in planes.items() if voxels.size}


def _flat(plane: NDArray[Any]) -> NDArray[Any]:
    """A plane [x, y], x running fastest; a view if it lies in memory as in the file."""
    return plane.reshape(-1, order="F")


def plane_counts(labels: DrawnPlanes, drawn: Voxels) -> dict[int, NDArray[np.int64]]:
    """Voxels of each class [EDH..SDH] in each labelled plane."""
    return {
        z: np.bincount(_flat(labels.planes[z])[voxels], minlength=len(CLASSES))[1:]
        for z, voxels in drawn.items()
    }


def planes_in_air(values: NDArray[Any], drawn: Voxels) -> list[int]:
    """Planes whose labels lie outside the head, as in a flipped mask, ascending.

    `values` are HU [x, y, z] of the scan that the labels belong to.
    """
    return [
        z
        for z, voxels in drawn.items()
        if voxels.size >= _MIN_DRAWN
        and (_flat(values[:, :, z])[voxels] < AIR_HU).mean() > _MAX_IN_AIR
    ]


def check_in_air(planes: list[int]) -> list[Remark]:
    """A remark on the planes, if any, of `planes_in_air`."""
    if not planes:
        return []
    named = ", ".join(map(str, planes[:5])) + (", ..." if len(planes) > 5 else "")
    return [
        Remark(
            "warning",
            f"most labelled voxels of slice {named} lie in air",
            "Check that mask and scan are not flipped or shifted against each other",
        )
    ]
