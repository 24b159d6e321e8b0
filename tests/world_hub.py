"""A hub that speaks the Hugging Face protocol on 127.0.0.1, for the unmodified client, and lies when asked to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Commit:
    """The files of one commit, as announced (`sha256`, `oid`, `size`) and as served (`data`)."""

    files: dict[str, bytes]
    lfs: set[str]
    announced: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Repo:
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    gated: str = ""


class Hub:
    """`with Hub() as hub:` serves until the block ends; `hub.endpoint` is its address.

    Knobs, each keyed by (repository, path): `served` bytes sent instead of the announced ones, `cut` length
    after which the connection is closed, `gone` announced but answered with 404, `headers` sent on resolve
    in place of the right ones. `only_in_tree` are paths that the tree lists and the info does not. `before`
    are callbacks run with the request line before each answer: to move a branch between two calls.
    `raw` maps a request path to (status, headers, body), answered before anything else is looked at.
    `whole` are files of which no parts are given. `sent` counts the bytes of all bodies.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.served: dict[tuple[str, str], bytes] = {}
        self.cut: dict[tuple[str, str], int] = {}
        self.gone: set[tuple[str, str]] = set()
        self.whole: set[tuple[str, str]] = set()
        self.sent = 0
        self.only_in_tree: set[tuple[str, str]] = set()
        self.headers: dict[tuple[str, str], dict[str, str]] = {}
        self.raw: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.before: list[Callable[[str, str], None]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.hub = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_repo(
        self,
        repo: str,
        files: Mapping[str, bytes],
        *,
        lfs: Iterable[str] = (),
        branch: str = "main",
        tags: Iterable[str] = (),
    ) -> str:
        """Add a commit with exactly these files, let `branch` point to it, return its id."""
        commit = Commit(dict(files), set(lfs))
        for path, data in commit.files.items():
            sha256 = hashlib.sha256(data).hexdigest()
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
            is_lfs = path in commit.lfs
            commit.announced[path] = {
                "oid": git_blob(pointer if is_lfs else data),
                "size": len(data),
                "lfs": {"oid": sha256, "size": len(data), "pointerSize": len(pointer)} if is_lfs else None,
            }
        state = self.repos.setdefault(repo, Repo())
        state.tags = list(tags) or state.tags
        named = json.dumps(
            [repo, len(state.commits), sorted((p, a["oid"]) for p, a in commit.announced.items())]
        )
        name = hashlib.sha1(named.encode()).hexdigest()
        state.commits[name] = commit
        state.refs[branch] = name
        return name

    def flip(self, repo: str, path: str, at: int = 0) -> None:
        """Serve the file with one bit changed and its size kept."""
        data = bytearray(self._newest(repo).files[path])
        data[at] ^= 1
        self.served[repo, path] = bytes(data)

    def announce(self, repo: str, path: str, **facts: Any) -> None:
        """Announce other facts for a file in the newest commit: `oid`, `size`, `lfs`."""
        self._newest(repo).announced.setdefault(path, {"oid": "0" * 40, "size": 0, "lfs": None}).update(facts)

    def _newest(self, repo: str) -> Commit:
        return list(self.repos[repo].commits.values())[-1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        for callback in hub.before:
            callback(self.command, path)
        if path in hub.raw:
            self._send(*hub.raw[path])
        elif path.startswith("/api/models/"):
            self._api(hub, path.removeprefix("/api/models/"))
        else:
            self._resolve(hub, path.removeprefix("/"))

    def _find(self, hub: Hub, name: str, revision: str) -> tuple[Repo, str, Commit] | None:
        repo = hub.repos.get(name)
        if repo is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif repo.gated:
            self._refuse(403, "GatedRepo", repo.gated)
        elif (commit := repo.refs.get(revision, revision)) not in repo.commits:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repo, commit, repo.commits[commit]
        return None

    def _api(self, hub: Hub, rest: str) -> None:
        kind, name, revision = "info", rest, "main"
        for word in ("/revision/", "/tree/"):
            if word in rest:
                name, _, revision = rest.partition(word)
                kind = "tree" if word == "/tree/" else "info"
        found = self._find(hub, name, revision.rstrip("/"))
        if found is None:
            return
        repo, commit, state = found
        if kind == "tree":
            rows: Any = [{"type": "file", "path": p, **_without_none(a)} for p, a in state.announced.items()]
        else:
            rows = {
                "id": name,
                "modelId": name,
                "sha": commit,
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": repo.tags,
                "siblings": [
                    _sibling(p, a) for p, a in state.announced.items() if (name, p) not in hub.only_in_tree
                ],
            }
        self._send(200, {"Content-Type": "application/json"}, json.dumps(rows).encode())

    def _resolve(self, hub: Hub, rest: str) -> None:
        name, word, tail = rest.partition("/resolve/")
        revision, _, path = tail.partition("/")
        found = self._find(hub, name, revision) if word else self._refuse(404, "RepoNotFound", "no such page")
        if found is None:
            return
        _, commit, state = found
        key = (name, path)
        if path not in state.announced or key in hub.gone:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        facts = state.announced[path]
        data = hub.served.get(key, state.files.get(path, b""))
        etag = facts["lfs"]["oid"] if facts["lfs"] else facts["oid"]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if facts["lfs"]:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(facts["lfs"]["size"])}
        parts = key not in hub.whole
        self._body(data, headers, hub.headers.get(key, {}), cut=hub.cut.get(key), parts=parts)

    def _body(
        self, data: bytes, headers: dict[str, str], lies: dict[str, str], *, cut: int | None, parts: bool
    ) -> None:
        status, start, end = 200, 0, len(data)
        asked = self.headers.get("Range", "") if parts else ""
        if asked.startswith("bytes="):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last) + 1 if last else len(data), len(data)), 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        headers |= lies
        self._send(status, headers, data[start:end], cut=None if cut is None else max(cut - start, 0))

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, {"X-Error-Code": code, "X-Error-Message": message}, b"")

    def _send(self, status: int, headers: dict[str, str], body: bytes, *, cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.server.hub.sent += len(body)  # type: ignore[attr-defined]
                self.wfile.write(body if cut is None else body[:cut])
            except (BrokenPipeError, ConnectionResetError):
                cut = 0  # the client had seen enough
        if cut is not None:
            self.close_connection = True


def _without_none(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value is not None}


def _sibling(path: str, facts: dict[str, Any]) -> dict[str, Any]:
    row = {"rfilename": path, "size": facts["size"], "blobId": facts["oid"]}
    if facts["lfs"]:
        lfs = facts["lfs"]
        row["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
    return row
