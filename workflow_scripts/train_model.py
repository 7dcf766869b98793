"""Rule train: train one model on one fold with one seed."""

from pathlib import Path
from typing import Any

from mbhseg.config.run_names import Run
from mbhseg.files import manifest_of, read_json, read_table, write_table
from mbhseg.nn import device
from mbhseg.nn.checkpoint.state import StateFolder
from mbhseg.nn.training.fit import TrainOutputs
from mbhseg.nn.training.probe import resolved
from mbhseg.nn.training.train import train
from mbhseg.prepare.dataset import in_fold
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    out, params, identity = job.output, job.params, Run.parse(job.wildcards.run)
    root, folder = Path(job.input.table).parent, Path(out.model).parent
    probe = read_json(job.input.probe) if job.input.probe else None
    training = resolved(params.recipe["training"], probe)
    device.tell_threads(training["threads"], job.threads)
    state = StateFolder(root / "state" / identity.name)
    with state.held():
        train(
            slices=in_fold(read_table(job.input.table), read_table(job.input.fold)),
            root=root,
            cache=root / "cache",
            raters=read_table(job.input.annotations) if job.input.annotations else None,
            input={"size": params.size, "windows": params.windows},
            identity={"run": identity.name, **identity._asdict()},
            outputs=TrainOutputs.within(folder),
            network=params.recipe["network"],
            training=training,
            probe=probe,
            state=state,
            code=params.code,
            checkpoint_minutes=job.config["checkpoint"]["minutes"],  # no param: reruns nothing
        )
        write_table(out.manifest, manifest_of(folder))
        state.clear()


if __name__ == "__main__":
    run(main, snakemake)
