"""Adopts predictions of other systems, so that they are scored and shown like our own."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mbhseg.errors import InputError
from mbhseg.files import MANIFEST_COLUMNS, ManifestRow, atomic_dir
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.predictions.reading import read_fitting
from mbhseg.predictions.writing import case_file, write_case


def adopt(
    archive_path: str | Path,
    cases: Sequence[str],
    folder: str | Path,
    out_dir: str | Path,
    window: Window,
    pictures: bool = True,
) -> pd.DataFrame:
    """Copy the cases' label volumes from `folder`/<case>.nii.gz to a folder of predictions.

    The labels 0..5 may have any number type, but need the scan's shape and affine; they are written
    by `writing.write_case`, with overlays in `window`. Files of other cases are ignored.

    Returns the manifest: file, bytes, sha256; sorted by file. Raises InputError, and writes
    nothing, for missing cases (it names the first and counts the others) and for a volume that does
    not fit its scan or holds values other than labels.
    """
    source = Path(folder)
    missing = [case for case in sorted(cases) if not (source / case_file(case)).is_file()]
    if missing:
        more = f", nor of {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            source,
            f"has no prediction of test case {missing[0]}{more}",
            f"Add {case_file(missing[0])}; for no hemorrhage, a volume of zeros",
        )
    rows: list[ManifestRow] = []
    with Archive(archive_path) as archive, atomic_dir(out_dir) as partial:
        for case in sorted(cases):
            scan = archive.scan(case)
            labels = read_fitting(source / case_file(case), scan.shape[:3], scan.affine)
            rows += write_case(partial, case, labels, scan, window, pictures)
    return pd.DataFrame(sorted(rows), columns=list(MANIFEST_COLUMNS))
