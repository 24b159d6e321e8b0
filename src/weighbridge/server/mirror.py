"""The hub's addresses over the trusted tier, for huggingface_hub, transformers and whatever else reads `HF_ENDPOINT`.

| address | answer |
|---|---|
| `/api/models/{id}`, `…/revision/{revision}` | what the repository holds |
| `…/tree/{revision}[/{folder}]` | files and folders, `recursive`, a page at a time |
| `…/paths-info/{revision}` (POST) | some of them |
| `/{id}/resolve/{revision}/{path}` | the file, whole or a part |
| `/api/jobs/{id}` | how far an intake is that a miss began |

Before each answer the gate's word is asked for (`shelf`). No answer leads anywhere else: there are no redirects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import NotFound, UsageError, VerificationFailed, WeighbridgeError
from weighbridge.core.manifest import FileEntry
from weighbridge.server.answers import answer
from weighbridge.server.bodies import File, FileAnswer
from weighbridge.server.desk import Asked, Desk, Handler
from weighbridge.server.leaves import Leaves
from weighbridge.server.refusals import refused
from weighbridge.server.shelf import Offer, Shelf

PAGE = 1000
MAX_PATHS = 1000
POINTER = 134
"""Bytes of the pointer that the hub keeps of a large file; clients want a number."""


@dataclass(frozen=True, slots=True)
class Handing:
    """What hands out: where models are found, and where bytes are verified."""

    shelf: Shelf
    leaves: Leaves
    url: str
    """The address that clients use, for the addresses of next pages."""

    async def refuse(self, error: WeighbridgeError) -> Response:
        """Return the answer for an error, and have somebody told where bytes or records are not what they should be."""
        if isinstance(error, VerificationFailed):
            await run_in_threadpool(self.shelf.alarm, error)
        return refused(error)


def routes(desk: Desk, handing: Handing) -> list[Route]:
    """Return the routes; those of files come last, because anything may be a repository's name."""
    made: list[Route] = [
        Route("/api/jobs/{job}", desk.endpoint(_asking(handing, job), limit=0), methods=["GET"])
    ]
    for place in ("{org}/{name}", "{name}"):
        for path, handler in (
            (f"/api/models/{place}/revision/{{revision}}", info),
            (f"/api/models/{place}/tree/{{revision}}/{{folder:path}}", tree),
            (f"/api/models/{place}/tree/{{revision}}", tree),
            (f"/api/models/{place}", info),
            (f"/{place}/resolve/{{revision}}/{{path:path}}", resolve),
        ):
            made.append(Route(path, desk.endpoint(_asking(handing, handler), limit=0), methods=["GET"]))
        post = desk.endpoint(_asking(handing, paths_info), limit=256 * 1024)
        made.append(Route(f"/api/models/{place}/paths-info/{{revision}}", post, methods=["POST"]))
    return made


def _asking(handing: Handing, act: Callable[[Handing, Asked], Response]) -> Handler:
    """Return the handler that first asks who it is, and answers errors as clients of the hub read them."""

    def handler(asked: Asked) -> Response:
        try:
            handing.shelf.admit_reader(asked.authorization)
            return act(handing, asked)
        except VerificationFailed as error:
            handing.shelf.alarm(error)
            return refused(error)
        except WeighbridgeError as error:
            return refused(error)

    return handler


def job(handing: Handing, asked: Asked) -> Response:
    """Tell how far a job is."""
    return answer(handing.shelf.job(asked.place["job"]).to_json())


def info(handing: Handing, asked: Asked) -> Response:
    """Tell what a revision of a repository holds."""
    offer = _offer(handing, asked)
    siblings: list[JSON] = [
        {"rfilename": entry.path, **_facts(entry)} for entry in offer.model.manifest.files
    ]
    return answer(
        {
            "_id": offer.model.digest.hex[:24],
            "id": offer.repository,
            "modelId": offer.repository,
            "sha": offer.commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [f"weighbridge:{offer.model.digest}"],
            "downloads": 0,
            "likes": 0,
            "createdAt": offer.model.created_at,
            "lastModified": offer.model.created_at,
            "usedStorage": offer.model.manifest.size,
            "siblings": siblings,
        }
    )


