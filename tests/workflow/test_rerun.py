"""What a change reruns in real dry runs: what depends on it, and nothing else."""

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
    """A file with a text replaced; restored with its times."""
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
        ("mbhseg/prepare/rasterize.py", RASTERIZED),
        ("mbhseg/nn/training/train.py", TRAINED),
        ("mbhseg/config/schema.py", set()),
    ],
)
def test_editing_a_module_reruns_its_stage_and_what_follows(finished, file, rules):
    with edited(finished.root / file, "\nimport ", "\n_NEW = 1\nimport "):
        assert set(finished.planned()) == rules


def test_editing_a_comment_or_a_docstring_reruns_nothing(finished):
    rasterize, slices = (
        finished.root / f"mbhseg/prepare/{name}.py" for name in ("rasterize", "slices")
    )
    with (
        edited(rasterize, '"""', '"""Other words. '),
        edited(slices, "\nimport ", "\n# a remark\nimport "),
    ):
        assert finished.planned() == {}


TOUCHED = (
    *(
        "mbhseg/prepare/rasterize.py",
        "workflow_scripts/train_model.py",
        "rules/train.smk",
        "Snakefile",
    ),
    *("config/config.yaml", "envs/train.yaml", "profiles/default/config.yaml"),
    *("results/tiny/raw/archive.zip", "results/tiny/inventory/cases.tsv"),
    *("results/tiny/inventory/usable.tsv", "results/tiny/dataset.tsv"),
    "results/tiny/split/fold0.tsv",
    "results/tiny/models/flexunet-f0-s1/model.keras",
)


def test_touching_files_reruns_nothing(finished):
    """A clone gives every file of the code a new time."""
    paths = [finished.root / file for file in TOUCHED]
    times = [path.stat() for path in paths]
    for path in paths:
        os.utime(path)
    try:
        assert finished.planned() == {}
    finally:
        for path, was in zip(paths, times, strict=True):
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


