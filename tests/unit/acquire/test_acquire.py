"""Downloads that are killed, cut, spoilt and starved; archives of this machine; the phantom."""

import hashlib
import json
import multiprocessing
import os
import random
import re
import resource
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http as client_http

from mbhseg.acquire import hub as hub_module
from mbhseg.acquire.generated import from_phantom
from mbhseg.acquire.huggingface import from_hub
from mbhseg.acquire.local import from_archive
from mbhseg.acquire.staging import AcquireOutputs
from mbhseg.errors import InputError
from mbhseg.inspect.archive import Archive
from mbhseg.phantom import PhantomSpec
from tests.hubserver import Fault, HubServer, connected_hub, point_client_at
from tests.zips import case_members, first, members_of, zip_of

REPO, FILE = "owner/scans", "scans.zip"
SIZE = 4_000_000
DATA = random.Random(25).randbytes(SIZE)
PIECE = 1 << 16  # no request for a file of this size asks for more
SHA256 = hashlib.sha256(DATA).hexdigest()

_new_process = multiprocessing.get_context("forkserver")
_new_process.set_forkserver_preload(["mbhseg.acquire.huggingface", "tests.hubserver"])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with connected_hub(monkeypatch) as server:
        yield server


@pytest.fixture
def commit(hub: HubServer) -> str:
    return hub.put(REPO, FILE, DATA)


@pytest.fixture
def out(tmp_path: Path) -> AcquireOutputs:
    raw = tmp_path / "raw"
    return AcquireOutputs(
        raw / "archive.zip", raw / "archive.zip.sha256", raw / "source.json"
    )  # fmt: skip


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = types.SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr(hub_module, "time", clock)
    monkeypatch.setattr(client_http, "time", clock)


def fetch(
    out: AcquireOutputs,
    revision: str = "main",
    sha256: str | None = None,
    limit: int | None = None,
) -> None:
    from_hub(REPO, FILE, revision, sha256, limit, out)


def download_of(out: AcquireOutputs) -> Path:
    return out.archive.with_name("archive.zip.download")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source_of(out: AcquireOutputs) -> dict[str, object]:
    return dict(json.loads(out.source.read_text()))


