"""A synthetic head: signed distances of its parts, and their radiodensity in HU.

Coordinates are millimetres in the head's own frame, right, anterior and superior, with the
origin between the commissures. The numbers are an adult's, rounded; each patient varies them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.phantom.fields import (
    Field,
    Points,
    Waves,
    capsule,
    ellipsoid,
    occupancy,
    over,
    smooth_min,
)

# Radiodensity in HU. ASSUME: a textbook adult at 120 kVp
AIR, FAT, SKIN, MUSCLE, CSF, WHITE, GREY = -1000.0, -75.0, 25.0, 54.0, 6.0, 28.0, 37.5
TABLE, DIPLOE, DURA, SINUS, CALCIUM, GLOBE = 1350.0, 780.0, 48.0, 53.0, 170.0, 12.0

TISSUES = ("air", "soft", "bone", "csf", "grey", "white", "ventricle", "dura", "calcium")
_CODE = {name: code for code, name in enumerate(TISSUES)}


class Shell(NamedTuple):
    """The head without its contents, signed distances in mm (negative inside).

    `skin` to the head's surface, `cavity` to the inner table, `bone` the thickness of the skull.
    """

    p: Points
    skin: Field
    cavity: Field
    bone: Field


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
        self.tissue_shift = float(rng.normal(0, 1.2))  # one scanner's water is another's 2 HU
        self.midline_shift = 0.0  # mm towards the right, set by the bleeds' mass effect
        self.effacement = 0.0  # 0..1, how far swelling has closed the sulci
        self._bone = Waves(rng, 55, 4)
        self._wobble = Waves(rng, 45, 4)
        self._sulci = Waves(rng, 27, 12)
        self._texture = Waves(rng, 14, 6)
        self._coarse = Waves(rng, 38, 4)

    def to_canonical(self, p: Points) -> Points:
        """Millimetres of this head to those of the average head, which all shapes are given in."""
        y, z = p.y / self.scale, p.z / self.scale
        x = p.x / (self.scale * self.width)
        y = y - self.petalia * np.tanh(x / 25)
        x = x * (1 + 0.10 * np.clip(y / 85, -0.8, 1))  # broader at the back
        return Points(x, y, z)

    def shell(self, p: Points) -> Shell:
        """Distances of skin and skull at canonical points."""
        x, y, z = p
        side = np.abs(x)
        flat = Points(x, y, np.where(z > 2, z, 2 + (z - 2) * 0.55))
        vault = ellipsoid(flat, (0, -4, 2), (67, 84, 71))
        folded = Points(side, y, z)
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
        bone = np.maximum(bone, 2.5)
        skin = vault - bone - self.scalp - temple * 1.5 + 1.2 * np.tanh(z / 30)
        skin = smooth_min(skin, ellipsoid(p, (0, 58, -52), (56, 40, 52)), 12)
        skin = smooth_min(skin, ellipsoid(p, (1, 100, -58), (9, 14, 18)), 6)
        skin = np.minimum(skin, ellipsoid(folded, (79, -22, -38), (7, 12, 26)))
        return Shell(p, skin, cavity, bone)

    def brain(self, shell: Shell, squeeze: Field | float) -> Brain:
        """Distances inside the skull; `squeeze` mm of blood lie between inner table and brain."""
        p0, depth = shell.p, -shell.cavity
        bend = np.clip(1 - (p0.y / 80) ** 2, 0, 1) * np.clip((p0.z + 25) / 30, 0, 1)
        bend *= np.clip((72 - p0.z) / 45, 0, 1)
        x = p0.x - self.midline_shift * bend
        x = x - 0.9 * self._wobble(p0) * bend
        y, z = p0.y, p0.z
        p, side = Points(x, y, z), np.abs(x)
        folded = Points(side, y, z)
        cortex = depth - (0.8 + 2.4 * self.atrophy) - squeeze

        slope = 6 - 0.42 * side + 0.5 * np.minimum(y + 38, 0)
        tent = np.maximum((z - slope) * 0.85, (y - 2 + 0.45 * side) * 0.9)
        callosum = (np.sqrt(((y - 2) / 42) ** 2 + ((z - 4) / 22) ** 2) - 1) * 26
        midplane = np.maximum(side, -callosum)
        falx = np.maximum(midplane, -tent + 1)
        return Brain(
            p,
            side,
            depth,
            cortex,
            tent,
            np.maximum(falx, 4 - callosum) - 0.55,
            self._sulci_distance(p, cortex, tent, falx),
            self._cisterns_distance(folded, tent),
            self._ventricles_distance(p, folded),
        )

    def _sulci_distance(self, p: Points, cortex: Field, tent: Field, midline: Field) -> Field:
        radius = np.sqrt(p.x * p.x + p.y * p.y + p.z * p.z) + 1
        pull = 66 / radius + 0.3
        wave = self._sulci(Points(p.x * pull, p.y * pull, p.z * pull))
        apart = np.abs(wave) * (27 / (2 * np.pi)) * (radius / 66)
        reach = 16 + 3 * self._coarse(p)
        half = (0.35 + 1.5 * self.atrophy) * (1 - 0.8 * self.effacement)
        sulci = np.maximum(apart - half * (1.25 - 0.5 * cortex / reach), cortex - reach)
        gap = midline - (0.7 + 1.0 * self.atrophy)
        return np.maximum(np.minimum(sulci, gap), 1 - tent)

    def _cisterns_distance(self, p: Points, tent: Field) -> Field:
        x, y, z = p
        open_by = 1.2 * self.atrophy * (1 - 0.6 * self.effacement)
        limb = np.abs(y - 12 + 0.9 * (z + 6) + 0.15 * (x - 38)) * 0.72
        limb = np.maximum(np.maximum(limb - 1.1, 35 - x), np.abs(z - 3) - 17)
        insula = np.abs(x - 37 + (y - 2) ** 2 / 260) - 1.0
        insula = np.maximum(np.maximum(insula, np.abs(y - 2) - 19), np.abs(z - 3) - 15)
        stem = capsule(p, (10, 9, -15), (36, 13, -9), 1.8, 1.8)
        sylvian = np.minimum(np.minimum(limb, insula), stem)

        angle = np.arctan2(x, y - 6)
        star = np.hypot(x, y - 6) - 11 - 2.8 * np.cos(5 * angle)
        star = np.maximum(star, np.abs(z + 17) - 6.5)
        ring = np.abs(np.hypot(x, y + 17) - 17.5) - 1.3
        ring = np.maximum(np.maximum(ring, np.abs(z + 7) - 9), y + 4)
        plate = capsule(p, (0, -37, 0), (11, -34, -1), 2.8, 2.2)
        pons = np.maximum(ellipsoid(p, (0, -13, -32), (24, 17, 26)), y + 8)
        angle_cistern = capsule(p, (8, -4, -36), (24, -22, -38), 3, 2.4)
        magna = ellipsoid(p, (0, -70, -58), (13, 9, 9))
        parts = (star, ring, plate, pons, angle_cistern, magna)
        basal = parts[0]
        for part in parts[1:]:
            basal = np.minimum(basal, part)
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

    def paint_shell(self, shell: Shell, edge: float) -> tuple[Field, NDArray[np.uint8]]:
        """HU and tissue codes of everything outside the cranial cavity."""
        p = shell.p
        x, y, z = p
        side = np.abs(x)
        folded = Points(side, y, z)
        hu = np.full_like(x, AIR)
        tissue = np.zeros(x.shape, np.uint8)

        def lay(distance: Field, value: Field | float, name: str) -> None:
            share = occupancy(distance, edge)
            over(hu, share, value)
            tissue[share > 0.5] = _CODE[name]

        lay(shell.skin, SKIN, "soft")
        texture = self._texture(p)
        marbled = np.where(z < -8, texture + 0.9 * np.clip((-z - 14) / 14, -1, 1.3), -2.0)
        inner = np.clip(marbled * 3 + 0.5, 0, 1) * (MUSCLE - FAT) + FAT
        lay(shell.skin + 2.0, inner, "soft")
        temporalis = ellipsoid(folded, (72, 14, -18), (9, 30, 32))
        lay(np.maximum(temporalis, shell.skin + 3.5), MUSCLE + 4 * texture, "soft")

        skull = shell.cavity - shell.bone
        petrous = capsule(folded, (58, -28, -36), (15, -2, -31), 12, 7)
        skull = np.minimum(skull, petrous)
        skull = np.minimum(skull, np.abs(ellipsoid(folded, (32, 58, -38), (19, 26, 18))) - 1.4)
        skull = np.minimum(skull, capsule(folded, (48, 62, -50), (71, 8, -44), 3.2, 2.6))
        skull = np.maximum(skull, shell.skin + 2.5)
        middle = np.minimum(shell.cavity, -skull)  # deep between the tables
        spongy = np.clip(middle - 1.2, 0, 1)
        lay(skull, TABLE + (DIPLOE + 120 * texture - TABLE) * spongy, "bone")
        self._paint_sutures(shell, hu)

        cells = np.abs(texture) * 2.2 - 0.9 * self.pneumatization
        mastoid = ellipsoid(folded, (56, -32, -42), (10, 16, 18)) + 2
        lay(np.maximum(mastoid, 4 * cells), AIR, "air")
        frontal = ellipsoid(p, (3, 83, -15), (22, 4.5, 13)) + 6 * (1 - self.pneumatization)
        ethmoid = ellipsoid(folded, (7, 60, -42), (6.5, 22, 14))
        ethmoid = np.maximum(ethmoid, 1.2 - np.abs((y % 9) - 4.5))
        sphenoid = np.maximum(ellipsoid(p, (2, 27, -38), (14, 11, 10)), 0.8 - np.abs(x - 3))
        nose = np.maximum(ellipsoid(folded, (6, 62, -66), (7, 34, 18)), 2 - side)
        for sinus in (frontal, ethmoid, sphenoid, nose):
            lay(np.maximum(sinus, -shell.cavity + 2), AIR, "air")

        orbit = np.maximum(ellipsoid(folded, (32, 58, -38), (17.5, 24.5, 16.5)), shell.skin + 3)
        orbit = np.maximum(orbit, 2.0 - shell.cavity)
        lay(orbit, FAT, "soft")
        lay(np.maximum(capsule(folded, (32, 66, -37), (14, 32, -30), 1.8, 1.8), orbit), 35, "soft")
        muscle = np.abs(ellipsoid(folded, (31, 56, -38), (12, 22, 12))) - 1.2
        lay(np.maximum(np.maximum(muscle, orbit), y - 68), 45, "soft")
        lay(ellipsoid(folded, (32, 75, -37), (12, 12, 12)), GLOBE, "soft")
        lay(ellipsoid(folded, (32, 84, -37), (4.5, 2.2, 4.5)), 75, "soft")
        return hu, tissue

    def _paint_sutures(self, shell: Shell, hu: Field) -> None:
        x, y, z = shell.p
        coronal, lambdoid = self.sutures
        zigzag = 1.2 * np.sin(x * 0.9) + 1.0 * np.sin(z * 1.1)
        lines = np.abs(y - coronal + 0.25 * (z - 40) + zigzag) - 0.5
        lines = np.minimum(lines, np.abs(y - lambdoid - 0.5 * (z - 20) + zigzag) - 0.5)
        lines = np.minimum(lines, np.maximum(np.abs(x + zigzag) - 0.4, -z))
        share = occupancy(np.maximum(lines, -shell.cavity), 1.0) * (z > -8) * (hu > 300)
        over(hu, share * 0.6, 250.0)

    def paint_brain(self, brain: Brain, edge: float) -> tuple[Field, NDArray[np.uint8]]:
        """HU and tissue codes of the cranial cavity's contents, without bleeds."""
        p, cortex = brain.p, brain.cortex
        y, z = p.y, p.z
        folded = Points(brain.side, y, z)
        hu = np.full_like(y, CSF)
        tissue = np.full(y.shape, _CODE["csf"], np.uint8)

        def lay(distance: Field, value: Field | float, name: str) -> None:
            share = occupancy(distance, edge)
            over(hu, share, value)
            tissue[share > 0.5] = _CODE[name]

        mottle = 1.0 * self._texture(p)
        lay(-cortex, GREY + mottle, "grey")
        ribbon = 3.3 + 0.5 * mottle
        white = np.maximum(ribbon - cortex, ribbon - brain.sulci)
        white = np.maximum(white, ribbon - 0.6 - brain.cisterns)
        lay(np.maximum(white, -brain.tent), WHITE + 0.8 * mottle, "white")

        thalamus = ellipsoid(folded, (11, -13, 6), (8.5, 14, 9))
        putamen = ellipsoid(folded, (25.5, 4, 4), (5.5, 16, 10))
        pallidum = ellipsoid(folded, (19, 2, 1), (4.5, 9, 6))
        caudate = ellipsoid(folded, (14, 21, 9), (4.5, 9, 8))
        caudate = np.minimum(caudate, capsule(folded, (17, 10, 20), (19, -18, 25), 2.6, 1.8))
        for nucleus, lift in ((thalamus, -1.0), (putamen, 0.0), (pallidum, -1.5), (caudate, 0.5)):
            lay(nucleus, GREY + lift + mottle, "grey")

        hind = brain.tent + 1.0
        folia = np.sin(np.sqrt(y * y * 0.8 + z * z + 40) * 1.5 + 0.12 * brain.side)
        lay(np.maximum(hind, -cortex), GREY - 1.5 + 2.5 * folia * (cortex < 16), "grey")
        arbor = ellipsoid(folded, (17, -48, -34), (13, 14, 9))
        lay(np.maximum(arbor, -cortex), WHITE + 3, "white")
        lay(brain.sulci, CSF, "csf")
        stem = np.minimum(
            ellipsoid(p, (0, -17, -10), (15.5, 13, 15)), ellipsoid(p, (0, -16, -31), (17, 13, 15))
        )
        stem = np.minimum(stem, capsule(p, (0, -20, -44), (0, -24, -70), 8.5, 7))
        lay(brain.cisterns, CSF, "csf")
        lay(stem, WHITE + 4, "white")
        lay(np.maximum(capsule(p, (0, 3, -20), (0, -2, -44), 1.7, 1.5), -cortex), 44, "dura")
        lay(brain.ventricles, CSF - 1, "ventricle")

        lay(np.maximum(brain.falx, -brain.depth), DURA, "dura")
        notch = 22 - np.hypot(p.x, y + 16)
        sheet = np.maximum(np.maximum(np.abs(brain.tent) - 0.7, notch), y + 10)
        lay(np.maximum(sheet, -brain.depth), DURA, "dura")
        self._paint_sinuses(brain, lay)
        pineal, right, left = self.calcified
        spots = []
        if pineal:
            spots.append(ellipsoid(p, (0.5, -30, 2), (2.2, 2.6, 2.4)))
        if right:
            spots.append(ellipsoid(p, (24, -36, 13), (2.4, 3.2, 2.6)))
        if left:
            spots.append(ellipsoid(p, (-25, -37, 12), (2.0, 2.8, 2.6)))
        for spot in spots:
            lay(spot, CALCIUM, "calcium")
        hu += self.tissue_shift
        return hu, tissue

    @staticmethod
    def _paint_sinuses(brain: Brain, lay) -> None:  # type: ignore[no-untyped-def]
        p, depth = brain.p, brain.depth
        sagittal = np.maximum(brain.side + 0.55 * depth - 4.6, -depth)
        sagittal = np.maximum(sagittal, np.minimum(8 - p.z, np.maximum(p.y, -3 - brain.tent)))
        lay(sagittal, SINUS, "dura")
        right = p.x > 0  # the right transverse sinus is the larger one in most people
        size = np.where(right, 4.2, 2.9).astype(np.float32)
        slope = np.abs(brain.tent + 2.5) + 0.45 * depth - size
        lay(np.maximum(np.maximum(slope, -depth), p.y + 42), SINUS, "dura")
        straight = capsule(p, (0, -40, 4), (0, -84, -17), 1.7, 1.9)
        lay(np.maximum(straight, -depth), SINUS - 2, "dura")
