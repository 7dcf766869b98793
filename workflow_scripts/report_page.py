"""Rule report: the report of a data set and its runs."""

from pathlib import Path
from typing import Any

from mbhseg.imaging.windows import Window
from mbhseg.provenance.commands import last_command
from mbhseg.provenance.environment import git_state
from mbhseg.report.page import build
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    build(
        job.output.page,
        job.params.root,
        job.wildcards.dataset,
        job.params.runs,
        models=job.params.models,
        config=job.params.settings,
        windows=[Window(**window) for window in job.params.windows],
        window=Window(**job.params.window),
        thumbnails=job.input.thumbnails,
        first_fold=job.params.first_fold,
        command=last_command(Path(job.params.root).parent),
        commit=git_state()["commit"],
    )


if __name__ == "__main__":
    run(main, snakemake)
