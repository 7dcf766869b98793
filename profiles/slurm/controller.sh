#!/bin/bash
# Snakemake as a small job of its own, so that no login session has to stay open:
#   sbatch profiles/slurm/controller.sh [targets and options of snakemake]
# Submit it from the folder of the workflow, with snakemake on the PATH. When it was killed, or has run
# out of time, submit it again: it takes away what its predecessor left, and goes on.
#SBATCH --job-name=mbhseg-controller
#SBATCH --dependency=singleton
#SBATCH --cpus-per-task=1
#SBATCH --mem=2000
#SBATCH --time=7-00:00:00
#SBATCH --signal=B:INT@120
#SBATCH --output=mbhseg-controller.log
#SBATCH --open-mode=append
set -euo pipefail

# Jobs that a dead controller left in this folder would write beside ours; nobody waits for them.
# `singleton` has it that no other controller of this user is alive now.
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

# In place of this shell, so that signals reach it: on SIGINT, which --signal sends before the time is
# up and `scancel --batch --signal=INT` at any time, Snakemake takes its jobs out of the queue.
exec snakemake --profile profiles/slurm "$@"
