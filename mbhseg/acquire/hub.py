"""Client of the Hugging Face hub: find files at a pinned commit, read ranges, move models.

It knows no data set; the archive that comes from the hub is `mbhseg.acquire.huggingface`.

All traffic goes through the `huggingface_hub` package, which honours HF_ENDPOINT, HF_TOKEN,
HF_HUB_OFFLINE and the proxy variables. The token stays inside the package; nothing here reads or
prints it.
"""

import contextlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeVar

import httpx2
from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    HfFileSystem,
    get_hf_file_metadata,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HfUriError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_ratelimit_headers

from mbhseg.errors import InputError, reason

Result = TypeVar("Result")

_log = logging.getLogger(__name__)
_PAUSES_S = (1, 2, 4, 8)  # between attempts at a request that the package does not repeat
_LONGEST_PAUSE_S = 600  # the hub counts requests in windows of five minutes
_PASSING = {408, 429, 500, 502, 503, 504}
_RESUMES = "run again; the download resumes"
_FETCH_ELSEWHERE = (
    "Run the target fetch once with network and without HF_HUB_OFFLINE, or get the zip in"
    " another way and set it as the data set's archive.path"
)
_ACCEPT_TERMS = "Accept its terms on its page, and set HF_TOKEN to a token of that account"
_CHECK_REPO = "Check huggingface.repo; if it is private, set HF_TOKEN to a token that may read it"
_NOT_THE_HUB = ("the answer is not the hub's", "Check HF_ENDPOINT and the proxy variables")
_SHA256 = re.compile(r"[0-9a-f]{64}")

# It logs each request with the storage's signed address, which must not stay in a log file.
logging.getLogger("httpx2").setLevel(logging.WARNING)


class RemoteFile(NamedTuple):
    """A file of a repository at one commit.

    `revision` is what was asked for, `commit` what it pointed to. `sha256` is the hub's digest of
    the content, None for small files that are stored in git.
    """

    repo: str
    filename: str
    revision: str
    commit: str
    etag: str
    size: int
    sha256: str | None
    kind: Literal["dataset", "model"] = "dataset"

    def __str__(self) -> str:
        return _name(self.repo, self.filename, self.revision)

    @property
    def path(self) -> str:
        """The path in `HfFileSystem`."""
        folder = "datasets/" if self.kind == "dataset" else ""
        return f"{folder}{self.repo}@{self.commit}/{self.filename}"


