"""`mbhseg infer`: scans predicted without the workflow, by the same code and the same defaults."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mbhseg.config.defaults import defaults, schemas_folder

_OK, _FAILED = 0, 1
_SCANS = """\
Scans are NIfTI, MHA, NRRD or NPY volumes, DICOM series (a folder each), 8-bit grey PNG slices
(HU 0..255 as the reference project has them), a zip in the data set's layout, folders of any of
these, or a .txt file that lists them. Defaults are those of the section `inference` of
config/config.yaml. Research only: not for diagnosis or treatment."""
# by key of the config: what the option that switches it is for
_SWITCHES = {
    "overlays": "PNG masks and overlays of the slices",
    "probabilities": "a volume of class probabilities of each scan",
    "mosaics": "an overview picture of each scan",
    "animations": "a GIF of each scan",
    "entropy": "a volume of how undecided the model is",
    "dicom_seg": "a DICOM Segmentation of each DICOM series",
    "report": "a page with tables and a viewer: DIR/report",
    "mirror": "average with the mirror images; twice the time",
    "temperature": "calibrate by the temperature that fits the validation cases",
    "postprocess": "post-process the labels as validation chose",
    "any_intensity": "predict also volumes whose values cannot be HU of a head",
}
_OLD_SWITCHES = {
    "--no-pictures": "overlays",
    "--no-calibration": "temperature",
    "--no-postprocessing": "postprocess",
}


def add_options(infer: argparse.ArgumentParser) -> None:
    """Options of `mbhseg infer`; those that the config has bear its keys and take its defaults."""
    given = defaults()["inference"]
    infer.description = _SCANS
    add = infer.add_argument
    add("scans", nargs="+", metavar="SCAN", help="file or folder")
    add(
        *("--model", "-m"),
        nargs="+",
        required=True,
        metavar="MODEL",
        help="folder with model.keras and run.json, or owner/name@revision of the hub; several: "
        "the mean of all",
    )
    add("--out", "-o", required=True, metavar="DIR", help="folder for the results")
    for key, told in _SWITCHES.items():
        state = "on" if given[key] else "off"
        add(
            _option(key),
            action=argparse.BooleanOptionalAction,
            help=f"{told} (default: {state})",
        )
    for name, key in _OLD_SWITCHES.items():  # as they were called up to 0.1
        add(
            name,
            dest=key,
            action="store_false",
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )
    add(
        *("--low-confidence",),
        type=float,
        metavar="P",
        help="flag classes whose mean probability is below (default: %(default)s)",
    )
    add(
        *("--fit",),
        choices=("auto", "resize", "tile"),
        help="how slices come to the network's size: tile those of a much larger field of view "
        "than in training (auto), of any larger one (tile), or none (resize) "
        "(default: %(default)s)",
    )
    add("--batch-size", type=int, metavar="N", help="slices a call (default: %(default)s)")
    add("--batch", dest="batch_size", type=int, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    add("--threads", type=int, metavar="N", help="CPU threads (default: %(default)s)")
    add(
        *("--precision",),
        choices=("model", "auto", "float32", "bfloat16", "int8"),
        help="arithmetic of the network: as trained (model), by hardware (auto), or given; int8 "
        "is the fastest on CPUs (default: %(default)s)",
    )
    infer.set_defaults(run=_infer, **given)


def _option(key: str) -> str:
    """The option of a key of the config."""
    return f"--{key.replace('_', '-')}"


def _infer(options: argparse.Namespace) -> int:
    from mbhseg.config.schema import check_section
    from mbhseg.inference import bundle
    from mbhseg.scans.discovery import find_some
    from mbhseg.scans.layout import FAILED as FAILED_TABLE
    from mbhseg.scans.layout import REPORT
    from mbhseg.scans.overwrite import (
        refuse_foreign_report,
        refuse_over_inputs,
        refuse_over_others,
    )
    from mbhseg.scans.pipeline import load_predictor, predict_scans

    if options.report:
        import mbhseg.report.scans_page  # noqa: F401 - what it lacks is told before hours of work

    inference = {key: getattr(options, key) for key in defaults()["inference"]}
    inference["ensemble"] = len(options.model) > 1
    check_section("inference", inference, schemas_folder(), _option)
    folder = Path(options.out)
    found, failures = find_some(options.scans)
    for failure in failures:
        print(f"mbhseg: {failure.file}: {failure.what}. {failure.remedy}", file=sys.stderr)
    refuse_over_inputs(found, folder)
    if options.report:
        refuse_foreign_report(folder / REPORT)
    refuse_over_others(found, folder)
    folders = [bundle.locate(model) for model in options.model]
    predictor, settings = load_predictor(folders, inference, options.threads)
    table, failed = predict_scans(found, predictor, folder, settings, failures)
    print(f"{table['case'].nunique()} scans predicted, {len(failed)} failed: {folder}")
    if options.report:
        _write_page(folder, options, inference, folders)
    if failed:
        print(f"mbhseg: see {folder / FAILED_TABLE}", file=sys.stderr)
    return _FAILED if failed else _OK


def _write_page(
    folder: Path,
    options: argparse.Namespace,
    inference: Mapping[str, Any],
    models: Sequence[Path],
) -> None:
    """Write the page of the predicted scans to `report` in their folder."""
    from mbhseg.provenance.environment import git_state
    from mbhseg.report.scans_page import INDEX, build_scans
    from mbhseg.scans.layout import REPORT

    commit = git_state()["commit"]
    named = zip(options.model, models, strict=True)
    build_scans(
        folder / REPORT,
        folder,
        [(_name(model, path), path / "run.json") for model, path in named],
        settings=inference,
        command=shlex.join(["mbhseg", *options.asked]),
        commit=str(commit) if commit else None,
    )
    print(f"page: {folder / REPORT / INDEX}")


def _name(model: str, folder: Path) -> str:
    """The name of a model's folder on this machine; a name of the hub as it was given."""
    return folder.resolve().name if Path(model).exists() else model