def _child(url: str, out: AcquireOutputs, limit: int | None, room: int | None) -> None:
    """A process of its own that fetches; with `room` no file can outgrow so many bytes."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    point_client_at(url)
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        fetch(out, limit=limit)
    except InputError as error:
        (out.archive.parent / "error.txt").write_text(str(error))


def start(
    hub: HubServer, out: AcquireOutputs, limit: int | None = None, room: int | None = None
) -> BaseProcess:
    child = _new_process.Process(target=_child, args=(hub.url, out, limit, room))
    child.start()
    return child


def kill_after(child: BaseProcess, reached: Callable[[], bool]) -> bool:
    """SIGKILL the process when `reached`; False if it ended before."""
    while child.is_alive() and not reached():
        time.sleep(0.0005)
    alive = child.is_alive()
    child.kill()
    child.join()
    return alive and child.exitcode == -9


def fetch_part(hub: HubServer, out: AcquireOutputs) -> int:
    """Fetch about half the file in a process that is killed then; how many are there."""
    hub.rate = 20e6
    target = hub.sent + SIZE // 2
    assert kill_after(start(hub, out), lambda: hub.sent > target)
    hub.rate = None
    hub.settle()
    return download_of(out).stat().st_size


# the hub: whole


def test_fetches_the_archive_its_digest_and_its_source(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    fetch(out, sha256=SHA256)
    assert out.archive.read_bytes() == DATA
    subprocess.run(
        ["sha256sum", "-c", "--quiet", out.digest.name], cwd=out.digest.parent, check=True
    )
    assert source_of(out) == {
        "kind": "huggingface",
        "repo": REPO,
        "filename": FILE,
        "revision": "main",
        "commit": commit,
        "remote_bytes": SIZE,
        "remote_sha256": SHA256,
        "bytes": SIZE,
        "sha256": SHA256,
        "cases_limit": None,
    }
    assert hub.sent < SIZE + 10


def test_killed_at_random_offsets_it_still_ends_right(hub: HubServer, out: AcquireOutputs) -> None:
    data = random.Random(26).randbytes(24_000_000)
    hub.put(REPO, FILE, data)
    rng = random.Random(7)
    hub.rate = 60e6
    for _ in range(24):
        target = hub.sent + rng.randrange(len(data) // 15)
        assert kill_after(start(hub, out), lambda target=target: hub.sent > target)
        assert not out.archive.exists()
    last = start(hub, out)
    last.join()
    assert last.exitcode == 0
    assert digest(out.archive) == hashlib.sha256(data).hexdigest()
    assert hub.sent <= 1.2 * len(data)


def test_killed_while_it_finds_out_what_is_there(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    there = fetch_part(hub, out)
    rng = random.Random(3)
    hub.rate = 1e6  # so that these children add next to nothing
    for _ in range(10):
        deadline = time.monotonic() + rng.uniform(0, 0.1)
        kill_after(start(hub, out), lambda deadline=deadline: time.monotonic() > deadline)
    assert download_of(out).stat().st_size >= there - PIECE
    hub.rate = None
    hub.settle()
    before = hub.sent
    fetch(out)
    assert digest(out.archive) == SHA256
    assert hub.sent - before <= SIZE - there + PIECE + 1


def test_the_archive_made_again_fetches_nothing(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    fetch(out)
    before = hub.sent
    out.archive.unlink()  # as Snakemake does before it runs a rule again
    fetch(out, sha256=SHA256)
    assert digest(out.archive) == SHA256
    assert hub.sent == before
    assert out.archive.samefile(download_of(out))  # no second copy on disk


def test_without_hard_links_the_download_becomes_the_archive(
    hub: HubServer, commit: str, out: AcquireOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links on this file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    fetch(out)
    assert digest(out.archive) == SHA256
    assert sorted(out) == sorted(out.archive.parent.iterdir())


def test_a_pinned_commit_that_is_here_asks_nobody(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    fetch(out)
    hub.requests.clear()
    fetch(out, revision=commit)
    assert hub.requests == []
    assert source_of(out)["revision"] == commit
    assert digest(out.archive) == SHA256


def test_offline_takes_what_is_here_and_names_what_is_not(
    hub: HubServer, commit: str, out: AcquireOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = fetch_part(hub, out)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"scans\.zip.*not here.*HF_HUB_OFFLINE"):
        fetch(out)
    assert download_of(out).stat().st_size >= part - PIECE
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fetch(out)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    fetch(out)
    assert digest(out.archive) == SHA256
    assert hub.requests == []
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        fetch(out, revision="v2")


@pytest.mark.parametrize("spoilt", ["data", "end", "journal", "no journal", "no data"])
def test_a_spoilt_download_is_noticed_and_mended(
    hub: HubServer,
    commit: str,
    out: AcquireOutputs,
    spoilt: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    part = fetch_part(hub, out)
    path, journal = download_of(out), out.archive.with_name("archive.zip.download.journal")
    if spoilt == "data":
        with path.open("r+b") as stream:
            stream.seek(part // 2)
            stream.write(b"spoilt")
    elif spoilt == "end":
        os.truncate(path, part - PIECE - 1000)  # the last piece may not be in the journal yet
    elif spoilt == "journal":
        journal.write_bytes(journal.read_bytes()[:-50] + b"\xff\x00[[")
    elif spoilt == "no journal":
        journal.unlink()
    else:
        path.unlink()
    before = hub.sent
    fetch(out)
    assert digest(out.archive) == SHA256
    kept = SIZE - (hub.sent - before)
    least = {
        "data": part // 2 - 2 * PIECE,
        "end": part - 3 * PIECE,
        "journal": part - 6 * PIECE,
    }
    assert kept >= least.get(spoilt, -2)
    assert ("bad from byte" in caplog.text) == (spoilt in ("data", "end", "no data"))


def test_a_file_that_changed_meanwhile_is_not_spliced(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    fetch_part(hub, out)
    changed = DATA[:1000] + b"changed" + DATA[1007:]
    later = hub.put(REPO, FILE, changed)
    fetch(out)
    assert out.archive.read_bytes() == changed
    assert source_of(out)["commit"] == later


def test_another_commit_with_the_same_file_goes_on(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    part = fetch_part(hub, out)
    later = hub.put(REPO, "README.md", b"# Scans", lfs=False)
    before = hub.sent
    fetch(out)
    assert digest(out.archive) == SHA256
    assert hub.sent - before <= SIZE - part + PIECE + 1
    assert source_of(out)["commit"] == later


def test_a_second_process_keeps_off(hub: HubServer, commit: str, out: AcquireOutputs) -> None:
    hub.rate = 2e6
    first = start(hub, out)
    while hub.sent < 100_000:
        time.sleep(0.001)
    with pytest.raises(InputError, match=r"archive\.zip\.download.*another process"):
        fetch(out)
    hub.rate = None
    first.join()
    assert digest(out.archive) == SHA256


def test_a_wrong_sha256_is_told_before_anything_is_fetched(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    with pytest.raises(InputError, match=f"sha256.*{SHA256}.*{'0' * 64}"):
        fetch(out, sha256="0" * 64)
    assert hub.sent == 0
    assert not out.archive.exists()


def test_bytes_changed_on_the_way_are_refused_and_not_kept(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    hub.faults.append(Fault("storage", times=10**6, flip=SIZE // 3))
    with pytest.raises(InputError, match=r"scans\.zip.*sha256.*transfer"):
        fetch(out)
    assert not list(out.archive.parent.iterdir())
    hub.faults.clear()
    fetch(out)
    assert digest(out.archive) == SHA256


def test_a_file_without_a_digest_of_the_hub_is_held_against_the_given_one(
    hub: HubServer, out: AcquireOutputs, caplog: pytest.LogCaptureFixture
) -> None:
    hub.put(REPO, FILE, DATA[:5000], lfs=False)
    fetch(out)
    assert "no sha256 to compare with" in caplog.text
    with pytest.raises(InputError, match=r"sha256.*huggingface\.sha256"):
        fetch(out, sha256=SHA256)
    assert not out.archive.exists()
    fetch(out, sha256=hashlib.sha256(DATA[:5000]).hexdigest())
    assert out.archive.read_bytes() == DATA[:5000]


def test_cuts_and_server_errors_on_the_way_are_overcome(
    hub: HubServer, commit: str, out: AcquireOutputs, no_pauses: None
) -> None:
    hub.faults += [
        Fault("storage", times=4, cut_after=10_000),
        Fault("get", times=4, status=503),
        Fault("storage", times=1, status=429, headers={"Retry-After": "1"}),
    ]
    fetch(out)
    assert digest(out.archive) == SHA256
    assert all(fault.times == 0 for fault in hub.faults)


def test_a_hub_that_fails_for_good_leaves_what_came(
    hub: HubServer, commit: str, out: AcquireOutputs, no_pauses: None
) -> None:
    part = fetch_part(hub, out)
    hub.faults.append(Fault("storage", times=10**6, status=500))
    with pytest.raises(InputError, match=r"scans\.zip.*500.*resumes"):
        fetch(out)
    assert not out.archive.exists()
    assert not out.source.exists()
    assert download_of(out).stat().st_size >= part - PIECE


def test_a_full_disk_is_one_line_and_what_came_is_used(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    child = start(hub, out, room=SIZE // 2)
    child.join()
    line = (out.archive.parent / "error.txt").read_text()
    assert "archive.zip.download" in line
    assert "File too large" in line
    assert not out.archive.exists()
    fetch(out)
    assert digest(out.archive) == SHA256
    assert hub.sent <= SIZE + 5 * PIECE


def test_too_little_room_is_told_before_anything_is_fetched(
    hub: HubServer, commit: str, out: AcquireOutputs
) -> None:
    out.archive.parent.mkdir()
    script = f"""
