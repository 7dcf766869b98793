"""The outputs of every source: the archive, its digest, and where it came from."""

from pathlib import Path
from typing import Any, NamedTuple

from mbhseg.errors import InputError
from mbhseg.files import atomic_file, write_json


class AcquireOutputs(NamedTuple):
    """results/<dataset>/raw/: archive.zip, archive.zip.sha256 and source.json."""

    archive: Path
    digest: Path
    source: Path

    def clear(self) -> None:
        """Remove what an earlier call left, so that nothing is written into a linked file."""
        for path in self:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)


def record(out: AcquireOutputs, sha256: str, source: dict[str, Any]) -> None:
    """Write the digest, as `sha256sum -c` reads it, and the source; neither holds a secret."""
    with atomic_file(out.digest) as partial:
        partial.write_text(f"{sha256}  {out.archive.name}\n")
    write_json(out.source, {**source, "sha256": sha256})


def demand_sha256(where: str | Path, digest: str, expected: str | None, remedy: str) -> None:
    """Raise InputError unless `digest` is the `expected` one; None expects nothing."""
    if expected is not None and digest != expected.lower():
        raise InputError(where, f"its sha256 is {digest}, expected {expected}", remedy)