@pytest.mark.parametrize(
    ("setting", "rules"),
    [
        ("training={optimizer: {learning_rate: 0.0123}}", TRAINED),
        ("checkpoint={minutes: 3}", set()),
        ("slices={size: 32}", RASTERIZED | {"slice"}),
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


# The rest of the table, one dry run each. Sets are exact: no rule is missing or superfluous.
SCORED = EVALUATED | {"postprocess"}
SLICED = ASSEMBLED | {"slice"}
INSPECTED = RASTERIZED | PREPARED | {"inspect", "inventory", "gate"}
AGREED = RECORDED | {"agreement", "figures", "report"}
REPORTED = RECORDED | {"report"}
USED = RASTERIZED | PREPARED
MODEL = "results/tiny/models/flexunet-f0-s1/model.keras"

EDITED = {
    "mbhseg/split/partition.py": ASSEMBLED | {"split", "leakage", "annotations"},
    "mbhseg/evaluation/run_summary.py": EVALUATED,
    "mbhseg/provenance/verification.py": VERIFIED,
    "mbhseg/phantom/density.py": INSPECTED | {"make_phantom"},
    "mbhseg/files.py": INSPECTED | {"make_phantom"},
    "mbhseg/inspect/examine.py": INSPECTED,
    "mbhseg/evaluation/agreement.py": AGREED | EVALUATED | {"agree"},
    "mbhseg/inference/predictor.py": INFERRED,
    "mbhseg/nn/network/flexunet.py": TRAINED,
    "mbhseg/nn/antillia/legacy_score.py": REPORTED | {"legacy"},
    "mbhseg/predictions/postprocess.py": SCORED,
    "mbhseg/figures/scores.py": REPORTED | {"score_figures"},
    "mbhseg/report/card.py": REPORTED | {"model_card"},
    "mbhseg/report/page.py": REPORTED,
    "mbhseg/report/templates/index.html.j2": REPORTED | {"model_card"},
    "mbhseg/provenance/crate.py": RECORDED,
    "mbhseg/cli/main.py": set(),
    "mbhseg/cli/plan.py": set(),
    "mbhseg/acquire/huggingface.py": set(),  # the phantom is not fetched
    "workflow_scripts/agree_summary.py": AGREED,
    "workflow_scripts/report_page.py": REPORTED,
    "envs/report.yaml": set(),  # without --use-conda no job runs in it
    "profiles/default/config.yaml": set(),
}


@pytest.mark.slow
@pytest.mark.parametrize("file", EDITED)
def test_an_edit_reruns_what_is_made_with_the_file(finished, file):
    path = finished.root / file
    text = path.read_text()
    first = "\nimport " if "\nimport " in text else "\nfrom "
    with edited(path, first, f"\n_NEW = 1{first}") if path.suffix == ".py" else appended(path):
        assert set(finished.planned()) == EDITED[file]


@contextlib.contextmanager
def appended(path):
    """A file with one more byte; restored with its times."""
    data, times = path.read_bytes(), path.stat()
    path.write_bytes(data + b"\n")
    try:
        yield
    finally:
        path.write_bytes(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


SET = {
    "network={dropout: 0.3}": TRAINED,
    "envs={train: gpu}": set(),  # without --use-conda
    "postprocessing={reconcile: false}": SCORED,
    "inference={batch_size: 3}": INFERRED | {"legacy"},
    "split={seed: 99}": ASSEMBLED | {"split", "leakage"},
    "qc={on_error: exclude}": {"gate"} | ASSEMBLED | PREPARED,
    "slices={keep: bleeding}": SLICED | {"rasterize", "annotations", "split", "leakage"},
    "raters={method: union}": RASTERIZED | {"agree", "agreement"},
    "split={folds: 3}": ASSEMBLED | {"split", "leakage"},
    "windows={bone: {level: 500, width: 2000}}": SLICED,
    "windows={extra: {level: 500, width: 2000}}": REPORTED,  # which prints the settings
    "training={epochs: 2}": TRAINED,
    "inference={precision: float32}": INFERRED,
    "experiments={flexunet: {}, other: {training: {epochs: 2}}}": REPORTED,
    # Snakemake runs whatever follows a job that runs, even if its output is the same.
    "shards=4": INSPECTED,
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SET)
def test_another_setting_reruns_what_reads_it(finished, setting):
    assert set(finished.planned("--config", setting)) == SET[setting]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["build={seeds: [1, 2]}", "build={folds: [0, 1]}"])
def test_another_run_leaves_the_first_alone(finished, setting):
    planned = finished.planned("--config", setting)
    assert set(planned) == TRAINED
    one = ("train", "legacy", "postprocess", "evaluate", "score_figures", "model_card")
    assert {planned[rule] for rule in one} == {1}
    assert planned["infer"] == 2  # its validation and its test cases


REMOVED = {
    "results/tiny/raw/archive.zip": INSPECTED | {"make_phantom"},
    "results/tiny/agreement/summary.json": AGREED,
    "results/tiny/dataset": ASSEMBLED,
    MODEL: TRAINED,
    "results/tiny/predictions/flexunet-f0-s1/test": INFERRED - {"postprocess"},
    "results/tiny/report": REPORTED,
    "results/tiny/cache": set(),
    "results/benchmarks": set(),
    "results/logs/tiny": set(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REMOVED)
def test_what_is_removed_is_made_again_if_anything_reads_it(finished, name):
    path, kept = finished.root / name, finished.root / "kept"
    path.rename(kept)
    try:
        assert set(finished.planned()) == REMOVED[name]
    finally:
        kept.rename(path)


CHANGED = {
    "results/tiny/raw/archive.zip": INSPECTED,
    "results/tiny/inventory/usable.tsv": USED,
    "results/tiny/split/fold0.tsv": ASSEMBLED | {"leakage"},
    MODEL: TRAINED - {"train"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGED)
def test_other_bytes_rerun_what_reads_them(finished, name):
    with appended(finished.root / name):
        assert set(finished.planned()) == CHANGED[name]


@pytest.mark.slow
def test_a_folder_that_is_moved_reruns_nothing(finished, monkeypatch):
    home = finished.root
    away = home.rename(home.with_name("moved"))
    monkeypatch.setattr(finished, "root", away)
    try:
        assert finished.planned() == {}
    finally:
        away.rename(home)


NETWORK = """import keras

from mine_blocks import width


def build(*, size, channels, classes, dtype, seed):
    given = keras.Input((size, size, channels))
    hidden = keras.layers.Conv2D(width(), 3, padding="same")(given)
    return keras.Model(given, keras.layers.Conv2D(classes, 1, activation="softmax")(hidden))
"""
BLOCKS = "def width():\n    return 4\n"


@pytest.mark.slow
def test_a_network_of_the_users_own_is_code_that_reruns(finished):
    """Named by its dotted path, in the working directory, and what it imports from there."""
    words = ("results/summaries/flexunet.txt", "--config", "network={model: mine.build}")
    own, blocks = finished.root / "mine.py", finished.root / "mine_blocks.py"
    try:
        own.write_text(NETWORK)
        blocks.write_text(BLOCKS)
        finished.snakemake(*words)
        assert "conv2d" in (finished.root / words[0]).read_text()
        assert finished.planned(*words) == {}
        with edited(blocks, "return 4", "return 5  # wider"):
            assert set(finished.planned(*words)) == {"summary"}
        with edited(own, "import keras\n", "import keras  # the library\n"):
            assert finished.planned(*words) == {}
        with edited(own, "width(), 3", "width(), 5"):
            assert set(finished.planned(*words)) == {"summary"}
    finally:
        for path in (own, blocks, finished.root / words[0]):
            path.unlink(missing_ok=True)
