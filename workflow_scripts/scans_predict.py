"""Rule predict_scans: scans of the user's own."""

from pathlib import Path
from typing import Any

from mbhseg.files import manifest_of, write_table
from mbhseg.inference import bundle
from mbhseg.nn import device
from mbhseg.runtime.job import run
from mbhseg.scans.discovery import find_some
from mbhseg.scans.failures import failed_table
from mbhseg.scans.pipeline import Settings, predict_scans


def main(job: Any) -> None:
    inference, out = job.params.inference, job.output
    found, failures = find_some(job.params.scans)
    device.configure(threads=job.threads, deterministic=True)
    predictor, chosen = bundle.load(
        [str(Path(model).parent) for model in job.input.models],
        batch=inference["batch_size"],
        precision=inference["precision"],
        mirror=inference["mirror"],
        calibrated=inference["temperature"],
        processed=inference["postprocess"],
    )
    _, failed = predict_scans(
        found, predictor, out.folder, Settings.of(inference, chosen), failures
    )
    write_table(out.failed, failed_table(failed))
    write_table(out.manifest, manifest_of(out.folder))


if __name__ == "__main__":
    run(main, snakemake)
