"""The workflow on a real Slurm of one node: profiles/slurm and its controller script."""

import os
import shutil
import signal
from itertools import pairwise

import pytest
import yaml

from mbhseg.files import sha256
from tests.hpc.slurm import until
from tests.workspace import TINY, assert_same_results

pytestmark = pytest.mark.slow


def test_a_killed_controller_is_followed_by_another(slurm, site):
    first = site.submit_controller("data")
    until(lambda: any(j["JobState"] == "RUNNING" for j in site.of_rule("rule_")), 120, "a job")
    slurm.call("scancel", "--batch", "--signal=KILL", first)
    until(lambda: slurm.state(first) == "FAILED", 30, "the controller's death")
    left = [job["JobId"] for job in site.of_rule("rule_") if job["JobState"] == "RUNNING"]
    assert left
    assert any((site.root / ".snakemake/locks").iterdir())

    second = site.submit_controller("data")
    until(lambda: slurm.state(second) == "COMPLETED", 900, "the second controller's end")
    assert {slurm.state(job) for job in left} == {"CANCELLED"}
    assert (site.root / "results/tiny/dataset.tsv").is_file()
    assert site.planned("data") == {}


def test_a_gpu_job_waits_for_the_gpu(slurm, site):
    """There is one, which someone else has; later two jobs of ours want it."""
    other = slurm.call("sbatch", "--parsable", "--gpus=1", "--output=/dev/null", "--wrap=sleep 999")
    until(lambda: slurm.state(other) == "RUNNING", 30, "the other's job")
    controller = site.start()
    try:
        until(lambda: len(site.of_rule("rule_train")) == 1, 300, "the training in the queue")
        (training,) = site.of_rule("rule_train")
        until(lambda: slurm.job(training["JobId"])["Reason"] == "Resources", 30, "its reason")
        assert slurm.state(training["JobId"]) == "PENDING"
        assert training["Partition"] == "gpu"
        slurm.call("scancel", other)
        assert controller.wait(900) == 0, (site.root / "controller.log").read_text()
    finally:
        controller.kill()
    jobs = [job for rule in ("train", "infer", "legacy") for job in site.of_rule(f"rule_{rule}")]
    assert len(jobs) == 4  # infer has validation and test
    assert {job["TresPerJob"] for job in jobs} == {"gres:gpu:1"}
    _, second, third, _ = sorted(jobs, key=lambda job: job["StartTime"])
    assert third["SubmitTime"] < second["EndTime"]  # the queue has both; it is not we who hold back
    spans = sorted((job["StartTime"], job["EndTime"]) for job in jobs)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert "Nothing to be done" in site.snakemake()
    # what succeeded needs no log, and short jobs went together
    assert not list((site.root / "results/logs/slurm").rglob("rule_train/**/*.log"))
    (together,) = site.of_rule("rule_report")
    assert together["Comment"] == "rule_report_provenance_report_verified"
    assert site.of_rule("rule_verified") == []


def test_the_results_are_those_of_a_run_without_a_cluster(finished, site):
    assert_same_results(finished, site.root)


def test_a_job_that_is_out_of_memory_is_tried_again_with_more(slurm, site):
    rules = site.root / "rules/train.smk"
    text = rules.read_text()
    assert "mem_mb=grows(3000)" in text
    rules.write_text(text.replace("mem_mb=grows(3000)", "mem_mb=grows(450)"))
    log = site.run("results/summaries/flexunet.txt")
    rules.write_text(text)
    tries = site.of_rule("rule_summary")
    assert len(tries) >= 2
    assert tries[0]["JobState"] in ("OUT_OF_MEMORY", "FAILED", "CANCELLED")
    assert tries[-1]["JobState"] == "COMPLETED"
    assert [job["MinMemoryNode"] for job in tries] == ["450M", "900M", "1350M"][: len(tries)]
    assert "Trying to restart" in log
    assert (site.root / "results/summaries/flexunet.txt").stat().st_size > 0


MODEL = "results/tiny/models/longer-f0-s1/model.keras"
STATE = "results/tiny/state/longer-f0-s1"


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """The tiny config with a training of eight epochs beside its own, saved all the time."""
    settings = yaml.safe_load(TINY.read_text())
    settings["checkpoint"] = {"minutes": 0.1 / 60}
    longer = {"epochs": 8, "batch": 2, "sampling": {"slices_per_epoch": 120}}
    settings["experiments"] = {"flexunet": {}, "longer": {"training": longer}}
    config = tmp_path_factory.mktemp("config") / "longer.yaml"
    config.write_text(yaml.safe_dump(settings))
    return config


def stopped_and_done(site, longer, stop):
    """Run the training, `stop` its first try once an epoch is over; the tries of it, as jobs."""
    before = len(site.of_rule("rule_train"))
    shutil.rmtree((site.root / MODEL).parent, ignore_errors=True)
    controller = site.start(MODEL, config=longer)
    try:
        state = site.root / STATE / "state.zip"
        history = (site.root / MODEL).with_name("history.csv")
        until(lambda: state.exists() and history.exists(), 600, "the first epoch's end")
        stop(site.of_rule("rule_train")[-1]["JobId"])
        assert controller.wait(900) == 0, (site.root / "controller.log").read_text()
    finally:
        controller.kill()
    assert not state.exists()
    log = (site.root / "results/logs/tiny/train/longer-f0-s1.log").read_text()
    assert "afresh" not in log
    assert "epoch 1/8" not in log  # which the first try has done
    return site.of_rule("rule_train")[before:]


def test_a_training_that_is_cancelled_goes_on_to_the_same_weights(slurm, site, finished, longer):
    tries = stopped_and_done(site, longer, lambda job: slurm.call("scancel", job))
    assert [job["JobState"] for job in tries] == ["CANCELLED", "COMPLETED"]
    finished.snakemake(MODEL, config=longer)
    assert sha256(site.root / MODEL) == sha256(finished.root / MODEL)


def test_a_training_out_of_time_goes_on_to_the_same_weights(slurm, site, finished, longer):
    """The first try is held, as on a slow node, until Slurm ends it at its limit of a minute."""

    def until_its_limit(job):
        slurm.call("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        trainer = int((site.root / STATE / "lock").read_text().split()[0])
        os.kill(trainer, signal.SIGSTOP)  # Slurm continues what it ends

    tries = stopped_and_done(site, longer, until_its_limit)
    assert [job["JobState"] for job in tries] == ["TIMEOUT", "COMPLETED"]
    # the rule's day, and twice as much in the second try
    assert tries[1]["TimeLimit"] == "2-00:00:00"
    finished.snakemake(MODEL, config=longer)
    assert sha256(site.root / MODEL) == sha256(finished.root / MODEL)
