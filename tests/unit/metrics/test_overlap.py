"""Overlap, summary and slice-wise scores against independent computations."""

import math
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance

from mbhseg.classes import ANY, KEYS
from mbhseg.imaging.masks import read_mask
from mbhseg.metrics.legacy import (
    dice_coef_multiclass,
    dice_drawn_slices,
    dice_pooled,
    legacy_scores,
)
from mbhseg.metrics.lesions import lesion_scores, lesions_of
from mbhseg.metrics.overlap import SCORED_CLASSES, confusion, plane_confusions, score_confusion
from mbhseg.metrics.pairs import CaseLabels, Pair, PairScores
from mbhseg.metrics.summary import (
    COLUMNS,
    OVERLAP_COLUMNS,
    join_tables,
    score_table,
    summarise,
)
from mbhseg.metrics.surface import diagonal_mm, surface_scores, surfaces_of

labels_of = st.integers(0, 5)
volume_pairs = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5).flatmap(
    lambda shape: st.tuples(*2 * [hnp.arrays(np.uint8, shape, elements=labels_of)])
)


def by_class(rows: list[dict]) -> dict[str, dict]:
    return {row["class"]: row for row in rows}


def score_pair(reference: np.ndarray, candidate: np.ndarray, voxel_ml: float) -> list[dict]:
    return score_confusion(confusion(reference, candidate), voxel_ml)


def masks_of(volume: np.ndarray) -> dict[str, np.ndarray]:
    """Boolean volume of every scored class, the slow and obvious way."""
    masks = {key: volume == label for label, key in enumerate(KEYS, start=1)}
    masks[ANY] = volume > 0
    return masks


# --- one pair


def test_scores_of_a_pair_by_hand():
    reference = np.zeros((4, 4, 2), np.uint8)
    candidate = np.zeros((4, 4, 2), np.uint8)
    reference[0, :, 0] = 5  # four voxels of SDH, of which the candidate
    candidate[0, :2, 0] = 5  # finds two,
    candidate[0, 2, 0] = 1  # calls one EDH,
    candidate[3, 3, 1] = 5  # and invents one elsewhere
    reference[2, 2, 1] = 2  # one voxel of IPH, missed
    rows = by_class(score_pair(reference, candidate, voxel_ml=0.5))
    assert list(rows) == list(SCORED_CLASSES)
    assert rows["SDH"] == {
        "class": "SDH",
        "reference_voxels": 4,
        "candidate_voxels": 3,
        "intersection": 2,
        "reference_ml": 2.0,
        "candidate_ml": 1.5,
        "status": "both",
        "dice": pytest.approx(4 / 7),
    }
    assert (rows["EDH"]["status"], rows["EDH"]["dice"]) == ("spurious", 0.0)
    assert (rows["IPH"]["status"], rows["IPH"]["dice"]) == ("missed", 0.0)
    assert rows["SAH"]["status"] == "absent"
    assert math.isnan(rows["SAH"]["dice"])
    # the union: reference 5, candidate 4, common 3 (EDH on SDH is bleed on bleed)
    assert rows[ANY]["intersection"] == 3
    assert rows[ANY]["dice"] == pytest.approx(6 / 9)


def test_status_both_without_common_voxels_scores_zero():
    reference, candidate = np.zeros((2, 1, 2, 1), np.uint8)
    reference[0, 0, 0], candidate[0, 1, 0] = 4, 4
    row = by_class(score_pair(reference, candidate, 1.0))["SAH"]
    assert (row["status"], row["dice"], row["intersection"]) == ("both", 0.0, 0)


@given(volume_pairs)
def test_counts_and_dice_agree_with_masks_and_scipy(volumes):
    reference, candidate = volumes
    rows = by_class(score_pair(reference, candidate, 0.25))
    references, candidates = masks_of(reference), masks_of(candidate)
    for key, row in rows.items():
        r, c = references[key], candidates[key]
        assert row["reference_voxels"] == r.sum()
        assert row["candidate_voxels"] == c.sum()
        assert row["intersection"] == (r & c).sum()
        assert row["candidate_ml"] == 0.25 * c.sum()
        if r.any() or c.any():
            assert row["dice"] == pytest.approx(1 - distance.dice(r.ravel(), c.ravel()))
            assert 0 <= row["dice"] <= 1
        else:
            assert row["status"] == "absent"
            assert math.isnan(row["dice"])


