"""The gate of quality control, and the table of findings."""

from collections.abc import Callable

import pandas as pd
import pytest

from mbhseg.errors import InputError
from mbhseg.inspect.findings import Finding, findings_table
from mbhseg.inspect.inventory import gate

A, B = "ID_0000000a_ID_00000000aa", "ID_0000000b_ID_00000000bb"
E, W, I = "error", "warning", "info"  # noqa: E741


def test_findings_are_sorted_by_gravity_and_said_once() -> None:
    rows = [
        Finding(B, "", I, "one", "x"),
        Finding(A, "f", I, "two", "x"),
        Finding(A, "f", E, "three", "x"),
        Finding(A, "f", W, "four", "x"),
        Finding(A, "", I, "five", "x"),
        Finding("", "", W, "six", "x"),
    ]
    table = findings_table([*rows, *rows])
    assert list(table["what"]) == ["six", "five", "three", "four", "two", "one"]
    assert list(findings_table([]).columns) == ["case", "file", "severity", "what", "remedy"]


def gate_of(*findings: Finding) -> Callable[[str], pd.DataFrame]:
    cases = pd.DataFrame({"case": [A, B], "status": ["ok", "ok"]})
    table = findings_table(findings)
    errors = set(table["case"][table["severity"] == E])
    cases["status"] = ["excluded" if case in errors else "ok" for case in cases["case"]]
    return lambda on_error: gate(cases, table, on_error, "inventory/findings.tsv")


def test_gate_names_the_first_errors_and_the_table() -> None:
    check = gate_of(*(Finding(A, f"f{k}", E, f"problem {k}", "") for k in range(5)))
    with pytest.raises(InputError) as caught:
        check("fail")
    assert caught.value.where == "inventory/findings.tsv"
    assert "5 errors" in caught.value.problem
    assert "f0: problem 0; f1: problem 1; f2: problem 2; and 2 more" in caught.value.problem
    assert "qc.on_error: exclude" in caught.value.remedy
    assert list(check("exclude")["case"]) == [B]


def test_gate_lets_warnings_pass() -> None:
    check = gate_of(Finding(A, "f", W, "odd", ""), Finding(B, "f", I, "fact", ""))
    assert list(check("fail")["case"]) == [A, B]
    assert list(check("exclude")["case"]) == [A, B]


def test_gate_needs_a_case_to_be_left() -> None:
    check = gate_of(Finding(A, "", E, "no image", ""), Finding(B, "", E, "no image", ""))
    with pytest.raises(InputError, match=r"findings\.tsv: no case.*ID_0000000a_.*: no image"):
        check("exclude")


def test_gate_refuses_another_word() -> None:
    with pytest.raises(ValueError, match="on_error is 'ignore'"):
        gate_of()("ignore")
