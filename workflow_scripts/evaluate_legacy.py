"""Rule legacy: the reference project's loss and metric on the test slices."""

from pathlib import Path
from typing import Any

from mbhseg.files import read_json, read_table, write_json
from mbhseg.nn import device
from mbhseg.nn.antillia.legacy_score import evaluate_slices
from mbhseg.prepare.dataset import in_fold
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    slices = in_fold(read_table(job.input.table), read_table(job.input.fold))
    tested = slices[slices["subset"] == "test"]
    device.configure_as(read_json(job.input.run), job.threads)
    root = Path(job.input.table).parent
    write_json(
        job.output.legacy, evaluate_slices(job.input.model, tested, root, job.params.batch_size)
    )


if __name__ == "__main__":
    run(main, snakemake)
