"""Rule gate: the usable cases."""

from typing import Any

from mbhseg.files import read_table, write_table
from mbhseg.inspect.inventory import gate
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    cases, findings = read_table(job.input.cases), read_table(job.input.findings)
    usable = gate(cases, findings, job.params.on_error, job.input.findings)
    write_table(job.output.usable, usable)


if __name__ == "__main__":
    run(main, snakemake)
