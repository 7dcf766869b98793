"""Quality control: every case is checked before it is used.

`inspect_cases` makes three tables of a shard of cases; `mbhseg.inspect.inventory` joins the shards,
compares the cases, and lets usable cases pass.
"""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.imaging import geometry
from mbhseg.imaging.drawn_planes import DrawnPlanes
from mbhseg.imaging.nifti import PlaneReader, image_array, labels_of, voxel_ml
from mbhseg.imaging.png import write_png
from mbhseg.imaging.windows import Window
from mbhseg.inspect import checks
from mbhseg.inspect.archive import Archive, CaseFiles
from mbhseg.inspect.findings import Finding, findings_table
from mbhseg.inspect.inventory import (
    CASE_COLUMNS,
    SLICE_COLUMNS,
    Inventory,
    with_status,
)
from mbhseg.inspect.thumbnails import thumbnail


def inspect_cases(
    archive: Archive, cases: Iterable[str], window: Window, thumbnails: str | Path | None = None
) -> Inventory:
    """Check some of the archive's cases, each on its own.

    Faults of a case become findings, never exceptions. Findings on the archive as a whole come
    with its first case, so that they appear once over all shards.

    Args:
        archive: the open archive.
        cases: ids of the cases.
        window: of the thumbnails.
        thumbnails: folder for `<case>.png`, a picture of each case that has a readable scan;
            created if missing. None makes no pictures.

    Returns:
        The tables cases, slices and findings (see `mbhseg.inspect.inventory`), each with its
        columns even if it has no row.
    """
    cases = sorted(cases)
    if thumbnails is not None:
        Path(thumbnails).mkdir(parents=True, exist_ok=True)
    rows, counts, findings = [], [], []
    if next(iter(archive.cases), None) in cases:
        findings += [finding for finding in archive.findings if not finding.case]
    for case in cases:
        picture = None if thumbnails is None else Path(thumbnails) / f"{case}.png"
        inspected = inspect_case(archive, case, window, picture)
        rows.append(inspected.row)
        counts += inspected.counts
        findings += inspected.findings
    table = findings_table(findings)
    return Inventory(
        with_status(pd.DataFrame(rows, columns=list(CASE_COLUMNS)), table),
        pd.DataFrame(counts, columns=list(SLICE_COLUMNS)),
        table,
    )


class CaseInspection(NamedTuple):
    """One case's row of cases.tsv (without status), its rows of slices.tsv, its findings."""

    row: dict[str, Any]
    counts: list[tuple[Any, ...]]
    findings: list[Finding]


class _Drawing(NamedTuple):
    """One rater's mask: voxels of each class by plane, a digest, labels, suspect planes."""

    counts: dict[int, NDArray[np.int64]]
    digest: str
    labels: DrawnPlanes
    suspect: list[int]


def inspect_case(
    archive: Archive, case: str, window: Window, picture: Path | None = None
) -> CaseInspection:
    """Check one case; write its thumbnail to `picture` if given and the scan is readable."""
    files = archive.cases[case]
    findings = [finding for finding in archive.findings if finding.case == case]
    row: dict[str, Any] = dict.fromkeys(CASE_COLUMNS, math.nan)
    row |= dict.fromkeys(("n_slices", "size_x", "size_y"), 0)
    row |= dict.fromkeys(("orientation", "image_dtype", "classes", "image_sha256"), "")
    row |= {"case": case, "patient": files.patient, "raters": ",".join(map(str, files.labels))}

    scan = _scan(archive, files, findings) if files.image else None
    if scan is not None:
        row |= _describe(scan)
        _note(findings, case, files.image, _check_scan(scan))
    counts: list[tuple[Any, ...]] = []
    drawn: dict[int, str] = {}
    shown: _Drawing | None = None
    for rater, member in files.labels.items():
        before = len(findings)
        drawing = _drawing(archive, case, member, scan, findings)
        if drawing is None:
            continue
        counts += [(case, z, rater, *map(int, n)) for z, n in drawing.counts.items()]
        drawn[rater] = drawing.digest
        odd = any(finding.severity != "info" for finding in findings[before:])
        if shown is None or odd:
            shown = drawing
    _compare_raters(files, drawn, findings)
    row["classes"] = ",".join(
        key for column, key in enumerate(KEYS, start=3) if any(line[column] for line in counts)
    )
    if picture is not None and scan is not None:
        labels, suspect = (shown.labels, shown.suspect) if shown else (None, ())
        write_png(picture, thumbnail(image_array(scan), window, labels, suspect))
    return CaseInspection(row, counts, findings)


def _note(findings: list[Finding], case: str, file: str, remarks: Iterable[checks.Remark]) -> None:
    findings += [Finding(case, file, *remark) for remark in remarks]


