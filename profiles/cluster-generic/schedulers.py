"""The commands of SGE, LSF, PBS and Slurm, and their answers.

Used by submit, status and cancel beside it, which Snakemake calls with whatever `python3` is on the
PATH: standard library only, Python 3.8 or newer.
"""

import json
import os
import re
import shlex
import shutil
import subprocess

# by the command that only this scheduler has
FOUND_BY = (("bsub", "lsf"), ("qconf", "sge"), ("qsub", "pbs"), ("sbatch", "slurm"))
STATES = ".snakemake/cluster-generic"  # exit statuses, in the working directory
LOGS = "results/logs/cluster"
HELD = ("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED")  # Slurm's words
CANCEL = {"sge": "qdel", "lsf": "bkill", "pbs": "qdel", "slurm": "scancel"}
# the variable that holds a job's own id
JOB_ID = {"sge": "JOB_ID", "lsf": "LSB_JOBID", "pbs": "PBS_JOBID", "slurm": "SLURM_JOB_ID"}


def scheduler(environment=os.environ, which=shutil.which):
    """Name of the scheduler of this machine; SystemExit if there is none or it is unknown."""
    name = environment.get("MBHSEG_SCHEDULER") or next(
        (name for command, name in FOUND_BY if which(command)), None
    )
    if name not in CANCEL:
        given = f"MBHSEG_SCHEDULER={name} is not one" if name else "no scheduler is found"
        raise SystemExit("{}: set MBHSEG_SCHEDULER to one of {}".format(given, ", ".join(CANCEL)))
    return name


def properties(jobscript):
    """What Snakemake writes about a job into its script (the text): rule, threads, resources.

    SystemExit if the text is no job script of Snakemake's.
    """
    found = re.search(r"^# properties = (.*)$", jobscript, re.MULTILINE)
    if not found:
        raise SystemExit("not a job script of Snakemake: it has no line `# properties = `")
    return json.loads(found.group(1))


def name_of(job):
    """Name of the job for the queue: its rule or group, and its wildcards."""
    kind = job.get("rule") or job.get("groupid") or "group"
    words = [kind, *[str(value) for value in (job.get("wildcards") or {}).values()]]
    return "mbhseg." + re.sub(r"[^\w.-]", "_", ".".join(words))[:80]


def submission(system, job, script):
    """The command, as words, that submits `script` for a job with these `properties`.

    Memory is in MB and run time in minutes in `resources`, as in the rules. SGE counts memory per
    slot, so it is divided by the threads (rounded up).
    """
    resources = job.get("resources", {})
    threads = int(job.get("threads") or resources.get("_cores") or 1)
    memory, minutes = resources.get("mem_mb"), resources.get("runtime")
    gpu, queue, account = (resources.get(key) for key in ("gpu", "queue", "account"))
    name, log = name_of(job), f"{LOGS}/{name_of(job)}.log"
    gpu_words = resources.get("gpu_options")
    if system == "sge":
        words = ["qsub", "-terse", "-cwd", "-V", "-S", "/bin/sh", "-N", name, "-j", "y", "-o", log]
        words += ["-pe", "smp", str(threads)] if threads > 1 else []
        if memory:
            limit = os.environ.get("MBHSEG_SGE_MEMORY", "h_vmem")
            words += ["-l", f"{limit}={-(-int(memory) // threads)}M"]
        words += ["-l", f"h_rt={int(minutes) * 60}"] if minutes else []
        words += ["-q", queue] if queue else []
        words += ["-P", account] if account else []
        usual = "-l gpu={}"
    elif system == "lsf":
        words = ["bsub", "-J", name, "-o", log, "-n", str(threads), "-R", "span[hosts=1]"]
        if memory:
            words += ["-M", f"{memory}MB", "-R", f"rusage[mem={memory}MB]"]
        words += ["-W", str(int(minutes))] if minutes else []
        words += ["-q", queue] if queue else []
        words += ["-P", account] if account else []
        usual = "-gpu num={}"
    elif system == "pbs":
        chunk = f"select=1:ncpus={threads}"
        chunk += f":mem={memory}mb" if memory else ""
        chunk += f":ngpus={gpu}" if gpu and not gpu_words else ""
        words = ["qsub", "-V", "-N", name[:15], "-j", "oe", "-o", log, "-l", chunk]
        words += ["-l", f"walltime={int(minutes) * 60}"] if minutes else []
        words += ["-q", queue] if queue else []
        words += ["-A", account] if account else []
        usual = ""
    else:
        words = ["sbatch", "--parsable", "--job-name", name, "--output", log]
        words += ["--cpus-per-task", str(threads)]
        words += ["--mem", str(memory)] if memory else []
        words += ["--time", str(int(minutes))] if minutes else []
        words += ["--partition", queue] if queue else []
        words += ["--account", account] if account else []
        usual = "--gpus={}"
    if gpu:
        words += shlex.split(gpu_words or usual.format(gpu))
    words += shlex.split(resources.get("options") or "")
    return [*words, script]


def job_id(system, answer):
    """The job's id in the output of the submit command; SystemExit if there is none."""
    found = re.search(r"<(\d+)>" if system == "lsf" else r"\d[\w.\[\]-]*", answer)
    if not found:
        raise SystemExit(f"no job id in what the scheduler answered: {answer!r}")
    return found.group(1) if system == "lsf" else found.group(0)


def noting_its_end(system, jobscript, folder):
    """The job script with a line that writes its exit status to `<its id>.exit` in `folder`.

    By it `status` knows the end of a job on every scheduler, without accounting. A killed job
    leaves the queue without such a file.
    """
    first, rest = jobscript.split("\n", 1)
    note = f"trap 'echo $? > \"{folder}/${JOB_ID[system]}.exit\"' EXIT"
    return "\n".join([first, note, rest])


def in_queue(system, number, ask):
    """Whether the scheduler still holds a job. `ask(words)` runs a command: exit status, output."""
    if system == "sge":
        code, text = ask(["qstat", "-j", number])
        if code:
            return False
        _, table = ask(["qstat"])
        states = [line.split()[4] for line in table.splitlines() if line.split()[:1] == [number]]
        return not any("E" in state for state in states)  # Eqw: it would wait forever
    if system == "lsf":
        code, text = ask(["bjobs", "-noheader", "-o", "stat", number])
        return not code and text.strip() not in ("", "DONE", "EXIT")
    if system == "pbs":
        return ask(["qstat", number])[0] == 0
    code, text = ask(["squeue", "--noheader", "--jobs", number, "--format", "%T"])
    return not code and text.strip() in HELD


def ask(words):
    """Exit status and standard output of a command; 127 if it is not there."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return 127, ""
    return done.returncode, done.stdout
