"""A Slurm cluster of one node in a folder of its own: real daemons, pretended CPUs and GPU.

Nothing outside the folder is written, and what the folder's `SLURM_CONF` is not told does not know
of it. The daemons are those of the distribution (`slurm-wlm`, `munge`).
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct")
CPUS, MEMORY = 8, 16_000  # pretended; MiB
GPU = "/dev/null"  # a character device, as Slurm sets CUDA_VISIBLE_DEVICES for those only

CONF = """\
ClusterName=sandbox
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=2
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=500
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP DefMemPerCPU=500
"""


def missing() -> list[str]:
    """The daemons that are not installed."""
    return [name for name in DAEMONS if _path(name) is None]


def _path(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until it is true; TimeoutError that says what was waited for."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.3)


class Slurm:
    """The cluster, and what its users can ask it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            "SLURM_CONF": str(root / "slurm.conf"),
            "PATH": f"{root}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self._daemons: list[subprocess.Popen] = []

    def start(self) -> None:
        """Write the configuration and start the daemons; TimeoutError if they do not come up."""
        host = socket.gethostname().split(".")[0]
        for name in ("munge", "state", "spool", "bin"):
            (self.root / name).mkdir(mode=0o755)
        # the executor plugin takes every SLURM_ variable out of the environment of what it calls,
        # and with it the way to our cluster
        for name in COMMANDS:
            wrapped = self.root / "bin" / name
            conf = f"SLURM_CONF={self.root}/slurm.conf"
            wrapped.write_text(f'#!/bin/sh\n{conf} exec {_path(name)} "$@"\n')
            wrapped.chmod(0o755)
        controller_port, node_port = _free_ports(2)
        values = {
            **{"root": self.root, "host": host, "cpus": CPUS, "memory": MEMORY},
            **{"user": _user(), "controller_port": controller_port, "node_port": node_port},
        }
        (self.root / "slurm.conf").write_text(CONF.format(**values))
        (self.root / "gres.conf").write_text(f"NodeName={host} Name=gpu File={GPU}\n")
        munge = self.root / "munge"
        key = munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self._daemon(
            *("munged", "--foreground", "--force", f"--socket={munge}/socket"),
            *(f"--key-file={key}", f"--pid-file={munge}/pid", f"--seed-file={munge}/seed"),
            f"--log-file={munge}/log",
        )
        until((munge / "socket").exists, 20, "munge's socket")
        self._daemon("slurmctld", "-D")
        until(lambda: self.call("scontrol", "ping", ok=False).startswith("Slurmctld"), 30, "Slurm")
        self._daemon("slurmd", "-D")
        until(lambda: self.call("sinfo", "-h", "-o", "%T").split("\n")[0] == "idle", 60, "the node")

    def _daemon(self, name: str, *words: str) -> None:
        log = open(self.root / f"{name}.out", "w")  # noqa: SIM115 - lives with the daemon
        self._daemons.append(
            subprocess.Popen(
                [_path(name) or name, *words],
                env=os.environ | self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )

    def stop(self) -> None:
        """Cancel every job and end the daemons, those that hang by force."""
        self.call("scancel", "--user", _user(), ok=False)
        with contextlib.suppress(TimeoutError):
            until(lambda: not self.jobs(), 20, "the jobs' end")
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def call(self, *words: str, ok: bool = True, cwd: Path | None = None) -> str:
        """Output of one of Slurm's commands."""
        done = subprocess.run(
            words,
            env=os.environ | self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not ok or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def jobs(self) -> list[tuple[str, str, str]]:
        """Id, state and comment (`rule_<name>…`) of each job that waits or runs."""
        lines = self.call("squeue", "-h", "-o", "%i|%T|%k").splitlines()
        return [(i, s, k) for i, s, k in (line.split("|") for line in lines)]

    def job(self, job_id: str) -> dict[str, str]:
        """What `scontrol show job` says of it: JobState, StartTime, Reason, ..."""
        return next(self._shown(job_id))

    def history(self) -> list[dict[str, str]]:
        """The same of every job since the start of the cluster."""
        return list(self._shown())

    def _shown(self, *job_id: str) -> Iterator[dict[str, str]]:
        for line in self.call("scontrol", "-o", "show", "job", *job_id).splitlines():
            pairs = (word.split("=", 1) for word in line.split() if "=" in word)
            if job := {pair[0]: pair[1] for pair in pairs}:  # or "No jobs in the system"
                yield job

    def state(self, job_id: str) -> str:
        """The state of a job, `COMPLETED` at its good end."""
        return self.job(job_id)["JobState"]


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


@contextlib.contextmanager
def cluster(root: Path) -> Iterator[Slurm]:
    """The cluster, started and stopped."""
    slurm = Slurm(root)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
