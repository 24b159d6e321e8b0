"""References: what a person typed for a model, parsed; never an identity.

| typed | scheme | revision |
|---|---|---|
| `hf://org/name@rev`, `hf:org/name`, a pasted hub URL | hf | commit, branch or tag |
| `oci://host/repository:tag`, `oci://host/repository@sha256:…` | oci | tag or digest of the manifest |
| `s3://bucket/prefix`, `gs://…`, `az://…`, with `?versionId=…` or `#sha256=…` | s3, gs, az | version of the one object, or digest of it or of its list |
| `https://host/path#sha256=…` | https | digest of the file, or of the list that it is |
| `models:/name/3`, `models:/name@alias` | models | version, or `@alias` |
| `./dir`, `/abs/file` , `file:///…` | path | |
| `wb1:<hex>` (at least 12 digits) | digest | |
| `name` | name | |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from weighbridge.core.errors import BadReference

_HUB_URL = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<rest>.+)")
_REPO = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,95})(?:/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,95}))?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_DIGEST = re.compile(r"wb1:[0-9a-f]{12,64}")
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:]{2,45}\])(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
# The distribution specification's names, section "Pulling manifests".
_OCI = re.compile(
    rf"oci://(?P<name>{_HOST}/{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_BUCKET = re.compile(
    r"(?P<scheme>s3|gs|az)://(?P<target>[A-Za-z0-9][A-Za-z0-9._-]{1,221}(?:/[^?#@\x00-\x20\x7f]*)?)"
    r"(?:\?versionId=(?P<version>[A-Za-z0-9._:-]{1,200})|#(?P<digest>sha256=[0-9a-f]{64}))?"
)
_WEB = re.compile(r"(?P<url>https?://[^#\x00-\x20\x7f]+)#(?P<digest>sha256=[0-9a-f]{64})")
_PASSWORD = re.compile(r"//[^/]*@")
_MODELS = re.compile(
    r"models:/(?P<name>[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,254}[A-Za-z0-9._-])?)(?:/(?P<version>[0-9]{1,9})|(?P<alias>@[A-Za-z0-9_-]{1,255}))"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference: scheme, target (repository, path, digest prefix or name), revision or empty."""

    scheme: str
    target: str
    revision: str = ""

    def __str__(self) -> str:
        return (
            f"{self.location}{_JOINTS.get(self.scheme, _plain)(self.revision)}"
            if self.revision
            else self.location
        )

    @property
    def location(self) -> str:
        """What was typed without the revision: where to look, whatever is there."""
        return f"{_PREFIX.get(self.scheme, '')}{self.target}"


_PREFIX = {"hf": "hf://", "oci": "oci://", "s3": "s3://", "gs": "gs://", "az": "az://", "models": "models:/"}


def _plain(revision: str) -> str:
    return f"@{revision}"


def _oci_joint(revision: str) -> str:
    return f"@{revision}" if revision.startswith("sha256:") else f":{revision}"


def _bucket_joint(revision: str) -> str:
    return f"#{revision}" if revision.startswith("sha256=") else f"?versionId={revision}"


def _models_joint(revision: str) -> str:
    return revision if revision.startswith("@") else f"/{revision}"


_JOINTS = {
    "oci": _oci_joint,
    "s3": _bucket_joint,
    "gs": _bucket_joint,
    "az": _bucket_joint,
    "https": lambda revision: f"#{revision}",
    "models": _models_joint,
}


def parse_reference(text: str) -> Reference:
    """Parse what was typed; raises BadReference with a suggestion."""
    if match := _HUB_URL.fullmatch(text):
        return _hub_url(match["rest"], text)
    if text.startswith("hf:"):
        return _hub(text.removeprefix("hf:").removeprefix("//"), text)
    if text.startswith("file://"):
        return Reference("path", text.removeprefix("file://"))
    for start, read in _READERS.items():
        if text.startswith(start):
            return read(text)
    if text.startswith("wb1:"):
        if not _DIGEST.fullmatch(text):
            raise BadReference(
                f"{text!r} is not a model digest",
                cause="wb1: takes 12 to 64 lower-case hexadecimal digits",
                remedy="copy it from `weighbridge lineage` or from the line that pull printed",
            )
        return Reference("digest", text)
    if text.startswith((".", "/", "~")) or (text.endswith("/") and "://" not in text):
        return Reference("path", text)
    if _NAME.fullmatch(text):
        return Reference("name", text)
    suggestion = f"hf://{text}" if _REPO.fullmatch(text) and "/" in text else ""
    raise BadReference(
        f"{text!r} is not a model reference",
        cause="it is no path (./…), hub reference (hf://org/name), digest (wb1:…) or registry name",
        remedy=f"for the hub's repository type {suggestion}, for a folder ./{text}"
        if suggestion
        else f"for a folder type ./{text}",
    )


