"""Two results folders compared."""

import json

import pytest

from mbhseg.cli.main import main
from mbhseg.errors import InputError
from mbhseg.provenance.compare_folders import check, compare


def _write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.fixture
def sides(tmp_path):
    run = {"best": {"val_dice": 0.5}, "timings": {"total_seconds": 3}}
    slower = {**run, "timings": {"total_seconds": 9}}
    worse = {**run, "best": {"val_dice": 0.4}}
    common = {"a/mask.png": "pixels", ".snakemake_timestamp": "", "a/logs/x.log": "Monday"}
    left = _write(
        tmp_path / "left",
        {
            **common,
            "run.json": json.dumps(run),
            "other.json": json.dumps(run),
            "manifest.tsv": "file\tsha256\nrun.json\tabc\nmodel.keras\tdef\n",
            "a/cache/slices-1/images.npy": "decoded",
            "changed.csv": "1",
            "gone.csv": "",
        },
    )
    right = _write(
        tmp_path / "right",
        {
            **common,
            "a/logs/x.log": "Tuesday",
            "run.json": json.dumps(slower),
            "other.json": json.dumps(worse),
            "manifest.tsv": "file\tsha256\nrun.json\txyz\nmodel.keras\tdef\n",
            "changed.csv": "2",
            "new.csv": "",
        },
    )
    return left, right


def test_every_file_is_told_apart(sides):
    found = dict(compare(*sides).itertuples(index=False))
    assert found == {
        "a/mask.png": "same",
        "changed.csv": "differs",
        "gone.csv": "only left",
        "manifest.tsv": "same but for times",
        "new.csv": "only right",
        "other.json": "differs",
        "run.json": "same but for times",
    }


def test_a_manifest_with_another_model_differs(sides):
    left, right = sides
    (right / "manifest.tsv").write_text("file\tsha256\nrun.json\txyz\nmodel.keras\tother\n")
    assert dict(compare(left, right).itertuples(index=False))["manifest.tsv"] == "differs"


def test_the_check_names_what_differs(sides):
    with pytest.raises(InputError, match=r"4 of 7 files .*changed.csv: differs.*new.csv"):
        check(compare(*sides), *sides)
    check(compare(sides[0], sides[0]), *sides)


def test_broken_json_differs(sides):
    left, right = sides
    (left / "run.json").write_text("{")
    (right / "run.json").write_text("{}")
    assert dict(compare(left, right).itertuples(index=False))["run.json"] == "differs"


def test_two_empty_folders_have_no_rows(tmp_path):
    for side in ("x", "y"):
        (tmp_path / side).mkdir()
    assert compare(tmp_path / "x", tmp_path / "y").empty


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent.*is no folder"):
        compare(tmp_path / "absent", tmp_path)


def test_the_command_lists_what_differs(sides, capsys):
    left, right = map(str, sides)
    assert main(["compare", left, right]) == 2
    said = capsys.readouterr()
    assert "differs               changed.csv\n" in said.out
    assert "same  " not in said.out
    assert "4 of 7 files" in said.err
    assert main(["compare", left, left, "--all"]) == 0
    assert "All 6 files are the same." in capsys.readouterr().out


def test_a_page_may_tell_another_time_and_command(tmp_path):
    page = "<p>{}</p><dt>training time</dt><dd>{}</dd><h3>Command</h3>\n<pre><code>{}</code></pre>"
    for side, said in (("x", ("0.5", "3 s", "make demo")), ("y", ("0.5", "9 s", "snakemake"))):
        _write(tmp_path / side, {"index.html": page.format(*said)})
    (row,) = compare(tmp_path / "x", tmp_path / "y").itertuples()
    assert row.status == "same but for times"
    _write(tmp_path / "y", {"index.html": page.format("0.4", "9 s", "snakemake")})
    (row,) = compare(tmp_path / "x", tmp_path / "y").itertuples()
    assert row.status == "differs"
