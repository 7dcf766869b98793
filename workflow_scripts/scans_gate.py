"""Rule scans_gate: stop if a scan could not be predicted, and name it."""

from pathlib import Path
from typing import Any

from mbhseg.files import atomic_file, read_table
from mbhseg.runtime.job import run
from mbhseg.scans.failures import refuse_failures


def main(job: Any) -> None:
    refuse_failures(read_table(job.input.failed), job.input.failed)
    with atomic_file(Path(job.output.complete)) as partial:
        partial.write_text("every scan was predicted\n")


if __name__ == "__main__":
    run(main, snakemake)
