"""Source of the archive: a zip on this machine."""

import contextlib
import shutil
import zipfile
from pathlib import Path

from mbhseg.acquire.staging import AcquireOutputs, demand_sha256, record
from mbhseg.errors import InputError, reason
from mbhseg.files import atomic_file
from mbhseg.files import sha256 as digest_of


def from_archive(path: str | Path, sha256: str | None, out: AcquireOutputs) -> None:
    """Link to the zip at `path`, relative to the working directory; no second copy is made.

    Where the file system has no links the archive is a copy. `sha256` is the expected digest, or
    None. Raises InputError if there is no such zip or its digest differs.
    """
    origin = Path(path)
    if not origin.is_file():
        raise InputError(origin, "no such file", "Correct archive.path in the config")
    if origin.absolute() == out.archive.absolute():
        raise InputError(
            origin, "is where the result goes", "Move it, and set archive.path to its new place"
        )
    try:
        if not zipfile.is_zipfile(origin):
            raise InputError(origin, "is no zip, or is cut short", "Copy or fetch it again")
        digest = digest_of(origin)
        demand_sha256(origin, digest, sha256, "Get the right zip, or correct archive.sha256")
        out.clear()
        record(out, digest, {"kind": "archive", "path": str(path), "bytes": origin.stat().st_size})
        _link(origin.absolute(), out.archive)
    except OSError as error:
        problem = f"cannot be linked to or read ({reason(error)})"
        raise InputError(origin, problem, "Check permissions and free space") from error


def _link(origin: Path, archive: Path) -> None:
    for link in (archive.symlink_to, archive.hardlink_to):
        with contextlib.suppress(OSError):
            return link(origin)
    with atomic_file(archive) as partial:
        shutil.copyfile(origin, partial)
    return None
