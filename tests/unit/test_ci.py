"""The public CI: it runs what .ci/run runs, with what is in the repository."""

import itertools
import os
import re

import pytest
import yaml

# what may stand before a command: the rights of root with this environment, or a shell's settings
PREFIX = re.compile(r'(sudo (-E env PATH="\$PATH" )?|eval "\$\()')


def expanded(text: str, matrix: dict[str, list[str]]) -> list[str]:
    """The text with every combination of the matrix."""
    texts = []
    for values in itertools.product(*matrix.values()):
        one = text
        for name, value in zip(matrix, values, strict=True):
            one = one.replace(f"${{{{ matrix.{name} }}}}", value)
        texts.append(one)
    return texts


def command(line: str) -> str:
    """`make TARGET` or `.ci/SCRIPT`, without what stands around it."""
    return PREFIX.sub("", line.split(" #")[0], count=1).removesuffix(')"').strip()


@pytest.fixture(scope="module")
def jobs(repo) -> dict[str, dict]:
    return yaml.safe_load((repo / ".github/workflows/ci.yml").read_text())["jobs"]


@pytest.fixture(scope="module")
def commands(jobs) -> set[str]:
    """Every command of every job."""
    return {
        command(line)
        for job in jobs.values()
        for step in job["steps"]
        for text in expanded(step.get("run", ""), job.get("strategy", {}).get("matrix", {}))
        for line in text.splitlines()
    }


def test_it_calls_only_targets_and_scripts_that_exist(repo, commands):
    targets = set(re.findall(r"^([\w-]+):", (repo / "Makefile").read_text(), re.MULTILINE))
    for words in commands:
        if words.startswith("make "):
            assert words.removeprefix("make ") in targets
        else:
            assert re.fullmatch(r"\.ci/\w+", words), words
            assert os.access(repo / words, os.X_OK), words


def test_it_runs_every_part_of_the_repository_s_own_ci(repo, commands):
    lines = map(command, (repo / ".ci/run").read_text().splitlines())
    parts = {line for line in lines if line.startswith(("make ", ".ci/"))}
    assert len(parts) >= 8
    assert commands == parts


def test_its_shares_of_the_slow_tests_are_all_of_them_once(repo, jobs):
    shares = " ".join(jobs["slow"]["strategy"]["matrix"]["tests"]).split()
    folders = {path.relative_to(repo).parts[1] for path in (repo / "tests").rglob("test_*.py")}
    assert sorted(shares) == sorted(f"tests/{folder}" for folder in folders)
    assert (repo / jobs["container"]["env"]["PYTEST_ADDOPTS"]).is_file()


def test_its_actions_are_github_s_own_and_may_only_read(repo, jobs):
    uses = {step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step}
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", name) for name in uses)
    text = (repo / ".github/workflows/ci.yml").read_text()
    assert "permissions:\n  contents: read\n" in text
    assert "secrets." not in text
