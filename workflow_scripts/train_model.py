"""Rule train: one model on one fold with one seed."""

from pathlib import Path
from typing import Any

from mbhseg.config.run_names import Run
from mbhseg.files import manifest_of, read_json, read_table, write_table
from mbhseg.nn.checkpoint.state import StateFolder
from mbhseg.nn.training.fit import TrainOutputs
from mbhseg.nn.training.probe import resolved
from mbhseg.nn.training.train import train
from mbhseg.prepare.dataset import in_fold
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    out, params, identity = job.output, job.params, Run.parse(job.wildcards.run)
    root = Path(job.input.table).parent
    found = read_json(job.input.probe) if job.input.probe else None
    state = StateFolder(root / "state" / identity.name)
    with state.held():
        train(
            slices=in_fold(read_table(job.input.table), read_table(job.input.fold)),
            root=root,
            cache=root / "cache",
            raters=read_table(job.input.annotations) if job.input.annotations else None,
            input={"size": params.size, "windows": params.windows},
            identity={"run": identity.name, **identity._asdict()},
            outputs=TrainOutputs(
                model=Path(out.model),
                history=Path(out.history),
                curves=Path(out.curves),
                events=Path(out.events),
                run_json=Path(out.run),
                previews=Path(out.previews),
            ),
            network=params.recipe["network"],
            training=resolved(params.recipe["training"], found),
            probe=found,
            state=state,
            code=params.code,
            checkpoint_minutes=job.config["checkpoint"]["minutes"],  # no param: reruns nothing
        )
        write_table(out.manifest, manifest_of(Path(out.model).parent))
        state.clear()


if __name__ == "__main__":
    run(main, snakemake)
