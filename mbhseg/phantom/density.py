"""Radiodensity of the head's tissues: its parts laid over one another, from back to front."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.phantom.anatomy import Brain, Head, Shell, brain_stem
from mbhseg.phantom.fields import Field, Vector, capsule, ellipsoid, occupancy, over

# HU. ASSUME: a textbook adult at 120 kVp
AIR, FAT, SKIN, MUSCLE, CSF, WHITE, GREY = -1000.0, -75.0, 25.0, 54.0, 6.0, 28.0, 37.5
TABLE, DIPLOE, DURA, SINUS, CALCIUM, GLOBE = 1350.0, 780.0, 48.0, 53.0, 170.0, 12.0
NERVE, EYE_MUSCLE, LENS, ARTERY, BRUISE, SUTURE = 35.0, 45.0, 75.0, 44.0, 57.0, 250.0

TISSUES = ("air", "soft", "bone", "csf", "grey", "white", "ventricle", "dura", "calcium")
_CODE = {name: code for code, name in enumerate(TISSUES)}


class Canvas(NamedTuple):
    """HU and tissue codes of a list of points; edges of parts are soft over `edge` mm."""

    hu: Field
    tissue: NDArray[np.uint8]
    edge: float

    def lay(self, distance: Field, hu: Field | float, tissue: str) -> None:
        """Cover what lies inside `distance` (signed, mm; a single value covers nothing)."""
        if not distance.ndim:
            return
        share = occupancy(distance, self.edge)
        over(self.hu, share, hu)
        self.tissue[share > 0.5] = _CODE[tissue]


def paint_shell(head: Head, shell: Shell, behind: Field, edge: float) -> Canvas:
    """Everything outside the cranial cavity, laid over the HU `behind` it."""
    p = shell.p
    folded = p._replace(x=np.abs(p.x))
    texture = head.texture(p)
    canvas = Canvas(behind.copy(), np.zeros(p.x.shape, np.uint8), edge)

    canvas.lay(shell.skin, SKIN, "soft")
    # below the skull: muscles with planes of fat between them; above: fat alone
    planes = (np.abs(texture) - 0.34) * 4 - np.clip((p.z + 22) / 10, 0, 4)
    inner = np.clip(planes + 0.5, 0, 1) * (MUSCLE + 3 * texture - FAT) + FAT
    canvas.lay(shell.skin + 2.0, inner, "soft")
    temporalis = ellipsoid(folded, (72, 14, -18), (9, 30, 32))
    canvas.lay(np.maximum(temporalis, shell.skin + 3.5), MUSCLE + 4 * texture, "soft")
    bruise = np.maximum(2.0 - head.bruising(p), shell.skin + 2.2)
    canvas.lay(bruise, BRUISE + 5 * texture, "soft")

    skull = np.minimum(shell.cavity - shell.bone, _facial_bones(shell))
    skull = np.maximum(skull, shell.skin + 2.5)
    if head.opening is not None:
        missing = head.opening.distance(p)
        canvas.lay(np.maximum(skull, missing), head.opening.hu + 6 * texture, "soft")
        skull = np.maximum(skull, -missing)
    between = np.minimum(shell.cavity, -skull)  # mm to the nearer surface
    spongy = np.clip(between - 1.2, 0, 1)
    canvas.lay(skull, TABLE + (DIPLOE + 120 * texture - TABLE) * spongy, "bone")
    _open_sutures(canvas, head, shell)
    _open_sinuses(canvas, head, shell, texture)
    _place_eyes(canvas, shell)
    return canvas


def _facial_bones(shell: Shell) -> Field:
    folded = shell.p._replace(x=np.abs(shell.p.x))
    petrous = capsule(folded, (58, -28, -36), (15, -2, -31), 12, 7)
    orbits = np.abs(ellipsoid(folded, (32, 58, -38), (19, 26, 18))) - 1.4
    zygoma = capsule(folded, (48, 62, -50), (71, 8, -44), 3.2, 2.6)
    return np.minimum(petrous, np.minimum(orbits, zygoma))


def _open_sutures(canvas: Canvas, head: Head, shell: Shell) -> None:
    x, z = shell.p.x, shell.p.z
    zigzag = 1.2 * np.sin(x * 0.9) + 1.0 * np.sin(z * 1.1)
    lines = np.abs(head.coronal(shell.p) + zigzag) - 0.5
    lines = np.minimum(lines, np.abs(head.lambdoid(shell.p) + zigzag) - 0.5)
    lines = np.minimum(lines, np.maximum(np.abs(x + zigzag) - 0.4, -z))
    share = occupancy(np.maximum(lines, -shell.cavity), 1.0) * (z > -8) * (canvas.hu > 300)
    over(canvas.hu, share * 0.6, SUTURE)


def _open_sinuses(canvas: Canvas, head: Head, shell: Shell, texture: Field) -> None:
    p = shell.p
    side = np.abs(p.x)
    folded = p._replace(x=side)
    cells = 4 * (np.abs(texture) * 2.2 - 0.9 * head.pneumatization)
    mastoid = ellipsoid(folded, (56, -32, -42), (10, 16, 18)) + 2
    canvas.lay(np.maximum(mastoid, cells), AIR, "air")
    frontal = ellipsoid(p, (3, 83, -15), (22, 4.5, 13)) + 6 * (1 - head.pneumatization)
    ethmoid = ellipsoid(folded, (7, 60, -42), (6.5, 22, 14))
    ethmoid = np.maximum(ethmoid, 1.2 - np.abs((p.y % 9) - 4.5))
    sphenoid = np.maximum(ellipsoid(p, (2, 27, -38), (14, 11, 10)), 0.8 - np.abs(p.x - 3))
    nose = np.maximum(ellipsoid(folded, (6, 62, -66), (7, 34, 18)), 2 - side)
    for sinus in (frontal, ethmoid, sphenoid, nose):
        canvas.lay(np.maximum(sinus, 2 - shell.cavity), AIR, "air")


def _place_eyes(canvas: Canvas, shell: Shell) -> None:
    folded = shell.p._replace(x=np.abs(shell.p.x))
    orbit = np.maximum(ellipsoid(folded, (32, 58, -38), (17.5, 24.5, 16.5)), shell.skin + 3)
    orbit = np.maximum(orbit, 2.0 - shell.cavity)
    canvas.lay(orbit, FAT, "soft")
    nerve = capsule(folded, (32, 66, -37), (14, 32, -30), 1.8, 1.8)
    canvas.lay(np.maximum(nerve, orbit), NERVE, "soft")
    muscles = np.abs(ellipsoid(folded, (31, 56, -38), (12, 22, 12))) - 1.2
    canvas.lay(np.maximum(np.maximum(muscles, orbit), folded.y - 68), EYE_MUSCLE, "soft")
    canvas.lay(ellipsoid(folded, (32, 75, -37), (12, 12, 12)), GLOBE, "soft")
    canvas.lay(ellipsoid(folded, (32, 84, -37), (4.5, 2.2, 4.5)), LENS, "soft")


def paint_brain(head: Head, brain: Brain, edge: float) -> Canvas:
    """The cranial cavity's contents, without bleeds."""
    p, cortex = brain.p, brain.cortex
    mottle = head.texture(p)
    csf = np.full(p.x.shape, _CODE["csf"], np.uint8)
    canvas = Canvas(np.full_like(p.x, CSF), csf, edge)

    canvas.lay(-cortex, GREY + mottle, "grey")
    ribbon = 3.3 + 0.5 * mottle
    white = np.maximum(ribbon - cortex, ribbon - brain.sulci)
    white = np.maximum(white, ribbon - 0.6 - brain.cisterns)
    canvas.lay(np.maximum(white, -brain.tent), WHITE + 0.8 * mottle, "white")
    _place_nuclei(canvas, brain, mottle)

    hind = np.maximum(brain.tent + 1.0, -cortex)
    folia = np.sin(np.sqrt(p.y * p.y * 0.8 + p.z * p.z + 40) * 1.5 + 0.12 * brain.side)
    canvas.lay(hind, GREY - 1.5 + 2.5 * folia * (cortex < 16), "grey")
    arbor = ellipsoid(p._replace(x=brain.side), (17, -48, -34), (13, 14, 9))
    canvas.lay(np.maximum(arbor, -cortex), WHITE + 3, "white")
    canvas.lay(brain.sulci, CSF, "csf")
    canvas.lay(brain.cisterns, CSF, "csf")
    canvas.lay(brain_stem(p), WHITE + 4, "white")
    basilar = capsule(p, (0, 3, -20), (0, -2, -44), 1.7, 1.5)
    canvas.lay(np.maximum(basilar, -cortex), ARTERY, "dura")
    canvas.lay(brain.ventricles, CSF - 1, "ventricle")
    if head.defect is not None:
        canvas.lay(head.defect.distance(brain), head.defect.hu + 2 * mottle, "csf")
    if head.drain is not None:
        canvas.lay(capsule(p, head.drain.start, head.drain.tip, 1.3, 1.3), head.drain.hu, "calcium")
    _place_dura(canvas, brain)
    for spot in _calcifications(head, brain):
        canvas.lay(spot, CALCIUM, "calcium")
    canvas.hu[...] += head.tissue_shift
    return canvas


