"""The workflow with Snakemake's own options, and the scripts' imports."""

import ast
import json
import re
import sys
import zipfile

import pytest
import yaml

from mbhseg.provenance import code
from tools import pin_envs

SCRIPTS = sorted((code.ROOT / "workflow_scripts").glob("*.py"))


def test_every_public_artifact_is_there(finished):
    root = finished.root / "results/tiny"
    run = "flexunet-f0-s1"
    for name in (
        *("raw/archive.zip", "raw/archive.zip.sha256", "raw/source.json"),
        *("inventory/cases.tsv", "inventory/findings.tsv", "split/fold0.tsv", "split/fold1.tsv"),
        *(f"dataset/{s}/{k}" for s in ("train", "valid", "test") for k in ("images", "masks")),
        *("annotations.tsv", "annotations/rater1", "annotations/rater3"),
        *(f"models/{run}/{n}" for n in ("model.keras", "history.csv", "curves.png", "run.json")),
        *(f"models/{run}/previews", f"predictions/{run}/test/png/masks"),
        *(f"predictions/{run}/test/png/overlays", "agreement/summary.json"),
        *(f"evaluation/{run}/cases.csv", f"evaluation/{run}/summary.json", "report/index.html"),
        *(f"models/{run}/postprocess.json", f"evaluation/{run}/processed.csv"),
        *(f"evaluation/{run}/{n}.csv" for n in ("ceiling", "groups", "organisers", "calibration")),
        *(f"comparison/{n}.csv" for n in ("runs", "experiments", "differences")),
        *(f"evaluation/{run}/model_card.md", f"evaluation/{run}/volumes.png"),
        *("provenance.json", "ro-crate-metadata.json"),
    ):
        assert (root / name).exists(), name
    assert (finished.root / "results/logs").is_dir()
    assert (finished.root / "results/benchmarks").is_dir()


@pytest.mark.slow
def test_rulegraph_and_report_work(finished):
    graph = finished.snakemake("--rulegraph")
    for rule in ("slice", "rasterize", "train", "infer", "evaluate", "report"):
        assert f'"{rule}' in graph
    finished.snakemake("--report", "report.zip")
    with zipfile.ZipFile(finished.root / "report.zip") as report:
        names = report.namelist()
        main = report.read("report/report.html").decode()
    for name in ("model_card.md", "index.html", "viewer.html", "cases.csv", "findings.tsv"):
        assert any(path.endswith(f"/{name}") for path in names), name
    labels = [json.loads(text) for text in re.findall(r'"labels": (\{[^}]*\})', main)]
    shown = {entry.get("what") for entry in labels}
    assert {"scores", "case by case", "volumes", "calibration", "confusion", "page"} <= shown
    assert "comparison" in shown
    captions = re.findall(r'"caption": "(.*?[^\\])"', main)
    assert len(captions) == len(labels)
    assert all("tiny" in caption for caption in captions)
    for category in ("Data", "Training", "Scores", "Models", "Report"):
        assert f'"{category}"' in main


@pytest.mark.parametrize("preset", ["config/config.yaml", "config/seed.yaml"])
def test_real_data_plans_without_network(finished, preset, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens: a fetch would fail
    text = finished.snakemake("-n", config=finished.root / preset)
    assert "fetch_hub" in text
    assert "train" in text


@pytest.mark.slow
def test_the_summary_of_the_seed_preset_tells_its_parameters(finished):
    preset = finished.root / "config/seed.yaml"
    finished.snakemake("results/summaries/seed.txt", config=preset)
    assert "124,557,126" in (finished.root / "results/summaries/seed.txt").read_text()


def test_a_typo_is_a_line_and_not_a_traceback(finished):
    text = finished.snakemake("-n", "--config", "slices={sise: 64}", ok=False)
    assert "slices.sise is not a key. Did you mean size?" in text
    assert "Traceback" not in text


def test_another_working_directory(finished, tmp_path):
    text = finished.snakemake("-n", "--directory", str(tmp_path))
    assert "make_phantom" in text


def reached(script):
    """Top-level modules that a script and its closure import from outside the repository."""
    files, names = code.closure(script), set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or "").split(".")[0])
    return files, names - set(sys.stdlib_module_names) - {"mbhseg"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_stay_thin_and_import_one_way(script):
    files, names = reached(script)
    assert "snakemake" not in names
    assert len(script.read_text().splitlines()) <= 50
    heavy = {"keras", "tensorflow"}
    network = [f for f in files if "nn" in f.relative_to(code.ROOT).parts]
    assert (heavy & names == set()) or network


PROVIDES = {  # import name -> distribution, where they differ
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "zlib_ng": "zlib-ng",
    "SimpleITK": "simpleitk",
    "yaml": "pyyaml",
    "huggingface_hub": "huggingface-hub",
}


def test_environments_hold_what_their_scripts_import_at_locked_versions():
    lock = (code.ROOT / "requirements.lock").read_text()
    pins = {}
    cuda = {f"{name}=={version}" for name, version in pin_envs.cuda().items()}
    for file in (code.ROOT / "envs").glob("*.yaml"):
        entries = yaml.safe_load(file.read_text())["dependencies"][-1]["pip"]
        pins[file.stem] = {entry.split("==")[0] for entry in entries}
        for entry in entries:
            locked = entry.replace("[and-cuda]", "")
            assert f"\n{locked} " in lock or entry in cuda, f"{file.name}: {entry} is not locked"
    for rules in (code.ROOT / "rules").glob("*.smk"):
        for block in rules.read_text().split("\nrule ")[1:]:
            if "script:" not in block:
                continue
            env = block.split("envs/")[1].split(".yaml")[0].replace("{TRAIN_ENV}", "train")
            script = block.split("workflow_scripts/")[1].split('"')[0]
            _, names = reached(code.ROOT / "workflow_scripts" / script)
            missing = {PROVIDES.get(name, name) for name in names} - pins[env]
            assert not missing, f"{script} imports {missing}, which envs/{env}.yaml lacks"


def test_the_gpu_environment_is_that_of_the_cpu_with_cuda():
    pins = {}
    for name in ("train", "train-gpu"):
        file = code.ROOT / "envs" / f"{name}.yaml"
        entries = yaml.safe_load(file.read_text())["dependencies"][-1]["pip"]
        pins[name] = dict(entry.split("==") for entry in entries)
    assert pins["train-gpu"] == pin_envs.with_cuda(pins["train"]), "make envs renews it"
    assert any(name.startswith("nvidia-cudnn") for name in pins["train-gpu"])


def test_the_snakefile_asks_for_the_snakemake_of_the_lock():
    version = re.search(r'min_version\("(.+?)"\)', (code.ROOT / "Snakefile").read_text()).group(1)
    assert f'"snakemake>={version}"' in (code.ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("device", "file"), [("cpu", "train"), ("gpu", "train-gpu")])
def test_the_config_chooses_the_environment_of_the_network(finished, device, file):
    """--containerize names every environment before it needs conda."""
    said = finished.snakemake("--containerize", "--config", f"envs={{train: {device}}}", ok=False)
    used = set(re.findall(r"Hashing conda environment envs/(\S+)\.yaml", said))
    assert used == {"data", "report", file}
