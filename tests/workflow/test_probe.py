"""A recipe with `probe` is measured first, once, and trained with the choice."""

import json

import pytest

PROBED = "training={batch: probe, probe: {batches: [4], threads: [1], steps: 1}}"


def test_only_a_recipe_that_says_probe_is_measured(finished):
    assert finished.planned() == {}
    plan = finished.planned("--config", PROBED)
    assert plan["probe"] == 1
    assert plan["train"] == 1


@pytest.mark.slow
def test_the_probe_is_a_target_and_another_learning_rate_measures_nothing_anew(finished):
    target = "results/probes/flexunet.json"
    both = "training={batch: probe, probe: {batches: [4, 8], threads: [1], steps: 1}}"
    finished.snakemake(target, "--config", both)
    found = json.loads((finished.root / target).read_text())
    assert found["choice"]["batch"] in (4, 8)
    assert [m["failure"] for m in found["measured"]] == ["", ""]
    other = both.replace("batch: probe", "batch: probe, epochs: 2")
    assert finished.planned(target, "--config", other) == {}
