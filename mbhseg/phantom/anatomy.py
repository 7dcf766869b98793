"""The shape of a synthetic head: signed distances of its parts.

Coordinates are millimetres in the head's own frame, right, anterior and superior, with the
origin between the commissures. The numbers are an adult's, rounded; each patient varies them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.phantom.fields import (
    Field,
    Points,
    Vector,
    Waves,
    capsule,
    ellipsoid,
    smooth_min,
)


class Shell(NamedTuple):
    """The head without its contents, signed distances in mm (negative inside).

    `skin` to the head's surface, `cavity` to the inner table, `bone` the thickness of the skull.
    """

    p: Points
    skin: Field
    cavity: Field
    bone: Field

    def at(self, where: NDArray[np.bool_]) -> "Shell":
        """The points of samples [s, x, y] where `where` [x, y] holds, as lists [s, n]."""
        p = self.p.at((slice(None), where)).bounded()
        return Shell(p, self.skin[:, where], self.cavity[:, where], self.bone[:, where])


class Brain(NamedTuple):
    """The contents of the skull, signed distances in mm (negative inside), for placing bleeds.

    `p` are the points after the midline shift (p.x = 0 in the falx), `side` is |p.x|, `depth` is
    measured inwards from the inner table and `cortex` inwards from the brain's surface, `tent` is
    negative below the tentorium.
    """

    p: Points
    side: Field
    depth: Field
    cortex: Field
    tent: Field
    falx: Field
    sulci: Field
    cisterns: Field
    ventricles: Field


class Defect(NamedTuple):
    """Where an old infarct or contusion has left fluid instead of brain; `hu` its density."""

    centre: Vector
    radii: Vector
    hu: float
    ripple: Waves

    def distance(self, brain: Brain) -> Field:
        """Signed distance in mm to its edge; OUTSIDE if at another level."""
        hollow = ellipsoid(brain.p, self.centre, self.radii)
        if not hollow.ndim:
            return hollow
        return np.maximum(hollow + 0.25 * min(self.radii) * self.ripple(brain.p), -brain.cortex)


class Opening(NamedTuple):
    """Where a surgeon opened the skull: within `reach` radians of `direction` from the origin.

    `closed`: the bone was put back, and only the cut around it shows. `hu` is what lies there.
    """

    direction: Vector
    reach: float
    closed: bool
    hu: float

    def distance(self, p: Points) -> Field:
        """Signed distance in mm to the edge of what is missing, at any depth."""
        x, y, z = self.direction
        far = np.sqrt(p.x * p.x + p.y * p.y + p.z * p.z) + 1e-3
        cosine = np.clip((p.x * x + p.y * y + p.z * z) / far, -1, 1)
        cone = (np.arccos(cosine) - self.reach) * far
        return np.abs(cone) - 1.2 if self.closed else cone


class Drain(NamedTuple):
    """A ventricular catheter, from the vertex to its tip; `hu` its density."""

    start: Vector
    tip: Vector
    hu: float


class Head:
    """One patient's head; `atrophy` runs from 0 (young) to 1 and widens every CSF space."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.scale = float(rng.normal(1.0, 0.03))
        self.width = float(rng.normal(1.0, 0.035))
        self.atrophy = float(rng.beta(1.4, 1.8))
        self.petalia = float(rng.uniform(1.0, 2.8))  # right frontal, left occipital pole ahead
        self.scalp = float(rng.uniform(4.0, 7.0))
        self.thickness = float(rng.uniform(5.0, 7.5))
        self.ventricle_sides = tuple(float(v) for v in rng.normal((0.95, 1.1), 0.1))  # right, left
        self.ventricle_size = 0.75 + 0.6 * self.atrophy + float(rng.uniform(-0.1, 0.15))
        self.pneumatization = float(rng.uniform(0.6, 1.15))
        self.calcified = tuple(bool(c) for c in rng.random(3) < (0.55, 0.6, 0.7))
        self.sutures = (float(rng.normal(24, 4)), float(rng.normal(-52, 4)))
        self.tissue_shift = float(rng.normal(0, 1.2))  # of the soft tissues, HU
        self.midline_shift = 0.0  # mm towards the right, set by the bleeds' mass effect
        self.effacement = 0.0  # 0..1, how much swelling has closed the sulci
        self.bruise: Vector | None = None  # where blood swells the scalp
        self.defect: Defect | None = None
        self.opening: Opening | None = None
        self.drain: Drain | None = None
        self._bone = Waves(rng, 55, 4)
        self._wobble = Waves(rng, 45, 4)
        self._sulci = Waves(rng, 27, 12)
        self.texture = Waves(rng, 14, 6)
        self._coarse = Waves(rng, 38, 4)

    def to_canonical(self, p: Points) -> Points:
        """Millimetres of this head to those of the average head, which define all shapes."""
        y, z = p.y / self.scale, p.z / self.scale
        x = p.x / (self.scale * self.width)
        y = y - self.petalia * np.tanh(x / 25)
        x = x * (1 + 0.10 * np.clip(y / 85, -0.8, 1))  # broader at the back
        return Points(x, y, z).bounded()

    def shell(self, p: Points) -> Shell:
        """Distances of skin and skull at canonical points."""
        x, y, z = p.x, p.y, p.z
        side = np.abs(x)
        flat = Points(x, y, np.where(z > 2, z, 2 + (z - 2) * 0.55))
        vault = ellipsoid(flat, (0, -4, 2), (67, 84, 71))
        folded = p._replace(x=side)
        floor = -15 - 10 / (1 + np.exp(-(y - 25) / 4)) + 4 * np.exp(-(((side - 30) / 14) ** 2))
        upper = np.maximum(vault, floor - z)
        upper = smooth_min(upper, ellipsoid(folded, (40, -4, -22), (24.5, 33, 22)), 6)
        hind = ellipsoid(p, (0, -45, -34), (54, 38, 33))
        stem = capsule(p, (0, 4, -16), (0, -20, -60), 17, 15)
        cavity = smooth_min(upper, smooth_min(hind, stem, 8), 5)
        petrous = capsule(folded, (60, -30, -36), (17, -3, -31), 11, 6)
        cavity = np.maximum(cavity, -petrous)
        bone = self.thickness + 1.0 * self._bone(p)
        bone += 3.5 * np.exp(-((x / 18) ** 2 + ((y + 88) / 14) ** 2 + ((z + 6) / 16) ** 2))
        bone += 5.0 * np.exp(-((x / 24) ** 2 + ((y - 82) / 14) ** 2 + ((z + 16) / 18) ** 2))
        temple = 4 * np.exp(
            -(((side - 66) / 20) ** 2 + ((y - 14) / 28) ** 2 + ((z + 16) / 26) ** 2)
        )
        bone -= 0.5 * temple
        bone -= 4.0 / (1 + np.exp((z + 12) / 3)) / (1 + np.exp(-(y - 8) / 4))  # orbital roofs
        bone = np.maximum(bone, 2.5)
        skin = vault - bone - self.scalp - temple * 1.5 + 1.2 * np.tanh(z / 30)
        skin = smooth_min(skin, ellipsoid(p, (0, 58, -52), (56, 40, 52)), 12)
        skin = smooth_min(skin, ellipsoid(p, (1, 100, -58), (9, 14, 18)), 6)
        skin = np.minimum(skin, ellipsoid(folded, (79, -22, -38), (7, 12, 26)))
        skin -= self.bruising(p)
        return Shell(p, skin, cavity, bone)

    def coronal(self, p: Points) -> Field:
        """How far points lie in front of the coronal suture, in mm."""
        return p.y - self.sutures[0] + 0.25 * (p.z - 40)

    def lambdoid(self, p: Points) -> Field:
        """How far points lie in front of the lambdoid suture, in mm."""
        return p.y - self.sutures[1] - 0.5 * (p.z - 20)

    def before_sutures(self, p: Points, centre: Vector) -> Field:
        """How far points lie on the side of `centre` of the sutures next to it, in mm."""
        x, y, z = (np.array(c, np.float32) for c in centre)
        middle = Points(x, y, z)
        edges = [np.sign(suture(middle)) * suture(p) for suture in (self.coronal, self.lambdoid)]
        return np.minimum(*edges)

    def bruising(self, p: Points) -> Field:
        """How far blood in the scalp lifts the skin, in mm."""
        if self.bruise is None:
            return np.zeros_like(p.x)
        cx, cy, cz = self.bruise
        square = (p.x - cx) ** 2 + (p.y - cy) ** 2 + (p.z - cz) ** 2
        return 9 * np.exp(-square * (1 / 900))

    def brain(self, shell: Shell, squeeze: Field | float) -> Brain:
        """Distances inside the skull; `squeeze` mm of blood lie between inner table and brain."""
        p0, depth = shell.p, -shell.cavity
        bend = np.clip(1 - (p0.y / 80) ** 2, 0, 1) * np.clip((p0.z + 25) / 30, 0, 1)
        bend *= np.clip((72 - p0.z) / 45, 0, 1)
        x = p0.x - self.midline_shift * bend
        x = x - 0.9 * self._wobble(p0) * bend
        y, z = p0.y, p0.z
        p, side = p0._replace(x=x), np.abs(x)
        folded = p._replace(x=side)
        cortex = depth - (0.8 + 2.4 * self.atrophy) - squeeze

        slope = 6 - 0.42 * side + 0.5 * np.minimum(y + 38, 0)
        tent = np.maximum((z - slope) * 0.85, (y - 2 + 0.45 * side) * 0.9)
        callosum = (np.sqrt(((y - 2) / 42) ** 2 + ((z - 4) / 22) ** 2) - 1) * 26
        midplane = np.maximum(side, -callosum)
        falx = np.maximum(midplane, -tent + 1)
        regional = self._coarse(p)
        dura = np.maximum(falx, np.maximum(4 - callosum, np.minimum(-z, 24 - y)))
        return Brain(
            p,
            side,
            depth,
            cortex,
            tent,
            dura - 0.55,
            self._sulci_distance(p, regional, cortex, tent, falx),
            self._cisterns_distance(folded._replace(x=side + 1.6 * regional, y=y + 2.2 * regional)),
            self._ventricles_distance(p, folded),
        )

    def _sulci_distance(
        self, p: Points, regional: Field, cortex: Field, tent: Field, midline: Field
    ) -> Field:
        radius = np.maximum(np.sqrt(p.x * p.x + p.y * p.y + p.z * p.z), 38)
        pull = 60 / radius + 0.4
        wave = self._sulci(Points(p.x * pull, p.y * pull, p.z * pull))
        apart = np.abs(wave) * (27 / (2 * np.pi)) * (radius / 66)
        reach = 12.5 + 3.5 * regional
        half = (0.35 + 1.5 * self.atrophy) * (1 - 0.8 * self.effacement) * (1 + 0.35 * regional)
        sulci = np.maximum(apart - half * (1.25 - 0.5 * cortex / reach), cortex - reach)
        gap = midline - (0.7 + 1.0 * self.atrophy)
        return np.maximum(np.minimum(sulci, gap), 1 - tent)

    def _cisterns_distance(self, p: Points) -> Field:
        x, y, z = p.x, p.y, p.z
        open_by = 1.2 * self.atrophy * (1 - 0.6 * self.effacement)
        limb = np.abs(y - 12 + 0.9 * (z + 6) + 0.15 * (x - 38)) * 0.72
        limb = np.maximum(np.maximum(limb - 1.1, 35 - x), np.abs(z - 3) - 17)
        insula = np.abs(x - 37 + (y - 2) ** 2 / 260) - 1.0
        insula = np.maximum(np.maximum(insula, np.abs(y - 2) - 19), np.abs(z - 3) - 15)
        trunk = capsule(p, (10, 9, -15), (36, 13, -9), 1.8, 1.8)
        sylvian = np.minimum(np.minimum(limb, insula), trunk)

        angle = np.arctan2(x, y - 6)
        star = np.hypot(x, y - 6) - 9.5 - 2.8 * np.cos(5 * angle)
        star = np.maximum(star, np.abs(z + 17) - 6)
        stem = brain_stem(p)
        cleft = np.abs(stem - 1.6) - 1.1  # ambient cistern above, prepontine below
        cleft = np.maximum(cleft, np.where(z > -16, y + 10, -12 - y))
        cleft = np.maximum(cleft, np.abs(z + 20) - 24)
        plate = capsule(p, (0, -35, 0), (11, -32, -1), 2.6, 1.8)
        corner = capsule(p, (12, -6, -36), (25, -22, -38), 2.4, 2.0)
        magna = ellipsoid(p, (0, -70, -58), (13, 9, 9))
        basal = np.minimum(np.minimum(star, cleft), np.minimum(plate, corner))
        basal = np.maximum(np.minimum(basal, magna), -stem)
        return np.minimum(sylvian, basal) - open_by

    def _ventricles_distance(self, p: Points, folded: Points) -> Field:
        grow = self.ventricle_size
        right, left = self.ventricle_sides
        squash = np.float32(1) - 0.05 * abs(self.midline_shift) * (
            np.where(p.x > 0, 1, -1) * np.sign(-self.midline_shift) > 0
        )
        swell = np.where(p.x > 0, right, left).astype(np.float32) * squash
        lateral = smooth_min(
            capsule(folded, (5, 13, 9), (13, 35, 5), 4.5, 3.5),
            capsule(folded, (6, 10, 15), (12, -16, 22), 4.6, 5.2),
            3,
        )
        lateral = smooth_min(lateral, capsule(folded, (13, -18, 21), (25, -36, 12), 5.4, 7.0), 3)
        lateral = smooth_min(lateral, capsule(folded, (25, -36, 10), (23, -64, 4), 6.0, 2.4), 3)
        lateral = np.minimum(lateral, capsule(folded, (26, -34, 4), (33, -12, -16), 3.6, 2.0))
        lateral = np.minimum(lateral, capsule(folded, (33, -12, -16), (29, 5, -20), 2.2, 1.5))
        lateral = lateral + 4.5 * (1 - grow * swell)
        lateral = np.maximum(lateral, 0.9 - folded.x)
        third = np.maximum(
            folded.x - (0.8 + 1.4 * grow),
            ellipsoid(p, (0, -5, -1), (30, 16, 11)),
        )
        aqueduct = capsule(p, (0, -22, -6), (0, -36, -24), 0.9, 1.2)
        fourth = ellipsoid(p, (0, -39, -33), (5.5 + 3 * grow, 4 + 3 * grow, 13))
        return np.minimum(np.minimum(lateral, third), np.minimum(aqueduct, fourth))


def brain_stem(p: Points) -> Field:
    """Signed distance to midbrain, pons and medulla."""
    midbrain = ellipsoid(p, (0, -17, -8), (15, 12, 16))
    pons = ellipsoid(p, (0, -15, -31), (16.5, 13, 15))
    medulla = capsule(p, (0, -19, -44), (0, -24, -70), 8.5, 7)
    return smooth_min(smooth_min(midbrain, pons, 4), medulla, 4)
