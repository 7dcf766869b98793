"""One scan of the phantom: image, truth and raters' labels, from the spec and its index alone."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.phantom import raters as reading
from mbhseg.phantom import scanner
from mbhseg.phantom.anatomy import Head
from mbhseg.phantom.density import paint_brain, paint_shell
from mbhseg.phantom.fields import Field, Points, occupancy, over
from mbhseg.phantom.hemorrhages import Bleed, Intraparenchymal
from mbhseg.phantom.scenarios import bleeds, scenario
from mbhseg.phantom.spec import PhantomSpec, case_id, check, patient_index, rng_for, visit
from mbhseg.phantom.variety import vary

OEDEMA = 19.0  # HU
FADING = 6.0  # HU a bleed has lost when its patient is scanned again, days later
_SAMPLES = 2  # through a slice's thickness


class PhantomCase(NamedTuple):
    """One scan; all volumes [x, y, z] of one shape.

    `hu` is int16 or int32, `affine` 4 x 4 in mm (RAS+), `truth` and every rater's `labels` uint8
    classes, `tissue` uint8 codes of the head without bleeds (see `density.TISSUES`), `mask_dtype`
    how the raters' files store their labels.
    """

    case: str
    hu: NDArray[np.int16] | NDArray[np.int32]
    affine: NDArray[np.float64]
    truth: NDArray[np.uint8]
    labels: dict[int, NDArray[np.uint8]]
    tissue: NDArray[np.uint8]
    mask_dtype: type


class _Patient(NamedTuple):
    """A head, its bleeds, and by how many HU they have faded since the first scan."""

    head: Head
    bleeds: list[Bleed]
    fading: float


class _Plane(NamedTuple):
    """Image [x, y] and tissue codes of a plane; where `within` [x, y], its points [n] and their
    distances to each bleed."""

    hu: Field
    tissue: NDArray[np.uint8]
    within: NDArray[np.bool_]
    distances: list[Field]
    points: Points


def make_case(spec: PhantomSpec, index: int) -> PhantomCase:
    """Generate scan `index` of the data set, independently of the other scans.

    Raises InputError if the spec is out of bounds.
    """
    check(spec)
    patient = _patient(spec, index)
    found = patient.bleeds
    scan = scanner.draw_scan(rng_for(spec, "scan", index), spec.size, spec.slices)
    shape = (spec.size, spec.size, spec.slices)
    who = reading.raters_of(spec, index)
    read = {rater: reading.readings(spec, index, rater, found) for rater in who}

    hu: NDArray[Any] = np.zeros(shape, scan.dtype, order="F")
    truth, tissue = (np.zeros(shape, np.uint8, order="F") for _ in range(2))
    labels = {rater: np.zeros(shape, np.uint8, order="F") for rater in who}
    noise = rng_for(spec, "noise", index)
    edge = scan.spacing[0] * 0.8
    for k in range(spec.slices):
        gantry = scanner.plane_points(scan, shape, k, 1)
        empty = np.full(shape[:2], -1000.0, np.float32)
        scanner.paint_headrest(empty, gantry.at(0), edge)
        box = _head_box(patient.head, scan, gantry)
        if box is not None:
            samples = scanner.plane_points(scan, shape, k, _SAMPLES)
            plane = _render(patient, scan, samples.at((slice(None), *box)), edge, empty[box])
            empty[box] = plane.hu
            tissue[(*box, k)] = plane.tissue
            truth[(*box, k)][plane.within] = _true_labels(found, plane)
            for rater in who:
                drawn = reading.draw(read[rater], plane.distances, plane.points)
                labels[rater][(*box, k)][plane.within] = drawn
        hu[:, :, k] = scanner.expose(empty, scan, noise, spec.noise)
    stored = np.float64 if index % 12 == 2 else np.uint16
    affine = scanner.affine_of(scan, shape)
    return PhantomCase(case_id(spec, index), hu, affine, truth, labels, tissue, stored)


def _patient(spec: PhantomSpec, index: int) -> _Patient:
    who = patient_index(index)
    head = Head(rng_for(spec, "head", who))
    found = bleeds(scenario(spec, who), rng_for(spec, "bleeds", who), head)
    if spec.varied:
        vary(rng_for(spec, "variety", who), head, found)
    return _Patient(head, found, FADING * visit(index))


def _head_box(head: Head, scan: scanner.Acquisition, p: Points) -> tuple[slice, slice] | None:
    """The part of a plane [1, x, y] that holds the head, with a margin; None if it lies outside."""
    step = 4
    coarse = p.at((slice(None), slice(None, None, step), slice(None, None, step)))
    skin = head.shell(head.to_canonical(scanner.to_head(scan, coarse))).skin[0]
    rows, columns = np.nonzero(skin < 4 + 2 * step * scan.spacing[0])
    if not len(rows):
        return None
    size = p.x.shape[1]
    ends = ((r.min() * step, min(r.max() * step + step, size)) for r in (rows, columns))
    first, second = (slice(int(low), int(high)) for low, high in ends)
    return first, second


def _render(
    patient: _Patient, scan: scanner.Acquisition, gantry: Points, edge: float, behind: Field
) -> _Plane:
    """Render the samples [s, x, y] of one plane and average them through the slice.

    `edge` in mm softens the edges of all parts, `behind` [x, y] is the image without the head.
    """
    head, found = patient.head, patient.bleeds
    p = head.to_canonical(scanner.to_head(scan, gantry))
    shell = head.shell(p)
    hu = np.broadcast_to(behind, p.x.shape).copy()
    tissue = np.zeros(p.x.shape, np.uint8)
    # The work is done on lists of points [s, n]: those of skull and scalp, those inside the skull
    wall = np.any((shell.skin < edge) & (shell.cavity > -edge), axis=0)
    outer = paint_shell(head, shell.at(wall), hu[:, wall], edge)
    hu[:, wall], tissue[:, wall] = outer.hu, outer.tissue

    within = np.any(shell.cavity < edge, axis=0)
    shell = shell.at(within)
    squeeze = np.zeros_like(shell.cavity)
    for bleed in found:
        squeeze = np.maximum(squeeze, bleed.squeeze(shell))
    brain = head.brain(shell, squeeze)
    inner = paint_brain(head, brain, edge)
    distances = [bleed.distance(brain) for bleed in found]
    for bleed, distance in zip(found, distances, strict=True):
        if isinstance(bleed, Intraparenchymal):
            rim = np.maximum(distance - bleed.oedema, 1.5 - brain.cortex)
            over(inner.hu, 0.8 * occupancy(rim, 2 * edge), OEDEMA)
    for bleed, distance in zip(found, distances, strict=True):
        over(inner.hu, occupancy(distance, edge), bleed.texture(brain.p) - patient.fading)
    scanner.harden(inner.hu, shell.cavity, shell.p)
    share = occupancy(shell.cavity, edge)
    hu[:, within] += share * (inner.hu - hu[:, within])
    tissue[:, within] = np.where(share > 0.5, inner.tissue, tissue[:, within])
    averaged = [distance.mean(axis=0) for distance in distances]
    middle = shell.p.mean()
    return _Plane(hu.mean(axis=0), tissue[_SAMPLES // 2], within, averaged, middle)


def _true_labels(found: list[Bleed], plane: _Plane) -> NDArray[np.uint8]:
    deepest = np.zeros_like(plane.points.x)
    labels = np.zeros(deepest.shape, np.uint8)
    for bleed, distance in zip(found, plane.distances, strict=True):
        better = distance < deepest
        labels[better] = bleed.label
        deepest[better] = distance[better]
    return labels
