"""Predict the cases of an archive; the network is loaded once."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mbhseg.files import MANIFEST_COLUMNS, ManifestRow, atomic_dir
from mbhseg.imaging.nifti import image_array
from mbhseg.imaging.windows import Window
from mbhseg.inference.predictor import Predictor
from mbhseg.inspect.archive import Archive
from mbhseg.predictions.gathering import gather
from mbhseg.predictions.writing import write_case
from mbhseg.runtime.progress import progress


def predict_cases(
    archive_path: str | Path,
    cases: Sequence[str],
    predictor: Predictor,
    out_dir: str | Path,
    window: Window,
    pictures: bool,
    probabilities: bool,
) -> pd.DataFrame:
    """Predict the cases and write the folder of predictions, completely or not at all.

    `pictures` adds mask and overlay PNGs, the latter in `window`; `probabilities` a probability
    volume per case.

    Returns the manifest: file, bytes, sha256; sorted by file. Without a case the folder is empty.
    Raises InputError for a case that the archive does not have or that cannot be read.
    """
    rows: list[ManifestRow] = []
    with Archive(archive_path) as archive, atomic_dir(out_dir) as partial:
        for case in progress(sorted(cases), label="infer", unit="scans"):
            scan = archive.scan(case)
            hu = image_array(scan)
            outcome = gather(predictor.planes(hu), hu.shape, probabilities=probabilities)
            rows += write_case(
                partial, case, outcome.labels, scan, window, pictures, outcome.probabilities
            )
    return pd.DataFrame(sorted(rows), columns=list(MANIFEST_COLUMNS))
