"""Rule verify: hash every artifact that exists again, and name the files that changed."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from mbhseg.provenance.verification import refuse, verify_all
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    tables = [verify_all(root).assign(root=root) for root in map(Path, job.params.roots)]
    table = pd.concat(tables, ignore_index=True)
    table["file"] = [f"{row.root}/{row.file}" for row in table.itertuples()]
    for row in table[table["status"] != "ok"].itertuples():
        logging.error("%s %s", row.file, row.status)
    refuse(table, Path("results"))
    logging.info("%d files are unchanged", len(table))


if __name__ == "__main__":
    run(main, snakemake)