def _place_nuclei(canvas: Canvas, brain: Brain, mottle: Field) -> None:
    folded = brain.p._replace(x=brain.side)
    thalamus = ellipsoid(folded, (11, -13, 6), (8.5, 14, 9))
    putamen = ellipsoid(folded, (25.5, 4, 4), (5.5, 16, 10))
    pallidum = ellipsoid(folded, (19, 2, 1), (4.5, 9, 6))
    caudate = ellipsoid(folded, (14, 21, 9), (4.5, 9, 8))
    caudate = np.minimum(caudate, capsule(folded, (17, 10, 20), (19, -18, 25), 2.6, 1.8))
    for nucleus, lift in ((thalamus, -1.0), (putamen, 0.0), (pallidum, -1.5), (caudate, 0.5)):
        canvas.lay(nucleus, GREY + lift + mottle, "grey")


def _place_dura(canvas: Canvas, brain: Brain) -> None:
    p, depth = brain.p, brain.depth
    canvas.lay(np.maximum(brain.falx, -depth), DURA, "dura")
    notch = 22 - np.hypot(p.x, p.y + 16)
    tentorium = np.maximum(np.maximum(np.abs(brain.tent) - 0.7, notch), p.y + 10)
    canvas.lay(np.maximum(tentorium, -depth), DURA, "dura")

    sagittal = np.maximum(brain.side + 0.55 * depth - 4.6, -depth)
    sagittal = np.maximum(sagittal, np.minimum(8 - p.z, np.maximum(p.y, -3 - brain.tent)))
    canvas.lay(sagittal, SINUS, "dura")
    # the right transverse sinus is the larger one in most people
    width = np.where(p.x > 0, np.float32(4.2), np.float32(2.9))
    transverse = np.abs(brain.tent + 2.5) + 0.45 * depth - width
    canvas.lay(np.maximum(np.maximum(transverse, -depth), p.y + 42), SINUS, "dura")
    straight = capsule(p, (0, -40, 4), (0, -84, -17), 1.7, 1.9)
    canvas.lay(np.maximum(straight, -depth), SINUS - 2, "dura")


def _calcifications(head: Head, brain: Brain) -> list[Field]:
    pineal: tuple[Vector, Vector] = ((0.5, -30, 2), (2.2, 2.6, 2.4))
    right: tuple[Vector, Vector] = ((24, -36, 13), (2.4, 3.2, 2.6))  # choroid plexus
    left: tuple[Vector, Vector] = ((-25, -37, 12), (2.0, 2.8, 2.6))
    return [
        ellipsoid(brain.p, centre, radii)
        for there, (centre, radii) in zip(head.calcified, (pineal, right, left), strict=True)
        if there
    ]