import sys
from pathlib import Path
from tests.hubserver import point_client_at
from mbhseg.acquire.huggingface import from_hub
from mbhseg.acquire.staging import AcquireOutputs
from mbhseg.errors import InputError
point_client_at({hub.url!r})
try:
    from_hub({REPO!r}, {FILE!r}, "main", None, None, AcquireOutputs(*map(Path, sys.argv[1:])))
except InputError as error:
    print(error)
"""
    mount = f'mount -t tmpfs -o size=2m none {out.archive.parent} && exec "$@"'
    inside = ["sh", "-c", mount, "sh", sys.executable, "-c", script, *map(str, out)]
    command = ["unshare", "--mount", "--map-root-user", *inside]
    done = subprocess.run(command, capture_output=True, text=True, env=_plain_environment())
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    assert re.search(r"archive\.zip\.download.*4\.0 MB.*2\.1 MB", done.stdout)
    assert hub.sent == 0


def test_the_token_shows_nowhere(hub: HubServer, commit: str, out: AcquireOutputs) -> None:
    hub.tokens.add("hf_secret")
    repo = hub.repos["dataset", REPO]
    repo.private, repo.readers = True, {"hf_secret"}
    hub.faults += [Fault("storage", times=1, status=500), Fault("head", times=1, status=500)]
    script = f"""
