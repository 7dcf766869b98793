"""The hub's client at work against a hub on loopback: what is found, and every refusal."""

import logging
import re
import types
from collections.abc import Iterator

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http as client_http

from mbhseg.acquire import hub as module
from mbhseg.acquire.hub import Hub, RemoteFile
from mbhseg.errors import InputError
from tests.hubserver import Fault, HubServer, connected_hub, point_client_at

DATA = bytes(range(256)) * 40
NAME = "data/a.zip"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with connected_hub(monkeypatch) as server:
        yield server


@pytest.fixture
def commit(hub: HubServer) -> str:
    return hub.put("owner/scans", NAME, DATA)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made; none is."""
    made: list[float] = []
    clock = types.SimpleNamespace(sleep=made.append)
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(client_http, "time", clock)
    return made


def find(revision: str = "main", filename: str = NAME, repo: str = "owner/scans") -> RemoteFile:
    return Hub().find(repo, filename, revision)


def refusal(**asked: str) -> str:
    with pytest.raises(InputError) as caught:
        find(**asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_finds_a_file_at_the_commit_of_a_branch(hub: HubServer, commit: str) -> None:
    remote = find()
    assert (remote.revision, remote.commit, remote.size) == ("main", commit, len(DATA))
    assert remote.sha256 == remote.etag == hub.repos["dataset", "owner/scans"].commits[commit][
        NAME
    ].sha256  # fmt: skip


def test_a_pinned_commit_keeps_its_file_when_the_branch_moves(hub: HubServer, commit: str) -> None:
    later = hub.put("owner/scans", NAME, DATA[::-1])
    assert find(commit).sha256 != find().sha256
    assert find().commit == later
    assert Hub().read(find(commit), 0, 9) == DATA[:9]


def test_a_small_file_that_git_keeps_has_no_sha256(hub: HubServer) -> None:
    hub.put("owner/scans", "README.md", b"# Scans", lfs=False)
    remote = find(filename="README.md")
    assert (remote.sha256, remote.size, len(remote.etag)) == (None, 7, 40)
    assert Hub().read(remote, 2, 7) == b"Scans"


def test_reads_files_of_model_repositories(hub: HubServer) -> None:
    hub.put("owner/net", "model.keras", DATA, kind="model")
    remote = Hub().find("owner/net", "model.keras", kind="model")
    assert Hub().read(remote, 5, 10) == DATA[5:10]


def test_reads_just_the_bytes_asked_for(hub: HubServer, commit: str) -> None:
    remote = find()
    with Hub().open(remote) as stream:
        stream.seek(-10, 2)
        assert stream.read() == DATA[-10:]
        stream.seek(100)
        assert stream.read(50) == DATA[100:150]
    assert Hub().read(remote, 0, len(DATA)) == DATA
    assert hub.sent == 60 + len(DATA)


def test_the_token_goes_to_the_hub_and_not_to_its_storage(
    hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.tokens.add("hf_secret")
    repo = hub.repos["dataset", "owner/scans"]
    repo.private, repo.readers = True, {"hf_secret"}
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    Hub().read(find(), 0, 10)
    sent = {(r.place == "storage", r.headers.get("authorization")) for r in hub.requests}
    assert (False, "Bearer hf_secret") in sent
    assert {header for storage, header in sent if storage} == {None}


@pytest.mark.parametrize(
    ("asked", "problem", "cure"),
    [
        ({"repo": "owner/none"}, "no such repository", "huggingface.repo"),
        ({"repo": "a/b/c"}, "name", "owner/name"),
        ({"revision": "v9"}, "no such revision", "huggingface.revision"),
        ({"filename": "b.zip"}, "no such file", "huggingface.filename"),
        ({"filename": "data"}, "no such file", "huggingface.filename"),
    ],
)
def test_what_is_not_there(
    hub: HubServer, commit: str, asked: dict[str, str], problem: str, cure: str
) -> None:
    line = refusal(**asked)
    assert problem in line
    assert cure in line
    assert line.startswith(asked.get("repo", "owner/scans/"))


def test_a_missing_repository_with_a_valid_token(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.tokens.add("hf_mine")
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert re.search(r"owner/none.*no such repository.*404", refusal(repo="owner/none"))


def test_a_wrong_token(hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    line = refusal()
    assert re.search(r"token.*401", line)
    assert "HF_TOKEN" in line
    assert "hf_stale" not in line


@pytest.mark.parametrize("token", [None, "hf_stranger"])
def test_a_gated_repository(
    hub: HubServer, commit: str, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["dataset", "owner/scans"].gated = True
    if token:
        hub.tokens.add(token)
        monkeypatch.setenv("HF_TOKEN", token)
    assert re.search(r"gated.*terms.*HF_TOKEN", refusal())


@pytest.mark.parametrize(
    ("status", "line"),
    [(403, r"token.*403"), (418, r"hub.*418")],
)
def test_other_refusals_are_told_at_once(
    hub: HubServer, commit: str, pauses: list[float], status: int, line: str
) -> None:
    hub.faults.append(Fault("head", status=status))
    assert re.search(line, refusal())
    assert pauses == []


@pytest.mark.parametrize("place", ["head", "info", "tree", "get", "storage"])
def test_a_server_error_that_passes_is_waited_out(
    hub: HubServer, commit: str, pauses: list[float], place: str
) -> None:
    fault = Fault(place, times=2, status=503)  # type: ignore[arg-type]
    hub.faults.append(fault)
    Hub().read(find(), 0, 10)
    assert fault.times == 0
    assert pauses == sorted(pauses)
    assert len(pauses) >= 2


@pytest.mark.parametrize("place", ["head", "info", "tree", "storage"])
def test_a_server_error_that_stays(
    hub: HubServer, commit: str, pauses: list[float], place: str
) -> None:
    hub.faults.append(Fault(place, times=99, status=502))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"owner/scans/.*502.*resumes"):
        Hub().read(find(), 0, 10)
    assert len(pauses) >= 4


@pytest.mark.parametrize("headers", [{"Retry-After": "37"}, {"RateLimit": '"resolvers";r=0;t=36'}])
@pytest.mark.parametrize("place", ["head", "storage"])
def test_a_pause_that_the_hub_asks_for_is_made(
    hub: HubServer, commit: str, pauses: list[float], place: str, headers: dict[str, str]
) -> None:
    hub.faults.append(Fault(place, status=429, headers=headers))  # type: ignore[arg-type]
    Hub().read(find(), 0, 10)
    assert len(pauses) == 1
    assert 37 <= pauses[0] <= 38


def test_too_many_requests_for_good(hub: HubServer, commit: str, pauses: list[float]) -> None:
    hub.faults.append(Fault("head", times=99, status=429))
    assert re.search(r"too many requests.*429", refusal())


def test_a_pause_of_hours_is_not_made(hub: HubServer, commit: str, pauses: list[float]) -> None:
    hub.faults.append(Fault("head", status=429, headers={"Retry-After": "7200"}))
    assert "(429)" in refusal()
    assert pauses == []


def test_a_connection_that_breaks_is_tried_again(
    hub: HubServer, commit: str, pauses: list[float]
) -> None:
    hub.faults.append(Fault("storage", times=3, cut_after=5))
    assert Hub().read(find(), 0, 100) == DATA[:100]
    assert len(pauses) == 3


def test_a_server_that_does_not_answer_is_given_up(
    hub: HubServer, commit: str, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = find()
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.faults.append(Fault("storage", times=1, stall_s=1))
    assert Hub().read(remote, 0, 100) == DATA[:100]
    assert len(pauses) == 1


def test_no_hub_there(hub: HubServer, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    point_client_at("http://127.0.0.1:9", monkeypatch.setattr)
    line = refusal()
    assert "cannot be reached" in line
    assert "HF_ENDPOINT" in line
    assert pauses == [1, 2, 4, 8]


def test_something_else_answers(hub: HubServer, commit: str) -> None:
    hub.faults.append(Fault("head", status=204))
    assert re.search(r"not the hub's.*HF_ENDPOINT", refusal())


def test_offline(hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert re.search(r"not here.*HF_HUB_OFFLINE", refusal())
    assert hub.requests == []


def test_an_answer_without_regard_to_the_range(hub: HubServer, commit: str) -> None:
    remote = find()
    hub.faults.append(Fault("storage", times=9, whole=True))
    with pytest.raises(InputError, match=r"owner/scans/.*Range"):
        Hub().demand_ranges(remote)
    with pytest.raises(InputError, match=r"owner/scans/.*Range"):
        Hub().read(remote, 10, 20)
    hub.faults.clear()
    Hub().demand_ranges(remote)
    Hub().demand_ranges(remote._replace(size=1))


def test_goes_through_the_proxy(
    hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    monkeypatch.delenv("NO_PROXY")
    point_client_at("http://hub.test", monkeypatch.setattr)  # a name that only the proxy knows
    assert Hub().read(find(), 3, 7) == DATA[3:7]


def test_neither_token_nor_signed_addresses_are_logged(
    hub: HubServer,
    commit: str,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hub.tokens.add("hf_secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.faults.append(Fault("storage", times=2, status=500))
    hub.faults.append(Fault("head", times=2, status=500))
    with caplog.at_level(logging.INFO):
        Hub().read(find(), 0, 10)
    text = caplog.text + "".join(capfd.readouterr())
    assert "trying again" in text
    assert "Retrying" in text
    assert "hf_secret" not in text
    assert "Signature" not in text


def test_an_answer_that_is_no_json(hub: HubServer, commit: str) -> None:
    hub.faults.append(Fault("info", status=200, times=9))
    assert "not the hub's" in refusal()


def test_a_disabled_repository(hub: HubServer, commit: str) -> None:
    reason = {"X-Error-Message": "Access to this resource is disabled."}
    hub.faults.append(Fault("head", status=403, headers=reason))
    assert "disabled" in refusal()


def test_an_endpoint_that_is_no_address(
    hub: HubServer, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    point_client_at("hub.test", monkeypatch.setattr)
    assert "HF_ENDPOINT" in refusal()
    assert pauses == []


def test_certificates_that_are_not_there(
    hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/none/ca.pem")
    point_client_at(hub.url, monkeypatch.setattr)
    line = refusal()
    assert "SSL_CERT_FILE" in line
    assert "no such file at this revision" not in line