def is_name(text: str) -> bool:
    """Tell whether `text` may be a registry name: lower-case letters, digits, '.', '_' and '-', at most 64."""
    return _NAME.fullmatch(text) is not None


def _hub(rest: str, text: str) -> Reference:
    repo, at, revision = rest.partition("@")
    if (
        not _REPO.fullmatch(repo)
        or ".." in repo
        or (at and not _REVISION.fullmatch(revision))
        or ".." in revision
    ):
        raise BadReference(
            f"{text!r} is not a hub reference",
            cause="a repository is org/name, a revision a commit, branch or tag",
            remedy="type it as hf://org/name@revision",
        )
    return Reference("hf", repo, revision)


def _hub_url(rest: str, text: str) -> Reference:
    parts = rest.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0].strip("/").split("/")
    if len(parts) >= 4 and parts[2] in ("tree", "blob", "resolve", "commit"):
        return _hub(f"{parts[0]}/{parts[1]}@{parts[3]}", text)
    return _hub("/".join(parts[:2]), text)


def _oci(text: str) -> Reference:
    match = _OCI.fullmatch(text)
    if match is None:
        raise BadReference(
            f"{text!r} is not a reference into an OCI registry",
            cause="it is a host, a repository in small letters, and a tag or the SHA-256 of a manifest",
            remedy="type it as oci://host/repository:tag or oci://host/repository@sha256:…",
        )
    return Reference("oci", match["name"], match["tag"] or match["digest"] or "")


def _bucket(text: str) -> Reference:
    match = _BUCKET.fullmatch(text)
    parts = match["target"].split("/") if match else [".."]
    if match is None or {".", ".."} & set(parts) or "" in parts[:-1]:
        raise BadReference(
            f"{text!r} is not a reference into a bucket",
            cause="it is a bucket and what the names in it begin with; a version or a digest may follow",
            remedy="type it as s3://bucket/prefix, s3://bucket/file?versionId=… or s3://bucket/prefix#sha256=…",
        )
    target = match["target"].rstrip("/")
    return Reference(match["scheme"], target, match["version"] or match["digest"] or "")


def _web(text: str) -> Reference:
    match = _WEB.fullmatch(text)
    if match is None:
        # What follows a `?`, and a password before the host, may be secrets: they are not repeated.
        shown = _PASSWORD.sub("//…@", text.partition("#")[0].partition("?")[0])
        raise BadReference(
            f"{shown!r} says no digest",
            cause="whoever serves an address may serve something else tomorrow; only a digest pins it",
            remedy=f"end it with the file's SHA-256: {shown}#sha256=…",
        )
    try:
        parts = urlsplit(match["url"])
        bad = (
            parts.username is not None or parts.password is not None or not parts.hostname or parts.port == 0
        )
    except ValueError:
        bad = True
    if bad or not parts.path.strip("/"):
        raise BadReference(
            "this address cannot be used",
            cause="it needs a host and a file, and no user name or password in it",
            remedy="type it as https://host/file#sha256=…; put a password into a file that the client reads",
        )
    return Reference("https", match["url"], match["digest"])


def _models(text: str) -> Reference:
    match = _MODELS.fullmatch(text)
    if match is None:
        raise BadReference(
            f"{text!r} is not a model of MLflow that can be pinned",
            cause="it is a registered name with a version, or with an alias that leads to one",
            remedy="type it as models:/name/3 or models:/name@alias",
        )
    return Reference("models", match["name"], match["version"] or match["alias"])


_READERS = {
    "oci://": _oci,
    "s3://": _bucket,
    "gs://": _bucket,
    "az://": _bucket,
    "http://": _web,
    "https://": _web,
    "models:": _models,
}
