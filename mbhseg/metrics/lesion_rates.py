"""Lesion-wise sensitivity and false positives per scan, over cases and by lesion size."""

from typing import Any

import numpy as np
import pandas as pd

from mbhseg.metrics.bootstrap import Resampling
from mbhseg.metrics.lesions import RULES, STRATA


def lesion_summary(rows: pd.DataFrame, resampling: Resampling) -> dict[str, dict[str, Any]]:
    """Rates of one class by rule (`any`, `iou`) and stratum (`all` and those of `STRATA`).

    n_reference, n_found and n_false are sums over all rows. `sensitivity` is the found lesions
    over the reference's, `false_per_scan` the number of false lesions per scan; both are averaged
    within a case first, so that cases weigh the same however many raters they have. `intervals`
    resample patients. A stratum without lesions has a sensitivity of NaN, no rows give NaN.
    """
    strata = {"all": "", **{stratum: f"_{stratum}" for stratum in STRATA}}
    columns = {
        (rule, name): [
            f"lesions_found_{rule}{suffix}",
            f"lesions_reference{suffix}",
            f"lesions_false_{rule}{suffix}",
        ]
        for rule in RULES
        for name, suffix in strata.items()
    }
    wanted = list(dict.fromkeys(column for names in columns.values() for column in names))
    sums = rows[wanted].sum()
    by_case = rows[wanted].astype(np.float64).groupby(rows["case"], sort=True).mean()
    found, present, false = (
        by_case[[names[n] for names in columns.values()]].to_numpy(np.float64) for n in range(3)
    )
    present_only = np.where(present > 0, present, np.nan)  # patients without a lesion do not count
    sensitivity = resampling.ratio_intervals(np.where(present > 0, found, np.nan), present_only)
    per_scan = resampling.mean_intervals(false)
    summary: dict[str, dict[str, Any]] = {rule: {} for rule in RULES}
    for n, ((rule, name), names) in enumerate(columns.items()):
        summary[rule][name] = {
            "n_reference": int(sums[names[1]]),
            "n_found": int(sums[names[0]]),
            "n_false": int(sums[names[2]]),
            "sensitivity": sensitivity[n].estimate,
            "false_per_scan": per_scan[n].estimate,
            "intervals": {
                "sensitivity": [sensitivity[n].low, sensitivity[n].high],
                "false_per_scan": [per_scan[n].low, per_scan[n].high],
            },
        }
    return summary