@given(volume_pairs, st.randoms(use_true_random=False))
def test_scores_are_symmetric_and_blind_to_the_order_of_voxels(volumes, random):
    reference, candidate = volumes
    rows = score_pair(reference, candidate, 1.0)
    swapped = {"missed": "spurious", "spurious": "missed", "both": "both", "absent": "absent"}
    for row, mirror in zip(rows, score_pair(candidate, reference, 1.0), strict=True):
        assert mirror["intersection"] == row["intersection"]
        assert mirror["reference_voxels"] == row["candidate_voxels"]
        assert mirror["status"] == swapped[row["status"]]
        assert mirror["dice"] == pytest.approx(row["dice"], nan_ok=True)
    order = list(range(reference.size))
    random.shuffle(order)
    shape = (reference.size, 1, 1)
    shuffled = [volume.ravel()[order].reshape(shape) for volume in (reference, candidate)]
    pd.testing.assert_frame_equal(pd.DataFrame(score_pair(*shuffled, 1.0)), pd.DataFrame(rows))


@given(volume_pairs)
def test_confusion_counts_every_voxel_in_its_plane(volumes):
    reference, candidate = volumes
    planes = plane_confusions(reference, candidate)
    assert planes.dtype == np.int64
    for z in range(reference.shape[2]):
        slow = np.zeros((6, 6), int)
        np.add.at(slow, (reference[:, :, z], candidate[:, :, z]), 1)
        np.testing.assert_array_equal(planes[z], slow)
    assert confusion(reference, candidate).sum() == reference.size


@given(volume_pairs)
def test_memory_order_does_not_matter(volumes):
    reference, candidate = volumes
    expected = plane_confusions(reference, candidate)
    np.testing.assert_array_equal(
        plane_confusions(np.asfortranarray(reference), candidate), expected
    )
    flipped = np.flip(reference, 0), np.flip(candidate, 0)
    np.testing.assert_array_equal(plane_confusions(*flipped), expected)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 4, 0), (0, 0, 0)])
def test_volumes_without_voxels_are_absent(shape):
    empty = np.zeros(shape, np.uint8)
    assert plane_confusions(empty, empty).shape == (shape[2], 6, 6)
    assert {row["status"] for row in score_pair(empty, empty, 1.0)} == {"absent"}


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        score_pair(np.zeros((2, 3, 4), np.uint8), np.zeros((3, 2, 4), np.uint8), 1.0)


# --- pairs of a case


@pytest.mark.parametrize("kept", [None, [0, 2, 3]])
def test_pair_scores_are_those_of_each_class_alone_in_the_true_geometry(kept):
    rng = np.random.default_rng(7)
    volumes = {name: rng.integers(0, 6, (9, 8, 5), dtype=np.uint8) for name in "ab"}
    volumes["b"] = np.where(rng.random((9, 8, 5)) < 0.7, volumes["a"], volumes["b"])
    affine = np.diag([0.5, 0.5, 5.0, 1.0])
    affine[1, 2] = 1.5  # a tilted gantry: the shear leaves the volume of a voxel as it is
    case = CaseLabels("case", "patient", volumes, affine)
    if kept is not None:  # the other planes are empty, and are not counted
        case = case.planes(np.array(kept))
        for volume in volumes.values():
            volume[:, :, [1, 4]] = 0
    rows = PairScores(case).rows([Pair("a", "b"), Pair("b", "a")])
    assert [row["candidate"] for row in rows] == 6 * ["a"] + 6 * ["b"]
    for row in rows:
        masks = [masks_of(volumes[row[side]])[row["class"]] for side in ("reference", "candidate")]
        surfaces = [surfaces_of(mask.astype(np.uint8), affine)[ANY] for mask in masks]
        lesions = [lesions_of(mask) for mask in masks]
        scored = volumes["a"] if kept is None else volumes["a"][:, :, kept]
        assert row["reference_voxels"] == masks[0].sum()
        assert row["candidate_ml"] == pytest.approx(masks[1].sum() * 0.00125)
        assert row["intersection"] == (masks[0] & masks[1]).sum()
        expected = {
            **surface_scores(*surfaces, diagonal_mm((9, 8, 5), affine)),
            **lesion_scores(*lesions, 0.00125),
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected, nan_ok=True)
        assert math.isnan(row["max_probability"])
    planes = PairScores(case).plane_confusions(Pair("a", "b"))
    assert planes.sum() == scored.size


