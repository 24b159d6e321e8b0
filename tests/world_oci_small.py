"""A registry that knows referrers and conditions, in this process and in memory: what Debian's docker-registry lacks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"


class SmallRegistry:
    """`with SmallRegistry() as small:` serves one repository, `org/model`, until the block ends.

    Knobs: `knows_referrers` (the API), `lists` (it keeps what it is told of), `page` (rows of a list at once), `heeds` (conditions on
    puts), `forgetful` (so many manifests are refused
    because a blob is not known yet), `before_put` (called with the tag before a manifest is put). `asked` counts requests by method and kind of address.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.tags: dict[str, str] = {}
        self.knows_referrers = self.lists = self.heeds = True
        self.page = 2
        self.forgetful = 0
        self.before_put = lambda _tag: None
        self.asked: Counter[tuple[str, str]] = Counter()
        self.uploads: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.small = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def place(self) -> str:
        return f"oci://127.0.0.1:{self._server.server_address[1]}/org/model"

    def index(self, tag):
        return json.loads(self.manifests[self.tags[tag]][1])

    def put(self, name, kind, data):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.manifests[digest] = (kind, data)
        if not name.startswith("sha256:"):
            self.tags[name] = digest
        return digest

    def referring(self, subject):
        rows = []
        for digest, (kind, data) in sorted(self.manifests.items()):
            value = json.loads(data)
            if value.get("subject", {}).get("digest") == subject and self.lists:
                row = {"mediaType": kind, "digest": digest, "size": len(data)}
                rows.append({**row, "artifactType": value.get("artifactType", "")})
        return rows

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        pass

    def _say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _any(self):
        small, parts = self.server.small, urlsplit(self.path)
        what, _, which = parts.path.removeprefix("/v2/org/model/").partition("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        small.asked[self.command, what] += 1
        getattr(self, f"_{what}")(
            small, which, {key: one[0] for key, one in parse_qs(parts.query).items()}, body
        )

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _any  # noqa: N815 (the library's names)

    def _blobs(self, small, which, query, body):
        if which.startswith("uploads/"):
            return self._upload(small, which.removeprefix("uploads/"), query, body)
        if which not in small.blobs:
            return self._say(404)
        return self._say(200, small.blobs[which], Docker_Content_Digest=which)

    def _upload(self, small, name, query, body):
        if self.command == "DELETE":
            small.uploads.pop(name, None)
            return self._say(204)
        name = name or str(len(small.uploads) + len(small.blobs))
        held = small.uploads.get(name, b"") + body
        place = f"/v2/org/model/blobs/uploads/{name}"
        if self.command != "PUT":
            small.uploads[name] = held
            return self._say(202, Location=place)
        if f"sha256:{hashlib.sha256(held).hexdigest()}" != query["digest"]:
            return self._say(400)
        small.blobs[query["digest"]] = held
        small.uploads.pop(name, None)
        return self._say(201)

    def _manifests(self, small, which, _query, body):
        if self.command == "PUT":
            if small.forgetful:
                small.forgetful -= 1
                return self._say(400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}')
            if not which.startswith("sha256:"):
                small.before_put(which)
            there = small.tags.get(which)
            wanted, none = self.headers.get("If-Match"), self.headers.get("If-None-Match")
            if small.heeds and ((wanted and wanted != f'"{there}"') or (none and there)):
                return self._say(412)
            return self._say(201, Docker_Content_Digest=small.put(which, self.headers["Content-Type"], body))
        digest = small.tags.get(which, which)
        if digest not in small.manifests:
            return self._say(404)
        kind, data = small.manifests[digest]
        return self._say(200, data, Content_Type=kind, ETag=f'"{digest}"', Docker_Content_Digest=digest)

    def _referrers(self, small, which, query, _body):
        if not small.knows_referrers:
            return self._say(404)
        rows, first = small.referring(which), int(query.get("from", 0))
        listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows[first : first + small.page]}
        headers = {"Content_Type": INDEX}
        if first + small.page < len(rows):
            headers["Link"] = f'</v2/org/model/referrers/{which}?from={first + small.page}>; rel="next"'
        return self._say(200, json.dumps(listed).encode(), **headers)
