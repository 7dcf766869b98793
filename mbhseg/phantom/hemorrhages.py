"""The five bleeds: where each lies in the head, and what shape it takes there.

Every bleed gives a signed distance in mm (negative inside), so that a rater can place its edge a
little further in or out. Sides: +1 is the patient's right.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np

from mbhseg.classes import FOREGROUND
from mbhseg.phantom.anatomy import Brain, Head, Shell
from mbhseg.phantom.fields import OUTSIDE, Field, Points, Vector, Waves, ellipsoid

EDH, IPH, IVH, SAH, SDH = (c.label for c in FOREGROUND)


class Texture(NamedTuple):
    """Radiodensity of a bleed: mean HU, HU of its clots' variation, and their pattern.

    In an old bleed cells have sunk: it is `sediment` HU brighter behind `level` (y in mm).
    """

    hu: float
    spread: float
    pattern: Waves
    sediment: float = 0.0
    level: float = 0.0

    def __call__(self, p: Points) -> Field:
        hu = self.hu + self.spread * self.pattern(p)
        if self.sediment:
            hu += self.sediment * np.clip(0.5 + (self.level - p.y) / 12, 0, 1)
        return hu


def _texture(rng: np.random.Generator, low: float, high: float) -> Texture:
    return Texture(float(rng.uniform(low, high)), float(rng.uniform(2, 4.5)), Waves(rng, 13, 5))


class Bleed(ABC):
    """One bleed of one head.

    `label` is its class, `mistaken_for` the class a rater may take it for, `side` its hemisphere,
    `ml` its volume, within a factor of about two.
    """

    label: int
    mistaken_for: int | None = None
    side: int
    ml: float
    texture: Texture

    @abstractmethod
    def distance(self, brain: Brain) -> Field:
        """Signed distance in mm to the bleed's edge."""

    def squeeze(self, shell: Shell) -> Field | float:
        """How far the brain is pushed off the inner table, in mm."""
        return 0.0

    def vary(self, rng: np.random.Generator) -> None:
        """Change its appearance: fainter, and as its kind varies."""
        self.texture = self.texture._replace(hu=self.texture.hu - float(rng.uniform(0, 12)))


class Epidural(Bleed):
    """A lens between skull and dura, stripped off as far as the sutures and no farther."""

    label = EDH
    mistaken_for = SDH

    def __init__(self, rng: np.random.Generator, head: Head, side: int, growth: float) -> None:
        self.side = side
        place = rng.choice(3, p=(0.6, 0.25, 0.15))  # temporal, frontal, parietal
        azimuth = np.deg2rad(float((rng.uniform(-12, 12), 48, -38)[place] + rng.normal(0, 5)))
        rise = np.deg2rad(float((rng.uniform(2, 20), 14, 32)[place] + rng.normal(0, 4)))
        x = side * float(np.cos(azimuth) * np.cos(rise)) * 68
        y = float(np.sin(azimuth) * np.cos(rise)) * 84 - 4
        z = float(np.sin(rise)) * 72 + 2
        self.centre = (x, y, z)
        # the inner table's normal there, and two directions along it
        normal, tangent = np.array((x / 68**2, y / 84**2, z / 72**2)), np.array((-y, x, 0.0))
        normal /= np.linalg.norm(normal)
        tangent -= normal * (tangent @ normal)
        tangent /= np.linalg.norm(tangent)
        self._axes = (tangent, np.cross(normal, tangent), normal)
        self._head = head
        self.along = float(rng.uniform(25, 36)) * growth
        self.up = float(rng.uniform(24, 34)) * growth
        self.thick = float(rng.uniform(0.42, 0.68)) * min(self.along, self.up)
        self.ml = self._volume()
        self.texture = _texture(rng, 58, 74)

    def _volume(self) -> float:
        return float(np.pi / 2 * self.along * self.up * self.thick / 1000) * 0.9

    def vary(self, rng: np.random.Generator) -> None:
        """Fainter; some are small and flat."""
        super().vary(rng)
        if rng.random() < 0.4:
            shrink = float(rng.uniform(0.45, 0.9))
            self.along, self.up = self.along * shrink, self.up * shrink
            self.thick *= shrink * float(rng.uniform(0.5, 1))
            self.ml = self._volume()

    def _profile(self, p: Points) -> Field:
        x, y, z = (q - c for q, c in zip(p[:3], self.centre, strict=True))
        u, v, w = (x * float(a) + y * float(b) + z * float(c) for a, b, c in self._axes)
        s = (u / self.along) ** 2 + (v / self.up) ** 2
        profile = np.minimum(self.thick * (1 - s), self.thick + 12 - np.abs(w))
        # the dura holds fast at a suture: the lens ends there within some millimetres
        return np.minimum(profile, 1.6 * self._head.before_sutures(p, self.centre))

    def squeeze(self, shell: Shell) -> Field:
        return np.clip(self._profile(shell.p), 0, None)

    def distance(self, brain: Brain) -> Field:
        lens = (brain.depth - self._profile(brain.p)) * 0.8
        return np.maximum(lens, -brain.depth)


