"""The probe measures the very network, and its choice is taken instead of `probe`."""

import pytest

from mbhseg.errors import InputError
from mbhseg.nn.training import probe as probing
from mbhseg.nn.training.probe import Candidate, Measured, choose, probe, resolved
from tests.nn.conftest import network, training

NETWORK = network(levels=1, filters=4)
TRAINING = training(
    precision="float32",
    batch="probe",
    threads=1,
    probe={"batches": [4, 2], "threads": [1], "steps": 1},
)


def measured(*speeds: float) -> list[Measured]:
    return [Measured(Candidate("float32", 2**n, 1), speed) for n, speed in enumerate(speeds)]


@pytest.mark.parametrize(
    ("speeds", "batch"),
    [
        ((10, 20, 30), 4),  # the fastest
        ((29, 20, 30), 1),  # within a twentieth of it the first
        ((28, 20, 30), 4),
        ((0, 0, 1), 4),  # those that failed do not count
    ],
)
def test_the_first_of_the_fastest_is_chosen(speeds, batch):
    assert choose(measured(*speeds)).batch == batch


def test_nothing_is_chosen_where_all_fail():
    assert choose(measured(0, 0)) is None
    assert choose([]) is None


def test_a_choice_takes_the_place_of_probe_and_of_nothing_else():
    found = {"choice": {"batch": 16}}
    assert resolved(TRAINING, found) == {**TRAINING, "batch": 16}
    given = {**TRAINING, "batch": 8}
    assert resolved(given, None) == given
    with pytest.raises(InputError, match=r"^training\.batch: .*probe.*not measured"):
        resolved(TRAINING, None)


def test_what_is_not_asked_for_is_not_measured(monkeypatch):
    tried = []

    def record(candidate, network, training, size):
        tried.append(candidate)
        return Measured(candidate, candidate.threads * (2.0 if candidate.batch == 16 else 1.0))

    monkeypatch.setattr(probing, "_measure_apart", record)
    tries = {"batches": [16, 4], "threads": [8, 1, 2], "steps": 1}
    asked = TRAINING | {"precision": "probe", "threads": "probe", "probe": tries}
    found = probe(NETWORK, asked, size=16, cores=4)
    # threads above the cores are left out; a candidate is measured once
    assert tried == [
        Candidate("float32", 4, 1),
        Candidate("float32", 4, 2),
        Candidate("bfloat16", 4, 2),
        Candidate("float32", 16, 2),
    ]
    assert found["choice"] == {"precision": "float32", "batch": 16, "threads": 2}
    assert [m["batch"] for m in found["measured"]] == [4, 4, 4, 16]


@pytest.mark.slow
def test_candidates_are_measured_on_the_network_itself():
    found = probe(NETWORK, TRAINING, size=16)
    assert set(found["choice"]) == {"batch"}
    assert [(m["batch"], m["failure"]) for m in found["measured"]] == [(2, ""), (4, "")]
    assert all(m["images_per_second"] > 0 and m["peak_mb"] > 50 for m in found["measured"])


@pytest.mark.slow
def test_what_does_not_train_is_a_measured_failure():
    found = probing._measure_apart(
        Candidate("float32", 2, 1), NETWORK | {"levels": 3}, TRAINING | {"batch": 2}, size=18
    )
    assert found.images_per_second == 0
    assert "not divisible" in found.failure


def test_nothing_that_trains_is_told_in_a_line(monkeypatch):
    monkeypatch.setattr(
        probing, "_measure_apart", lambda c, *_: Measured(c, 0.0, failure="out of memory")
    )
    with pytest.raises(InputError, match=r"^training: .*no candidate.*out of memory"):
        probe(NETWORK, TRAINING, size=16)
