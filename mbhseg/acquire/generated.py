"""Source of the archive: synthetic heads of the phantom."""

from mbhseg.acquire.staging import AcquireOutputs, record
from mbhseg.errors import disk_errors
from mbhseg.files import sha256 as digest_of
from mbhseg.phantom import PhantomSpec, write_archive
from mbhseg.runtime.progress import progress


def from_phantom(spec: PhantomSpec, out: AcquireOutputs, processes: int = 1) -> None:
    """Generate the data set of `spec`; raises InputError if the spec is out of bounds."""
    with disk_errors(out.archive):
        out.clear()
        write_archive(
            out.archive,
            spec,
            lambda cases, n: progress(cases, n, "Generating heads", "cases"),
            processes,
        )
        source = {"kind": "phantom", **spec._asdict(), "bytes": out.archive.stat().st_size}
        record(out, digest_of(out.archive), source)
