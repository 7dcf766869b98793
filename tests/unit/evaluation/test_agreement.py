"""Rater against rater: which pairs, which numbers, and the files of the shards."""

import itertools
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.evaluation import agreement
from mbhseg.evaluation.agreement import (
    CONSENSUS,
    WITHOUT,
    agreement_table,
    case_rows,
    summarise_agreement,
)
from mbhseg.files import read_json, read_table
from mbhseg.imaging.nifti import nifti_bytes
from mbhseg.inspect.archive import Archive
from mbhseg.metrics.summary import score_table
from mbhseg.prepare.annotations import RatedCase
from mbhseg.prepare.consensus import Consensus

FIRST = "ID_0000000a_ID_000000000a"
ALONE = "ID_0000000b_ID_000000000a"


def rated(*volumes: np.ndarray, first: int = 1) -> RatedCase:
    labels = dict(enumerate(volumes, start=first))
    return RatedCase("ID_1_ID_2", "ID_1", labels, np.diag([1.0, 1.0, 1.0, 1.0]))


def boxes(*stops: int) -> list[np.ndarray]:
    """Volumes with SDH in the first `stop` of ten voxels."""
    volumes = []
    for stop in stops:
        volume = np.zeros((10, 1, 1), np.uint8)
        volume[:stop] = 5
        volumes.append(volume)
    return volumes


def test_every_ordered_pair_is_scored_and_the_direction_tells_missed_from_spurious():
    table = score_table(case_rows(rated(*boxes(4, 8, 0))))
    sdh = table[table["class"] == "SDH"].set_index(["candidate", "reference"])
    assert len(table) == 6 * (6 + 3 + 3)
    assert sdh.loc[("rater1", "rater2"), "dice"] == pytest.approx(8 / 12)
    assert sdh.loc[("rater2", "rater1"), "dice"] == pytest.approx(8 / 12)
    assert sdh.loc[("rater3", "rater1"), "status"] == "missed"
    assert sdh.loc[("rater1", "rater3"), "status"] == "spurious"
    # majority of three: the first four voxels; of raters 1 and 3 with ties to background: none
    assert sdh.loc[("rater1", CONSENSUS), "dice"] == 1.0
    assert sdh.loc[("rater2", CONSENSUS), "dice"] == pytest.approx(8 / 12)
    assert sdh.loc[("rater2", WITHOUT + "rater2"), "status"] == "spurious"
    assert sdh.loc[("rater3", WITHOUT + "rater3"), "reference_voxels"] == 4


def test_the_consensus_rule_is_used():
    table = score_table(case_rows(rated(*boxes(4, 8)), Consensus("union")))
    row = table[(table["reference"] == CONSENSUS) & (table["class"] == "SDH")].iloc[0]
    assert row["reference_voxels"] == 8


def test_a_rater_who_is_the_consensus_is_not_scored_against_it():
    table = score_table(case_rows(rated(*boxes(4, 8, 6)), Consensus("rater", rater=2)))
    to_consensus = table[table["reference"] == CONSENSUS]
    assert set(to_consensus["candidate"]) == {"rater1", "rater3"}
    assert not table["reference"].str.startswith(WITHOUT).any()


def test_a_single_rater_gives_no_rows():
    assert case_rows(rated(*boxes(4))) == []
    summary = summarise_agreement(score_table([]))
    assert summary["raters"]["n_pairs"] == 0
    assert np.isnan(summary["others"]["classes"]["SDH"]["dice_present"])


def test_table_of_an_archive_agrees_with_plain_dice(tiny_set):
    with Archive(tiny_set.path) as archive:
        table = agreement_table(archive, reversed(list(archive.cases)))
    assert ALONE not in set(table["case"])
    seen = 0
    for row in table.to_dict("records"):
        if row["reference"].startswith(CONSENSUS) or row["class"] not in KEYS:
            continue
        labels = tiny_set.cases[row["case"]].labels
        label = KEYS.index(row["class"]) + 1
        candidate = labels[int(row["candidate"][5:])] == label
        reference = labels[int(row["reference"][5:])] == label
        total = reference.sum() + candidate.sum()
        expected = 2 * (reference & candidate).sum() / total if total else np.nan
        assert row["dice"] == pytest.approx(expected, nan_ok=True)
        assert row["reference_ml"] == pytest.approx(reference.sum() * 0.00125, rel=1e-5)
        seen += 1
    assert seen == 5 * (6 + 2 + 2)
    assert table["case"].is_monotonic_increasing


