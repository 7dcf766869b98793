"""A Hugging Face hub on loopback that speaks the hub's protocol to the real client.

It serves repositories with commits, large files by a redirect to a second server with signed
addresses as the hub's storage does, gated and private repositories, ranges, uploads as commits
(large files by the LFS protocol, the one that needs no second service), and on demand the faults
of real networks. It counts every byte of file content that it sends.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

import huggingface_hub
import pytest
from huggingface_hub import constants

Kind = Literal["dataset", "model"]
Place = Literal["info", "tree", "head", "get", "storage"]
_UPLOAD = re.compile(r"^/api/repos/create$|/preupload/|/commit/|/tag/|\.git/info/lfs/")
_SLICE = 1 << 14
_SIGNATURE = "5ign3d"


class Blob:
    """A file's content; `lfs` files lie in the storage, others in git itself."""

    def __init__(self, data: bytes, lfs: bool) -> None:
        self.data, self.lfs = data, lfs
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.git_oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        self.etag = self.sha256 if lfs else self.git_oid


@dataclass
class Repo:
    """A repository: every commit's files, and what its branches and tags point to."""

    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    readers: set[str] = field(default_factory=set)  # the tokens that may read it

    def commit(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass
class Fault:
    """Something that goes wrong `times` times at `place`."""

    place: Place
    times: int = 1
    status: int | None = None  # answer with it
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None  # bytes of content, then close the connection
    whole: bool = False  # ignore the Range header
    flip: int | None = None  # change the byte at this offset of the file
    stall_s: float = 0.0  # before the answer


class Request(NamedTuple):
    """A request as it arrived."""

    place: Place
    method: str
    path: str
    headers: dict[str, str]


class HubServer:
    """The hub at `url` and its storage, on two ports and thus two origins.

    As an HTTP proxy (HTTP_PROXY set to `url`) it serves http://hub.test and http://storage.test.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[Kind, str], Repo] = {}
        self.tokens: set[str] = set()  # the valid ones
        self.faults: list[Fault] = []
        self.uploads: dict[str, bytes] = {}  # large files that no commit has taken yet
        self.requests: list[Request] = []
        self.sent = 0  # bytes of file content
        self.answering = 0  # requests under way
        self.rate: float | None = None  # bytes of content a second; None: no limit
        self.lock = threading.Lock()
        self._servers = [_Server(self, role) for role in ("hub", "storage")]
        self.url, self.storage_url = (server.url for server in self._servers)

    def __enter__(self) -> "HubServer":
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def put(
        self,
        repo: str,
        filename: str,
        data: bytes,
        lfs: bool = True,
        kind: Kind = "dataset",
        branch: str = "main",
    ) -> str:
        """Commit a file on a branch; returns the commit."""
        entry = self.repos.setdefault((kind, repo), Repo())
        files = dict(entry.commits.get(entry.refs.get(branch, ""), {}))
        files[filename] = Blob(data, lfs)
        text = f"{len(entry.commits)} {filename} {files[filename].sha256}"
        commit = hashlib.sha1(text.encode()).hexdigest()
        entry.commits[commit], entry.refs[branch] = files, commit
        return commit

    def count(self, place: Place) -> int:
        """How many requests came to `place`."""
        return sum(request.place == place for request in self.requests)

    def settle(self) -> None:
        """Return when nothing is being sent, as to a client that was just killed."""
        while self.answering:
            time.sleep(0.001)

    def take_fault(self, place: Place) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.place == place and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def blob(self, sha256: str) -> Blob | None:
        commits = (files for repo in self.repos.values() for files in repo.commits.values())
        return next((b for files in commits for b in files.values() if b.sha256 == sha256), None)


@contextlib.contextmanager
def connected_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that the client of this process is pointed at, without token, proxy and cache."""
    with HubServer() as server:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", os.devnull)
        point_client_at(server.url, monkeypatch.setattr)
        yield server
        huggingface_hub.close_session()


def point_client_at(url: str, assign: Callable[[object, str, object], None] = setattr) -> None:
    """Do what HF_ENDPOINT does when the client is imported."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    assign(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + template)
    assign(constants, "ENDPOINT", url)
    assign(constants, "HF_HUB_OFFLINE", False)
    assign(constants, "HF_HUB_DISABLE_XET", True)  # its storage speaks another protocol
    huggingface_hub.close_session()  # the next one reads the proxy variables again


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: HubServer, role: str) -> None:
        self.hub, self.role = hub, role
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no fault of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: Any) -> None:
        """No lines on stderr."""

    def do_GET(self) -> None:
        hub = self.server.hub
        with hub.lock:
            hub.answering += 1
        try:
            self._serve()
        finally:
            with hub.lock:
                hub.answering -= 1

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urllib.parse.urlsplit(self.path)
        proxied = bool(parts.netloc)
        role = parts.netloc.removesuffix(".test") if proxied else self.server.role
        storage = "http://storage.test" if proxied else self.server.hub.storage_url
        path = urllib.parse.unquote(parts.path)
        place = self._place(role, path)
        hub = self.server.hub
        request = Request(
            place, self.command, path, {k.lower(): v for k, v in self.headers.items()}
        )
        with hub.lock:
            hub.requests.append(request)
        fault = hub.take_fault(place)
        if fault:
            time.sleep(fault.stall_s)
            if fault.status:
                self._answer(fault.status, b"the fault that was asked for", dict(fault.headers))
                return
        if role == "storage" and self.command == "PUT":
            self._keep(path)
        elif role == "storage":
            self._storage(path, parts.query, fault)
        elif self.command == "POST" and _UPLOAD.search(path):
            self._upload(path, storage)
        else:
            self._hub(place, path, storage, fault)

    def _place(self, role: str, path: str) -> Place:
        if role == "storage":
            return "storage"
        if path.startswith("/api/"):
            return "tree" if "/tree/" in path else "info"
        return "head" if self.command == "HEAD" else "get"

    # the hub

    def _hub(self, place: Place, path: str, storage: str, fault: Fault | None) -> None:
        words = path.removeprefix("/api").strip("/").split("/")
        api = path.startswith("/api/")
        kind: Kind = "dataset" if words[0] == "datasets" else "model"
        if words[0] in ("datasets", "models"):
            words = words[1:]
        name, rest = "/".join(words[:2]), words[2:]
        repo = self.server.hub.repos.get((kind, name))
        if not self._admitted(repo, metadata=api):
            return
        assert repo is not None
        action, revision = rest[:2] if rest else ("revision", "main")
        commit = repo.commit(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files, inside = repo.commits[commit], "/".join(rest[2:])
        if action == "resolve":
            self._resolve(commit, files.get(inside), storage, fault)
        elif action == "tree":
            self._json(list(_tree(files, inside)))
        elif action == "paths-info":
            wanted = urllib.parse.parse_qs(self.body.decode())["paths"]
            self._json([_entry(p, files[p]) for p in wanted if p in files])
        else:
            siblings = [{"rfilename": p} for p in sorted(files)]
            about = {"id": name, "sha": commit, "private": repo.private, "gated": repo.gated}
            self._json({**about, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    # uploads

    def _upload(self, path: str, storage: str) -> None:
        """Make a repository, say how files come, take them as a commit, name a commit."""
        hub, header = self.server.hub, self.headers.get("Authorization")
        if header is None or header.removeprefix("Bearer ") not in hub.tokens:
            self._refuse(401, None, "Invalid username or password.")
            return
        if path == "/api/repos/create":
            asked = json.loads(self.body)
            name = f"{asked['organization']}/{asked['name']}"
            known = ("model", name) in hub.repos
            repo = hub.repos.setdefault(("model", name), Repo(private=bool(asked.get("private"))))
            repo.readers.add(header.removeprefix("Bearer "))
            answer = {"url": f"{hub.url}/{name}", "name": name, "id": name}
            self._answer(409 if known else 200, json.dumps(answer).encode(), {})
            return
        words = path.removeprefix("/api/models").strip("/").split("/")
        name = "/".join(words[:2]).removesuffix(".git")
        repo = hub.repos[("model", name)]
        if "preupload" in words:
            files = [
                {"path": file["path"], "uploadMode": _mode(file), "shouldIgnore": False}
                for file in json.loads(self.body)["files"]
            ]
            self._json({"files": files})
        elif "lfs" in words:
            objects = [
                {**o, "actions": {"upload": {"href": f"{storage}/uploads/{o['oid']}"}}}
                for o in json.loads(self.body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif "tag" in words:
            repo.refs[json.loads(self.body)["tag"]] = words[-1]
            self._json({})
        else:
            commit = ""
            for line in self.body.decode().splitlines():
                part = json.loads(line)
                if part["key"] == "file":
                    data = base64.b64decode(part["value"]["content"])
                    commit = hub.put(name, part["value"]["path"], data, lfs=False, kind="model")
                elif part["key"] == "lfsFile":
                    data = hub.uploads.pop(part["value"]["oid"])
                    commit = hub.put(name, part["value"]["path"], data, kind="model")
            url = f"{hub.url}/{name}/commit/{commit}"
            self._json({"commitUrl": url, "commitOid": commit, "pullRequestUrl": None})

    def _keep(self, path: str) -> None:
        oid = path.rsplit("/", 1)[-1]
        good = hashlib.sha256(self.body).hexdigest() == oid
        if good:
            self.server.hub.uploads[oid] = self.body
        self._answer(200 if good else 400, b"", {})

    def _admitted(self, repo: Repo | None, metadata: bool) -> bool:
        """Whether the request may see the repository; answers it if not."""
        hub, header = self.server.hub, self.headers.get("Authorization")
        token = header.removeprefix("Bearer ") if header else None
        if token is not None and token not in hub.tokens:
            self._refuse(401, None, "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and token not in repo.readers):
            code = "RepoNotFound" if token else None
            text = "Repository not found" if token else "Invalid username or password."
            self._refuse(404 if token else 401, code, text)
        elif repo.gated and not metadata and token not in repo.readers:
            text = "Access to this dataset is restricted. You must be authenticated to access it."
            self._refuse(403 if token else 401, "GatedRepo", text)
        else:
            return True
        return False

    def _resolve(self, commit: str, blob: Blob | None, storage: str, fault: Fault | None) -> None:
        head = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if blob is None:
            self._refuse(404, "EntryNotFound", "Entry not found", head)
        elif blob.lfs:
            head |= {"X-Linked-Size": str(len(blob.data)), "X-Linked-Etag": f'"{blob.etag}"'}
            query = urllib.parse.urlencode({"Expires": "1", "Signature": _SIGNATURE})
            head["Location"] = f"{storage}/repos/{blob.sha256}?{query}"
            self._answer(302, b"", head)
        else:
            self._content(blob, head | {"ETag": f'"{blob.etag}"'}, fault)

    def _refuse(
        self, status: int, code: str | None, text: str, head: Mapping[str, str] | None = None
    ) -> None:
        headers = {**(head or {}), "X-Error-Message": text, "Content-Type": "application/json"}
        if code:
            headers["X-Error-Code"] = code
        self._answer(status, json.dumps({"error": text}).encode(), headers)

    # the storage

    def _storage(self, path: str, query: str, fault: Fault | None) -> None:
        blob = self.server.hub.blob(path.rsplit("/", 1)[-1])
        if blob is None or urllib.parse.parse_qs(query).get("Signature") != [_SIGNATURE]:
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>", {})
        else:
            self._content(blob, {"ETag": '"storage"', "Accept-Ranges": "bytes"}, fault)

    def _content(self, blob: Blob, head: dict[str, str], fault: Fault | None) -> None:
        data, size = memoryview(blob.data), len(blob.data)
        if fault and fault.flip is not None:
            spoilt = bytearray(data)
            spoilt[fault.flip] ^= 1
            data = memoryview(spoilt)
        status, start, end = 200, 0, size
        asked = self.headers.get("Range")
        if asked and not (fault and fault.whole):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1, size) if last else size
            if start >= size:
                self._answer(416, b"", head | {"Content-Range": f"bytes */{size}"})
                return
            status = 206
            head = head | {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        self._answer(status, data[start:end], head, fault.cut_after if fault else None)

    # both

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(
        self,
        status: int,
        body: bytes | memoryview,
        headers: Mapping[str, str],
        cut_after: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = memoryview(body)[:cut_after]
        hub = self.server.hub
        for start in range(0, len(body), _SLICE):
            piece = body[start : start + _SLICE]
            with hub.lock:  # counted first: what a client has got is never missing
                if status in (200, 206) and "Accept-Ranges" in headers:
                    hub.sent += len(piece)
                if hub.rate:  # inside the lock: all connections share the rate
                    time.sleep(len(piece) / hub.rate)
            self.wfile.write(piece)
        if cut_after is not None:
            self.close_connection = True


def _mode(file: Mapping[str, Any]) -> str:
    """Where the hub wants a file: what its .gitattributes say, here by the suffix."""
    return "regular" if file["path"].endswith((".json", ".md")) else "lfs"


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.git_oid}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 134}
    return entry


def _tree(files: Mapping[str, Blob], folder: str) -> Iterator[dict[str, Any]]:
    """The folder's direct children."""
    prefix = f"{folder}/" if folder else ""
    folders: set[str] = set()
    for path, blob in sorted(files.items()):
        if path.startswith(prefix):
            head, _, deeper = path[len(prefix) :].partition("/")
            if not deeper:
                yield _entry(path, blob)
            elif head not in folders:
                folders.add(head)
                oid = hashlib.sha1(head.encode()).hexdigest()
                yield {"type": "directory", "path": prefix + head, "size": 0, "oid": oid}
