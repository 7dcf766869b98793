"""What is wrong with a machine is said with its cure."""

from pathlib import Path

import pytest

from mbhseg.cli import doctor
from mbhseg.cli.doctor import NOTE, OK, PROBLEM

STRICT = '{"get": {"channel_priority": "strict"}}'


@pytest.mark.parametrize(
    ("finding", "level", "words"),
    [
        (doctor.python((3, 12)), OK, "Python 3.12"),
        (doctor.python((3, 10)), PROBLEM, "needs 3.11 to 3.13. Install one"),
        (doctor.python((3, 14)), PROBLEM, "Python 3.14"),
        (doctor.disk(Path("/x"), 10**11), OK, "100 GB free at /x"),
        (doctor.disk(Path("/x"), 10**9), NOTE, "1 GB free at /x, the real data set takes"),
        (doctor.shared_memory(2**30), OK, "1024 MiB"),
        (doctor.shared_memory(2**26), NOTE, "64 MiB of shared memory, too little"),
        (doctor.shared_memory(None), NOTE, "no /dev/shm"),
        (doctor.memory(16 * 10**9), OK, "16 GB"),
        (doctor.memory(4 * 10**9), NOTE, "4 GB of memory, training"),
        (doctor.memory(None), NOTE, "cannot be told"),
        (doctor.gpu("NVIDIA A", "NVIDIA A"), OK, "TensorFlow sees NVIDIA A"),
        (doctor.gpu("NVIDIA A", ""), PROBLEM, "TensorFlow sees no GPU. Install its CUDA"),
        (doctor.gpu(None, ""), NOTE, "no GPU"),
        (doctor.gpu("NVIDIA A", None), NOTE, "no TensorFlow"),
        (doctor.gpu("NVIDIA A", None, checkout=False), NOTE, "pip install 'mbhseg[nn]'"),
        (doctor.gpu("NVIDIA A", "", checkout=False), PROBLEM, "'tensorflow[and-cuda]'"),
        (doctor.conda("conda 24.11.0", STRICT)[0], OK, "conda 24.11.0"),
        (doctor.conda("conda 24.7.0", STRICT)[0], PROBLEM, "needs 24.7.1. conda update"),
        (doctor.conda("conda 25.1.0", STRICT)[1], OK, "strict"),
        (doctor.conda("conda 25.1.0", '{"get": {}}')[1], NOTE, "is flexible. conda config --set"),
        (doctor.conda("conda 25.1.0", "?")[1], NOTE, "is unknown"),
        (doctor.conda(None, None)[0], NOTE, "no conda"),
        (doctor.slurm("main*\ngpu", "")[0], OK, "partitions main* gpu"),
        (doctor.slurm("main*", None)[1], NOTE, "without accounting. Uncomment"),
    ],
)
def test_judgements(finding, level, words):
    assert finding.level == level
    assert words in str(finding)


def test_versions_are_held_against_the_lock():
    lock = "numpy==2.4.6 \\\n    --hash=x\nkeras==3.15.1 \\\n"
    assert doctor.installed(["numpy"], {"numpy": "2.4.6"}.get, lock).level == OK
    odd = doctor.installed(["numpy", "keras"], {"numpy": "1.0"}.get, lock)
    assert odd.level == NOTE
    assert "numpy 1.0 instead of 2.4.6, keras absent instead of 3.15.1" in str(odd)


def test_this_machine_is_examined(repo, tmp_path):
    def without_tensorflow(words):  # which takes seconds to start
        return "" if "-c" in words else doctor.ask(words)

    found = doctor.examine(tmp_path, repo, without_tensorflow)
    assert found[0].level == OK
    assert not any("cannot" in finding.what for finding in found)


def test_a_machine_is_examined_without_a_checkout(tmp_path):
    answers = {"nvidia-smi": None, "conda": None, "sinfo": None, "sacct": None}
    found = doctor.examine(tmp_path, tmp_path, lambda words: answers.get(words[0], ""))
    text = "\n".join(map(str, found))
    assert "no requirements.lock to compare with: " in text
    assert "make demo installs" not in text  # there is no Makefile
    assert not [finding for finding in found if finding.level == PROBLEM]


def test_a_command_that_is_not_there_or_fails_has_no_answer():
    assert doctor.ask(["no-such-command-here"]) is None
    assert doctor.ask(["false"]) is None
    assert doctor.ask(["echo", "x"]) == "x"
