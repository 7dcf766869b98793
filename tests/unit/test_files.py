"""Files appear whole or not at all; tables survive a round trip."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from mbhseg.files import (
    atomic_dir,
    atomic_file,
    manifest_of,
    read_json,
    read_table,
    sha256,
    write_json,
    write_table,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_finished_write_replaces_the_file_and_is_readable_by_others(tmp_path):
    with atomic_file(tmp_path / "deep" / "a.nii.gz") as partial:
        assert partial.name.endswith(".nii.gz")
        partial.write_text("new")
    assert (tmp_path / "deep" / "a.nii.gz").read_text() == "new"
    assert (tmp_path / "deep" / "a.nii.gz").stat().st_mode & 0o444 == 0o444


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "stale").write_text("x")
    with atomic_dir(folder) as partial:
        (partial / "fresh").write_text("y")
    assert [p.name for p in folder.iterdir()] == ["fresh"]
    with pytest.raises(RuntimeError), atomic_dir(folder) as partial:
        (partial / "half").write_text("z")
        raise RuntimeError
    assert [p.name for p in folder.iterdir()] == ["fresh"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_json_has_no_nan_and_takes_numpy_scalars(tmp_path):
    write_json(tmp_path / "a.json", {"b": float("nan"), "a": [np.float32(1.5), np.int64(2)]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [1.5, 2], "b": None}
    assert read_json(tmp_path / "a.json")["b"] is None
    assert text.index('"a"') < text.index('"b"')


@pytest.mark.parametrize("suffix", ["tsv", "csv"])
def test_tables_keep_ids_and_every_digit(tmp_path, suffix):
    table = pd.DataFrame({"case": ["007", "NA"], "dice": [1 / 3, float("nan")], "n": [1, 2]})
    write_table(tmp_path / f"a.{suffix}", table)
    back = read_table(tmp_path / f"a.{suffix}")
    pd.testing.assert_frame_equal(back, table, check_dtype=False, check_exact=True)


def test_an_empty_table_keeps_its_columns(tmp_path):
    write_table(tmp_path / "a.tsv", pd.DataFrame(columns=["case", "file"]))
    assert list(read_table(tmp_path / "a.tsv").columns) == ["case", "file"]


def test_the_manifest_lists_files_sorted_without_snakemake_s_own(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.png").write_bytes(b"x")
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / ".snakemake_timestamp").write_bytes(b"t")
    rows = manifest_of(tmp_path)
    assert list(rows["file"]) == ["a.png", "b/x.png"]
    assert list(rows["bytes"]) == [0, 1]
    assert rows["sha256"][1] == hashlib.sha256(b"x").hexdigest() == sha256(tmp_path / "b/x.png")