class Hub:
    """The hub that HF_ENDPOINT names; reading is safe from several threads.

    Every method raises InputError if the hub refuses the request.
    """

    def __init__(self) -> None:
        self._files = HfFileSystem(skip_instance_cache=True)

    def find(
        self,
        repo: str,
        filename: str,
        revision: str = "main",
        kind: Literal["dataset", "model"] = "dataset",
    ) -> RemoteFile:
        """Look the file up and pin `revision`, a branch, tag or commit, to its commit."""
        name = _name(repo, filename, revision)
        with _refusals(name):
            url = hf_hub_url(repo, filename, repo_type=kind, revision=revision)
            found = _patiently(lambda: get_hf_file_metadata(url), name)
            if not found.commit_hash or not found.etag:
                raise InputError(name, *_NOT_THE_HUB)
            remote = RemoteFile(
                repo, filename, revision, found.commit_hash, found.etag, found.size or 0, None, kind
            )
            info = _patiently(lambda: self._files.info(remote.path), name)
        digest = info["lfs"].sha256 if info.get("lfs") else found.etag
        sha256 = digest if _SHA256.fullmatch(digest) else None
        return remote._replace(size=info["size"], sha256=sha256)

    def read(self, remote: RemoteFile, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive) of the file."""
        with _refusals(str(remote)):
            data = self._files.cat_file(remote.path, start, end, cache_type="none")
        if len(data) != end - start:
            raise _ranges_ignored(remote)
        return bytes(data)

    @contextlib.contextmanager
    def open(self, remote: RemoteFile) -> Iterator[BinaryIO]:
        """The file, for reading and seeking; each read requests only its bytes."""
        with (
            _refusals(str(remote)),
            self._files.open(remote.path, "rb", cache_type="none") as stream,
        ):
            yield stream

    def demand_ranges(self, remote: RemoteFile) -> None:
        """Raise InputError unless the hub, and any mirror or proxy, honours Range requests.

        Requests one byte as a stream, because a server that ignores ranges sends the whole file.
        """
        if remote.size < 2:
            return
        with _refusals(str(remote)), self._files.open(remote.path, "rb", block_size=0) as stream:
            stream.loc = remote.size - 1
            if len(stream.read(2)) != 1:
                raise _ranges_ignored(remote)


def download_model(repo: str, revision: str, files: Sequence[str]) -> Path:
    """Fetch those of `files` that a model repository has; the folder that holds them.

    The folder is in the package's cache, which also serves runs with HF_HUB_OFFLINE set. Raises
    InputError if the hub refuses the request.
    """
    name = f"{repo}@{revision}"
    with _refusals(name):
        folder = _patiently(
            lambda: snapshot_download(repo, revision=revision, allow_patterns=list(files)), name
        )
    return Path(folder)


def upload_model(
    repo: str, files: Sequence[Path], *, private: bool = False, tag: str | None = None
) -> str:
    """Upload files to a model repository as one commit; the commit's id.

    The repository is created if it does not exist. `tag` names the commit. Raises InputError as
    `download_model`.
    """
    api = HfApi()
    with _refusals(repo):
        _patiently(lambda: api.create_repo(repo, private=private, exist_ok=True), repo)
        parts = [CommitOperationAdd(path.name, path) for path in files]
        commit = _patiently(
            lambda: api.create_commit(repo, parts, commit_message="Add the model"), repo
        ).oid
        if tag is not None:
            _patiently(lambda: api.create_tag(repo, tag=tag, revision=commit), repo)
    return str(commit)


def _name(repo: str, filename: str, revision: str) -> str:
    return f"{repo}/{filename}@{revision}"


def _ranges_ignored(remote: RemoteFile) -> InputError:
    return InputError(
        str(remote),
        "the answer to a Range request is not that range",
        "A mirror or proxy ignores Range requests. Change HF_ENDPOINT, or bypass it with NO_PROXY",
    )


def _patiently(call: Callable[[], Result], name: str) -> Result:
    """Repeat a call after temporary faults; the package repeats only its reads of ranges.

    On request it repeats one look-up too, but then waits as long as the hub asks.
    """
    for pause in _PAUSES_S:
        try:
            return call()
        except (HfHubHTTPError, httpx2.TransportError) as error:
            asked = _pause_asked(error)
            if not _passes(error) or asked > _LONGEST_PAUSE_S:
                raise
            wait = max(pause, asked)
            _log.warning("%s: %s; trying again in %d s", name, _fault(error), wait)
            time.sleep(wait)
    return call()


def _passes(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING
    return not isinstance(error, httpx2.UnsupportedProtocol)


def _pause_asked(error: Exception) -> int:
    """Seconds that the hub asks to wait, 0 if it does not ask."""
    if not isinstance(error, HfHubHTTPError):
        return 0
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    if error.response.status_code == 429 and limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + 1
    asked = headers.get("Retry-After", "")
    return int(asked) if asked.isdigit() else 0


def _unknown_path(error: BaseException) -> bool:
    """Whether `HfFileSystem` knows no such path; the local file system sets errno."""
    return isinstance(error, FileNotFoundError) and error.errno is None


def _fault(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"the hub answers {error.response.status_code}"
    return f"the hub cannot be reached ({reason(error)})"


@contextlib.contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn the package's errors into InputError."""
    try:
        yield
    except (OSError, ValueError, httpx2.RequestError, httpx2.InvalidURL) as error:
        cause = error.__cause__ if isinstance(error, FileNotFoundError) else error
        problem, remedy = _explain(cause or error)
        raise InputError(name, problem, remedy) from error


def _explain(error: BaseException) -> tuple[str, str]:
    """Problem and remedy; subclasses are tested before their base classes."""
    if isinstance(error, OfflineModeIsEnabled):
        return "is not here yet, and HF_HUB_OFFLINE forbids fetching it", _FETCH_ELSEWHERE
    if isinstance(error, GatedRepoError):
        return "the repository is gated", _ACCEPT_TERMS
    if isinstance(error, RevisionNotFoundError):
        return "no such revision", "Set huggingface.revision to a branch, tag or commit of it"
    if isinstance(error, EntryNotFoundError) or _unknown_path(error):
        return "no such file at this revision", "Set huggingface.filename to one of its files"
    if isinstance(error, DisabledRepoError):
        return "the hub has disabled the repository", "Read the reason on its page"
    if isinstance(error, HFValidationError | HfUriError):
        return "is not a valid name on the hub", "Set huggingface.repo to owner/name"
    if isinstance(error, json.JSONDecodeError):
        return _NOT_THE_HUB
    if isinstance(error, httpx2.RequestError | httpx2.InvalidURL):
        return _fault(
            error
        ), f"Check the network, the proxy variables and HF_ENDPOINT, and {_RESUMES}"
    if isinstance(error, OSError) and not isinstance(error, HfHubHTTPError):
        return f"the hub's client fails on this machine ({error})", "Check SSL_CERT_FILE"
    if not isinstance(error, HfHubHTTPError):
        raise error
    status = error.response.status_code
    if status == 401 and "authorization" in error.response.request.headers:
        return "the hub refuses the token (401)", "Set HF_TOKEN to a valid token, or unset it"
    if status == 401 or isinstance(error, RepositoryNotFoundError):
        return f"no such repository, or a private one ({status})", _CHECK_REPO
    if status == 403:
        return "the token may not read it (403)", "Set HF_TOKEN to a token with read access"
    if status == 404:
        return "the hub has no such page (404)", "Check huggingface.repo and HF_ENDPOINT"
    if status == 429:
        return "too many requests to the hub (429)", f"Wait some minutes and {_RESUMES}"
    return f"the hub answers {status}", "Try again later; the download resumes"