def _scan(archive: Archive, files: CaseFiles, findings: list[Finding]) -> nib.Nifti1Image | None:
    """The case's scan; None, and a finding, if it is no readable 3-D volume."""
    try:
        scan = archive.nifti(files.image)
    except InputError as error:
        findings.append(_failed(files.case, files.image, error))
        return None
    if scan.ndim != 3:
        what = f"its shape {scan.shape} is not of three axes"
        remedy = "Convert it again, as one volume"
        findings.append(Finding(files.case, files.image, "error", what, remedy))
        return None
    return scan


def _failed(case: str, file: str, error: InputError) -> Finding:
    return Finding(case, file, "error", error.problem, error.remedy)


def _describe(scan: nib.Nifti1Image) -> dict[str, Any]:
    """The scan's columns of cases.tsv."""
    values, affine = image_array(scan), scan.affine
    low, high = _range(values)
    row: dict[str, Any] = {
        "size_x": scan.shape[0],
        "size_y": scan.shape[1],
        "n_slices": scan.shape[2],
        "image_dtype": scan.extra["dtype"],
        "hu_min": low,
        "hu_max": high,
        "image_sha256": _digest(values),
    }
    if not geometry.is_degenerate(affine):
        x, y, z = (round(size, 6) for size in geometry.spacing(affine))
        row |= {"spacing_x": x, "spacing_y": y, "spacing_z": z}
        row |= {"orientation": geometry.orientation(affine), "voxel_ml": voxel_ml(affine)}
        row |= {"tilt_deg": round(geometry.tilt_deg(affine), 3)}
        row |= {"shear_deg": round(geometry.shear_deg(affine), 3)}
    return row


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest finite value; NaN twice if there is none."""
    low, high = float(values.min()), float(values.max())
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)


def _digest(values: NDArray[Any]) -> str:
    """sha256 of shape and voxels, the same for the same numbers in another integer type."""
    kind = np.int32 if values.dtype.kind in "iu" and values.dtype.itemsize <= 4 else values.dtype
    digest = hashlib.sha256(repr(values.shape).encode())
    for z in range(values.shape[2]):
        digest.update(np.ascontiguousarray(values[:, :, z].T, kind).data)
    return digest.hexdigest()


def _check_scan(scan: nib.Nifti1Image) -> list[checks.Remark]:
    values = image_array(scan)
    remarks = [*checks.check_header(scan, scan.extra["notes"]), *checks.check_geometry(scan)]
    if values.dtype.kind == "f" and (odd := values.size - int(np.isfinite(values).sum())):
        what = f"{odd:,} voxels are NaN or infinite"
        return [*remarks, checks.Remark("error", what, "Convert the scan again")]
    return remarks + checks.check_intensity(values, *_range(values))


def _drawing(
    archive: Archive,
    case: str,
    member: str,
    scan: nib.Nifti1Image | None,
    findings: list[Finding],
) -> _Drawing | None:
    """One rater's labels, checked against the scan; None if they cannot be counted."""
    try:
        planes = PlaneReader(archive.read(member), member)
        aside = checks.check_alignment(scan, planes) if scan is not None else []
        _note(findings, case, member, aside)
        if scan is not None and scan.shape != planes.shape:
            return None
        labels = labels_of(planes)
    except InputError as error:
        findings.append(_failed(case, member, error))
        return None
    _note(findings, case, member, checks.check_header(planes, planes.notes))
    drawn = checks.drawn_voxels(labels)
    counts = checks.plane_counts(labels, drawn)
    suspect = [] if scan is None else checks.planes_in_air(image_array(scan), drawn)
    _note(findings, case, member, checks.check_in_air(suspect))
    digest = hashlib.sha256()
    for z in drawn:
        digest.update(b"%d:" % z)
        digest.update(np.ascontiguousarray(labels.planes[z].T).data)
    return _Drawing(counts, digest.hexdigest() if counts else "", labels, suspect)


def _compare_raters(files: CaseFiles, drawn: dict[int, str], findings: list[Finding]) -> None:
    """Findings on the case's raters; `drawn` has a digest for each, empty for an empty mask."""
    case = files.case
    if len(files.labels) == 1:
        what = f"rater {next(iter(files.labels))} is the only one"
        findings.append(Finding(case, "", "info", what, "Nothing to do; no agreement to measure"))
    empty = [rater for rater, digest in drawn.items() if not digest]
    if drawn and len(empty) == len(drawn):
        findings.append(Finding(case, "", "info", "no rater drew a bleed", "Nothing to do"))
    else:
        for rater in empty:
            what = f"rater {rater} drew nothing, another one did"
            file, remedy = files.labels[rater], "Check that the mask is meant to be empty"
            findings.append(Finding(case, file, "warning", what, remedy))
    first: dict[str, int] = {}
    for rater, digest in drawn.items():
        if digest and (other := first.setdefault(digest, rater)) != rater:
            what = f"the mask is rater {other}'s, voxel for voxel"
            file, remedy = files.labels[rater], "Check that it is not a copy"
            findings.append(Finding(case, file, "warning", what, remedy))
