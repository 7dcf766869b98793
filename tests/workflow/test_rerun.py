"""What a change reruns, on the real engine: what depends on it, and nothing else."""

import contextlib
import os
import shutil

import pytest

RECORDED = {"all", "provenance"}
VERIFIED = RECORDED | {"verified"}
EVALUATED = RECORDED | {"evaluate", "compare", "score_figures", "model_card", "report"}
INFERRED = EVALUATED | VERIFIED | {"infer", "postprocess"}
TRAINED = INFERRED | {"train", "legacy"}
ASSEMBLED = TRAINED | {"dataset", "figures"}
RASTERIZED = ASSEMBLED | {"rasterize", "annotations"}
PREPARED = {"slice", "rasterize", "annotations", "agree", "agreement", "split", "leakage"}


@contextlib.contextmanager
def edited(path, old, new):
    """A file with one text replaced, and put back with its times."""
    text, times = path.read_text(), path.stat()
    assert old in text
    try:
        path.write_text(text.replace(old, new, 1))
        yield
    finally:
        path.write_text(text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.snakemake()


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("mbhseg/raster.py", RASTERIZED),
        ("mbhseg/splits.py", ASSEMBLED | {"split", "leakage", "annotations"}),
        ("mbhseg/nn/training.py", TRAINED),
        ("mbhseg/evaluation.py", EVALUATED),
        ("mbhseg/config.py", {}),
        ("mbhseg/verification.py", VERIFIED),
    ],
)
def test_editing_a_module_reruns_its_stage_and_what_follows(finished, file, rules):
    with edited(finished.root / file, "\nimport ", "\n_NEW = 1\nimport "):
        planned = finished.planned()
    assert set(planned) == set(rules)
    assert "slice" not in planned


def test_editing_a_comment_or_a_docstring_reruns_nothing(finished):
    with edited(finished.root / "mbhseg/raster.py", '"""', '"""Other words. '):
        assert finished.planned() == {}
    with edited(finished.root / "mbhseg/raster.py", "\nimport ", "\n# a remark\nimport "):
        assert finished.planned() == {}


@pytest.mark.parametrize(
    "file",
    [
        "mbhseg/raster.py",
        "workflow_scripts/train_model.py",
        "config/config.yaml",
        "envs/train.yaml",
        "results/tiny/raw/archive.zip",
        "results/tiny/inventory/cases.tsv",
        "results/tiny/inventory/usable.tsv",
        "results/tiny/dataset.tsv",
        "results/tiny/split/fold0.tsv",
        "results/tiny/models/flexunet-f0-s1/model.keras",
    ],
)
def test_touching_a_file_reruns_nothing(finished, file):
    path = finished.root / file
    times = path.stat()
    os.utime(path)
    try:
        assert finished.planned() == {}
    finally:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("setting", "rules"),
    [
        ("training={optimizer: {learning_rate: 0.0123}}", TRAINED),
        ("network={dropout: 0.3}", TRAINED),
        ("checkpoint={minutes: 3}", set()),
        ("postprocessing={reconcile: false}", EVALUATED | {"postprocess"}),
        ("inference={batch_size: 3}", INFERRED | {"legacy"}),
        ("slices={size: 32}", RASTERIZED | {"slice"}),
        ("split={seed: 99}", ASSEMBLED | {"split", "leakage"}),
        ("qc={on_error: exclude}", {"gate"} | ASSEMBLED | PREPARED),
    ],
)
def test_changing_a_setting_reruns_what_reads_it(finished, setting, rules):
    assert set(finished.planned("--config", setting)) == rules


def test_the_number_of_cores_reruns_nothing(finished):
    assert finished.planned("--cores", "1") == {}


def test_a_deleted_output_is_made_again(finished):
    folder = finished.root / "results/tiny/evaluation/flexunet-f0-s1"
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept, copy_function=shutil.copy2)
    (folder / "summary.json").unlink()
    try:
        assert set(finished.planned()) == EVALUATED
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)
