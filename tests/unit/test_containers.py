"""The two container definitions: the same image, of the lock, with all that the workflow needs."""

import re

from tests.workspace import PARTS

# besides the workflow: what the project's own installation reads
PROJECT = {"LICENSE", "README.md", "pyproject.toml", "requirements.lock"}


def test_the_image_holds_the_workflow_and_nothing_else(repo):
    ignored = (repo / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    assert {word[1:] for word in ignored if word.startswith("!")} == {*PARTS, *PROJECT}
    assert ignored[-1] == "**/__pycache__"
    assert "COPY . /opt/mbhseg\n" in (repo / "Dockerfile").read_text()


def test_docker_and_apptainer_make_the_same(repo):
    docker = (repo / "Dockerfile").read_text()
    apptainer = (repo / "apptainer.def").read_text()
    base = re.search(r"^FROM (\S+)$", docker, re.MULTILINE).group(1)
    assert f"From: {base}\n" in apptainer
    python = re.search(r"python=(\S+)", (repo / "envs/train.yaml").read_text()).group(1)
    assert base.startswith(f"python:{python}-")
    files = apptainer.split("%files\n")[1].split("\n\n")[0]
    copied = dict(line.split() for line in files.splitlines())
    assert copied == {name: f"/opt/mbhseg/{name}" for name in {*PARTS, *PROJECT}}
    commands = re.findall(r"^RUN (.*)$", docker, re.MULTILINE)
    post = apptainer.split("%post\n")[1].split("\n\n")[0]
    assert [line.strip() for line in post.splitlines()] == [
        command.replace("$GPU", "{{ GPU }}") for command in commands
    ]
    assert "ENV PYTHONNOUSERSITE=1\n" in docker
    assert "export PYTHONNOUSERSITE=1\n" in apptainer
    words = " ".join(re.findall(r'"([^"]+)"', docker.split("ENTRYPOINT ")[1]))
    assert f'exec {words} "$@"\n' in apptainer
