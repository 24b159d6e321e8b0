"""The hub client's cache on this machine: which folders are snapshots, and where their links may lead.

The layout (huggingface_hub, "Understand caching"): `models--org--name/` holds `blobs/<etag>`, with the
content, `refs/<name>`, each a file with a commit in it, and `snapshots/<commit>/…`, whose entries are
relative links into that same `blobs`. The etag is the SHA-256 of a large file and the git blob id of a
small one, so a blob's name is also what the hub announced for it. Datasets lie in `datasets--org--name/` alike. Newer clients may keep the content
once for the whole cache: then `blobs/<etag>` is itself the link `../../blobs/<2 hex>/<64 hex>`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Unreadable

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: should a pipe appear where a file was listed, opening it must not wait for a writer.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_COMMIT = re.compile(r"[0-9a-f]{40}")
_BLOB = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
_SHARED = re.compile(rb"\.\./\.\./blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_MODELS = "models--"
_REPOS = (_MODELS, "datasets--")
_MAX_REF = 256


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in a cache; `depth` 0 is `snapshots/<commit>` itself, 1 a folder in it, and so on."""

    repository: str
    commit: str
    depth: int


@dataclass(frozen=True, slots=True, order=True)
class CachedModel:
    """One snapshot in a cache; `refs` are the branch and tag names that lead to it."""

    repository: str
    commit: str
    path: Path
    refs: tuple[str, ...] = ()


def recognise(path: Path) -> Place | None:
    """Tell whether `path`, absolute and free of links, is a snapshot of a cache or a folder in one."""
    parts = path.parts
    for index in range(len(parts) - 1, 1, -1):
        if (
            _COMMIT.fullmatch(parts[index])
            and parts[index - 1] == "snapshots"
            and parts[index - 2].startswith(_REPOS)
        ):
            return Place(_repository(parts[index - 2]), parts[index], len(parts) - 1 - index)
    return None


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a snapshot's link leads: the parts below the repository's folder, and the blob's own name."""

    parts: tuple[bytes, ...]
    blob: bytes


class Shelf:
    """The folder `models--org--name` of a cache, held open: finds and opens the blobs its snapshots link to."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def around(cls, snapshot: int, depth: int) -> Shelf | None:
        """Open the repository's folder from a handle of a snapshot's folder, or return None."""
        try:
            return cls(os.open("/".join([".."] * (depth + 2)), FOLDER_FLAGS, dir_fd=snapshot))
        except OSError:
            return None

    def find(self, target: bytes, depth: int) -> tuple[Kept, os.stat_result] | None:
        """Return where a link with this target leads, when it is exactly the link that the client makes.

        `depth` is how many folders below the snapshot the link lies. Raises OSError when the blob is gone.
        """
        prefix = b"../" * (depth + 2) + b"blobs/"
        name = target.removeprefix(prefix)
        if not target.startswith(prefix) or not _BLOB.fullmatch(name):
            return None
        kept = Kept((b"blobs", name), name)
        info = self._stat(kept)
        if stat.S_ISLNK(info.st_mode):
            with opened_below(self._fd, (b"blobs",)) as folder:
                shared = _SHARED.fullmatch(os.readlink(name, dir_fd=folder))
            if shared is None:
                return None
            kept = Kept((b"..", b"blobs", shared[1], shared[2]), name)
            info = self._stat(kept)
        return kept, info

    def open(self, kept: Kept) -> int:
        """Open a blob, following no link."""
        with opened_below(self._fd, kept.parts[:-1]) as folder:
            return os.open(kept.parts[-1], FILE_FLAGS, dir_fd=folder)

    def close(self) -> None:
        """Close the handle."""
        os.close(self._fd)

    def _stat(self, kept: Kept) -> os.stat_result:
        with opened_below(self._fd, kept.parts[:-1]) as folder:
            return os.stat(kept.parts[-1], dir_fd=folder, follow_symlinks=False)


@contextmanager
def opened_below(root: int, parts: Iterable[bytes]) -> Iterator[int]:
    """Open a folder below the handle `root`, one part at a time, no part being a link."""
    fd = os.open(".", FOLDER_FLAGS, dir_fd=root)
    try:
        for part in parts:
            deeper = os.open(part, FOLDER_FLAGS, dir_fd=fd)
            os.close(fd)
            fd = deeper
        yield fd
    finally:
        os.close(fd)


def announced_by(blob: bytes) -> tuple[Digest, ...]:
    """Return what the hub announced for a blob, as its name tells; empty for any other name."""
    if not _BLOB.fullmatch(blob):
        return ()
    return (Digest("sha256" if len(blob) == 64 else "sha1", blob.decode()),)


def announced_by_place(path: Path) -> tuple[Digest, ...]:
    """Return what was announced for `path` when it lies in a cache's `blobs`."""
    if path.parent.name != "blobs" or not path.parent.parent.name.startswith(_REPOS):
        return ()
    return announced_by(os.fsencode(path.name))


