"""Rule summary: the layers and parameters of an experiment's network."""

from typing import Any

from mbhseg.classes import CLASSES
from mbhseg.files import atomic_file
from mbhseg.nn import device
from mbhseg.nn.network.models import build_model, summary_text
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    device.configure(threads=job.threads, deterministic=True)
    model = build_model(job.params.network, size=job.params.size, channels=3, classes=len(CLASSES))
    with atomic_file(job.output.text) as partial:
        partial.write_text(summary_text(model) + "\n")


if __name__ == "__main__":
    run(main, snakemake)
