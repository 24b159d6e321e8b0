"""A repository of a hub at one pinned commit as a tree, fetched with the hub's own client.

The client (huggingface_hub) does not compare what it received with what was announced; `source.read`
does. Each file is downloaded when it is opened, into `cache_dir`, and unlinked there at once: what
arrived is read exactly once, nothing unverified is left behind for the next time.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from weighbridge.core.digest import Digest
from weighbridge.core.envelope import VERSION
from weighbridge.core.errors import BadReference, OutOfBudget, VerificationFailed
from weighbridge.core.manifest import MAX_FILES, check_path, is_excluded
from weighbridge.core.reference import Reference
from weighbridge.source import hub_errors
from weighbridge.source.tree import TreeFile

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo
    from huggingface_hub.hf_api import RepoFile

    from weighbridge.net import Door, Ranges
    from weighbridge.source.opening import Asking

DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LICENCE = re.compile(r"license:([A-Za-z0-9.+_-]{1,64})")
_SETTINGS = {
    "HF_HUB_DISABLE_XET": True,  # files over plain HTTP only: one protocol to bound
    "HF_HUB_DISABLE_TELEMETRY": True,
    "HF_HUB_DISABLE_PROGRESS_BARS": True,
    "HF_HUB_DISABLE_SYMLINKS_WARNING": True,
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
    "HF_HUB_DISABLE_SHARED_BLOBS": True,
}
_ONE_AT_A_TIME = threading.RLock()
_Asking = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class _Pinned:
    """What every call needs, the token apart (it lives in the client alone)."""

    api: HfApi
    door: Door
    repository: str
    commit: str
    cache_dir: Path


class HubTree:
    """The files of one commit as the hub announced them; each is fetched when it is opened."""

    def __init__(self, pinned: _Pinned, files: Sequence[TreeFile], origin: Mapping[str, str]) -> None:
        self._pinned = pinned
        self._files = tuple(files)
        self._origin = dict(origin)

    def __repr__(self) -> str:
        return f"HubTree({self.repository}@{self.commit})"

    @property
    def repository(self) -> str:
        """The repository, `org/name`."""
        return self._pinned.repository

    @property
    def commit(self) -> str:
        """The commit that every file was asked of, 40 hex digits."""
        return self._pinned.commit

    @property
    def model_hint(self) -> str:
        """The repository."""
        return self.repository

    @property
    def origin(self) -> Mapping[str, str]:
        """`scheme` (hf), `repository`, `commit`, `endpoint`, `requested` and, if the hub says one, `license`."""
        return self._origin

    def files(self) -> Sequence[TreeFile]:
        """Return the files in the order of the manifest."""
        return self._files

    def parts(self, file: TreeFile) -> Ranges:
        """Return a way to read parts of `file` without fetching it whole; the caller closes it.

        Nothing that is read so can be compared with what was announced: that takes every byte.
        """
        from huggingface_hub import hf_hub_url

        from weighbridge.net import Ranges

        pinned = self._pinned
        url = hf_hub_url(self.repository, file.path, revision=self.commit, endpoint=pinned.api.endpoint)
        token = pinned.api.token
        headers = {"User-Agent": f"weighbridge/{VERSION}"}
        if isinstance(token, str):
            headers["Authorization"] = f"Bearer {token}"
        return Ranges(pinned.door, url, headers, file.size)

    def settle(self) -> None:
        """Do nothing: a commit does not change, and what arrives is compared with its announcement."""

    def close(self) -> None:
        """Do nothing: no connection outlives a call."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def fetch_hub(
    reference: Reference, *, endpoint: str | None, token: str | None, cache_dir: Path, offline: bool
) -> HubTree:
    """Resolve `reference` to a commit and list its files; nothing is downloaded yet.

    `endpoint` is the hub's address (None: HF_ENDPOINT or the public hub), `token` is sent to it and
    appears nowhere else, `cache_dir` is a folder of our own for one file at a time. Raises NotFound (no
    such repository or revision), Unreachable (no answer, gated, offline), VerificationFailed when the
    hub contradicts itself, BadReference or BadSetting. What `TreeFile.open` raises is of the same kinds.
    """
    if reference.scheme != "hf":
        raise BadReference(f"{reference} is not a hub reference", remedy="type it as hf://org/name@revision")
    from huggingface_hub import HfApi, constants

    from weighbridge.net import Door

    where = (endpoint or constants.ENDPOINT).rstrip("/")
    door = Door(where, offline=offline or constants.is_offline_mode(), has_token=token is not None)
    api = HfApi(
        endpoint=where,
        token=token if token is not None else False,
        library_name="weighbridge",
        library_version=VERSION,
    )
    wanted = reference.revision or DEFAULT_REVISION
    with _asking(door, reference, token):
        named = api.model_info(reference.target, revision=wanted)
        commit = _commit(named, wanted)
        info = api.model_info(reference.target, revision=commit, files_metadata=True)
        if info.sha != commit:
            raise _contradiction(reference.target, f"asked for commit {commit}, it answered {info.sha!r}")
        pinned = _Pinned(api, door, reference.target, commit, cache_dir)
        files = _files(pinned, info, partial(_asking, door, reference, token))
    origin = {
        "scheme": "hf",
        "repository": reference.target,
        "commit": commit,
        "endpoint": where,
        "requested": wanted,
    }
    licences = [match[1] for tag in info.tags or () if (match := _LICENCE.fullmatch(str(tag)))]
    if licences:
        origin["license"] = ",".join(licences)
    return HubTree(pinned, files, origin)


