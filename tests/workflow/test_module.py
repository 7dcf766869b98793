"""Another workflow uses this one as a module, from another folder and with a config of its own."""

import shutil
import subprocess
import sys

import pytest

from mbhseg.cli.plan import parse
from tests.workspace import REPO, TINY

OTHER = """\
configfile: "mine.yaml"

module heads:
    snakefile: "{repo}/Snakefile"
    config: config

use rule * from heads as heads_*

rule mine:
    default_target: True
    input: "results/tiny/report"
    output: "mine.txt"
    shell: "ls {{input}} > {{output}}"
"""


@pytest.mark.slow
def test_another_workflow_takes_the_rules_and_the_defaults(tmp_path):
    (tmp_path / "Snakefile").write_text(OTHER.format(repo=REPO))
    shutil.copy(TINY, tmp_path / "mine.yaml")  # most keys come from our config.yaml

    def snakemake(*words):
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    rules = {job.rule for job in parse(snakemake("-n"))}
    assert {"heads_make_phantom", "heads_train", "heads_report", "mine"} <= rules
    snakemake("results/tiny/inventory/shards/1-of-2.cases.tsv")
    assert (tmp_path / "results/tiny/raw/archive.zip").is_file()