class Subdural(Bleed):
    """A crescent along the inner table over one hemisphere: crosses sutures, not the midline."""

    label = SDH
    mistaken_for = EDH
    old = False

    def __init__(self, rng: np.random.Generator, side: int, growth: float) -> None:
        self.side = side
        self.azimuth = float(rng.uniform(-25, 30))
        self.reach = float(rng.uniform(42, 70))
        self.z = float(rng.uniform(18, 36))
        self.height = float(rng.uniform(28, 46))
        self.thick = float(rng.uniform(5.0, 9.0)) * growth
        self.ml = self._volume()
        self.texture = _texture(rng, 55, 70)
        self._ripple = Waves(rng, 40, 4)

    def _volume(self) -> float:
        return self.thick * self.reach * 2 * 1.25 * self.height * 1.2 / 1000 * 0.9

    def vary(self, rng: np.random.Generator) -> None:
        """Fainter; most are old."""
        super().vary(rng)
        if rng.random() < 0.6:
            self.age(rng)

    def age(self, rng: np.random.Generator) -> None:
        """Make it weeks old: wider, as dark as brain or darker, some in layers."""
        # ASSUME: 12 to 26 HU after weeks, as brain or mixed between, as the clot liquefies
        low, high = (12, 26) if rng.random() < 0.6 else (26, 50)
        self.old = True
        self.thick = float(rng.uniform(7, 15))
        self.reach, self.height = float(rng.uniform(55, 85)), float(rng.uniform(36, 55))
        self.ml = self._volume()
        self.texture = Texture(
            hu=float(rng.uniform(low, high)),
            spread=float(rng.uniform(1, 4)),
            pattern=Waves(rng, 25, 5),
            sediment=float(rng.uniform(8, 30)) if rng.random() < 0.4 else 0.0,
            level=float(rng.uniform(-50, 20)),
        )

    def _profile(self, p: Points) -> Field:
        lateral = p.x * float(self.side)
        azimuth = np.rad2deg(np.arctan2(p.y + 4, np.maximum(lateral, 0.1) * 1.2))
        s = ((azimuth - self.azimuth) / self.reach) ** 2 + ((p.z - self.z) / self.height) ** 2
        profile = self.thick * (1 - s**2) * (1 + 0.15 * self._ripple(p))
        return np.minimum(profile, (lateral - 1.5) * 0.7)

    def squeeze(self, shell: Shell) -> Field:
        return np.clip(self._profile(shell.p), 0, None)

    def distance(self, brain: Brain) -> Field:
        crescent = (brain.depth - self._profile(brain.p)) * 0.9
        crescent = np.maximum(crescent, 1.0 - brain.tent)
        return np.maximum(crescent, -brain.depth)


