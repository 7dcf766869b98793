"""Rule infer: predict every case of a subset."""

from typing import Any

from mbhseg.files import read_json, read_table, write_table
from mbhseg.imaging.windows import Window
from mbhseg.inference.cases import predict_cases
from mbhseg.inference.predictor import Predictor
from mbhseg.nn import device
from mbhseg.runtime.job import run
from mbhseg.split import partition


def main(job: Any) -> None:
    cases = list(partition.members(read_table(job.input.fold), job.wildcards.subset))
    device.configure_as(read_json(job.input.run), job.threads)
    predictor = Predictor.load(
        job.input.model,
        job.input.run,
        batch=job.params.batch_size,
        precision=job.params.precision,
    )
    manifest = predict_cases(
        job.input.archive,
        cases,
        predictor,
        job.output.predictions,
        Window(**job.params.window),
        pictures=job.params.overlays,
        probabilities=job.params.probabilities,
    )
    write_table(job.output.manifest, manifest)


if __name__ == "__main__":
    run(main, snakemake)
