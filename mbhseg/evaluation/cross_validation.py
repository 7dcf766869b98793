"""Cross-validation as one result: each case predicted by the model not trained on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mbhseg.errors import InputError
from mbhseg.files import MANIFEST_COLUMNS, atomic_dir, write_table
from mbhseg.metrics.overlap import SCORED_CLASSES
from mbhseg.prepare.dataset import link

SUBSET = "valid"
_PICTURES = "png/"
SCORE_COLUMNS = (
    *("experiment", "seed", "class", "n_cases", "n_scored", "dice_nnunet", "n_present"),
    "dice_present",
)


class Fold(NamedTuple):
    """One fold's part: its run, its fold table, and the predictions of its validation cases.

    `manifest` lists the files below the folder `predictions`: file, bytes, sha256.
    """

    run: str
    table: pd.DataFrame
    predictions: Path
    manifest: pd.DataFrame


def out_of_fold(folds: Sequence[Fold]) -> pd.DataFrame:
    """The validation rows of all folds in one fold table, with the run that predicts each.

    Columns case, patient, subset, run, and slice where the split is by slice; sorted by case (and
    slice). Raises InputError for a case or slice that several folds validate on.
    """
    parts = [fold.table[fold.table["subset"] == SUBSET].assign(run=fold.run) for fold in folds]
    joined = pd.concat(parts, ignore_index=True)
    keys = ["case", "slice"] if "slice" in joined else ["case"]
    twice = joined[joined.duplicated(keys, keep=False)]
    if len(twice):
        case = twice["case"].iloc[0]
        runs = " and ".join(twice.loc[twice["case"] == case, "run"].unique())
        raise InputError("split", f"case {case} is validated by {runs}", "Validate each case once")
    return joined[["case", "patient", "subset", "run", *keys[1:]]].sort_values(
        keys, ignore_index=True
    )


def pool(folds: Sequence[Fold], out_dir: str | Path, out_table: str | Path) -> pd.DataFrame:
    """Link the folds' predictions into one folder, and write their joint fold table.

    Files are hard links where the file system has them, else copies; pictures are left out. Returns
    the folder's manifest (file, bytes, sha256; sorted by file). Raises InputError as `out_of_fold`,
    and for a missing file.
    """
    table = out_of_fold(folds)
    Path(out_table).unlink(missing_ok=True)  # an interrupt below must not leave the old one
    rows = []
    with atomic_dir(out_dir) as partial:
        for fold in folds:
            files = fold.manifest[~fold.manifest["file"].str.startswith(_PICTURES)]
            for row in files[list(MANIFEST_COLUMNS)].values.tolist():
                target = partial / row[0]
                target.parent.mkdir(parents=True, exist_ok=True)
                link(fold.predictions / row[0], target)
                rows.append(row)
    write_table(out_table, table)
    return pd.DataFrame(sorted(rows), columns=list(MANIFEST_COLUMNS))


def score_rows(experiment: str, seed: int, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Dice of one pooled cross-validation by class, columns `SCORE_COLUMNS`, from its summary.json.

    The class `macro` is the mean over the five classes; its n is that of the rarest class.
    """
    group = summary["model"]["consensus"]
    scores = ("n_scored", "dice_nnunet", "n_present", "dice_present")
    rows = []
    for key in (k for k in SCORED_CLASSES if k in group["classes"]):
        rows.append({"class": key, **{score: group["classes"][key][score] for score in scores}})
    averaged = group["macro"]["macro_classes"]
    rarest = {
        n: min((group["classes"][key][n] for key in averaged[score]), default=0)
        for n, score in (("n_scored", "dice_nnunet"), ("n_present", "dice_present"))
    }
    means = {score: group["macro"][score] for score in ("dice_nnunet", "dice_present")}
    rows.append({"class": "macro", **rarest, **means})
    same = {"experiment": experiment, "seed": seed, "n_cases": group["n_cases"]}
    return [{**same, **row} for row in rows]


def pooled_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The rows of all experiments and seeds; an undefined score is empty.

    For each experiment with several seeds, rows follow with their mean and standard deviation
    (n - 1), named `mean` and `sd` in the column seed.
    """
    table = pd.DataFrame(list(rows), columns=list(SCORE_COLUMNS))
    scores = ["dice_nnunet", "dice_present"]
    parts = [table]
    for _, group in table.groupby(["experiment", "class"], sort=False):
        if len(group) > 1:
            for name, values in (("mean", group[scores].mean()), ("sd", group[scores].std())):
                row = group.iloc[:1].assign(seed=name)
                row[scores] = values.to_numpy()
                parts.append(row)
    return pd.concat(parts, ignore_index=True)
