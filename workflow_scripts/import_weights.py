"""Rule import_weights: the model of one run from a file of the reference project."""

from pathlib import Path
from typing import Any

from mbhseg.config.run_names import Run
from mbhseg.files import manifest_of, write_table
from mbhseg.nn import device
from mbhseg.nn.antillia.import_h5 import import_run
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    device.configure(threads=job.threads, deterministic=True)
    import_run(
        job.input.weights,
        network=job.params.network,
        input={"size": job.params.size, "windows": job.params.windows},
        identity={"run": job.wildcards.run, **Run.parse(job.wildcards.run)._asdict()},
        model=job.output.model,
        run_json=job.output.run,
    )
    write_table(job.output.manifest, manifest_of(Path(job.output.model).parent))


if __name__ == "__main__":
    run(main, snakemake)
