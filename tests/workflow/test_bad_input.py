"""Bad data in a real run: the gate names what is wrong, and no partial output stays."""

import zipfile

import pytest
import yaml

from mbhseg.files import read_table
from tests.bad_cases import CASES, E, good, write
from tests.workspace import TINY, Workspace

INVENTORY = "results/bad/inventory"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("bad"))


def config_of(workspace, archives):
    """The tiny run's config with an archive for each data set."""
    config = yaml.safe_load(TINY.read_text())
    sets = {name: {"archive": {"path": str(path)}} for name, path in archives.items()}
    config["datasets"], config["build"]["datasets"] = sets, list(sets)
    path = workspace.root / "bad.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_gate_names_every_kind_of_bad_case(workspace):
    kinds = {f"ID_{n:08x}_ID_{n:010x}": kind for n, kind in enumerate(CASES)}
    sound = [f"ID_{n:08x}_ID_{n:010x}" for n in range(1000, 1004)]
    volumes = {case: CASES[kind][0](good(n)) for n, (case, kind) in enumerate(kinds.items())}
    volumes |= {case: good(1000 + n) for n, case in enumerate(sound)}
    archive = write(workspace.root / "bad.zip", volumes)
    config = config_of(workspace, {"bad": archive})
    usable = workspace.root / INVENTORY / "usable.tsv"

    text = workspace.snakemake(f"{INVENTORY}/usable.tsv", config=config, ok=False)
    assert "Error in rule gate" in text
    log = (workspace.root / "results/logs/bad/gate.log").read_text()
    assert " errors in the data: " in log
    assert "Traceback" not in log
    assert len(log.splitlines()) == 1
    assert not usable.exists()

    findings = read_table(workspace.root / INVENTORY / "findings.tsv")
    rejected = set()
    for case, kind in kinds.items():
        mine = findings[findings["case"] == case]
        seen = [(s, f.rsplit("/", 1)[-1], w) for _, f, s, w in mine.iloc[:, :4].to_numpy()]
        for severity, file, what in CASES[kind][1]:
            assert any((s, f) == (severity, file) and what in w for s, f, w in seen), (kind, seen)
        if E in {severity for severity, _, _ in CASES[kind][1]}:
            rejected.add(case)
    assert len(rejected) >= 25

    exclude = ("--config", "qc={on_error: exclude}")
    workspace.snakemake(f"{INVENTORY}/usable.tsv", *exclude, config=config)
    kept = set(read_table(usable)["case"])
    assert kept == {*kinds, *sound} - rejected


def slip(path):
    with zipfile.ZipFile(write(path, {"ID_0_ID_0": good()}), "a") as archive:
        archive.writestr("top/../../slip.txt", b"x")


def cut(path):
    path.write_bytes(write(path, {"ID_0_ID_0": good()}).read_bytes()[:-9000])


def empty_of_cases(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("top/readme.txt", b"x")


REFUSED = {
    "slip": (slip, "inspect/1-of-2", "leads out of the archive's folder"),
    "cut": (cut, "link_archive", "cut short"),
    "nothing": (empty_of_cases, "inspect/1-of-2", "holds no case"),
}


def test_an_archive_that_cannot_be_trusted_ends_in_a_line(workspace):
    archives = {name: workspace.root / f"{name}.zip" for name in REFUSED}
    for name, (make, _, _) in REFUSED.items():
        make(archives[name])
    config = config_of(workspace, archives)
    targets = [f"results/{name}/inventory/cases.tsv" for name in REFUSED]
    workspace.snakemake(*targets, "--keep-going", config=config, ok=False)
    for name, (_, log, line) in REFUSED.items():
        text = (workspace.root / f"results/logs/{name}/{log}.log").read_text()
        assert line in text
        assert "Traceback" not in text
        inventory = workspace.root / f"results/{name}/inventory"
        assert not [path for path in inventory.rglob("*") if path.is_file()]
    assert not (workspace.root / "slip.txt").exists()
    assert not (workspace.root / "results/slip.txt").exists()
