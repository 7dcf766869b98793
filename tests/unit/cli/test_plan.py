"""A dry run read: jobs, reasons, and how long they took before."""

import pytest

from mbhseg.cli.plan import Job, before, makespan, parse, recorded, report, why
from mbhseg.errors import InputError

DRY = """\
Building DAG of jobs...
Job stats:
job        count
-------  -------
split          1
train          1
all            1
total          3

[Wed Nov 25 13:23:29 2026]
rule split:
    input: results/a/usable.tsv, results/a/slices.tsv
    output: results/a/split/fold0.tsv, results/a/split
    log: results/logs/a/split.log
    jobid: 5
    benchmark: results/benchmarks/a/split.tsv
    reason: Params have changed since last execution: Union across all: before: {'seed': 1, \
'by': {'x': 2}} now: {'seed': 99, 'by': {'x': 2}}\x20
    wildcards: dataset=a
    threads: 2
    resources: tmpdir=/tmp, runtime=10, mem_mb=500, mem=500 MB, gpu=1
Shell command: None

[Wed Nov 25 13:23:29 2026]
rule train:
    input: results/a/split/fold0.tsv
    output: results/a/model
    benchmark: results/benchmarks/a/train/r.tsv
    reason: Missing output files: results/a/model; Input files updated by another job: x

[Wed Nov 25 13:23:29 2026]
localrule all:
    input: results/a/model
    jobid: 0
    reason: Input files updated by another job: results/a/model
"""


def test_jobs_are_read_from_the_dry_run():
    split, train = parse(DRY)
    assert (split.rule, split.threads, split.benchmark) == (
        *("split", 2),
        "results/benchmarks/a/split.tsv",
    )
    assert split.inputs == ("results/a/usable.tsv", "results/a/slices.tsv")
    assert split.resources["gpu"] == 1
    assert before([split, train]) == [set(), {0}]
    assert why(split, []) == ["settings changed: seed 1 -> 99"]
    assert why(train, ["split"]) == ["not made yet", "follows split"]
    assert parse("Building DAG of jobs...\nNothing to be done.\n") == []


def test_jobs_of_a_group_are_read_as_well():
    """As with profiles/slurm: they are indented."""
    grouped = DRY.replace("\n", "\n    ").replace("    total", "total")
    grouped = grouped.replace("    Shell command", "Shell command").replace("    \n", "\n")
    assert parse(grouped) == parse(DRY)


@pytest.mark.parametrize("text", [DRY.replace("rule split:", "job split:"), "Building DAG\n"])
def test_jobs_that_cannot_be_read_are_not_left_out_silently(text):
    with pytest.raises(InputError, match=r"dry-run: prints \d of \d jobs"):
        parse(text)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Params have changed: before: '0123456789abcdef' now: 'fedcba9876543210'", "code changed"),
        ("Params have changed: before: 64 now: 32", "settings changed: 64 -> 32"),
        ("Params have changed: before: x y now: z", "settings changed: x y -> z"),
        ("Updated input files: a, b, c", "changed: a, b and 1 more"),
        ("Software environment definition has changed", "its environment changed"),
        ("Set of input files has changed since last execution", "other inputs"),
        ("Forced execution", "Forced execution"),
    ],
)
def test_reasons_in_a_few_words(reason, words):
    assert why(Job("x", reasons=(reason,)), ["y"]) == [words]


def test_times_are_the_rules_last_ones(tmp_path):
    job = Job("train", benchmark="results/benchmarks/a/train/r1.tsv")
    assert recorded(job, tmp_path) is None
    for name, seconds in (("a/train/r2", "10"), ("b/train/r1", "20"), ("a/other", "99")):
        path = tmp_path / f"results/benchmarks/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n1.0\t5\n{seconds}\t5\n")
    assert recorded(job, tmp_path) == 15
    (tmp_path / job.benchmark).write_text("s\tmax_rss\n7.5\t-\n")
    assert recorded(job, tmp_path) == 7.5
    (tmp_path / job.benchmark).write_text("")
    assert recorded(job, tmp_path) == 15
    assert recorded(Job("all"), tmp_path) is None


def test_the_estimate_keeps_to_order_cores_and_the_gpu():
    first = Job("a", outputs=("x",))
    jobs = [first, Job("b", inputs=("x",)), Job("c", inputs=("x/part",)), Job("d")]
    assert makespan(jobs, [1, 2, 3, 4], 1, {}) == 10
    assert makespan(jobs, [1, 2, 3, 4], 2, {}) == 6
    assert makespan(jobs, [1, 2, 3, 4], 9, {}) == 4
    wide = [Job("a", threads=4), Job("b", threads=8)]
    assert makespan(wide, [1, 1], 4, {}) == 2
    gpus = [Job(name, resources={"gpu": 1}) for name in "abc"]
    assert makespan(gpus, [1, 1, 1], 8, {"gpu": 1}) == 3
    assert makespan([], [], 2, {}) == 0
    with pytest.raises(ValueError, match="circle"):
        makespan([Job("a", ("x",), ("y",)), Job("b", ("y",), ("x",))], [1, 1], 1, {})


def test_the_report_names_what_has_no_record(tmp_path):
    path = tmp_path / "results/benchmarks/a/split.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\n12.25\n")
    lines = report(parse(DRY), tmp_path, 2).splitlines()
    assert lines[0].split() == ["rule", "jobs", "seconds", "why"]
    assert lines[1].split(maxsplit=3) == ["split", "1", "12.2", "settings changed: seed 1 -> 99"]
    assert lines[2].split(maxsplit=3) == ["train", "1", "?", "not made yet; follows split"]
    assert lines[4] == "2 jobs, about 12 s on 2 cores by recorded times."
    assert lines[5] == "Without a record, and not in that sum: train."
    assert report([], tmp_path, 2) == "Nothing to be done."