# --- summaries


def pair_rows(case: str, drawn: dict, predicted: dict, common: dict, **names) -> list[dict]:
    """Rows of one pair from voxel counts by class; what is not named is 0."""
    rows = []
    for key in SCORED_CLASSES:
        r, c, n = drawn.get(key, 0), predicted.get(key, 0), common.get(key, 0)
        status = ("both" if c else "missed") if r else ("spurious" if c else "absent")
        rows.append(
            {
                "case": case,
                "patient": case[:2],
                "candidate": names.get("candidate", "model:m"),
                "reference": names.get("reference", "consensus"),
                "class": key,
                "reference_voxels": r,
                "candidate_voxels": c,
                "intersection": n,
                "reference_ml": r * 0.001,
                "candidate_ml": c * 0.001,
                "status": status,
                "dice": 2 * n / (r + c) if r + c else math.nan,
            }
        )
    return rows


def overlap_table(rows: list[dict]) -> pd.DataFrame:
    return score_table(rows, OVERLAP_COLUMNS)


def four_cases() -> pd.DataFrame:
    rows = pair_rows("p1_a", {"EDH": 10, ANY: 10}, {"EDH": 10, ANY: 10}, {"EDH": 5, ANY: 5})
    rows += pair_rows("p1_b", {"EDH": 10, ANY: 10}, {}, {})  # missed
    rows += pair_rows("p2_a", {}, {"EDH": 300, ANY: 300}, {})  # spurious
    rows += pair_rows("p3_a", {}, {}, {})  # absent
    return overlap_table(rows)


def test_summary_by_hand():
    summary = summarise(four_cases())
    assert (summary["n_cases"], summary["n_patients"], summary["n_pairs"]) == (4, 3, 4)
    edh = summary["classes"]["EDH"]
    intervals = edh.pop("intervals")
    assert edh == {
        "n_cases": 4,
        "n_pairs": 4,
        "n_scored": 3,
        "dice_nnunet": pytest.approx(0.5 / 3),
        "n_present": 2,
        "dice_present": pytest.approx(0.25),
        "n_missed": 1,
        "sensitivity": 0.5,
        "n_absent": 2,
        "n_spurious": 1,
        "specificity": 0.5,
        "spurious_ml_mean": pytest.approx(0.15),
    }
    assert set(intervals) == {
        *("dice_nnunet", "dice_present", "sensitivity", "specificity", "spurious_ml_mean")
    }


def test_a_class_that_no_case_holds_has_no_dice_and_no_part_in_the_macro_mean():
    summary = summarise(four_cases())
    iph = summary["classes"]["IPH"]
    assert (iph["n_scored"], iph["n_present"], iph["n_absent"]) == (0, 0, 4)
    assert math.isnan(iph["dice_nnunet"])
    assert math.isnan(iph["dice_present"])
    assert math.isnan(iph["sensitivity"])
    assert (iph["specificity"], iph["spurious_ml_mean"]) == (1.0, 0.0)
    assert summary["macro"]["dice_present"] == pytest.approx(0.25)
    assert summary["macro"]["macro_classes"] == {"dice_nnunet": ["EDH"], "dice_present": ["EDH"]}


def test_a_class_that_is_only_spurious_is_in_one_macro_mean_and_not_in_the_other():
    rows = pair_rows("p1_a", {"EDH": 4, ANY: 4}, {"EDH": 4, "SDH": 2, ANY: 6}, {"EDH": 4, ANY: 4})
    macro = summarise(overlap_table(rows))["macro"]
    assert macro["macro_classes"] == {"dice_nnunet": ["EDH", "SDH"], "dice_present": ["EDH"]}
    assert (macro["dice_nnunet"], macro["dice_present"]) == (0.5, 1.0)