def test_summary_means_within_a_case_first(tiny_set):
    with Archive(tiny_set.path) as archive:
        table = agreement_table(archive, archive.cases)
    summary = summarise_agreement(table)["raters"]
    assert (summary["n_cases"], summary["n_pairs"]) == (3, 6 + 2 + 2)
    per_case = []
    for tiny in tiny_set.cases.values():
        pairs = list(itertools.permutations(tiny.labels.values(), 2))
        scores = [
            2 * ((a == 2) & (b == 2)).sum() / ((a == 2).sum() + (b == 2).sum())
            for a, b in pairs
            if (a == 2).any()
        ]
        if scores:
            per_case.append(np.mean(scores))
    assert summary["classes"]["IPH"]["n_present"] == len(per_case) == 2
    assert summary["classes"]["IPH"]["dice_present"] == pytest.approx(np.mean(per_case))
    assert summary["classes"]["IPH"]["n_absent"] == 1


def test_shards_join_to_the_same_files_whatever_their_order(tiny_set, tmp_path: Path):
    cases = list(tiny_set.cases)
    shards = [cases[:1], [], cases[1:]]
    paths = [tmp_path / f"shard{n}.csv" for n in range(3)]
    for path, shard in zip(paths, shards, strict=True):
        agreement.run(tiny_set.path, shard, path)
    outputs = []
    for name, order in (("a", paths), ("b", paths[::-1])):
        out = tmp_path / f"{name}.csv", tmp_path / f"{name}.json"
        agreement.summarise_shards(order, *out)
        outputs.append([path.read_bytes() for path in out])
    assert outputs[0] == outputs[1]
    with Archive(tiny_set.path) as archive:
        whole = agreement_table(archive, cases)
    joined = read_table(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(joined, whole, check_dtype=False, check_exact=True)
    assert read_json(tmp_path / "a.json")["raters"]["n_cases"] == 3


def test_consensus_settings_reach_the_table(tiny_set, tmp_path: Path):
    path = tmp_path / "union.csv"
    agreement.run(tiny_set.path, [FIRST], path, {"method": "union", "ties": "lowest"})
    row = read_table(path).query("reference == 'consensus' and `class` == 'any'").iloc[0]
    drawn = np.any([v > 0 for v in tiny_set.cases[FIRST].labels.values()], axis=0)
    assert row["reference_voxels"] == drawn.sum()


def test_bad_input_names_the_file(tiny_set, tmp_path: Path):
    with pytest.raises(InputError, match=r"\.zip.* ID_ff_ID_ff"):
        agreement.run(tiny_set.path, ["ID_ff_ID_ff"], tmp_path / "out.csv")
    tiny = tiny_set.cases[ALONE]
    cut = tiny._replace(labels={3: tiny.labels[3][:, :, :-1]})
    write = _rewrite(tiny_set.path, tmp_path / "cut.zip", ALONE, cut.labels[3])
    with pytest.raises(InputError, match=r"label_annot_3\.nii\.gz: shape \(16, 14, 5\)"):
        agreement.run(write, [ALONE], tmp_path / "out.csv")
    none = _rewrite(tiny_set.path, tmp_path / "none.zip", ALONE, None)
    with pytest.raises(InputError, match=rf"none\.zip:{ALONE}: no rater"):
        agreement.run(none, [ALONE], tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def _rewrite(source: Path, target: Path, case: str, labels: np.ndarray | None) -> Path:
    """Copy an archive with the labels of one case replaced, or left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if case not in name or "label" not in name:
                new.writestr(name, old.read(name))
            elif labels is not None:
                new.writestr(name, nifti_bytes(nib.Nifti1Image(labels, np.eye(4))))
    return target


@pytest.mark.real_ct
def test_real_slices_give_a_ceiling(real_ct: Path):
    with Archive(real_ct / "MBH_Train_2025_voxel-label.zip") as archive:
        case = next(c for c, f in archive.cases.items() if len(f.labels) > 1)
        table = agreement_table(archive, [case])
    raters = summarise_agreement(table)["raters"]
    assert 0.3 < raters["classes"]["any"]["dice_present"] < 1
