"""References: what a person typed for a model, parsed; never an identity.

| typed | scheme | meaning |
|---|---|---|
| `hf://org/name@rev`, `hf:org/name`, a pasted hub URL | hf | a repository on a hub, at a revision |
| `./dir`, `/abs/file` , `file:///…` | path | a folder or file on this machine |
| `wb1:<hex>` (at least 12 digits) | digest | a model this registry knows |
| `name` | name | a registry name |
| `oci://`, `s3://`, `gs://`, `az://`, `models:/` | as named | accepted words; no source reads them yet |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from weighbridge.core.errors import BadReference

_HUB_URL = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<rest>.+)")
_REPO = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,95})(?:/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,95}))?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_DIGEST = re.compile(r"wb1:[0-9a-f]{12,64}")
_LATER = ("oci://", "s3://", "gs://", "az://", "models:/")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference: scheme, target (repository, path, digest prefix or name), revision or empty."""

    scheme: str
    target: str
    revision: str = ""

    def __str__(self) -> str:
        text = {"hf": f"hf://{self.target}"}.get(self.scheme, self.target)
        return f"{text}@{self.revision}" if self.revision else text


def parse_reference(text: str) -> Reference:
    """Parse what was typed; raises BadReference with a suggestion."""
    if match := _HUB_URL.fullmatch(text):
        return _hub_url(match["rest"], text)
    if text.startswith("hf:"):
        return _hub(text.removeprefix("hf:").removeprefix("//"), text)
    if text.startswith("file://"):
        return Reference("path", text.removeprefix("file://"))
    if text.startswith(_LATER):
        raise BadReference(
            f"no source reads {text.split(':', maxsplit=1)[0]}: references yet",
            remedy="download the model to a folder and give that path",
        )
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