class Parafalcine(Bleed):
    """A subdural layer along one side of the falx and, behind, on the tentorium."""

    label = SDH

    def __init__(self, rng: np.random.Generator, side: int, growth: float) -> None:
        self.side = side
        self.thick = float(rng.uniform(4.0, 6.5)) * growth
        self.y, self.length = float(rng.uniform(-45, 10)), float(rng.uniform(30, 45))
        self.tentorial = bool(rng.random() < 0.5)
        self.ml = self.thick * self.length * 1.6 * 40 / 1000 * 0.6
        self.texture = _texture(rng, 57, 71)
        self._ripple = Waves(rng, 35, 4)

    def distance(self, brain: Brain) -> Field:
        p = brain.p
        s = ((p.y - self.y) / self.length) ** 2
        width = self.thick * (1 - s) * (1 + 0.2 * self._ripple(p))
        lateral = p.x * float(self.side)
        callosum = (np.sqrt(((p.y - 2) / 42) ** 2 + ((p.z - 4) / 22) ** 2) - 1) * 26
        sheet = np.abs(lateral - 0.5 * width) - 0.5 * width
        sheet = np.maximum(np.maximum(sheet, 4 - callosum), np.maximum(1 - brain.tent, 6 - p.z))
        if self.tentorial:
            leaf = np.abs(brain.tent - 0.5 * self.thick) - 0.5 * self.thick
            leaf = np.maximum(leaf, np.hypot(lateral - 22, p.y + 48) - 26)
            sheet = np.minimum(sheet, np.maximum(leaf, -lateral))
        return np.maximum(sheet, 0.6 - brain.depth)


class SulcalSubarachnoid(Bleed):
    """Blood in the sulci of one region of the convexity."""

    label = SAH
    mistaken_for = IPH

    def __init__(self, rng: np.random.Generator, side: int, growth: float) -> None:
        azimuth = np.deg2rad(float(rng.uniform(-55, 60)))
        rise = np.deg2rad(float(rng.uniform(10, 50)))
        self.centre = (
            side * float(np.cos(azimuth) * np.cos(rise)) * 60,
            float(np.sin(azimuth) * np.cos(rise)) * 75 - 4,
            float(np.sin(rise)) * 66 + 4,
        )
        self.radius = float(rng.uniform(30, 42)) * growth
        self.swell = float(rng.uniform(1.0, 1.7))
        self.ml = self.radius**2 * 0.012
        self.side = side
        self.texture = _texture(rng, 57, 71)
        self._ripple = Waves(rng, 25, 5)

    def distance(self, brain: Brain) -> Field:
        p = brain.p
        cx, cy, cz = self.centre
        region = np.sqrt((p.x - cx) ** 2 + (p.y - cy) ** 2 + (p.z - cz) ** 2) - self.radius
        region = region + 5 * self._ripple(p)
        region = np.maximum(region, 2 - p.x * float(self.side))
        region = np.maximum(region, 1.2 - brain.cortex)
        return np.maximum(np.maximum(brain.sulci - self.swell, region), 1.5 - brain.tent)


class BasalSubarachnoid(Bleed):
    """Aneurysmal blood: basal cisterns and one or both Sylvian fissures."""

    label = SAH

    def __init__(self, rng: np.random.Generator, side: int, growth: float) -> None:
        self.side = side
        self.spread = float(rng.uniform(30, 48)) * growth
        self.other = float(rng.uniform(0.45, 1.0))
        self.swell = float(rng.uniform(0.6, 1.2)) * growth
        self.ml = self.spread * 0.5
        self.texture = _texture(rng, 57, 71)
        self._ripple = Waves(rng, 25, 5)

    def distance(self, brain: Brain) -> Field:
        p = brain.p
        away = np.sqrt(p.x**2 + (p.y - 8) ** 2 * 0.8 + (p.z + 10) ** 2)
        limit = np.where(p.x * float(self.side) > 0, self.spread, self.spread * self.other)
        region = away - limit.astype(np.float32) + 5 * self._ripple(p)
        return np.maximum(np.maximum(brain.cisterns - self.swell, region), 0.5 - brain.depth)


