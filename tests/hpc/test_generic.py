"""profiles/cluster-generic: what each scheduler is told and answers; a run with Slurm behind."""

import importlib.util
import shutil

import pytest

from tests.workspace import REPO

FOLDER = REPO / "profiles" / "cluster-generic"
SCRIPT = (
    "#!/bin/sh\n"
    '# properties = {"type": "single", "rule": "train", "threads": 4, "wildcards":'
    ' {"dataset": "tiny", "run": "a-f0-s1"}, "resources":'
    ' {"mem_mb": 6000, "runtime": 90, "gpu": 1}}\n'
    "work && exit 0 || exit 1\n"
)


@pytest.fixture(scope="module")
def schedulers():
    spec = importlib.util.spec_from_file_location("schedulers", FOLDER / "schedulers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOLD = {
    "sge": "-N {n} -j y -o {l} -pe smp 4 -l h_vmem=1500M -l h_rt=5400 -l gpu=1 x.sh",
    "lsf": "-J {n} -o {l} -n 4 -R span[hosts=1] -M 6000MB -R rusage[mem=6000MB]"
    " -W 90 -gpu num=1 x.sh",
    "pbs": "-j oe -o {l} -l select=1:ncpus=4:mem=6000mb:ngpus=1 -l walltime=5400 x.sh",
    "slurm": "--job-name {n} --output {l} --cpus-per-task 4 --mem 6000 --time 90 --gpus=1 x.sh",
}


@pytest.mark.parametrize("system", TOLD)
def test_a_rules_resources_in_the_words_of_the_scheduler(schedulers, system):
    words = schedulers.submission(system, schedulers.properties(SCRIPT), "x.sh")
    name = "mbhseg.train.tiny.a-f0-s1"
    told = TOLD[system].format(n=name, l=f"results/logs/cluster/{name}.log")
    assert " ".join(words).endswith(told)


@pytest.mark.parametrize("system", TOLD)
def test_what_the_site_wants_is_added(schedulers, system):
    job = schedulers.properties(SCRIPT)
    job["resources"] |= {"queue": "gpu", "account": "lab", "gpu_options": "-x a=1", "options": "-y"}
    words = schedulers.submission(system, job, "x.sh")
    assert words[-4:] == ["-x", "a=1", "-y", "x.sh"]
    assert {"gpu", "lab"} <= set(words)
    assert "gpu=1" not in words
    assert not any("ngpus" in word for word in words)


ANSWERS = {
    "sge": ("4711\n", "4711"),
    "lsf": ("Job <4711> is submitted to queue <normal>.\n", "4711"),
    "pbs": ("4711.head\n", "4711.head"),
    "slurm": ("4711\n", "4711"),
}


@pytest.mark.parametrize("system", ANSWERS)
def test_the_job_id_is_read_from_the_answer(schedulers, system):
    answer, number = ANSWERS[system]
    assert schedulers.job_id(system, answer) == number
    with pytest.raises(SystemExit, match="no job id"):
        schedulers.job_id(system, "no such queue")


@pytest.mark.parametrize(
    ("system", "answers", "held"),
    [
        ("sge", {"qstat -j 7": (0, "x"), "qstat": (0, "head\n7 .5 n u qw 1")}, True),
        ("sge", {"qstat -j 7": (0, "x"), "qstat": (0, "head\n7 .5 n u Eqw 1")}, False),
        ("sge", {"qstat -j 7": (1, "")}, False),
        ("lsf", {"bjobs -noheader -o stat 7": (0, "PEND\n")}, True),
        ("lsf", {"bjobs -noheader -o stat 7": (0, "EXIT\n")}, False),
        ("lsf", {"bjobs -noheader -o stat 7": (255, "")}, False),
        ("pbs", {"qstat 7": (0, "7.head")}, True),
        ("pbs", {"qstat 7": (153, "")}, False),
        ("slurm", {"squeue --noheader --jobs 7 --format %T": (0, "RUNNING\n")}, True),
        ("slurm", {"squeue --noheader --jobs 7 --format %T": (0, "FAILED\n")}, False),
    ],
)
def test_a_job_is_in_the_queue_or_not(schedulers, system, answers, held):
    assert schedulers.in_queue(system, "7", lambda words: answers[" ".join(words)]) is held


def test_the_scheduler_is_told_by_its_commands(schedulers):
    def has(*names):
        return lambda name: f"/bin/{name}" if name in names else None

    assert schedulers.scheduler({}, has("qsub", "qconf")) == "sge"
    assert schedulers.scheduler({}, has("qsub")) == "pbs"
    assert schedulers.scheduler({}, has("bsub", "sbatch")) == "lsf"
    assert schedulers.scheduler({"MBHSEG_SCHEDULER": "pbs"}, has("bsub")) == "pbs"
    with pytest.raises(SystemExit, match="no scheduler is found: set MBHSEG_SCHEDULER"):
        schedulers.scheduler({}, has())
    with pytest.raises(SystemExit, match="MBHSEG_SCHEDULER=loadl is not one"):
        schedulers.scheduler({"MBHSEG_SCHEDULER": "loadl"}, has())


def test_what_is_no_job_script_is_refused(schedulers):
    with pytest.raises(SystemExit, match="not a job script"):
        schedulers.properties("#!/bin/sh\n")


@pytest.mark.slow
def test_jobs_run_fail_and_are_killed_through_the_profile(slurm, site):
    """A good job, one that fails, and one that is taken away by force, with Slurm behind submit."""
    generic = {"profile": "cluster-generic", "MBHSEG_SCHEDULER": "slurm"}
    target = "results/tiny/inventory/usable.tsv"
    shutil.rmtree(site.root / "results/tiny/inventory", ignore_errors=True)
    site.run(target, **generic)
    assert (site.root / target).is_file()
    states = list((site.root / ".snakemake/cluster-generic").glob("*.exit"))
    assert states
    assert {path.read_text() for path in states} == {"0\n"}
    names = {job["JobName"] for job in slurm.history()}
    assert {"mbhseg.inspect.tiny.1-of-2", "mbhseg.inspect.tiny.2-of-2"} <= names
