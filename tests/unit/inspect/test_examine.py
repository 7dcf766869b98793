"""Quality control: every fault ends in its finding, and nothing else does."""

import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.files import read_table, write_table
from mbhseg.imaging.png import read_image
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.inspect.examine import inspect_cases
from mbhseg.inspect.findings import Finding
from mbhseg.inspect.inventory import Inventory, gate, merge
from tests.bad_cases import (
    CASES,
    MASK1,
    MASK3,
    SCAN,
    A,
    B,
    C,
    E,
    I,
    Volumes,
    W,
    drawing,
    good,
    head,
    image,
    put,
    with_affine,
    write,
    zipped,
)


def inspect(path: Path, cases: list[str] | None = None, out: Path | None = None) -> Inventory:
    with Archive(path) as archive:
        cases = list(archive.cases) if cases is None else cases
        return inspect_cases(archive, cases, Window("brain", 40, 80), out)


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
    bad = [any(severity in (E, W) for severity, _, _ in found) for _, found in CASES.values()]
    assert sum(bad) >= 40


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
