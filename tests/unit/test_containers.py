"""The two container definitions: the same image, of the lock, with all that the workflow needs."""

import re

from tests.workspace import PARTS


def test_docker_and_apptainer_make_the_same(repo):
    docker = (repo / "Dockerfile").read_text()
    apptainer = (repo / "apptainer.def").read_text()
    base = re.search(r"^FROM (\S+)$", docker, re.MULTILINE).group(1)
    assert f"From: {base}\n" in apptainer
    python = re.search(r"python=(\S+)", (repo / "envs/train.yaml").read_text()).group(1)
    assert base.startswith(f"python:{python}-")
    copied = set(re.findall(r"^COPY (\S+)", docker, re.MULTILINE))
    files = apptainer.split("%files\n")[1].split("\n\n")[0]
    assert copied == {line.split()[0] for line in files.splitlines()}
    assert copied == {*PARTS, "requirements.lock"}
    ignored = (repo / ".dockerignore").read_text().split()
    assert copied == {word[1:] for word in ignored if word.startswith("!")}
    for command in re.findall(r"^RUN (.*)$", docker, re.MULTILINE):
        assert command.replace("$GPU", "{{ GPU }}") in apptainer