def open_hub(reference: Reference, asking: Asking) -> HubTree:
    """Do what `fetch_hub` does, for `source.opening`; the token is HF_TOKEN's."""
    return fetch_hub(
        reference,
        endpoint=asking.hub_endpoint or None,
        token=asking.environ.get("HF_TOKEN") or None,
        cache_dir=asking.scratch / "hub",
        offline=asking.offline,
    )


def _commit(info: ModelInfo, wanted: str) -> str:
    if info.sha is None or not _COMMIT.fullmatch(info.sha):
        raise _contradiction(info.id, f"for {wanted!r} it named no commit but {info.sha!r}")
    if _COMMIT.fullmatch(wanted) and info.sha != wanted:
        raise _contradiction(info.id, f"asked for commit {wanted}, it answered {info.sha}")
    return info.sha


def _files(pinned: _Pinned, info: ModelInfo, asking: _Asking) -> list[TreeFile]:
    """List the commit, hold the two listings that the hub gives against each other, make the tree's files."""
    from huggingface_hub.hf_api import RepoFile

    rows: dict[str, RepoFile] = {}
    for row in pinned.api.list_repo_tree(pinned.repository, revision=pinned.commit, recursive=True):
        if isinstance(row, RepoFile):
            check_path(row.path)
            if row.path in rows:
                raise _contradiction(pinned.repository, f"{row.path!r} is listed twice")
            rows[row.path] = row
        if len(rows) > MAX_FILES:
            raise OutOfBudget(f"{pinned.repository} has more than {MAX_FILES} files", check="source.size")
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    if differing := rows.keys() ^ siblings.keys():
        raise _contradiction(pinned.repository, f"{min(differing)!r} is in one of its two listings only")
    files: list[TreeFile] = []
    for path in sorted(rows, key=str.encode):
        row, sibling = rows[path], siblings[path]
        announced = _announced(pinned.repository, row)
        theirs = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if theirs is not None and announced.hex != theirs:
            raise _contradiction(pinned.repository, f"{path!r} has two digests, {announced.hex} and {theirs}")
        size = row.lfs.size if row.lfs else row.size
        if type(size) is not int or size < 0:
            raise _contradiction(pinned.repository, f"{path!r} has the size {size!r}")
        _check_transfer(path, size)
        if not is_excluded(path):
            opener = partial(_open, pinned, path, size, asking)
            files.append(TreeFile(path, size, opener, (announced,), remote=True))
    return files


def _check_transfer(path: str, size: int) -> None:
    from huggingface_hub import constants

    if size > constants.MAX_HTTP_DOWNLOAD_SIZE:
        raise OutOfBudget(
            f"{path!r} is too large to be fetched: {size} bytes",
            cause=f"the hub gives files beyond {constants.MAX_HTTP_DOWNLOAD_SIZE} bytes over another protocol only",
            remedy="download the model with the hub's own client, then give that folder",
            check="source.size",
        )


def _announced(repository: str, row: RepoFile) -> Digest:
    try:
        return Digest("sha256", row.lfs.sha256) if row.lfs else Digest("sha1", row.blob_id)
    except (BadReference, TypeError) as error:
        raise _contradiction(repository, f"{row.path!r} has no digest that could be compared") from error


def _open(pinned: _Pinned, path: str, size: int, asking: _Asking) -> BinaryIO:
    """Download one file and open it; its names in the cache are gone before the first byte is read."""
    with asking(), pinned.door.letting_in(size):
        pinned.cache_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        got = Path(
            pinned.api.hf_hub_download(
                pinned.repository, path, revision=pinned.commit, cache_dir=pinned.cache_dir
            )
        )
    blob = Path(os.path.realpath(got))
    try:
        ours = Path(os.path.realpath(pinned.cache_dir))
        if not blob.is_relative_to(ours) or got.parts[-path.count("/") - 2] != pinned.commit:
            raise _contradiction(pinned.repository, f"{path!r} was served as part of another commit")
        return blob.open("rb", buffering=0)
    finally:
        for name in (got, blob):
            with suppress(FileNotFoundError):
                name.unlink()


@contextmanager
def _asking(door: Door, reference: Reference, token: str | None) -> Iterator[None]:
    """Let the hub's client out through `door`, quietly, and put what goes wrong into words.

    The client's settings and its HTTP client are global to the process: they are ours for the time of
    the call and put back afterwards, one call at a time.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    # They log whole addresses, and signed ones are secrets; what matters is raised.
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "httpx2", "httpcore2")]
    with _ONE_AT_A_TIME:
        before = {name: getattr(constants, name) for name in _SETTINGS if hasattr(constants, name)}
        factory, levels = _http._GLOBAL_CLIENT_FACTORY, [logger.level for logger in loggers]  # noqa: SLF001 (there is no public getter)
        try:
            for name in before:
                setattr(constants, name, _SETTINGS[name])
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            _http.set_client_factory(door.client)
            with hub_errors.worded(reference, door.host, token):
                yield
        finally:
            _http.set_client_factory(factory)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            for name, value in before.items():
                setattr(constants, name, value)


def _contradiction(repository: str, cause: str) -> VerificationFailed:
    return VerificationFailed(
        f"the hub's answers about {repository} do not fit together",
        cause=cause,
        remedy="try again later; if it happens twice, do not use this source and tell its owner",
        check="source.announced",
    )
