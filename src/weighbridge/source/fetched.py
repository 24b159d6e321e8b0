"""What the sources over HTTP share: a tree of files that are fetched when they are opened, and asking without leaving traces."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, OutOfBudget, Unreachable, VerificationFailed, WeighbridgeError
from weighbridge.core.manifest import MAX_FILES, check_path, is_excluded
from weighbridge.net import Answer, Door, Download, ask
from weighbridge.source.partial import resumed
from weighbridge.source.tree import TreeFile

ANY_SIZE = 1 << 62
"""The bound of a door for files: `read` holds each file against the size it was listed with."""
AT_ONCE = 8
"""Small questions that are asked at the same time."""

T = TypeVar("T")
R = TypeVar("R")


class FetchedTree:
    """Files as somebody else listed them; `origin` says `scheme`, `location`, `requested` and what it was pinned to."""

    def __init__(
        self,
        hint: str,
        files: Sequence[TreeFile],
        origin: Mapping[str, str],
        *,
        settle: Callable[[], None] | None = None,
        close: Callable[[], None] | None = None,
        claims: Callable[[], list[bytes | WeighbridgeError]] = list,
    ) -> None:
        self._claims = claims
        self._hint, self._origin = hint, dict(origin)
        self._files = tuple(sorted(files, key=lambda file: file.path.encode()))
        self._settle, self._close = settle, close

    @property
    def model_hint(self) -> str:
        """The name that was asked for."""
        return self._hint

    @property
    def origin(self) -> Mapping[str, str]:
        """`scheme`, `location` (what was asked for), `requested` (its revision) and `version` (what that was pinned to)."""
        return self._origin

    def files(self) -> Sequence[TreeFile]:
        """Return the files in the order of the manifest."""
        return self._files

    def claims(self) -> list[bytes | WeighbridgeError]:
        """Return the bundles (Sigstore's JSON) that lie beside the model there, or why one of them cannot be had.

        Whose they are is not known here.
        """
        return self._claims()

    def settle(self) -> None:
        """Look again where the source can have changed meanwhile."""
        if self._settle is not None:
            self._settle()

    def close(self) -> None:
        """Release what is held."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def remote_file(
    path: str,
    size: int,
    fetch: Callable[[int], BinaryIO],
    *,
    announced: Digest | None = None,
    keep: Path | None = None,
) -> TreeFile | None:
    """Return a file that is fetched when it is opened, or None for one that is never part of a model.

    `fetch(start)` gives its bytes from there. With a digest announced, what arrived of a large file is kept below `keep`.
    """
    check_path(path)
    if is_excluded(path):
        return None
    opener = partial(fetch, 0)
    if announced is not None and keep is not None:
        opener = partial(resumed, keep, announced, size, fetch)
    return TreeFile(path, size, opener, (announced,) if announced else (), remote=True)


def fetching(
    door: Door, url: str, size: int, headers: Mapping[str, str], *, pinned: bool
) -> Callable[[int], BinaryIO]:
    """Return what fetches a file over HTTP from any byte on."""

    def fetch(start: int) -> BinaryIO:
        return Download(door, url, size, headers=headers, start=start, pinned=pinned)  # type: ignore[return-value]  # a raw stream reads as others do

    return fetch


def together(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Ask for each of many small things, a few at a time; results are in order, the first error is raised."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(AT_ONCE, len(items))) as pool:
        return list(pool.map(function, items))


def check_number(found: int, what: str) -> None:
    """Refuse a listing without end."""
    if found > MAX_FILES:
        raise OutOfBudget(f"{what} has more than {MAX_FILES} files", check="source.size")


def document(
    door: Door, url: str, headers: Mapping[str, str] | None = None, *, what: str, follow: bool = False
) -> Answer:
    """Ask for a document and return the answer with status 200; raises NotFound or Unreachable for any other."""
    answer = ask(door, url, headers=headers, follow=follow)
    if answer.status == 200:
        return answer
    if answer.status in (401, 403):
        raise Unreachable(
            f"{door.host} does not hand out {what}",
            cause=f"it answered with status {answer.status}",
            remedy="give a token or a password that may read it (docs/sources.md says how)",
            check="source.gated",
        )
    if answer.status == 404:
        raise NotFound(
            f"{door.host} knows no {what}",
            cause="it does not exist, or is not shown to whoever asks",
            remedy="check the spelling",
        )
    raise Unreachable(
        f"{door.host} gave no usable answer about {what}",
        cause=f"it answered with status {answer.status}",
        remedy="check the address, then try again",
        check="source.unreachable",
    )


def parsed(answer: Answer, host: str) -> Any:
    """Return the JSON object of an answer; raises VerificationFailed."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise contradiction(host, "what it answered is no JSON object")
    return value


def contradiction(host: str, cause: str) -> VerificationFailed:
    """Return the refusal of a service whose answers make no sense."""
    return VerificationFailed(
        f"the answers of {host} do not fit together",
        cause=cause,
        remedy="try again later; if it happens twice, do not use this source and tell its owner",
        check="source.announced",
    )
