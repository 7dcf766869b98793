"""Rater against rater: the human ceiling, the level to compare a model's scores with."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mbhseg.files import read_table, write_json, write_table
from mbhseg.inspect.archive import Archive
from mbhseg.metrics.overlap import ScoreRow
from mbhseg.metrics.pairs import CaseLabels, Pair, PairScores
from mbhseg.metrics.summary import join_tables, score_table, summarise
from mbhseg.prepare import consensus
from mbhseg.prepare.annotations import RatedCase, rater_name, read_raters
from mbhseg.prepare.consensus import Consensus

CONSENSUS = "consensus"
WITHOUT = "consensus-without-"


def reader_volumes(rated: RatedCase, rule: Consensus) -> CaseLabels:
    """The raters' volumes and their consensus volumes, by name.

    `rater<k>` for each rater; `consensus` of all; and, with two raters or more and a rule other
    than `rater`, `consensus-without-rater<k>` of all the others.
    """
    volumes = {rater_name(rater): volume for rater, volume in rated.labels.items()}
    volumes[CONSENSUS] = consensus.consensus(rated.labels, *rule, where=rated.case)
    if rule.method != "rater" and len(rated.labels) > 1:
        for rater in rated.labels:
            others = {k: volume for k, volume in rated.labels.items() if k != rater}
            volumes[WITHOUT + rater_name(rater)] = consensus.consensus(
                others, *rule, where=rated.case
            )
    return CaseLabels(rated.case, rated.patient, volumes, rated.affine)


def reader_pairs(rated: RatedCase, rule: Consensus) -> list[Pair]:
    """Who is scored against whom among the volumes of `reader_volumes`; none for one rater.

    - Every ordered pair of raters, because a class that is `missed` from one side is
      `spurious` from the other (Dice is the same);
    - each rater against the `consensus` of all, which includes that rater and so is too high;
    - each rater against the consensus of the others only, the fair score of a single reader.
    With the rule `rater`, that rater is not scored against the consensus, and the last group is
    left out.
    """
    if len(rated.labels) < 2:
        return []
    names = [rater_name(rater) for rater in rated.labels]
    one = rater_name(rule.rater) if rule.method == "rater" and rule.rater is not None else None
    pairs = [Pair(a, b) for a in names for b in names if a != b]
    pairs += [Pair(name, CONSENSUS) for name in names if name != one]
    if one is None:
        pairs += [Pair(name, WITHOUT + name) for name in names]
    return pairs


def case_rows(rated: RatedCase, rule: Consensus | None = None) -> list[ScoreRow]:
    """Score the raters of one case: the rows of `reader_pairs`; none for one rater.

    `rule` defaults to majority with ties to background.
    """
    rule = rule or Consensus()
    return PairScores(reader_volumes(rated, rule)).rows(reader_pairs(rated, rule))


def agreement_table(
    archive: Archive, cases: Iterable[str], rule: Consensus | None = None
) -> pd.DataFrame:
    """The rows of `case_rows` of all cases as one sorted table (`summary.COLUMNS`)."""
    rows: list[ScoreRow] = []
    for case in cases:
        rows += case_rows(read_raters(archive, case, archive.scan(case)), rule)
    return score_table(rows)


def summarise_agreement(table: pd.DataFrame) -> dict[str, Any]:
    """The human ceiling from an agreement table: `summary.summarise` of three groups of rows.

    `raters`: one rater against another; `consensus`: against the consensus of all; `others`:
    against the consensus of the others. Cases weigh the same, however many raters they have. A
    group without rows has n 0 and no values.
    """
    to_consensus = table["reference"] == CONSENSUS
    to_others = table["reference"].str.startswith(WITHOUT)
    return {
        "raters": summarise(table[~to_consensus & ~to_others]),
        "consensus": summarise(table[to_consensus]),
        "others": summarise(table[to_others]),
    }


def run(
    archive_path: str | Path,
    cases: Sequence[str],
    out_csv: str | Path,
    consensus: Mapping[str, Any] | None = None,
) -> None:
    """Score the raters of the cases of a shard, which may be empty, and write the table.

    `consensus` holds the arguments of `Consensus`; None is majority with ties to background.
    """
    with Archive(archive_path) as archive:
        write_table(out_csv, agreement_table(archive, cases, Consensus(**consensus or {})))


def summarise_shards(
    shard_csvs: Iterable[str | Path], out_csv: str | Path, out_json: str | Path
) -> None:
    """Join the tables that `run` wrote and summarise the result, in any order of shards."""
    table = join_tables(read_table(path) for path in shard_csvs)
    write_table(out_csv, table)
    write_json(out_json, summarise_agreement(table))
