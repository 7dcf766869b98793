"""Rule calibrate: fit the temperature of a model."""

from typing import Any

from mbhseg.files import read_json, read_table, write_json
from mbhseg.inference.fit_temperature import calibrate
from mbhseg.inference.predictor import Predictor
from mbhseg.nn import device
from mbhseg.runtime.job import run
from mbhseg.split import partition


def main(job: Any) -> None:
    cases = list(partition.members(read_table(job.input.fold), "valid"))
    device.configure_as(read_json(job.input.run), job.threads)
    predictor = Predictor.load(
        job.input.model,
        job.input.run,
        batch=job.params.batch_size,
        precision=job.params.precision,
    )
    write_json(job.output.calibration, calibrate(job.input.archive, cases, predictor))


if __name__ == "__main__":
    run(main, snakemake)
