"""`python -m mbhseg plan` on a finished run."""

import subprocess
import sys

from tests.workspace import TINY


def plan(workspace, *words):
    command = [sys.executable, "-m", "mbhseg", "plan", "--cores", "2", *words]
    command += ["--configfile", str(TINY)]
    return subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=False)


def test_the_plan_says_what_why_and_for_how_long(finished):
    setting = "training={optimizer: {learning_rate: 0.0123}}"
    done = plan(finished, "--config", setting)
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines() if line)
    assert "settings changed: training.optimizer.learning_rate 0.0" in rows["train"]
    assert rows["train"].endswith("-> 0.0123")
    assert rows["infer"].endswith("follows train")
    planned = set(finished.planned("--config", setting)) - {"all"}
    assert planned <= set(rows)
    assert "on 2 cores by recorded times." in done.stdout
    assert "Without a record" not in done.stdout


def test_a_bad_setting_ends_in_snakemakes_message(finished):
    done = plan(finished, "--config", "slices={sise: 64}")
    assert done.returncode == 2
    assert "slices.sise is not a key. Did you mean size?" in done.stderr
