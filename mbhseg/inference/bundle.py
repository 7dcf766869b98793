"""A model as one folder to share: on this machine or on the hub.

model.keras, run.json       the network, and how it was trained
calibration.json            its temperature, if one was fitted
postprocess.json            the post-processing chosen on validation, if any
"""

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mbhseg.acquire.hub import download_model, upload_model
from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.files import read_json
from mbhseg.inference.averaging import Ensemble, PlanePredictor
from mbhseg.inference.fit_temperature import FILE as CALIBRATION
from mbhseg.inference.fit_temperature import stored_temperature
from mbhseg.inference.predictor import Predictor
from mbhseg.nn.network.trust import refuse_foreign_code
from mbhseg.predictions import postprocess
from mbhseg.predictions.postprocess import Postprocessing

MODEL, RUN, POSTPROCESS = "model.keras", "run.json", "postprocess.json"
REQUIRED = (MODEL, RUN)
FILES = (*REQUIRED, CALIBRATION, POSTPROCESS)
_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def locate(model: str) -> Path:
    """The folder of a model: a folder here, or `owner/name[@revision]` fetched from the hub.

    An existing folder takes precedence. Raises InputError if there is neither, if the hub refuses,
    or if a fetched model would run foreign code.
    """
    if not model:
        raise InputError("model", "names no model", "Give a folder, or a name of the hub")
    path = Path(model)
    if path.exists():
        return path if path.is_dir() else path.parent
    match = _HUB_NAME.fullmatch(model)
    if not match or model.startswith((".", "/")):
        raise InputError(
            model, "no such model folder", "Give a folder, or owner/name@revision of the hub"
        )
    folder = download_model(match[1], match[2] or "main", FILES)
    _require_files(folder, model, "Publish it with mbhseg publish")
    refuse_foreign_code(folder / MODEL)
    return folder


def _require_files(folder: Path, named: str | Path, remedy: str) -> None:
    for name in REQUIRED:
        if not (folder / name).is_file():
            raise InputError(named, f"has no {name}", remedy)


def load(
    models: Sequence[str],
    *,
    batch: int,
    precision: str,
    mirror: bool,
    calibrated: bool,
    processed: bool,
) -> tuple[PlanePredictor, Postprocessing | None]:
    """One predictor of all the models, and their common post-processing.

    `calibrated` uses their temperatures, `processed` the post-processing chosen on validation,
    where there are any.

    Raises InputError for a model that cannot be loaded or does not fit the others.
    """
    folders = [locate(model) for model in models]
    for folder in folders:
        _require_files(folder, folder, "Give the folder of a run's model")
    members = []
    for folder in folders:
        check_versions(folder / RUN)
        members.append(
            Predictor.load(
                folder,
                batch=batch,
                precision=precision,
                mirror=mirror,
                temperature=stored_temperature(folder) if calibrated else 1.0,
            )
        )
    files = [folder / POSTPROCESS for folder in folders if processed]
    chosen = [postprocess.read(file) for file in files if file.is_file()]
    return together(members, models), agreed(chosen)


def agreed(choices: Sequence[Postprocessing]) -> Postprocessing | None:
    """The post-processing of an ensemble: majority of switches, median sizes; None for none."""
    if not choices:
        return None
    most = sum(choice.reconcile for choice in choices) * 2 > len(choices)
    return Postprocessing(
        most, {key: float(np.median([c.min_ml.get(key, 0.0) for c in choices])) for key in KEYS}
    )


def together(members: Sequence[PlanePredictor], names: Sequence[str]) -> PlanePredictor:
    """One predictor, or the mean of several; InputError if they do not fit together."""
    if len(members) == 1:
        return members[0]
    try:
        return Ensemble(members)
    except ValueError as error:
        raise InputError(" and ".join(names), str(error), "Give models of one input") from error


def check_versions(run_json: Path) -> None:
    """Raise InputError if the installed Keras is older than the model's or of another major."""
    try:
        made = str(read_json(run_json)["versions"]["keras"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # an imported model has none; loading reports what is broken
    here = importlib.metadata.version("keras")
    if _release(made)[:1] != _release(here)[:1] or _release(made) > _release(here):
        raise InputError(
            run_json, f"was made by Keras {made}, but {here} is installed", f"Install keras>={made}"
        )


def _release(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def publish(folder: str | Path, repo: str, *, private: bool = False, tag: str | None = None) -> str:
    """Upload a model's folder to the hub as one commit; return the commit.

    Only the files of a model are uploaded. Raises InputError if the folder is not a model's, if its
    model would run foreign code, or if the hub refuses.
    """
    folder = Path(folder)
    _require_files(folder, folder, "Give the folder of a run's model")
    refuse_foreign_code(folder / MODEL)
    files = [folder / name for name in FILES if (folder / name).is_file()]
    files += [path for path in (folder / "README.md",) if path.is_file()]
    return upload_model(repo, files, private=private, tag=tag)