def test_all_absent_is_nan_and_not_zero():
    summary = summarise(overlap_table(pair_rows("p1_a", {}, {}, {})))
    assert math.isnan(summary["macro"]["dice_nnunet"])
    assert math.isnan(summary["macro"]["dice_present"])
    assert summary["macro"]["macro_classes"] == {"dice_nnunet": [], "dice_present": []}
    assert summary["classes"][ANY]["n_cases"] == 1


def test_no_rows_give_n_zero():
    summary = summarise(overlap_table([]))
    assert (summary["n_cases"], summary["n_pairs"]) == (0, 0)
    assert summary["classes"]["EDH"]["n_scored"] == 0
    assert math.isnan(summary["classes"]["EDH"]["dice_nnunet"])


def test_a_case_with_many_pairs_weighs_as_much_as_one_with_few():
    half = {"SAH": 2, ANY: 2}
    rows = []
    for reference in ("rater1", "rater2", "rater3"):
        rows += pair_rows("p1_a", half, half, half, reference=reference)
    rows += pair_rows("p2_a", half, half, {}, reference="rater1")
    rows += pair_rows("p2_a", {}, half, {}, reference="rater2")  # spurious to one of two raters
    sah = summarise(overlap_table(rows))["classes"]["SAH"]
    assert (sah["n_cases"], sah["n_pairs"]) == (2, 5)
    assert sah["dice_nnunet"] == pytest.approx((1 + 0) / 2)
    assert sah["dice_present"] == pytest.approx((1 + 0) / 2)
    assert (sah["n_present"], sah["n_absent"], sah["n_spurious"]) == (2, 1, 1)