class Intraparenchymal(Bleed):
    """A clot within the brain's tissue, with a rim of oedema."""

    label = IPH
    SITES: ClassVar[dict[str, tuple[Vector, Vector, tuple[float, float]]]] = {
        "putamen": ((28, 2, 5), (0.75, 1.25, 1.0), (13, 21)),
        "thalamus": ((14, -13, 8), (0.9, 1.1, 1.0), (10, 15)),
        "frontal": ((30, 44, 14), (1.0, 1.1, 1.0), (12, 20)),
        "temporal": ((43, -4, -17), (0.85, 1.2, 0.9), (11, 16)),
        "parietal": ((33, -38, 34), (1.0, 1.1, 1.0), (12, 20)),
        "occipital": ((27, -60, 12), (0.9, 1.1, 0.9), (10, 16)),
        "cerebellum": ((22, -50, -34), (1.0, 1.0, 0.9), (10, 15)),
    }

    def __init__(self, rng: np.random.Generator, site: str, side: int, growth: float) -> None:
        (x, y, z), shape, (small, large) = self.SITES[site]
        jitter = rng.normal(0, 3, 3)
        self.site, self.side = site, side
        if site in ("frontal", "temporal"):  # contusions lie among the sulci
            self.mistaken_for = SAH
        self.centre = (side * (x + float(jitter[0])), y + float(jitter[1]), z + float(jitter[2]))
        self.radius = float(rng.uniform(small, large)) * growth
        self.radii = tuple(self.radius * s * float(rng.uniform(0.85, 1.15)) for s in shape)
        self.oedema = float(rng.uniform(2.5, 6.0))
        self.ml = 4.19 * float(np.prod(self.radii)) / 1000
        self.texture = _texture(rng, 60, 76)
        self._ripple = Waves(rng, max(18.0, 1.6 * self.radius), 7)
        self.rough = 0.16

    def vary(self, rng: np.random.Generator) -> None:
        """Fainter, with a rougher edge and a wider rim of oedema."""
        super().vary(rng)
        self.rough, self.oedema = float(rng.uniform(0.12, 0.34)), float(rng.uniform(2, 11))
        if rng.random() < 0.5:
            self._ripple = Waves(rng, max(14.0, float(rng.uniform(0.8, 1.6)) * self.radius), 7)

    def distance(self, brain: Brain) -> Field:
        p = brain.p
        rx, ry, rz = self.radii
        clot = ellipsoid(p, self.centre, (rx, ry, rz)) + self.rough * self.radius * self._ripple(p)
        clot = np.maximum(clot, 3.0 - brain.cortex)
        tent = brain.tent if self.site == "cerebellum" else -brain.tent
        return np.maximum(np.maximum(clot, tent + 1.5), 2.0 - p.x * float(self.side))


class Intraventricular(Bleed):
    """Blood in the ventricles: a level in the dependent horns, or a cast of one side."""

    label = IVH

    def __init__(self, rng: np.random.Generator, side: int, growth: float, cast: bool) -> None:
        self.side, self.cast = side, cast
        self.level = float(rng.uniform(-46, -32)) + 8 * (growth - 1)
        self.front = float(rng.uniform(-5, 45)) if cast else self.level
        self.third, self.fourth = (bool(v) for v in rng.random(2) < (0.7 * cast, 0.5 * cast))
        self.swell = float(rng.uniform(0.2, 1.0)) if cast else float(rng.uniform(0.1, 0.6))
        self.ml = 14 * growth if cast else 4 * growth
        self.texture = _texture(rng, 58, 74)
        self._ripple = Waves(rng, 30, 4)

    def vary(self, rng: np.random.Generator) -> None:
        """Fainter, of any level, and more often in the third and fourth ventricle."""
        super().vary(rng)
        self.level += float(rng.uniform(-8, 14))
        self.third |= bool(rng.random() < 0.25)
        self.fourth |= bool(rng.random() < 0.3)

    def distance(self, brain: Brain) -> Field:
        p = brain.p
        lateral = p.x * float(self.side)
        level = np.where(lateral > 0, self.front, self.level).astype(np.float32)
        flat = p.y - level + 1.0 * self._ripple(p)  # the supine patient's level faces front
        flat = np.maximum(flat, np.where(p.z < -22, OUTSIDE, -OUTSIDE))
        flat = np.where((np.abs(p.x) < 4.5) & (p.z < 9), OUTSIDE, flat)
        if self.third:
            flat = np.where((np.abs(p.x) < 4.5) & (p.z < 9) & (p.z > -22), -OUTSIDE, flat)
        if self.fourth:
            flat = np.where((np.abs(p.x) < 12) & (p.z < -15) & (p.y < -28), -OUTSIDE, flat)
        return np.maximum(brain.ventricles - self.swell, flat.astype(np.float32))
