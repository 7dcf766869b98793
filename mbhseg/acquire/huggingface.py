"""Source of the archive: a data set repository on the Hugging Face hub, whole or its first cases.

Talks to the hub through `mbhseg.acquire.hub`, the client.
"""

import logging
import re
from pathlib import Path
from typing import Any

from huggingface_hub import is_offline_mode

from mbhseg.acquire.download import Download, about_complete, download, journal_of
from mbhseg.acquire.excerpt import first_cases, write_directory
from mbhseg.acquire.hub import Hub, RemoteFile
from mbhseg.acquire.staging import AcquireOutputs, demand_sha256, record
from mbhseg.errors import InputError, disk_errors
from mbhseg.files import sha256 as digest_of

_log = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHECK_CONFIG = "Check huggingface.sha256 and huggingface.revision in the config"


def from_hub(
    repo: str,
    filename: str,
    revision: str,
    sha256: str | None,
    limit_cases: int | None,
    out: AcquireOutputs,
) -> None:
    """Fetch a zip of a data set repository, or with `limit_cases` its first cases by case id.

    `revision` is a branch, tag or commit. `sha256` is that of the whole zip; with None the hub's
    digest is checked. The download lies beside the archive as `archive.zip.download`, and a later
    call resumes it. It stays as another name (a hard link) of the same bytes, so that making the
    archive again fetches nothing.

    Raises InputError if the hub refuses, the disk is full, or the digest differs.
    """
    hub = Hub()
    with disk_errors(out.archive):
        out.clear()
        if limit_cases is None:
            path = out.archive.with_name(out.archive.name + ".download")
            remote = _kept(path, repo, filename, revision) or hub.find(repo, filename, revision)
            _whole(hub, remote, sha256, path, out)
        else:
            path = out.archive.with_name(f"{out.archive.name}.first{limit_cases}.download")
            remote = hub.find(repo, filename, revision)
            _first_cases(hub, remote, sha256, limit_cases, path, out)


def _kept(path: Path, repo: str, filename: str, revision: str) -> RemoteFile | None:
    """The file of a complete earlier download, if the hub need not or cannot be asked."""
    about = about_complete(path)
    if about is None or not set(RemoteFile._fields) <= about.keys():
        return None
    remote = RemoteFile(**{key: about[key] for key in RemoteFile._fields})
    pinned = _COMMIT.fullmatch(revision) and remote.commit == revision
    known = pinned or (is_offline_mode() and remote.revision == revision)
    if (remote.repo, remote.filename) != (repo, filename) or not known:
        return None
    _log.info("%s is here from an earlier download", path)
    return remote._replace(revision=revision)


def _whole(
    hub: Hub, remote: RemoteFile, sha256: str | None, path: Path, out: AcquireOutputs
) -> None:
    _demand_hub_agrees(remote, sha256)
    with download(hub, remote, path) as local:
        _demand_digest(local, remote, sha256)
        record(out, local.sha256, _source(remote, local.done, None))
        try:
            out.archive.hardlink_to(path)
        except OSError:  # a file system without hard links
            _move(path, out.archive)


def _first_cases(
    hub: Hub, remote: RemoteFile, sha256: str | None, n: int, path: Path, out: AcquireOutputs
) -> None:
    _demand_hub_agrees(remote, sha256)
    with hub.open(remote) as stream:
        excerpt = first_cases(stream, str(remote), n)
    with download(hub, remote, path, excerpt.spans) as local:
        try:
            write_directory(path, excerpt)
        except InputError:
            local.discard()
            raise
        record(out, digest_of(path), _source(remote, path.stat().st_size, n))
        _move(path, out.archive)


def _move(path: Path, archive: Path) -> None:
    path.replace(archive)
    journal_of(path).unlink()


def _demand_hub_agrees(remote: RemoteFile, sha256: str | None) -> None:
    """Compare the digests before anything is fetched."""
    if remote.sha256 is not None:
        demand_sha256(str(remote), remote.sha256, sha256, _CHECK_CONFIG)


def _demand_digest(local: Download, remote: RemoteFile, sha256: str | None) -> None:
    """Compare the digest of what was fetched; wrong bytes are deleted."""
    if sha256 is None and remote.sha256 is None:
        _log.warning("%s: no sha256 to compare with, neither given nor from the hub", remote)
    try:
        remedy = "The transfer is at fault; run again to fetch it anew"
        demand_sha256(str(remote), local.sha256, remote.sha256, remedy)
        demand_sha256(str(remote), local.sha256, sha256, _CHECK_CONFIG)
    except InputError:
        local.discard()
        raise


def _source(remote: RemoteFile, size: int, limit: int | None) -> dict[str, Any]:
    return {
        "kind": "huggingface",
        **{key: getattr(remote, key) for key in ("repo", "filename", "revision", "commit")},
        "remote_bytes": remote.size,
        "remote_sha256": remote.sha256,
        "bytes": size,
        "cases_limit": limit,
    }
