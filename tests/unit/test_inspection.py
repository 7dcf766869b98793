"""Quality control: every fault ends in its finding, and nothing else does."""

import gzip
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbhseg import geometry
from mbhseg.archive import Archive
from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.files import read_table, write_table
from mbhseg.findings import Finding
from mbhseg.inspection import Inventory, gate, inspect_cases, merge
from mbhseg.png import read_image
from mbhseg.volumes import nifti_bytes

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


def inspect(path: Path, cases: list[str] | None = None, out: Path | None = None) -> Inventory:
    with Archive(path) as archive:
        return inspect_cases(archive, list(archive.cases) if cases is None else cases, out)


def found(inventory: Inventory) -> list[tuple[str, str, str]]:
    """Severity, file (its last part) and what, of each finding."""
    rows = inventory.findings.itertuples(index=False)
    return [(str(r.severity), str(r.file).rsplit("/", 1)[-1], str(r.what)) for r in rows]


def test_good_case(tmp_path: Path) -> None:
    inventory = inspect(write(tmp_path / "x.zip", {A: good()}))
    assert found(inventory) == []
    (row,) = inventory.cases.to_dict("records")
    assert len(row.pop("image_sha256")) == 64
    assert row.pop("voxel_ml") == pytest.approx(0.5 * 0.5 * 5 / 1000)
    assert row.pop("tilt_deg") == pytest.approx(12, abs=1e-3)
    assert row == {
        **{"case": A, "patient": "ID_0000000a", "n_slices": 6, "raters": "1,3"},
        **{"size_x": 32, "size_y": 32, "spacing_x": 0.5, "spacing_y": 0.5, "spacing_z": 5.0},
        **{"orientation": "LAS", "shear_deg": 0.0, "image_dtype": "int16"},
        **{"hu_min": -1000.0, "hu_max": 900.0, "classes": ",".join(KEYS), "status": "ok"},
    }
    counts = inventory.slices
    assert list(counts.columns) == ["case", "slice", "rater", *KEYS]
    assert [(r, z) for r, z in counts[["rater", "slice"]].to_numpy()] == [
        *((1, 2), (1, 3), (3, 2), (3, 3))
    ]
    assert (counts[list(KEYS)] == 12).all().all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_mask_of_any_type(tmp_path: Path, dtype: str) -> None:
    volumes = good() | {MASK1: image(drawing(), dtype=dtype)}
    inventory = inspect(write(tmp_path / "x.zip", {A: volumes}))
    assert found(inventory) == []
    assert len(inventory.slices) == 4


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_same_scan_same_digest_in_any_integer_type(tmp_path: Path, dtype: str) -> None:
    volumes = good() | {SCAN: image(head(), dtype=dtype)}
    cases = inspect(write(tmp_path / "x.zip", {A: volumes})).cases
    plain = inspect(write(tmp_path / "y.zip", {A: good()})).cases
    assert (cases["image_sha256"] == plain["image_sha256"]).all() == (dtype[0] == "i")
    assert cases["image_dtype"].item() == dtype


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
        [(E, SCAN, "its shape (32, 32) has not three axes")],
    ),
    "scan is a series": (
        with_scan(lambda: image(np.stack([head(), head()], axis=3))),
        [(E, SCAN, "its shape (32, 32, 6, 2) has not three axes")],
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
        [(E, MASK1, "its shape (32, 32) has not three axes")],
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
    "8-bit grey": (with_scan(lambda: NOT_HU), [(E, SCAN, "look like 8-bit grey")]),
    "scaled to 0..1": (
        with_scan(lambda: image((head() + 1000) / 1900, dtype="float32")),
        [(E, SCAN, "look like 8-bit grey")],
    ),
    "MR": (
        with_scan(lambda: image(np.abs(head()) * 1.5)),
        [(E, SCAN, "no air, so MR, or CT with an offset, not HU")],
    ),
    "CT numbers with an offset": (
        with_scan(lambda: image(head() + 1024)),
        [(E, SCAN, "no air, so MR, or CT with an offset, not HU")],
    ),
    "standardised": (
        with_scan(lambda: image((head() - 30) / 700, dtype="float32")),
        [(E, SCAN, "are too close for HU of a head")],
    ),
    "odd lowest value": (
        with_scan(lambda: image(put(head(), -33762), dtype="int32")),
        [(W, SCAN, "lowest value -33762 is no HU")],
    ),
    "odd highest value": (
        with_scan(lambda: image(put(head(), 31701))),
        [(W, SCAN, "highest value 31701 is no HU")],
    ),
    "padding": (with_scan(lambda: image(put(head(), -3024))), []),
    "no air": (
        with_scan(lambda: image(np.clip(head(), -100, 900))),
        [(W, SCAN, "no air around the head")],
    ),
    "no bone": (
        with_scan(lambda: image(np.clip(head(), -1000, 100))),
        [(W, SCAN, "no bone")],
    ),
    "no brain": (
        with_scan(lambda: image(np.where(np.abs(head()) < 200, -300, head()))),
        [
            (W, MASK1, "most of what is drawn in slice 2, 3 lies in air"),
            (W, MASK3, "most of what is drawn in slice 2, 3 lies in air"),
            (W, SCAN, "0.0 % of the voxels lie in 0..100 HU"),
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
    "unit": (with_header(xyzt_units=1), [(W, SCAN, "the spatial unit is not mm")]),
    "flat affine": (
        with_affine(np.diag([0.5, 0.5, 0, 1.0])),
        [(E, SCAN, "the affine maps the scan to no volume")],
    ),
    "NaN affine": (
        lambda volumes: {name: without_place(volume) for name, volume in volumes.items()},
        [(E, n, "the affine has a value that is not finite") for n in (SCAN, MASK1, MASK3)],
    ),
    "sagittal": (
        with_affine(np.array([[0, 0, 5, 0], [0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 1.0]])),
        [(E, SCAN, "orientation ASR: the third axis is not the slices of an axial scan")],
    ),
    "metres": (with_affine(sized(5e-4, 5e-4, 5e-3)), [(E, SCAN, "voxels of 0.0005 x 0.0005")]),
    "micrometres": (with_affine(sized(500, 500, 5000)), [(E, SCAN, "voxels of 500 x 500")]),
    "large pixels": (with_affine(sized(3, 3, 5)), [(W, SCAN, "are unusual for head CT")]),
    "thin slices": (with_affine(sized(0.5, 0.5, 0.1)), [(W, SCAN, "are unusual for head CT")]),
    "oblong pixels": (with_affine(sized(0.5, 0.6, 5)), [(W, SCAN, "are not square")]),
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
        [(W, MASK1, "most of what is drawn in slice 2, 3 lies in air")],
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


@pytest.mark.parametrize(("change", "expected"), CASES.values(), ids=CASES.keys())
def test_findings(
    tmp_path: Path,
    change: Callable[[Volumes], Volumes],
    expected: list[tuple[str, str, str]],
) -> None:
    path = write(tmp_path / "x.zip", {A: change(good()), B: good(1)})
    inventory = inspect(path, out=tmp_path / "thumbnails")
    mine = inventory.findings[inventory.findings["case"] == A]
    assert len(inventory.findings) == len(mine), "the other case is good"
    seen = found(inventory._replace(findings=mine))
    matched = [
        [severity == s and file == f and what in w for s, f, w in seen]
        for severity, file, what in expected
    ]
    assert np.array_equal(np.sum(matched or [[]], axis=0), np.ones(len(seen))), seen
    assert len(seen) == len(expected), seen
    severities = {severity for severity, _, _ in expected}
    status = "excluded" if E in severities else W if W in severities else "ok"
    assert dict(zip(inventory.cases["case"], inventory.cases["status"], strict=True)) == {
        **{A: status, B: "ok"}
    }
    assert mine["remedy"].str.len().gt(0).all()
    assert not mine[["what", "remedy"]].map(lambda text: "\n" in text).any().any()
    names = {p.name for p in (tmp_path / "thumbnails").iterdir()}
    assert names <= {f"{A}.png", f"{B}.png"}, "no partial file"
    write_table(tmp_path / "f.tsv", inventory.findings)
    pd.testing.assert_frame_equal(
        read_table(tmp_path / "f.tsv"), inventory.findings, check_dtype=False
    )
    if status == "excluded":
        with pytest.raises(InputError, match=A):
            gate(inventory.cases, inventory.findings, "fail", tmp_path / "f.tsv")
        usable = gate(inventory.cases, inventory.findings, "exclude", tmp_path / "f.tsv")
        assert list(usable["case"]) == [B]


def test_there_are_enough_kinds_of_bad_input() -> None:
    assert sum(any(severity == E for severity, _, _ in found) for _, found in CASES.values()) >= 25


@pytest.mark.parametrize("flags", [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
def test_every_axial_orientation_is_taken(tmp_path: Path, flags: tuple[int, int, int]) -> None:
    affine = np.diag([0.5, 0.5, 5, 1.0]) * np.array([*(1 - 2 * np.array(flags)), 1.0])
    path = write(tmp_path / "x.zip", {A: with_affine(affine)(good())})
    inventory = inspect(path)
    assert found(inventory) == []
    code = "".join(pair[flag] for pair, flag in zip(("RL", "AP", "SI"), flags, strict=True))
    assert inventory.cases["orientation"].item() == code


def test_damaged_member_is_a_finding(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", {A: good(), B: good(1)})
    data = bytearray(path.read_bytes())
    data[data.index(b"\x1f\x8b") + 200] ^= 1
    path.write_bytes(data)
    inventory = inspect(path)
    assert found(inventory) == [
        (E, SCAN, "cannot be read (Bad CRC-32 for file 'top/" + A + "/image.nii.gz')")
    ]
    assert inventory.cases["n_slices"].to_list() == [0, 6]
    assert len(inventory.slices) == 8, "its masks are counted"


def test_masks_are_never_held_as_they_are_stored(tmp_path: Path) -> None:
    values = np.pad(head(), ((48, 48), (48, 48), (29, 29)), constant_values=-1000)
    masks = {MASK1: np.pad(drawing(), ((48, 48), (48, 48), (29, 29)))}
    volumes = {SCAN: image(values, dtype="int32"), MASK1: image(masks[MASK1], dtype="float64")}
    path = write(tmp_path / "x.zip", {A: volumes})
    scan_bytes, mask_bytes = values.size * 4, values.size * 8
    tracemalloc.start()
    try:
        inspect(path, out=tmp_path / "thumbnails")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert scan_bytes < peak < scan_bytes + mask_bytes


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6),
    st.sampled_from([SCAN, MASK1]),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_header_ends_in_findings(
    tmp_path: Path, changes: list[tuple[int, int]], member: str
) -> None:
    volumes = good()
    data = bytearray(volumes[member].to_bytes())
    for at, byte in changes:
        data[at] = byte
    path = write(tmp_path / "x.zip", {A: volumes | {member: zipped(bytes(data))}})
    inventory = merge([inspect(path, out=tmp_path / "thumbnails")])
    assert list(inventory.cases["case"]) == [A]
    assert set(inventory.findings["severity"]) <= {E, W, I}


def several() -> dict[str, Volumes]:
    return {A: good(), B: good(1), C: good(2)}


def test_shards_make_the_same_inventory(tmp_path: Path) -> None:
    volumes = several()
    volumes[B][MASK1] = image(put(drawing(), 9))
    del volumes[C][SCAN]
    path = write(tmp_path / "x.zip", volumes | {"stray": {"x.txt": b""}})
    whole = merge([inspect(path)])
    order = list(reversed(volumes.items()))
    other = write(tmp_path / "y.zip", {"stray": {"x.txt": b""}} | dict(order))
    for cut in ([[A, B, C], []], [[C], [A], [B], []], [[], [B, A], [C]]):
        shards = []
        for k, cases in enumerate(cut):
            part = inspect(other, cases)
            for name, table in part._asdict().items():
                write_table(tmp_path / f"{k}.{name}.tsv", table)
            shards.append(
                Inventory(*(read_table(tmp_path / f"{k}.{name}.tsv") for name in part._fields))
            )
        for name, table in merge(shards)._asdict().items():
            write_table(tmp_path / "merged.tsv", table)
            write_table(tmp_path / "whole.tsv", getattr(whole, name))
            assert (tmp_path / "merged.tsv").read_text() == (tmp_path / "whole.tsv").read_text()


def test_no_case_gives_empty_tables(tmp_path: Path) -> None:
    inventory = inspect(write(tmp_path / "x.zip", {A: good()}), cases=[])
    assert [len(table) for table in inventory] == [0, 0, 0]
    assert list(inventory.findings.columns) == list(Finding._fields)


def merged(tmp_path: Path, cases: Mapping[str, Volumes]) -> list[tuple[str, str, str]]:
    """Case, severity and what of the findings over the cases."""
    table = merge([inspect(write(tmp_path / "x.zip", cases))]).findings
    return [tuple(row) for row in table[["case", "severity", "what"]].to_numpy()]


def test_patient_with_two_scans(tmp_path: Path) -> None:
    what = "patient ID_0000000b has 2 scans"
    assert merged(tmp_path, several()) == [(B, I, what), (C, I, what)]


def test_same_scan_of_one_patient(tmp_path: Path) -> None:
    cases = several()
    cases[C][SCAN] = image(head(1), dtype="int32")
    rows = merged(tmp_path, cases)
    assert (B, W, f"the scan is {C}'s, voxel for voxel") in rows
    assert (C, W, f"the scan is {B}'s, voxel for voxel") in rows


def test_same_scan_of_two_patients(tmp_path: Path) -> None:
    cases = several()
    cases[A][SCAN] = cases[B][SCAN]
    rows = merged(tmp_path, cases)
    assert (A, E, f"the scan is {B}'s of another patient, voxel for voxel") in rows
    assert (B, E, f"the scan is {A}'s of another patient, voxel for voxel") in rows
    assert len(rows) == 4


def test_scan_that_lies_another_way(tmp_path: Path) -> None:
    cases = several()
    cases[A] = with_affine(np.diag([-0.5, -0.5, 5, 1.0]))(cases[A])
    what = "orientation LPS, most scans have LAS: its slices are turned or flipped"
    assert (A, W, what) in merged(tmp_path, cases)


def test_class_that_nobody_drew(tmp_path: Path) -> None:
    cases = several()
    for volumes in cases.values():
        for name in (MASK1, MASK3):
            labels = np.asarray(volumes[name].dataobj)
            volumes[name] = image(np.where(labels == 1, 0, labels), dtype="uint8")
    assert merged(tmp_path, cases)[0] == ("", W, "no case with epidural hemorrhage (EDH)")


def test_thumbnail_shows_scan_and_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", {A: good()})
    inspect(path, out=tmp_path / "thumbnails")
    sheet = read_image(tmp_path / "thumbnails" / f"{A}.png")
    assert sheet.shape == (384, 512, 3)
    tiles = sheet.reshape(3, 128, 4, 128, 3).swapaxes(1, 2).reshape(12, 128, 128, 3)
    assert not tiles[6:].any(), "six planes, twelve tiles"
    grey = (tiles == tiles[..., :1]).all(axis=(1, 2, 3))
    assert grey[:6].tolist() == [True, True, False, False, True, True], "labels in planes 2 and 3"
    assert tiles[0][64, 5].max() == 0, "air"
    assert tiles[0][64, 64].min() > 60, "brain"


def test_real_archive_has_its_oddities(real_ct: Path, tmp_path: Path) -> None:
    path = real_ct / "MBH_Train_2025_voxel-label.zip"
    inventory = merge([inspect(path, out=tmp_path)])
    cases = inventory.cases.set_index("case")
    whats = inventory.findings.groupby("what")["case"].apply(set)
    assert len(cases) == 8
    assert set(cases["image_dtype"]) == {"int16", "int32"}
    assert set(cases["hu_min"]) == {-2048}
    assert set(cases["orientation"]) == {"LAS"}
    assert cases["tilt_deg"].between(4, 16).all()
    assert not (inventory.findings["severity"] == "error").any()
    (pair,) = (set(ids) for _, ids in cases.groupby("patient").groups.items() if len(ids) > 1)
    assert whats[next(w for w in whats.index if w.endswith("has 2 scans"))] == pair
    assert whats["no rater drew a bleed"] == set(cases.index[cases["classes"] == ""])
    assert len(whats["no rater drew a bleed"]) == 1
    assert whats["rater 3 is the only one"] == set(cases.index[cases["raters"] == "3"])
    assert "1,5" in set(cases["raters"])
    assert {p.stem for p in tmp_path.iterdir()} == set(cases.index)
    counts = inventory.slices
    assert set(counts["case"]) == set(cases.index[cases["classes"] != ""])
    assert (counts[list(KEYS)].sum(axis=1) > 0).all()
