"""One scan of the phantom: image, truth and raters' labels, from the spec and its index alone."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.phantom import raters as reading
from mbhseg.phantom import scanner
from mbhseg.phantom.anatomy import TISSUES, WHITE, Head
from mbhseg.phantom.fields import Field, Points, occupancy, over
from mbhseg.phantom.hemorrhages import IPH, Bleed, Intraparenchymal
from mbhseg.phantom.scenarios import bleeds, scenario
from mbhseg.phantom.spec import PhantomSpec, case_id, check, patient_index, rng_for, visit

OEDEMA = 19.0
_SAMPLES = 2  # through a slice's thickness


class PhantomCase(NamedTuple):
    """One scan; all volumes [x, y, z] of one shape.

    `hu` is int16 or int32, `affine` 4 x 4 in mm (RAS+), `truth` and every rater's `labels` uint8
    classes, `tissue` uint8 codes of the head without bleeds (see `anatomy.TISSUES`), `mask_dtype`
    how the raters' files store their labels.
    """

    case: str
    hu: NDArray[np.int16] | NDArray[np.int32]
    affine: NDArray[np.float64]
    truth: NDArray[np.uint8]
    labels: dict[int, NDArray[np.uint8]]
    tissue: NDArray[np.uint8]
    mask_dtype: type


class _Plane(NamedTuple):
    hu: Field
    tissue: NDArray[np.uint8]
    distances: list[Field]
    points: Points


def make_case(spec: PhantomSpec, index: int) -> PhantomCase:
    """Draw scan `index` of the data set; the other scans, and how many there are, do not matter.

    Raises InputError if the spec is out of bounds.
    """
    check(spec)
    patient = patient_index(index)
    head = Head(rng_for(spec, "head", patient))
    found = bleeds(scenario(spec, patient), rng_for(spec, "bleeds", patient), head)
    scan = scanner.draw_scan(rng_for(spec, "scan", index), spec.size, spec.slices)
    shape = (spec.size, spec.size, spec.slices)
    who = reading.raters_of(spec, index)
    read = {rater: reading.readings(spec, index, rater, found) for rater in who}

    hu = np.zeros(shape, scan.dtype, order="F")
    truth, tissue = (np.zeros(shape, np.uint8, order="F") for _ in range(2))
    labels = {rater: np.zeros(shape, np.uint8, order="F") for rater in who}
    noise = rng_for(spec, "noise", index)
    edge = scan.spacing[0] * 0.8
    for k in range(spec.slices):
        gantry = scanner.plane_points(scan, shape, k, 1)
        empty = np.full(shape[:2], -1000.0, np.float32)
        scanner.paint_headrest(empty, Points(*(axis[0] for axis in gantry)), edge)
        box = _head_box(head, scan, gantry)
        if box is not None:
            samples = scanner.plane_points(scan, shape, k, _SAMPLES)
            inside = Points(*(axis[(slice(None), *box)] for axis in samples))
            plane = _render(head, found, scan, inside, edge, empty[box])
            empty[box] = plane.hu
            tissue[(*box, k)] = plane.tissue
            _draw_truth(found, plane.distances, truth[(*box, k)])
            for rater in who:
                reading.draw(read[rater], plane.distances, plane.points, labels[rater][(*box, k)])
        hu[:, :, k] = scanner.expose(empty, scan, noise, spec.noise)
    if visit(index):  # the follow-up's numbering goes on; nothing else tells the visits apart
        pass
    stored = np.float64 if index % 12 == 2 else np.uint16
    affine = scanner.affine_of(scan, shape)
    return PhantomCase(case_id(spec, index), hu, affine, truth, labels, tissue, stored)


def _head_box(head: Head, scan: scanner.Scan, p: Points) -> tuple[slice, slice] | None:
    """The part of a plane [1, x, y] that holds the head, with a margin; None if it lies outside."""
    step = 4
    coarse = Points(*(axis[:, ::step, ::step] for axis in p))
    skin = head.shell(head.to_canonical(scanner.to_head(scan, coarse))).skin[0]
    rows, columns = np.nonzero(skin < 4 + 2 * step * scan.spacing[0])
    if not len(rows):
        return None
    size = p.x.shape[1]
    ends = ((r.min() * step, min(r.max() * step + step, size)) for r in (rows, columns))
    first, second = (slice(int(low), int(high)) for low, high in ends)
    return first, second


def _render(
    head: Head, found: list[Bleed], scan: scanner.Scan, gantry: Points, edge: float, behind: Field
) -> _Plane:
    """Render the samples [s, x, y] of one plane and average them through the slice."""
    p = head.to_canonical(scanner.to_head(scan, gantry))
    shell = head.shell(p)
    squeeze: Field | float = 0.0
    for bleed in found:
        squeeze = np.maximum(squeeze, bleed.squeeze(shell))
    hu, tissue = head.paint_shell(shell, edge)
    over(hu, occupancy(shell.skin, edge) < 0.5, behind)
    middle = Points(*(axis.mean(axis=0) for axis in p))
    if not (shell.cavity < edge).any():
        far = np.full(middle.x.shape, np.float32(99.0))
        return _Plane(hu.mean(axis=0), tissue[_SAMPLES // 2], [far] * len(found), middle)
    brain = head.brain(shell, squeeze)
    contents, inner = head.paint_brain(brain, edge)
    distances = [bleed.distance(brain) for bleed in found]
    for bleed, distance in zip(found, distances, strict=True):
        if isinstance(bleed, Intraparenchymal):
            rim = np.maximum(distance - bleed.oedema, 1.5 - brain.cortex)
            over(contents, 0.8 * occupancy(rim, 2 * edge), OEDEMA)
    for bleed, distance in zip(found, distances, strict=True):
        over(contents, occupancy(distance, edge), bleed.texture(p))
    scanner.harden(contents, shell.cavity, p)
    share = occupancy(shell.cavity, edge)
    over(hu, share, contents)
    tissue = np.where(share > 0.5, inner, tissue)
    averaged = [distance.mean(axis=0) for distance in distances]
    return _Plane(hu.mean(axis=0), tissue[_SAMPLES // 2], averaged, middle)


def _draw_truth(found: list[Bleed], distances: list[Field], out: NDArray[np.uint8]) -> None:
    deepest = np.zeros(out.shape, np.float32)
    for bleed, distance in zip(found, distances, strict=True):
        better = distance < deepest
        out[better] = bleed.label
        deepest[better] = distance[better]


__all__ = ["IPH", "TISSUES", "WHITE", "PhantomCase", "make_case"]