import logging, sys
from pathlib import Path
from mbhseg.acquire.huggingface import from_hub
from mbhseg.acquire.staging import AcquireOutputs
logging.basicConfig(level=logging.INFO)
from_hub({REPO!r}, {FILE!r}, "main", None, None, AcquireOutputs(*map(Path, sys.argv[1:])))
print(Path("/proc/self/cmdline").read_text())
"""
    environment = _plain_environment() | {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret"}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, out)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert digest(out.archive) == SHA256
    files = b"".join(p.read_bytes() for p in out.archive.parent.iterdir() if p.suffix != ".zip")
    seen = done.stdout + done.stderr + files.decode(errors="replace")
    assert "trying again" in seen
    assert "Fetching scans.zip: 100 %" in seen
    assert "hf_secret" not in seen
    assert "Signature" not in seen


def _plain_environment() -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    path = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)])
    return kept | {"PYTHONPATH": path, "NO_PROXY": "127.0.0.1"}


# the hub: the first cases


def test_the_first_cases_make_a_zip_of_the_same_layout(hub: HubServer, out: AcquireOutputs) -> None:
    members = case_members(20)
    whole = zip_of(members)
    hub.put(REPO, FILE, whole)
    fetch(out, limit=3)
    expected = first(members, 3)
    assert members_of(out.archive) == expected
    assert list(Archive(out.archive).cases) == [f"ID_{k:08x}_ID_{k:010x}" for k in range(3)]
    size = out.archive.stat().st_size
    about = source_of(out)
    assert about["cases_limit"] == 3
    assert (about["bytes"], about["sha256"]) == (size, digest(out.archive))
    assert (about["remote_bytes"], about["remote_sha256"]) == (
        len(whole),
        hashlib.sha256(whole).hexdigest(),
    )
    assert sorted(p.name for p in out.archive.parent.iterdir()) == sorted(p.name for p in out)


def test_the_first_cases_cost_their_bytes_and_the_directory(
    hub: HubServer, out: AcquireOutputs
) -> None:
    members = case_members(40)
    whole = zip_of(members)
    hub.put(REPO, FILE, whole)
    fetch(out, limit=3)
    directory = len(whole) - whole.index(b"PK\1\2")
    wanted = sum(len(data) for data in first(members, 3).values())
    assert hub.sent <= 1.01 * wanted + directory


def test_a_killed_excerpt_goes_on(hub: HubServer, out: AcquireOutputs) -> None:
    members = case_members(100)
    hub.put(REPO, FILE, zip_of(members))
    wanted = sum(len(data) for data in first(members, 80).values())
    hub.rate = 20e6
    for share in (0.3, 0.5, 0.7):
        target = int(share * wanted)
        assert kill_after(start(hub, out, 80), lambda target=target: hub.sent > target)
    fetch(out, limit=80)
    assert members_of(out.archive) == first(members, 80)
    assert hub.sent <= 1.2 * wanted


def test_the_hub_must_agree_with_the_digest_of_the_whole(
    hub: HubServer, out: AcquireOutputs
) -> None:
    whole = zip_of(case_members(4))
    hub.put(REPO, FILE, whole)
    with pytest.raises(InputError, match=r"sha256.*huggingface\.sha256"):
        fetch(out, sha256="0" * 64, limit=1)
    fetch(out, sha256=hashlib.sha256(whole).hexdigest(), limit=1)
    assert len(members_of(out.archive)) == 3


def test_spoilt_members_are_refused_and_not_kept(hub: HubServer, out: AcquireOutputs) -> None:
    members = case_members(4)
    whole = zip_of(members)
    hub.put(REPO, FILE, whole)
    inside = whole.index(members["top/ID_00000000_ID_0000000000/image.nii.gz"]) + 100
    hub.faults.append(Fault("storage", times=10**6, flip=inside))
    with pytest.raises(InputError, match=r"image\.nii\.gz.*checksum"):
        fetch(out, limit=1)
    assert not list(out.archive.parent.iterdir())
    hub.faults.clear()
    fetch(out, limit=1)
    assert len(members_of(out.archive)) == 3


def test_a_failing_hub_is_not_taken_for_a_bad_zip(
    hub: HubServer, out: AcquireOutputs, no_pauses: None
) -> None:
    hub.put(REPO, FILE, zip_of(case_members(3)))
    hub.faults.append(Fault("storage", times=10**6, status=500))
    with pytest.raises(InputError, match=r"scans\.zip.*500"):
        fetch(out, limit=1)


# this machine


def test_an_archive_is_linked_not_copied(
    tmp_path: Path, out: AcquireOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = zip_of(case_members(2))
    (tmp_path / "mine.zip").write_bytes(whole)
    monkeypatch.chdir(tmp_path)
    from_archive("mine.zip", hashlib.sha256(whole).hexdigest(), out)
    assert out.archive.is_symlink()
    assert out.archive.read_bytes() == whole
    subprocess.run(
        ["sha256sum", "-c", "--quiet", out.digest.name], cwd=out.digest.parent, check=True
    )
    assert source_of(out) == {
        "kind": "archive",
        "path": "mine.zip",
        "bytes": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
    }
    from_archive(tmp_path / "mine.zip", None, out)  # once more, over the first
    assert (tmp_path / "mine.zip").read_bytes() == whole


def test_an_archive_that_changes_kind_leaves_the_users_zip_alone(
    hub: HubServer, tmp_path: Path, out: AcquireOutputs
) -> None:
    whole = zip_of(case_members(2))
    (tmp_path / "mine.zip").write_bytes(whole)
    from_archive(tmp_path / "mine.zip", None, out)
    hub.put(REPO, FILE, DATA[:9999])
    fetch(out)
    from_phantom(PhantomSpec(cases=1, size=32, slices=4, seed=1), out)
    assert (tmp_path / "mine.zip").read_bytes() == whole
    assert not out.archive.is_symlink()


@pytest.mark.parametrize("broken", ["symlink_to", "symlink_to hardlink_to"])
def test_without_links_it_is_another_name_or_a_copy(
    tmp_path: Path, out: AcquireOutputs, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links on this file system")

    for name in broken.split():
        monkeypatch.setattr(Path, name, refuse)
    whole = zip_of(case_members(2))
    (tmp_path / "mine.zip").write_bytes(whole)
    from_archive(tmp_path / "mine.zip", None, out)
    assert not out.archive.is_symlink()
    assert out.archive.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "sha256", "line"),
    [
        (None, None, r"mine\.zip.*no such file.*archive\.path"),
        (b"<html>", None, r"mine\.zip.*cut short"),
        (zip_of(case_members(1))[:-30], None, r"mine\.zip.*cut short"),
        (zip_of(case_members(1)), "0" * 64, rf"mine\.zip.*sha256.*{'0' * 64}"),
    ],
)
def test_an_archive_that_will_not_do(
    tmp_path: Path, out: AcquireOutputs, content: bytes | None, sha256: str | None, line: str
) -> None:
    if content is not None:
        (tmp_path / "mine.zip").write_bytes(content)
    with pytest.raises(InputError, match=line):
        from_archive(tmp_path / "mine.zip", sha256, out)
    assert not out.archive.parent.exists()


def test_the_result_is_not_its_own_source(out: AcquireOutputs) -> None:
    out.archive.parent.mkdir()
    out.archive.write_bytes(zip_of(case_members(1)))
    with pytest.raises(InputError, match=r"archive\.zip: .*result"):
        from_archive(out.archive, None, out)
    assert out.archive.exists()


# the phantom


def test_the_phantom_is_the_same_every_time(out: AcquireOutputs) -> None:
    spec = PhantomSpec(cases=2, size=32, slices=4, seed=5)
    from_phantom(spec, out)
    before = [path.read_bytes() for path in out]
    from_phantom(spec, out)
    assert [path.read_bytes() for path in out] == before
    assert len(Archive(out.archive).cases) == 2
    about = source_of(out)
    assert (about["kind"], about["cases"], about["seed"]) == ("phantom", 2, 5)
    assert out.digest.read_text() == f"{digest(out.archive)}  archive.zip\n"
