"""The record of a run, as JSON and as an RO-Crate: inputs, settings, code, machine, outputs.

The crate follows RO-Crate 1.1 (Sefton et al., 2022) and the profile Process Run Crate 0.5 of the
Workflow Run RO-Crate working group (Leo et al., PLoS ONE 2024): one CreateAction whose
instrument is this software, whose objects are the archives and whose results are the artifacts.
"""

import datetime
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mbhseg import __version__
from mbhseg.files import manifest_of, read_json, read_table, sha256
from mbhseg.provenance.commands import last_command
from mbhseg.provenance.environment import git_state, versions

PACKAGES = (
    *("snakemake", "tensorflow", "keras", "numpy", "pandas", "scipy", "nibabel", "simpleitk"),
    *("opencv-python-headless", "huggingface-hub", "zlib-ng", "matplotlib"),
)
_LICENSE = "https://spdx.org/licenses/MIT"
_TYPES = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".png": "image/png",
    ".md": "text/markdown",
    ".html": "text/html",
    ".zip": "application/zip",
}


def record(
    root: str | Path,
    *,
    config: Mapping[str, Any],
    artifacts: Iterable[str | Path],
) -> dict[str, Any]:
    """What is needed to reproduce `root` (results/<dataset>) and to check the reproduction.

    config: the settings of the data set and its runs.
    artifacts: files and folders below `root` to list with their digests.

    The command line and the jobs' benchmark tables are read from beside `root` (logs/,
    benchmarks/), where Snakemake puts them; both may be absent.

    Keys: dataset, input (source, sha256), config, code (version, commit, changed), command,
    versions, machine, jobs (job, seconds, max_rss_mib; sorted by name), artifacts (file,
    bytes, sha256). Raises FileNotFoundError if the archive's digest or an artifact is missing.
    """
    root = Path(root)
    return {
        "dataset": root.name,
        "input": {
            **read_json(root / "raw" / "source.json"),
            "sha256": (root / "raw" / "archive.zip.sha256").read_text().split()[0],
        },
        "config": dict(config),
        "code": {"version": __version__, **git_state()},
        "command": last_command(root.parent),
        "versions": versions(PACKAGES),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
        },
        "jobs": _jobs(root.parent / "benchmarks" / root.name),
        "artifacts": _artifacts(root, map(Path, artifacts)),
    }


def _jobs(folder: Path) -> list[dict[str, Any]]:
    jobs = []
    for path in sorted(folder.rglob("*.tsv")):
        row = read_table(path).iloc[-1]
        name = path.relative_to(folder).with_suffix("").as_posix()
        jobs.append(
            {"job": name, "seconds": float(row["s"]), "max_rss_mib": _number(row["max_rss"])}
        )
    return jobs


def _number(value: Any) -> float | None:
    """A cell of a benchmark table; None where the job was too short to be measured."""
    try:
        return float(value)
    except ValueError:
        return None


def _artifacts(root: Path, paths: Iterable[Path]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            listed = manifest_of(path)
            listed["file"] = name + "/" + listed["file"]
            rows += [dict(zip(listed.columns, row, strict=True)) for row in listed.to_numpy()]
        else:
            rows.append({"file": name, "bytes": path.stat().st_size, "sha256": sha256(path)})
    return sorted(rows, key=lambda row: str(row["file"]))


def crate(made: Mapping[str, Any], when: datetime.datetime) -> dict[str, Any]:
    """The JSON-LD of an RO-Crate around a `record`, for ro-crate-metadata.json beside the data.

    `when`: end of the run, with its time zone.
    """
    stamp = when.isoformat(timespec="seconds")
    files = [
        {
            "@id": row["file"],
            "@type": "File",
            "name": Path(row["file"]).name,
            "contentSize": str(row["bytes"]),
            "sha256": row["sha256"],
            "encodingFormat": _TYPES.get(Path(row["file"]).suffix, "application/octet-stream"),
        }
        for row in made["artifacts"]
    ]
    archive = {
        "@id": "raw/archive.zip",
        "@type": "File",
        "name": f"archive of {made['dataset']}",
        "contentSize": str(made["input"]["bytes"]),
        "sha256": made["input"]["sha256"],
        "encodingFormat": _TYPES[".zip"],
    }
    record_file = {
        "@id": "provenance.json",
        "@type": "File",
        "name": "configuration, code, versions, machine and times",
        "encodingFormat": _TYPES[".json"],
    }
    parts = [archive, record_file, *files]
    profile = "https://w3id.org/ro/wfrun/process/0.5"
    commit = made["code"]["commit"]
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [
            {
                "@id": "ro-crate-metadata.json",
                "@type": "CreativeWork",
                "about": {"@id": "./"},
                "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            },
            {
                "@id": "./",
                "@type": "Dataset",
                "name": f"mbhseg results on {made['dataset']}",
                "description": "Hemorrhage segmentation on head CT: data set, models, predictions, "
                "scores and report. Research only.",
                "datePublished": stamp,
                "license": {"@id": _LICENSE},
                "conformsTo": {"@id": profile},
                "hasPart": [{"@id": part["@id"]} for part in parts],
                "mentions": {"@id": "#run"},
            },
            {
                "@id": profile,
                "@type": "CreativeWork",
                "name": "Process Run Crate",
                "version": "0.5",
            },
            {"@id": _LICENSE, "@type": "CreativeWork", "name": "MIT License"},
            {
                "@id": "#mbhseg",
                "@type": "SoftwareApplication",
                "name": "mbhseg",
                "softwareVersion": made["code"]["version"] + (f" at {commit}" if commit else ""),
            },
            {
                "@id": "#run",
                "@type": "CreateAction",
                "name": f"run of the workflow on {made['dataset']}",
                "description": made["command"] or "snakemake",
                "endTime": stamp,
                "instrument": {"@id": "#mbhseg"},
                "object": [{"@id": archive["@id"]}],
                "result": [{"@id": entry["@id"]} for entry in files],
                "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
            },
            *parts,
        ],
    }
