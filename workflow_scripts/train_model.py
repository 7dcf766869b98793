"""Rule train: one model on one fold with one seed."""

from pathlib import Path
from typing import Any

from mbhseg.dataset import in_fold
from mbhseg.files import manifest_of, read_json, read_table, write_table
from mbhseg.job import run
from mbhseg.nn.probe import resolved
from mbhseg.nn.training import TrainOutputs, train
from mbhseg.runs import Run


def main(job: Any) -> None:
    out, params = job.output, job.params
    found = read_json(job.input.probe) if job.input.probe else None
    slices = in_fold(read_table(job.input.table), read_table(job.input.fold))
    root = Path(job.input.table).parent
    train(
        slices=slices,
        root=root,
        cache=root / "cache",
        raters=read_table(job.input.annotations) if job.input.annotations else None,
        input={"size": params.size, "windows": params.windows},
        identity={"run": job.wildcards.run, **Run.parse(job.wildcards.run)._asdict()},
        outputs=TrainOutputs(
            model=Path(out.model),
            history=Path(out.history),
            curves=Path(out.curves),
            run_json=Path(out.run),
            previews=Path(out.previews),
        ),
        network=params.recipe["network"],
        training=resolved(params.recipe["training"], found),
        probe=found,
    )
    write_table(out.manifest, manifest_of(Path(out.model).parent))


if __name__ == "__main__":
    run(main, snakemake)
