"""Which code ran: the script by digest, and the commit of the repository it lies in, without running anything of it.

A repository can make git run programs: hooks, monitors, filters, transports. git is therefore asked with an environment
of its own, with hooks and monitors off, with every filter that its settings name emptied, and with no transport allowed.
Where git is missing, the commit is read from the repository's files and whether it is clean is not known.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from weighbridge.claims.words import Material
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.source.small import content_of

SECONDS = 20
MAX_OUTPUT = 4 * 1024 * 1024
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SAFE = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false",
    "-c", "protocol.allow=never", "-c", "core.sshCommand=false", "-c", "credential.helper=", "-c", "gc.auto=0",
    "-c", "diff.external=", "-c", "core.pager=cat", "-c", "core.alternateRefsCommand=",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Code:
    """What ran: the script's name and digest, the commit, whether anything differs from it, and where it came from.

    `dirty` is None where it could not be told. `remote` carries no user, password or query.
    """

    script: str = ""
    script_digest: Digest | None = None
    commit: str = ""
    dirty: bool | None = None
    remote: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the row of a claim."""
        row: dict[str, JSON] = {}
        if self.script_digest is not None:
            row |= {"script": self.script, "script_digest": str(self.script_digest)}
        if self.commit:
            row |= {"commit": self.commit, "dirty": self.dirty, "remote": self.remote}
        return row

    def materials(self) -> list[Material]:
        """Return script and commit as materials of a build."""
        found = []
        if self.script_digest is not None:
            found.append(Material("code", self.script, self.script_digest))
        if len(self.commit) == 40:
            uri = f"git+{self.remote}@{self.commit}" if self.remote else ""
            found.append(Material("code", "git", Digest("sha1", self.commit), uri))
        return found


def main_script() -> Path | None:
    """Return the file that this process was started with; None in a notebook or on a prompt."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(name) if isinstance(name, str) and Path(name).is_file() else None


def look(script: Path | None, environ: Mapping[str, str]) -> Code:
    """Establish what ran; `script` is hashed, and its folder (or the working directory) asked for a repository."""
    digest: Digest | None = None
    if script is not None:
        with suppress(WeighbridgeError):
            digest = Digest.of(content_of(script))
    folder = (script.parent if script is not None else Path()).absolute()
    name = script.name[:128] if script is not None and digest is not None else ""
    commit, dirty, remote = _repository(folder, environ)
    return Code(name, digest, commit, dirty, remote)


def commit_holding(
    folder: Path, files: Mapping[str, bytes], suffixes: Sequence[str], environ: Mapping[str, str]
) -> str:
    """Return the commit in which a folder holds exactly these files, byte for byte; empty where there is none.

    Files beside them that end otherwise do not matter. What git would call clean is not asked: a file that it ignores is clean.
    """
    git = _Git(folder.absolute(), environ)
    commit = (git("rev-parse", "--verify", "--quiet", "HEAD^{commit}") or "").strip()
    listed = git("ls-tree", "-z", commit) if _COMMIT.fullmatch(commit) else None
    if not listed or not files:
        return ""
    held = {}
    for row in listed.split("\0"):
        facts, _, name = row.partition("\t")
        parts = facts.split(" ")
        if len(parts) == 3 and parts[1] == "blob" and Path(name).suffix in suffixes:
            held[name] = parts[2]
    algorithm = hashlib.sha1 if len(commit) == 40 else hashlib.sha256
    ids = {
        name: algorithm(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        for name, data in files.items()
    }
    return commit if held == ids else ""


def _repository(folder: Path, environ: Mapping[str, str]) -> tuple[str, bool | None, str]:
    git = _Git(folder, environ)
    commit = git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if commit is None:
        return _from_files(folder), None, ""
    if not _COMMIT.fullmatch(commit.strip()):
        return "", None, ""
    filters = _emptied(git("config", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process)$"))
    status = git("status", "--porcelain=v1", "--untracked-files=normal", "--ignore-submodules=all", "--no-renames",
                 before=filters)  # fmt: skip
    dirty = None if status is None else bool(status.strip())
    return commit.strip(), dirty, public_address(git("config", "--get", "remote.origin.url") or "")


def _emptied(names: str | None) -> list[str]:
    """Return settings that take every filter's program away."""
    found: list[str] = []
    for name in (names or "").split("\n"):
        if name:
            driver = name.rpartition(".")[0]
            found += ["-c", f"{name}=", "-c", f"{driver}.required=false"]
    return found


class _Git:
    """Asks git, where there is one, in one folder; None when it fails, is missing or takes too long."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = {name: environ[name] for name in ("PATH", "HOME", "XDG_CONFIG_HOME") if name in environ} | {
            "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "none",
            "GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_ASKPASS": "false", "LC_ALL": "C",
        }  # fmt: skip

    def __call__(self, *arguments: str, before: Sequence[str] = ()) -> str | None:
        command = ["git", "--no-pager", *_SAFE, *before, *arguments]
        try:
            done = subprocess.run(
                command, cwd=self._folder, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError, ValueError):
            return None
        if done.returncode != 0 or len(done.stdout) > MAX_OUTPUT:
            return None
        return done.stdout.decode("utf-8", errors="replace")


def _from_files(folder: Path) -> str:
    """Read the commit from HEAD and the file or the packed list it points to; empty where that does not tell."""
    try:
        place = next(d / ".git" for d in (folder, *folder.parents) if (d / ".git").is_dir())
        head = content_of(place / "HEAD").decode("ascii", errors="replace").strip()
        if not head.startswith("ref: "):
            return head if _COMMIT.fullmatch(head) else ""
        name = head.removeprefix("ref: ")
        if ".." in name.split("/") or not name.startswith("refs/"):
            return ""
        with suppress(WeighbridgeError):
            loose = content_of(place / name).decode("ascii", errors="replace").strip()
            return loose if _COMMIT.fullmatch(loose) else ""
        packed = content_of(place / "packed-refs").decode("utf-8", errors="replace")
        rows = (line.split(" ") for line in packed.splitlines() if not line.startswith(("#", "^")))
        return next((row[0] for row in rows if row[1:] == [name] and _COMMIT.fullmatch(row[0])), "")
    except (StopIteration, OSError, WeighbridgeError):
        return ""


def public_address(remote: str) -> str:
    """Return where a repository came from without user, password, query or fragment; empty for a path or anything odd."""
    remote = remote.strip()
    if not remote.isprintable() or len(remote) > 500:
        return ""
    if "://" in remote:
        try:
            parts = urlsplit(remote)
            host = parts.hostname or ""
            where = f"{host}:{parts.port}" if parts.port else host
        except ValueError:
            return ""
        known = parts.scheme in ("https", "http", "ssh", "git")
        return urlunsplit((parts.scheme, where, parts.path, "", "")) if known and host else ""
    found = re.fullmatch(r"(?:[^@/:]*@)?([A-Za-z0-9.-]+):([^@:?#]+)", remote)  # the short form of ssh
    return f"ssh://{found[1]}/{found[2].lstrip('/')}" if found else ""


def working_folders(script: Path | None) -> list[Path]:
    """Return where a lock may lie: beside the script, above it up to its repository, in the working directory."""
    found: list[Path] = []
    start = script.parent.absolute() if script is not None else Path.cwd()
    for folder in (start, *start.parents):
        found.append(folder)
        if (folder / ".git").exists() or len(found) > 5:
            break
    else:
        found = [start]
    if not any((folder / ".git").exists() for folder in found):
        found = [start]
    return [*found, Path(os.path.abspath(Path.cwd()))]  # noqa: PTH100 (as the user sees it)
