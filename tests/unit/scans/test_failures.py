"""Failures as a table, and as the line that stops a workflow."""

import pytest

from mbhseg.errors import InputError
from mbhseg.files import read_table, write_table
from mbhseg.scans.failures import Failure, failed_table, refuse_failures


def test_none_pass_and_the_first_are_named(tmp_path):
    path = tmp_path / "failed.tsv"
    write_table(path, failed_table([]))
    refuse_failures(read_table(path), path)
    failures = [Failure.of(f"s{n}", InputError(f"s{n}.nii", "is bad", "Mend it")) for n in range(7)]
    write_table(path, failed_table(failures))
    assert list(read_table(path)["case"]) == [f"s{n}" for n in range(7)]
    with pytest.raises(InputError, match=r"7 scans .*s0: is bad; .*s4: is bad; and 2 more\)"):
        refuse_failures(read_table(path), path)