def tree(handing: Handing, asked: Asked) -> Response:
    """List files and folders below a folder, sorted; a page at a time."""
    offer = _offer(handing, asked)
    folder = asked.place.get("folder", "").strip("/")
    recursive = asked.query.get("recursive", "").lower() in ("true", "1")
    rows = _listing(offer.model.manifest.files, folder, recursive=recursive)
    if folder and not rows:
        raise _no_file(offer, folder)
    start, limit = _number(asked.query, "cursor", 0), _number(asked.query, "limit", PAGE)
    page = rows[start : start + max(1, min(limit, PAGE))]
    headers = {}
    if start + len(page) < len(rows):
        query = {**asked.query, "cursor": str(start + len(page))}
        below = f"/{quote(folder)}" if folder else ""
        place = f"/api/models/{quote(offer.repository)}/tree/{quote(asked.place['revision'], safe='')}{below}"
        headers["Link"] = f'<{handing.url}{place}?{urlencode(query)}>; rel="next"'
    return answer(page, headers=headers)


def paths_info(handing: Handing, asked: Asked) -> Response:
    """Tell about some files and folders; what is not there is left out."""
    offer = _offer(handing, asked)
    files = offer.model.manifest.files
    found: list[JSON] = []
    for path in _paths(asked):
        entry = offer.model.manifest.entry(path)
        if entry is not None:
            found.append(_file(entry))
        elif any(one.path.startswith(f"{path}/") for one in files):
            found.append(_folder(path))
    return answer(found)


def resolve(handing: Handing, asked: Asked) -> Response:
    """Hand out a file."""
    offer = _offer(handing, asked)
    entry = offer.model.manifest.entry(asked.place["path"])
    if entry is None:
        raise _no_file(offer, asked.place["path"])
    headers = {
        "X-Repo-Commit": offer.commit,
        "X-Linked-Etag": f'"{entry.sha256.hex}"',
        "X-Linked-Size": str(entry.size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(entry.path.rpartition('/')[2], safe='')}",
    }
    return FileAnswer(File(entry.sha256, entry.size, headers), handing.leaves, handing.refuse)


def _offer(handing: Handing, asked: Asked) -> Offer:
    place = asked.place
    repository = f"{place['org']}/{place['name']}" if "org" in place else place["name"]
    return handing.shelf.offer(repository, place.get("revision", "main"))


def _no_file(offer: Offer, path: str) -> NotFound:
    return NotFound(
        f"{offer.repository} at {offer.commit[:12]} has no {path[:200]!r}",
        remedy="list what it has: its tree, or `weighbridge decisions` for what was admitted",
        check="mirror.file",
    )


def _listing(files: Sequence[FileEntry], folder: str, *, recursive: bool) -> list[JSON]:
    below = f"{folder}/" if folder else ""
    found: list[JSON] = []
    seen: set[str] = set()
    for entry in files:
        if not entry.path.startswith(below):
            continue
        parts = entry.path[len(below) :].split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            inner = below + "/".join(parts[:depth])
            if inner not in seen:
                seen.add(inner)
                found.append(_folder(inner))
        if recursive or len(parts) == 1:
            found.append(_file(entry))
    return found


def _facts(entry: FileEntry) -> dict[str, JSON]:
    hexed = entry.sha256.hex
    lfs: dict[str, JSON] = {"sha256": hexed, "oid": hexed, "size": entry.size, "pointerSize": POINTER}
    return {"size": entry.size, "blobId": hexed[:40], "lfs": lfs}


def _file(entry: FileEntry) -> JSON:
    facts = _facts(entry)
    return {
        "type": "file",
        "path": entry.path,
        "oid": facts["blobId"],
        "size": entry.size,
        "lfs": facts["lfs"],
    }


def _folder(path: str) -> JSON:
    return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}


def _paths(asked: Asked) -> list[str]:
    """Return the paths that a form or a JSON body names."""
    try:
        if asked.media_type == "application/json":
            value: Any = json.loads(asked.body)
            paths = value["paths"]
        else:
            paths = parse_qs(asked.body.decode(), max_num_fields=MAX_PATHS + 8).get("paths", [])
        paths = [paths] if isinstance(paths, str) else paths
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise TypeError("paths is not a list of texts")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            "the list of paths cannot be read", cause=str(error), check="mirror.request"
        ) from error
    if len(paths) > MAX_PATHS:
        raise UsageError(f"more than {MAX_PATHS} paths at once", check="mirror.request")
    return paths


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
