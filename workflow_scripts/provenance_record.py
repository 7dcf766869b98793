"""Rule provenance: how the results of a data set were made."""

import datetime
from pathlib import Path
from typing import Any

from mbhseg.files import write_json
from mbhseg.provenance import crate
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    root, given = Path(job.params.root), job.input
    tables = [given.digest, given.source, given.table, given.verified]
    made = crate.record(
        root,
        config=job.params.settings,
        artifacts=[
            *tables,
            *given.inventory,
            *given.folds,
            *given.agreement,
            *(Path(path).parent for path in (*given.models, *given.scores)),
            given.report,
        ],
    )
    write_json(job.output.record, made)
    write_json(job.output.crate, crate.crate(made, datetime.datetime.now(datetime.UTC)))


if __name__ == "__main__":
    run(main, snakemake)
