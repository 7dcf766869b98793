"""Rule probe: measure which batch, precision and threads train fastest on this machine."""

from typing import Any

from mbhseg.files import write_json
from mbhseg.nn.training.probe import probe
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    recipe = job.params.recipe
    measured = probe(recipe["network"], recipe["training"], job.params.size, cores=job.threads)
    write_json(job.output.probe, measured)


if __name__ == "__main__":
    run(main, snakemake)
