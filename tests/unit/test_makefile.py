"""`make` tells its targets, and cleaning never costs results."""

import re
import subprocess


def make(repo, *words: str) -> str:
    command = ["make", "--no-print-directory", *words]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=True)
    return done.stdout


def test_make_alone_prints_every_target(repo):
    text = make(repo)
    phony = re.findall(r"^\.PHONY: (.*)$", (repo / "Makefile").read_text(), re.MULTILINE)
    for target in phony[0].split():
        assert re.search(rf"^{target} +\S", text, re.MULTILINE), target


def test_clean_removes_no_results(repo):
    cleaned = make(repo, "-n", "clean")
    assert "__pycache__" in cleaned
    for word in ("results", ".snakemake", ".venv", "models"):
        assert word not in cleaned
    assert "rm -rf results .snakemake" in make(repo, "-n", "clean-results")