@settings(max_examples=30)
@given(st.lists(volume_pairs, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_summary_agrees_with_plain_loops_in_any_row_order(volumes, random):
    rows = []
    for n, (reference, candidate) in enumerate(volumes):
        names = {"case": f"p{n}_a", "patient": f"p{n}", "candidate": "m", "reference": "consensus"}
        rows += [{**names, **row} for row in score_pair(reference, candidate, 0.5)]
    random.shuffle(rows)
    summary = summarise(pd.DataFrame(rows))
    for key in SCORED_CLASSES:
        nnunet, present, missed, spurious = [], [], 0, 0
        for reference, candidate in volumes:
            r, c = masks_of(reference)[key], masks_of(candidate)[key]
            if not r.any() and not c.any():
                continue
            score = 2 * (r & c).sum() / (r.sum() + c.sum())
            nnunet.append(score)
            if r.any():
                present.append(score)
                missed += not c.any()
            else:
                spurious += 1
        got = summary["classes"][key]
        assert (got["n_scored"], got["n_present"]) == (len(nnunet), len(present))
        assert (got["n_missed"], got["n_spurious"]) == (missed, spurious)
        assert got["n_absent"] == len(volumes) - len(present)
        if nnunet:
            assert got["dice_nnunet"] == pytest.approx(np.mean(nnunet))
        if present:
            assert got["dice_present"] == pytest.approx(np.mean(present))


def test_incomplete_and_double_rows_are_refused():
    table = four_cases()
    with pytest.raises(ValueError, match="missing"):
        summarise(table.drop(index=3))
    with pytest.raises(ValueError, match="twice"):
        summarise(pd.concat([table, table.iloc[[3]]]))


def test_a_table_of_one_class_is_summarised_without_a_macro_mean():
    table = four_cases()
    summary = summarise(table[table["class"] == ANY])
    assert summary["classes"][ANY]["dice_present"] == pytest.approx(0.25)
    assert list(summary["classes"]) == [ANY]
    assert "macro" not in summary


def test_tables_are_typed_and_sorted_and_join_in_any_order():
    volumes = [np.random.default_rng(n).integers(0, 3, (4, 4, 3), np.uint8) for n in range(3)]
    table = score_table(
        row
        for n, other in enumerate(volumes[1:])
        for row in PairScores(
            CaseLabels(f"p{n}_a", f"p{n}", {"a": volumes[0], "b": other}, np.eye(4))
        ).rows([Pair("a", "b")])
    )
    assert list(table) == list(COLUMNS)
    first, second = table[table["patient"] == "p0"], table[table["patient"] != "p0"]
    empty = score_table([])
    pd.testing.assert_frame_equal(join_tables([second, empty, first]), table)
    pd.testing.assert_frame_equal(join_tables([]), empty)
    assert list(table["class"][:6]) == list(SCORED_CLASSES)
    assert empty.dtypes.equals(table.dtypes)


# --- legacy figures


def test_legacy_metric_is_soft_pixel_accuracy_and_flatters_an_empty_prediction():
    reference = np.zeros((20, 10, 2), np.uint8)
    reference[:2, 0, 0] = 5
    nothing = np.zeros_like(reference)
    one_hot = [np.eye(6)[v].transpose(2, 0, 1, 3) for v in (reference, nothing)]
    axes = (1, 2, 3)
    formula = 2 * (one_hot[0] * one_hot[1]).sum(axes)
    formula /= one_hot[0].sum(axes) + one_hot[1].sum(axes)
    scores = dice_coef_multiclass(plane_confusions(reference, nothing))
    np.testing.assert_allclose(scores, formula)
    np.testing.assert_allclose(scores, [0.99, 1.0])


def test_pooled_and_drawn_slices_by_hand():
    reference = np.zeros((2, 2, 3), np.uint8)
    candidate = np.zeros((2, 2, 3), np.uint8)
    reference[:, 0, 0], candidate[0, 0, 0] = 2, 2  # Dice 2/3
    reference[0, 0, 1] = 2  # missed: 0
    candidate[0, 0, 2] = 2  # spurious: not drawn in the reference
    confusions = plane_confusions(reference, candidate)
    assert dice_pooled(confusions)["IPH"] == pytest.approx(2 * 1 / (3 + 2))
    mean, n = dice_drawn_slices(confusions)["IPH"]
    assert (mean, n) == (pytest.approx(1 / 3), 2)
    assert math.isnan(dice_pooled(confusions)["SDH"])
    assert dice_drawn_slices(confusions)["SDH"][1] == 0
    scores = legacy_scores(confusions)
    assert scores["dice_pooled"]["macro"] == scores["dice_pooled"]["IPH"]
    assert scores["n_slices"] == 3


def test_legacy_scores_of_no_planes():
    scores = legacy_scores(np.zeros((0, 6, 6), np.int64))
    assert scores["n_slices"] == 0
    assert math.isnan(scores["dice_coef_multiclass"])
    assert math.isnan(scores["dice_drawn_slices"]["macro"])


@pytest.mark.real_ct
def test_published_masks_and_predictions_give_the_known_figures(real_ct: Path):
    names = sorted(path.name for path in (real_ct / "slices" / "masks").glob("*.png"))
    stacks = [
        np.stack([read_mask(real_ct / "slices" / folder / name) for name in names], axis=-1)
        for folder in ("masks", "seed_predictions")
    ]
    scores = legacy_scores(plane_confusions(*stacks))
    assert scores["n_slices"] == 36
    assert round(scores["dice_coef_multiclass"], 4) == 0.9942
    pooled = {key: round(value, 3) for key, value in scores["dice_pooled"].items()}
    del pooled[ANY]
    assert pooled == {
        "EDH": 0.734, "IPH": 0.885, "IVH": 0.806, "SAH": 0.573, "SDH": 0.776, "macro": 0.755,
    }  # fmt: skip
    drawn = {
        key: (round(scores["dice_drawn_slices"][key], 3), scores["n_drawn_slices"][key])
        for key in KEYS
    }
    assert drawn == {
        "EDH": (0.392, 5), "IPH": (0.862, 18), "IVH": (0.670, 19), "SAH": (0.440, 14),
        "SDH": (0.465, 7),
    }  # fmt: skip
