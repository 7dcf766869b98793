"""Rule predict_scans: scans of the user's own."""

from pathlib import Path
from typing import Any

from mbhseg.files import manifest_of, write_table
from mbhseg.runtime.job import run
from mbhseg.scans.discovery import find_some
from mbhseg.scans.failures import failed_table
from mbhseg.scans.pipeline import load_predictor, predict_scans


def main(job: Any) -> None:
    found, failures = find_some(job.params.scans)
    models = [Path(model).parent for model in job.input.models]
    predictor, settings = load_predictor(models, job.params.inference, job.threads)
    _, failed = predict_scans(found, predictor, job.output.folder, settings, failures)
    write_table(job.output.failed, failed_table(failed))
    write_table(job.output.manifest, manifest_of(job.output.folder))


if __name__ == "__main__":
    run(main, snakemake)
