"""Scores per case: the rows of a score table, averaged within each case.

Everything over cases starts from these: means, intervals, ratios and differences of runs. A case
with many pairs of raters weighs as much as one with a single pair.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.metrics import surface
from mbhseg.metrics.lesions import RULES
from mbhseg.metrics.overlap import SCORED_CLASSES

OVERLAP_SCORES = (
    "dice_nnunet",
    "dice_present",
    "sensitivity",
    "specificity",
    "spurious_ml_mean",
)
NSD = surface.COLUMNS[:-1]
F1 = tuple(f"lesion_f1_{rule}" for rule in RULES)
SCORES = (*OVERLAP_SCORES, *NSD, "hd95_mm", "hd95_both_mm", *F1)
SHARES = ("dice_nnunet", "dice_present", *NSD, *F1)  # 0 to 1, higher is better, any class


class CaseTable(NamedTuple):
    """Scores per case, one row per case, sorted, so that rows of equal sets of cases correspond.

    `values` has the cases as index and (score, class) as columns, NaN where a case has no such
    score; `patients` names the patient of each case, [cases].
    """

    values: pd.DataFrame
    patients: NDArray[np.str_]

    def of(self, score: str, keys: tuple[str, ...] = SCORED_CLASSES) -> NDArray[np.float64]:
        """One score of some classes, [cases, classes]."""
        return self.values.reindex(columns=[(score, key) for key in keys]).to_numpy(np.float64)

    def only(self, cases: pd.Index) -> "CaseTable":
        """The rows of some of the cases."""
        kept = self.values.index.isin(cases)
        return CaseTable(self.values[kept], self.patients[kept])


def row_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """What each row of a score table contributes to each of `SCORES`, NaN for nothing.

    - dice_nnunet: where either side holds the class; dice_present: where the reference does;
    - sensitivity, where the reference holds the class: 1 if the candidate holds it too, else 0;
    - specificity, where the reference lacks it: 1 if the candidate lacks it too, else 0;
      spurious_ml_mean: the candidate's volume there;
    - nsd_*, hd95_mm, lesion_f1_*: as in the row; hd95_both_mm only where both hold the class.
    A table with overlap columns only gives `OVERLAP_SCORES`.
    """
    present = rows["reference_voxels"] > 0
    found = (rows["candidate_voxels"] > 0).astype(float)
    scores = {
        "dice_nnunet": rows["dice"],
        "dice_present": rows["dice"].where(present),
        "sensitivity": found.where(present),
        "specificity": (1 - found).where(~present),
        "spurious_ml_mean": rows["candidate_ml"].where(~present),
    }
    if "hd95_mm" in rows:
        scores |= {name: rows[name] for name in (*NSD, "hd95_mm", *F1)}
        scores["hd95_both_mm"] = rows["hd95_mm"].where(rows["status"] == "both")
    return pd.DataFrame(scores, dtype=np.float64)


def case_table(rows: pd.DataFrame) -> CaseTable:
    """Scores averaged over the pairs of each case and class; the order of the rows is free."""
    ordered = rows.sort_values(["case", "candidate", "reference"], kind="stable")
    scores = row_scores(ordered)
    means = scores.groupby([ordered["case"], ordered["class"]], sort=True).mean()
    columns = pd.MultiIndex.from_product([scores.columns, SCORED_CLASSES])
    values = pd.DataFrame(means.unstack("class")).reindex(columns=columns)
    patient = dict(zip(rows["case"], rows["patient"], strict=True))
    patients = np.array([patient[case] for case in values.index], dtype=np.str_)
    return CaseTable(values, patients)
