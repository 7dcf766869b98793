"""The command line: prediction of scans without the workflow, by the same code."""

import argparse
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mbhseg.errors import InputError

OK, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
_SCANS = """\
Scans are NIfTI, MHA, NRRD or NPY volumes, DICOM series (a folder each), 8-bit grey PNG slices
(HU 0..255 as the seed project has them), a zip in the data set's layout, folders of any of these,
or a .txt file that lists them. Research only: not for diagnosis or treatment."""


def parser() -> argparse.ArgumentParser:
    """The arguments that `main` understands."""
    top = argparse.ArgumentParser(prog="python -m mbhseg", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    _add_infer(commands.add_parser("infer", help="predict scans", description=_SCANS))
    _add_submit(
        commands.add_parser("submit", help="check predictions against their scans, and zip them")
    )
    _add_publish(commands.add_parser("publish", help="put a model on the Hugging Face hub"))
    _add_plan(
        commands.add_parser(
            "plan",
            help="what the workflow would do, why, and for how long",
            usage="python -m mbhseg plan [--cores N] [targets and options of snakemake]",
            allow_abbrev=False,
        )
    )
    commands.add_parser("doctor", help="what is wrong with this machine").set_defaults(run=_doctor)
    _add_compare(commands.add_parser("compare", help="hold two folders of results together"))
    return top


def _add_infer(infer: argparse.ArgumentParser) -> None:
    infer.set_defaults(run=_infer)
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
    add("--mirror", action="store_true", help="average with the mirror images; twice the time")
    add("--animations", action="store_true", help="a GIF of each scan")
    add("--probabilities", action="store_true", help="a volume of class probabilities of each scan")
    add("--entropy", action="store_true", help="a volume of how undecided the model is")
    add("--dicom-seg", action="store_true", help="a DICOM Segmentation of each DICOM series")
    add("--report", action="store_true", help="a page with tables and a viewer: DIR/report")
    add("--no-pictures", action="store_true", help="no PNG masks and overlays of the slices")
    add("--no-mosaics", action="store_true", help="no overview picture of each scan")
    add("--no-calibration", action="store_true", help="leave the model's temperature out")
    add("--no-postprocessing", action="store_true", help="leave the labels as they are predicted")
    add(
        *("--low-confidence",),
        type=float,
        default=0.6,
        metavar="P",
        help="flag classes whose mean probability is below (default: %(default)s)",
    )
    add(
        *("--fit",),
        choices=("auto", "resize", "tile"),
        default="auto",
        help="how planes come to the network's size: tile those of a larger field of view than in "
        "training, all (tile) or none (resize); default: only much larger ones",
    )
    add(
        *("--any-intensity",),
        action="store_true",
        help="predict also volumes whose values cannot be HU of a head",
    )
    add("--batch", type=int, default=8, metavar="N", help="slices a call (default: %(default)s)")
    add("--threads", type=int, default=None, metavar="N", help="CPU threads (default: all)")
    add(
        *("--precision",),
        choices=("model", "auto", "float32", "bfloat16", "int8"),
        default="model",
        help="arithmetic of the network: as trained (default), by hardware (auto), or given; int8 "
        "is the fastest on CPUs",
    )


def _add_submit(submit: argparse.ArgumentParser) -> None:
    submit.set_defaults(run=_submit)
    submit.add_argument("scans", nargs="+", metavar="SCAN", help="the challenge's scans")
    submit.add_argument("--predictions", "-p", required=True, metavar="DIR")
    submit.add_argument("--out", "-o", required=True, metavar="ZIP")


def _add_publish(publish: argparse.ArgumentParser) -> None:
    publish.set_defaults(run=_publish)
    publish.add_argument("model", metavar="DIR", help="folder with model.keras and run.json")
    publish.add_argument("repo", metavar="OWNER/NAME")
    publish.add_argument("--tag", metavar="NAME", help="a name for this revision")
    publish.add_argument("--private", action="store_true", help="make the repository private")


def _add_plan(plan: argparse.ArgumentParser) -> None:
    plan.set_defaults(run=_plan)
    plan.add_argument(
        *("--cores", "-c"),
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="cores that the estimate is for (default: all of this machine)",
    )
    plan.set_defaults(words=[])  # what `main` finds that is not ours


def _add_compare(compare: argparse.ArgumentParser) -> None:
    compare.set_defaults(run=_compare)
    compare.add_argument("left", metavar="RESULTS", help="results/ or results/<dataset>")
    compare.add_argument("right", metavar="RESULTS", help="the same of another run")
    compare.add_argument("--all", action="store_true", help="list the files that are the same, too")


def main(words: Sequence[str]) -> int:
    """Run a command and give the exit status.

    0: all went well. 1: some scans failed, see failed.tsv. 2: nothing was done. 130: interrupted;
    what was finished is there.
    """
    options, others = parser().parse_known_args(words)
    if "words" in options:
        options.words = others
    elif others:
        parser().error(f"unrecognized arguments: {' '.join(others)}")
    options.asked = list(words)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is imported only now
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    try:
        return int(options.run(options))
    except InputError as error:
        print(f"mbhseg: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("mbhseg: interrupted; the finished scans are there", file=sys.stderr)
        return INTERRUPTED


def _infer(options: argparse.Namespace) -> int:
    from mbhseg.inference import bundle
    from mbhseg.nn import device
    from mbhseg.scans import pipeline as scans_of
    from mbhseg.scans.discovery import find
    from mbhseg.scans.layout import FAILED as FAILED_TABLE
    from mbhseg.scans.layout import REPORT
    from mbhseg.scans.outputs import Wanted
    from mbhseg.scans.overwrite import refuse_foreign_report, refuse_over_inputs

    if options.report:
        import mbhseg.report.scans_page  # noqa: F401 - what it lacks is told before hours of work

    found, failures = find(options.scans)
    for failure in failures:
        print(f"mbhseg: {failure.file}: {failure.what}. {failure.remedy}", file=sys.stderr)
    refuse_over_inputs(found, options.out)
    if options.report:
        refuse_foreign_report(Path(options.out) / REPORT)
    device.configure(threads=options.threads or os.cpu_count() or 1, deterministic=False)
    folders = [bundle.locate(model) for model in options.model]
    predictor, chosen = bundle.load(
        [str(folder) for folder in folders],
        batch=options.batch,
        precision=options.precision,
        mirror=options.mirror,
        calibrated=not options.no_calibration,
        processed=not options.no_postprocessing,
    )
    settings = scans_of.Settings(
        wanted=Wanted(
            pictures=not options.no_pictures,
            mosaics=not options.no_mosaics,
            animations=options.animations,
            probabilities=options.probabilities,
            entropy=options.entropy,
            dicom_seg=options.dicom_seg,
            viewer=options.report,
        ),
        low_confidence=options.low_confidence,
        fit=options.fit,
        intensity=not options.any_intensity,
        postprocessing=chosen,
    )
    folder = Path(options.out)
    table, failed = scans_of.predict_scans(found, predictor, folder, settings, failures)
    print(f"{table['case'].nunique()} scans predicted, {len(failed)} failed: {folder}")
    if options.report:
        _write_page(options, folders)
    if failed:
        print(f"mbhseg: see {folder / FAILED_TABLE}", file=sys.stderr)
    return FAILED if failed else OK


def _write_page(options: argparse.Namespace, folders: Sequence[Path]) -> None:
    """Write the page of the predicted scans to `report` in their folder."""
    from mbhseg.provenance.environment import git_state
    from mbhseg.report.scans_page import INDEX, build_scans
    from mbhseg.scans.layout import REPORT

    commit = git_state()["commit"]
    named = zip(options.model, folders, strict=True)
    told = ("run", "command", "asked", "scans", "model", "out")
    folder = Path(options.out)
    build_scans(
        folder / REPORT,
        folder,
        [(_name(model, path), path / "run.json") for model, path in named],
        settings={key: value for key, value in vars(options).items() if key not in told},
        command=shlex.join(["python", "-m", "mbhseg", *options.asked]),
        commit=str(commit) if commit else None,
    )
    print(f"page: {folder / REPORT / INDEX}")


def _name(model: str, folder: Path) -> str:
    """The name of a model's folder on this machine; a name of the hub as it was given."""
    return folder.resolve().name if Path(model).exists() else model


def _submit(options: argparse.Namespace) -> int:
    from mbhseg.scans.discovery import find
    from mbhseg.scans.overwrite import refuse_over
    from mbhseg.scans.submission import pack

    found, failures = find(options.scans)
    if failures:
        first = failures[0]
        raise InputError(first.file, first.what, first.remedy)
    volumes = (path for path in Path(options.predictions).rglob("*") if path.is_file())
    read = (path for scan in found for path in scan.files)
    refuse_over([*options.scans, *read, *volumes], options.out)
    count = pack(options.predictions, found, options.out)
    print(f"{count} volumes, each on the voxels of its scan: {options.out}")
    return OK


def _publish(options: argparse.Namespace) -> int:
    from mbhseg.inference.bundle import publish

    commit = publish(options.model, options.repo, private=options.private, tag=options.tag)
    print(f"{options.repo}@{options.tag or commit}")
    return OK


def _plan(options: argparse.Namespace) -> int:
    from mbhseg.cli.plan import parse, report

    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", *options.words]
    command[4:4] = ["--cores", str(options.cores)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        return REFUSED
    root = Path(_after(options.words, ("--directory", "-d")) or ".")
    print(report(parse(done.stdout + done.stderr), root, options.cores, {"gpu": 1}))
    return OK


def _doctor(options: argparse.Namespace) -> int:
    from mbhseg.cli.doctor import PROBLEM, examine

    found = examine(Path(), Path(__file__).resolve().parents[2])
    print("\n".join(map(str, found)))
    return FAILED if any(finding.level == PROBLEM for finding in found) else OK


def _after(words: Sequence[str], names: Sequence[str]) -> str | None:
    """The value of an option among words that are not ours to parse; None if it is not there."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else words[i + 1]
    return None


def _compare(options: argparse.Namespace) -> int:
    from mbhseg.provenance.compare_folders import check, compare

    table = compare(options.left, options.right)
    shown = table if options.all else table[table["status"] != "same"]
    for row in shown.itertuples():
        print(f"{row.status:<20}  {row.file}")
    check(table, options.left, options.right)
    print(f"All {len(table)} files are the same.")
    return OK