def chosen_snapshot(path: Path) -> Path | None:
    """Return the snapshot to read when `path` is a whole `models--org--name` folder, else None.

    That is the one `refs/main` names, or the only one there is. Raises NotFound when neither helps.
    """
    if not path.name.startswith(_REPOS) or not (path / "snapshots").is_dir():
        return None
    found = _snapshots(path)
    main = [model for model in found if "main" in model.refs]
    if len(main) == 1:
        return main[0].path
    if len(found) == 1:
        return found[0].path
    raise NotFound(
        f"{path} holds {len(found)} revisions and none of them is `main`",
        cause="a model is one revision of a repository",
        remedy="give one of them: " + (", ".join(str(model.path) for model in found[:5]) or "there is none"),
    )


def cached_models(root: Path) -> list[CachedModel]:
    """List the snapshots in a cache, sorted; an absent cache has none, an unreadable one is Unreadable."""
    models: list[CachedModel] = []
    for name in _names(root):
        if name.startswith(_MODELS):
            models += _snapshots(root / name)
    return sorted(models)


def default_cache(environment: Mapping[str, str]) -> Path | None:
    """Return where the hub client keeps its cache, by its own variables; None when nothing says where.

    In the client's order: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME.
    """
    for variable, below in (
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
        ("HOME", ".cache/huggingface/hub"),
    ):
        if value := environment.get(variable):
            home = environment.get("HOME", "")
            start = Path(home, value[2:]) if value.startswith("~/") and home else Path(value)
            return start / below
    return None


def _repository(folder: str) -> str:
    return folder.partition("--")[2].replace("--", "/")


def _snapshots(folder: Path) -> list[CachedModel]:
    refs: dict[str, list[str]] = {}
    for name, commit in _refs(folder / "refs", ""):
        refs.setdefault(commit, []).append(name)
    return [
        CachedModel(
            _repository(folder.name),
            commit,
            folder / "snapshots" / commit,
            tuple(sorted(refs.get(commit, ()))),
        )
        for commit in _names(folder / "snapshots")
        if _COMMIT.fullmatch(commit)
    ]


def _refs(folder: Path, prefix: str) -> list[tuple[str, str]]:
    """Read `refs/**`: names may hold slashes (`refs/pr/1`); what is no commit in a file is not a ref."""
    found: list[tuple[str, str]] = []
    for name in _names(folder):
        path = folder / name
        if path.is_symlink():
            continue
        if path.is_dir():
            found += _refs(path, f"{prefix}{name}/") if prefix.count("/") < 8 else []
        elif path.is_file():
            try:
                with path.open("rb") as stream:
                    text = stream.read(_MAX_REF).decode("ascii", "replace").strip()
            except OSError as error:
                raise _problem(path, error) from error
            if _COMMIT.fullmatch(text):
                found.append((prefix + name, text))
    return found


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _problem(folder, error) from error


def _problem(path: Path, error: OSError) -> Unreadable:
    return Unreadable(
        f"{path} could not be read",
        cause=error.strerror or str(error),
        remedy="give this user permission to read the cache, or name another folder",
    )
