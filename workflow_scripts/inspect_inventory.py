"""Rule inventory: merge the shards and check across the cases."""

from typing import Any

from mbhseg.files import read_table, write_table
from mbhseg.inspect.inventory import Inventory, merge
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    files = zip(job.input.cases, job.input.slices, job.input.findings, strict=True)
    inventory = merge(Inventory(*map(read_table, shard)) for shard in files)
    write_table(job.output.cases, inventory.cases)
    write_table(job.output.slices, inventory.slices)
    write_table(job.output.findings, inventory.findings)


if __name__ == "__main__":
    run(main, snakemake)
