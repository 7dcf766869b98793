"""Rule scans_page: the page of the user's own scans."""

from pathlib import Path
from typing import Any

from mbhseg.provenance.commands import last_command
from mbhseg.provenance.environment import git_state
from mbhseg.report.scans_page import build_scans
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    results = Path(job.output.page).parents[2]
    build_scans(
        job.output.page,
        job.input.predicted,
        [(Path(run_json).parent.name, run_json) for run_json in job.input.runs],
        settings=job.params.inference,
        command=last_command(results),
        commit=git_state()["commit"],
    )


if __name__ == "__main__":
    run(main, snakemake)
