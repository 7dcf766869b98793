#!/bin/bash
# Snakemake as a small job of its own, so that no login session has to stay open:
#   sbatch profiles/slurm/controller.sh [targets and options of snakemake]
# Submit it from the folder of the workflow, with snakemake on the PATH. If it was killed or ran
# out of time, submit it again: it cancels the jobs that its predecessor left, and continues.
#SBATCH --job-name=mbhseg-controller
#SBATCH --dependency=singleton
#SBATCH --cpus-per-task=1
#SBATCH --mem=2000
#SBATCH --time=7-00:00:00
#SBATCH --signal=B:INT@120
#SBATCH --output=mbhseg-controller.log
#SBATCH --open-mode=append
set -euo pipefail

# Jobs that a dead controller left in this folder would write to the same files as ours.
# `singleton` guarantees that no other controller of this user is running now.
left() {
    squeue --noheader --user "$(id -un)" --format "%i %j %Z" |
        awk -v here="$PWD" '$2 ~ /^mbhseg_/ && substr($0, index($0, $3)) == here { print $1 }'
}
left | xargs --no-run-if-empty scancel
for _ in $(seq 120); do
    [ -z "$(left)" ] && break
    sleep 1
done

# A killed Snakemake leaves its lock.
snakemake --profile profiles/slurm --unlock "$@" || true

# exec, so that signals reach Snakemake: on SIGINT, which --signal sends before the time limit and
# `scancel --batch --signal=INT` at any time, it cancels its jobs.
exec snakemake --profile profiles/slurm "$@"
