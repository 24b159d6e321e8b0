"""A registered model of MLflow: an alias is resolved to a version, and the version's artifacts are fetched through the server.

Spoken is MLflow's REST interface (2.0), not its library. A server announces sizes and no digests, and whoever can write to
its artifact store can exchange a version's bytes: what is pinned is the version's number, and other bytes under it later
are told as drift. Artifacts in a bucket are read from the bucket; those on the server's own disk only through its proxy.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from weighbridge.core.errors import BadSetting, Unreachable, Unreadable
from weighbridge.core.manifest import check_path
from weighbridge.core.reference import Reference, parse_reference
from weighbridge.net import Door
from weighbridge.source.fetched import (
    ANY_SIZE,
    FetchedTree,
    check_number,
    contradiction,
    document,
    fetching,
    parsed,
    remote_file,
)
from weighbridge.source.objects import open_objects
from weighbridge.source.opening import Asking
from weighbridge.source.tree import TreeFile

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
MAX_DEPTH = 32
MAX_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version, with what the registry says of it."""

    name: str
    version: str
    aliases: tuple[str, ...]
    stage: str
    owner: str

    @property
    def reference(self) -> str:
        """How it is typed."""
        return f"models:/{self.name}/{self.version}"


def open_mlflow(reference: Reference, asking: Asking) -> FetchedTree:
    """Resolve a version and list its artifacts; nothing is fetched yet."""
    server = Server(asking)
    version = reference.revision
    if version.startswith("@"):
        row = server.ask("registered-models/alias", name=reference.target, alias=version[1:]).get(
            "model_version"
        )
        version = _text(row, "version")
    row = server.ask("model-versions/get", name=reference.target, version=version).get("model_version")
    if (_text(row, "name"), _text(row, "version")) != (reference.target, version):
        raise contradiction(
            server.host, f"asked for version {version} of {reference.target!r}, it told of another"
        )
    place = _text(
        server.ask("model-versions/get-download-uri", name=reference.target, version=version), "artifact_uri"
    )
    origin = {
        "scheme": "models",
        "location": reference.location,
        "requested": reference.revision,
        "version": version,
        "endpoint": server.shown,
    }
    if urlsplit(place).scheme in ("s3", "gs"):
        there = open_objects(parse_reference(place), asking)
        told = {**there.origin, **origin, "artifacts": place}
        return FetchedTree(reference.target, there.files(), told, settle=there.settle, close=there.close)
    files = list(server.files(place))

    def settle() -> None:
        if [(file.path, file.size) for file in server.files(place)] != [
            (file.path, file.size) for file in files
        ]:
            raise Unreadable(
                f"{reference} changed while it was read",
                cause="its artifacts are not those that were listed",
                remedy="run the command again, and find out who writes to the artifacts of a registered version",
                check="source.changed",
            )

    return FetchedTree(reference.target, files, origin, settle=settle)


def registered(asking: Asking) -> list[Version]:
    """Return every registered version, with stage and aliases; raises as `open_mlflow`."""
    server = Server(asking)
    aliases: dict[tuple[str, str], list[str]] = {}
    owners: dict[str, str] = {}
    for model in server.pages("registered-models/search", "registered_models"):
        name = _text(model, "name")
        owners[name] = next(
            (_said(tag, "value") for tag in model.get("tags") or () if _said(tag, "key") == "owner"), ""
        )
        for alias in model.get("aliases") or ():
            aliases.setdefault((name, str(alias.get("version"))), []).append(_text(alias, "alias"))
    found = []
    for row in server.pages("model-versions/search", "model_versions"):
        key = (_text(row, "name"), _text(row, "version"))
        stage, owner = _said(row, "current_stage"), _said(row, "user_id") or owners.get(key[0], "")
        told = tuple(sorted(aliases.get(key, ())))
        found.append(Version(*key, told, "" if stage == "None" else stage, owner))
    return found


class Server:
    """MLflow's server, at the address in the settings."""

    def __init__(self, asking: Asking) -> None:
        parts = urlsplit(asking.mlflow_uri)
        if parts.scheme not in ("http", "https"):
            raise BadSetting(
                "it is not known where MLflow is",
                cause="models:/ references are asked of a tracking server, and no address of one is set",
                remedy="set MLFLOW_TRACKING_URI (or mlflow_uri) to its address, https://host",
            )
        self._base = asking.mlflow_uri.rstrip("/")
        self._headers = _login(asking.environ)
        settings: dict[str, Any] = {
            "offline": asking.offline, "what": "MLflow", "setting": "MLFLOW_TRACKING_URI", "tags": False,
            "has_token": bool(self._headers),
        }  # fmt: skip
        self._door = Door(self._base, **settings)
        self._files = Door(self._base, most=ANY_SIZE, **settings)
        self.host = self._door.host
        self.shown = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")

    def ask(self, path: str, **query: str) -> Any:
        """Ask a question of the registry."""
        what = f"{query.get('name', 'registry')!r}" + "".join(
            f" {key} {query[key]}" for key in ("version", "alias") if key in query
        )
        return self._get(f"{API}/{path}", query, f"registered model {what}")

    def pages(self, path: str, key: str) -> Iterator[Any]:
        """Ask for all of a list, page by page."""
        token = ""
        for _ in range(MAX_PAGES):
            answer = self.ask(path, max_results="200", **({"page_token": token} if token else {}))
            yield from answer.get(key) or ()
            token = _said(answer, "next_page_token")
            if not token:
                return
        raise contradiction(self.host, "a list without end")

    def files(self, place: str) -> Iterator[TreeFile]:
        """List the artifacts at an address that the server's proxy serves, folder by folder."""
        parts = urlsplit(place)
        if parts.scheme != "mlflow-artifacts":
            raise Unreachable(
                f"{self.host} keeps the artifacts where only itself can read them",
                cause=f"they are at {parts.scheme or 'a path'}: of its own",
                remedy="start it with --serve-artifacts and an artifact root of mlflow-artifacts:/, or give the files as a folder",
                check="source.unreachable",
            )
        root = parts.path.strip("/")
        folders, count = [""], 0
        while folders:
            folder = folders.pop()
            if folder.count("/") > MAX_DEPTH:
                raise contradiction(self.host, "folders without end")
            rows = self._get(PROXY, {"path": "/".join(filter(None, (root, folder)))}, "artifacts").get(
                "files"
            )
            for row in rows or ():
                path = self._path(root, folder, _text(row, "path"))
                count += 1
                check_number(count, place)
                if row.get("is_dir"):
                    folders.append(path)
                elif file := self._file(root, path, row.get("file_size")):
                    yield file

    def _file(self, root: str, path: str, size: Any) -> TreeFile | None:
        told = int(size) if isinstance(size, str) and size.isdecimal() else 0 if size is None else size
        if type(told) is not int or told < 0:
            raise contradiction(self.host, f"{path!r} has the size {str(size)[:40]!r}")
        url = f"{self._base}{PROXY}/{quote(f'{root}/{path}')}"
        return remote_file(path, told, fetching(self._files, url, told, self._headers, pinned=False))

    def _path(self, root: str, folder: str, told: str) -> str:
        """Return a listed path as it is below `root`: servers tell it from there, or by its last part alone."""
        name = told.rpartition("/")[2]
        path = f"{folder}/{name}" if folder else name
        check_path(path)
        if told not in (name, path, f"{root}/{path}"):
            raise contradiction(self.host, f"asked for {folder or 'the root'!r}, it listed {told!r}")
        return path

    def _get(self, path: str, query: Mapping[str, str], what: str) -> Any:
        url = f"{self._base}{path}?{urlencode(query)}"
        return parsed(document(self._door, url, self._headers, what=what), self.host)


def _login(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what MLflow's own client would show: MLFLOW_TRACKING_USERNAME and _PASSWORD, else MLFLOW_TRACKING_TOKEN."""
    user, password = environ.get("MLFLOW_TRACKING_USERNAME"), environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    token = environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _text(row: Any, key: str) -> str:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value:
        raise contradiction("MLflow", f"an answer without {key!r}")
    return value


def _said(row: Any, key: str) -> str:
    value = row.get(key) if isinstance(row, dict) else None
    return value if isinstance(value, str) else ""
