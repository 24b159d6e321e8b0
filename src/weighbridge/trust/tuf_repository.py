"""A TUF repository of trusted root and signing config: how clients learn of new keys without being told wrong ones.

Roles and files are those of the TUF specification 1.0 with consistent snapshots; a folder of static files is
what is served. The root key is offline and signs who the others are; the keys of targets, snapshot and
timestamp are online and may be exchanged by a new root version. A root key is exchanged by a version that
old and new keys sign (section 6.1), so that clients who trust any earlier root arrive at the newest.

Files are written from the inside out: targets, their metadata, snapshot, and `timestamp.json` last, so that a
reader at any moment, or after a crash, finds a whole repository. One writer at a time: the caller holds a lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import NotFound, Refused, RegistryUnusable, UsageError
from weighbridge.keys.ports import Signer
from weighbridge.ledger.tiles import flush_folders, write_durably
from weighbridge.store.plain import read_plain
from weighbridge.trust.tuf_keys import metadata_key, signing

if TYPE_CHECKING:  # python-tuf comes with the extra `server`, and only who serves needs it
    from tuf.api.metadata import Key, Metadata, Root, Snapshot, Targets, Timestamp

TRUSTED_ROOT, SIGNING_CONFIG = "trusted_root.json", "signing_config.v0.2.json"
"""The names under which Sigstore clients look for them."""

LIVES: Mapping[str, timedelta] = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}
"""How long each role's metadata counts; a client refuses what has ended. `refresh` renews at half of it."""

_ROOT_FILE = re.compile(r"([1-9][0-9]{0,8})\.root\.json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class OnlineKeys:
    """The keys of the three online roles; they may be one key."""

    targets: Signer
    snapshot: Signer
    timestamp: Signer

    def by_role(self) -> Mapping[str, Signer]:
        """Return them by the name of their role."""
        return {"targets": self.targets, "snapshot": self.snapshot, "timestamp": self.timestamp}


class TufRepository:
    """A repository in a folder; make it with `create`, then construct it on the folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def create(
        cls,
        directory: Path,
        root_signer: Signer,
        online: OnlineKeys,
        targets: Mapping[str, bytes],
        *,
        now: datetime,
    ) -> TufRepository:
        """Start a repository; raises Refused(tuf.exists), and Refused(tuf.keys) for a root key that is online too."""
        from tuf.api.metadata import Root

        found = cls(directory)
        if (directory / "timestamp.json").exists():  # without it an earlier `create` was cut short
            raise Refused(
                f"there is a repository in {directory} already",
                cause="clients who trust its root would never come to another",
                remedy="rotate its keys instead: weighbridge trust rotate tuf",
                check="tuf.exists",
            )
        (directory / "targets").mkdir(parents=True, exist_ok=True)
        root = Root(version=1, expires=_ends("root", now), consistent_snapshot=True)
        _set_keys(root, [metadata_key(root_signer)], online)
        found._write_root(root, [root_signer])
        found._publish(targets, online, now, {"targets", "snapshot", "timestamp"})
        return found

    @property
    def root_bytes(self) -> bytes:
        """The newest root metadata: what a new client is given by a way it trusts."""
        return self._read(f"{self._version()}.root.json")

    def publish(self, targets: Mapping[str, bytes], online: OnlineKeys, now: datetime) -> bool:
        """Serve these files and no others; tell whether anything changed. Raises Refused(tuf.keys)."""
        with suppress(NotFound, RegistryUnusable):  # what is missing or damaged is written anew
            if dict(targets) == self._served():
                return self.refresh(online, now)
        self._publish(targets, online, now, {"targets", "snapshot", "timestamp"})
        return True

    def refresh(self, online: OnlineKeys, now: datetime) -> bool:
        """Sign again what has spent half of its time, or was signed by a key no longer in force.

        Tells whether anything was. The root is renewed by `rotate`, with its own key.
        """
        due = {role for role in ("targets", "snapshot", "timestamp") if self._due(role, now)}
        if due:
            self._publish(self._served(), online, now, due)
        return bool(due)

    def rotate(
        self,
        signers: Sequence[Signer],
        now: datetime,
        *,
        online: OnlineKeys,
        root_signer: Signer | None = None,
    ) -> int:
        """Make the next root version and return its number.

        `signers` are root keys in force (one is enough), `root_signer` the key that follows them all, None to keep
        them; `online` the keys of the other roles from now on. Everything below is signed again with these.
        Raises Refused(tuf.keys) when `signers` hold no root key in force.
        """
        before, after = self._root(), self._root()
        root = after.signed
        in_force = before.signed.roles["root"].keyids
        held = [signer for signer in signers if metadata_key(signer).keyid in in_force]
        if not held:
            raise _keys("none of these keys is a root key in force", "give the offline root key")
        kept = [before.signed.keys[keyid] for keyid in in_force]
        root.version += 1
        root.expires = _ends("root", now)
        _set_keys(root, kept if root_signer is None else [metadata_key(root_signer)], online)
        following = [] if root_signer is None else [root_signer]
        self._write_root(root, _distinct((*held, *following)), before)
        self._publish(self._served(), online, now, {"targets", "snapshot", "timestamp"})
        return int(root.version)

    def expires(self) -> Mapping[str, datetime]:
        """Return when the metadata of each role ends."""
        return {role: self._current(role).signed.expires for role in LIVES}

    def targets(self) -> tuple[str, ...]:
        """Return the names of the files served."""
        return tuple(sorted(self._current("targets").signed.targets))

    def target(self, name: str) -> bytes:
        """Return a file served; raises NotFound, RegistryUnusable(tuf.damaged) when it is not what was signed."""
        info = self._current("targets").signed.targets.get(name)
        if info is None:
            raise NotFound(
                f"the repository serves no {name!r}", remedy=f"it serves {', '.join(self.targets())}"
            )
        data = self._read(f"targets/{info.hashes['sha256']}.{name}")
        from tuf.api.exceptions import LengthOrHashMismatchError

        try:
            info.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as error:
            raise _damaged(f"{name} is not what was signed") from error
        return data

    def _publish(
        self, targets: Mapping[str, bytes], online: OnlineKeys, now: datetime, roles: set[str]
    ) -> None:
        """Write new metadata of `roles` and of all that contain their versions, innermost first."""
        _check_online(self._root().signed, online)
        versions = dict.fromkeys(("targets", "snapshot"), 0)
        if roles != {"targets", "snapshot", "timestamp"}:
            versions = {role: self._current(role).signed.version for role in versions}
        if "targets" in roles:
            versions["targets"] = self._write_targets(targets, online, now)
        if roles & {"targets", "snapshot"}:
            versions["snapshot"] = self._write_snapshot(versions["targets"], online, now)
        self._write_timestamp(versions["snapshot"], online, now)

    def _write_targets(self, targets: Mapping[str, bytes], online: OnlineKeys, now: datetime) -> int:
        from tuf.api.metadata import TargetFile, Targets

        signed = Targets(version=self._next("targets"), expires=_ends("targets", now))
        for name, data in sorted(targets.items()):
            if _NAME.fullmatch(name) is None:
                raise UsageError(f"{name!r} cannot be served", remedy="use letters, digits, '.', '_' and '-'")
            info = TargetFile.from_data(name, data, ["sha256"])
            signed.targets[name] = info
            write_durably(self.directory / "targets" / f"{info.hashes['sha256']}.{name}", data)
        flush_folders(self.directory, [self.directory / "targets" / "any"])
        self._write(f"{signed.version}.targets.json", signing(signed, [online.targets]))
        return int(signed.version)

    def _write_snapshot(self, targets_version: int, online: OnlineKeys, now: datetime) -> int:
        from tuf.api.metadata import MetaFile, Snapshot

        meta = {"targets.json": MetaFile(targets_version)}
        signed = Snapshot(version=self._next("snapshot"), expires=_ends("snapshot", now), meta=meta)
        self._write(f"{signed.version}.snapshot.json", signing(signed, [online.snapshot]))
        return int(signed.version)

    def _write_timestamp(self, snapshot_version: int, online: OnlineKeys, now: datetime) -> None:
        from tuf.api.metadata import MetaFile, Timestamp

        version = 0
        with suppress(NotFound):
            version = self._current("timestamp").signed.version
        signed = Timestamp(
            version=version + 1,
            expires=_ends("timestamp", now),
            snapshot_meta=MetaFile(snapshot_version),
        )
        self._write("timestamp.json", signing(signed, [online.timestamp]))

    def _write_root(
        self, root: Root, signers: Sequence[Signer], before: Metadata[Root] | None = None
    ) -> None:
        """Write a root version that its predecessor's keys and its own have signed, or nothing at all."""
        from tuf.api.exceptions import UnsignedMetadataError
        from tuf.api.metadata import Metadata

        data = signing(root, signers)
        written = Metadata[Any].from_bytes(data)
        try:
            for parent in (before, written):
                if parent is not None:
                    parent.signed.verify_delegate("root", written.signed_bytes, written.signatures)
        except UnsignedMetadataError as error:
            raise _keys("the root keys in force did not sign their successor", "give all of them") from error
        self._write(f"{root.version}.root.json", data)

    def _write(self, name: str, data: bytes) -> None:
        write_durably(self.directory / name, data)
        flush_folders(self.directory, [self.directory / name])

    # Reading back. What is read was written here: it is parsed, and its signatures are the clients' business.

    def _current(self, role: str) -> Metadata[Any]:
        if role == "root":
            return self._root()
        if role == "timestamp":
            return self._parse("timestamp.json")
        timestamp: Metadata[Timestamp] = self._parse("timestamp.json")
        snapshot: Metadata[Snapshot] = self._parse(f"{timestamp.signed.snapshot_meta.version}.snapshot.json")
        if role == "snapshot":
            return snapshot
        targets: Metadata[Targets] = self._parse(
            f"{snapshot.signed.meta['targets.json'].version}.targets.json"
        )
        return targets

    def _root(self) -> Metadata[Root]:
        return self._parse(f"{self._version()}.root.json")

    def _served(self) -> dict[str, bytes]:
        return {name: self.target(name) for name in self.targets()}

    def _due(self, role: str, now: datetime) -> bool:
        metadata = self._current(role)
        in_force = set(self._root().signed.roles[role].keyids)
        late = metadata.signed.expires - now < LIVES[role] / 2
        return bool(late or not in_force & set(metadata.signatures))

    def _next(self, role: str) -> int:
        """Return a version above every one written, also those that a crash kept from being announced."""
        return max(self._numbers(role), default=0) + 1

    def _numbers(self, role: str) -> Iterable[int]:
        pattern = re.compile(rf"([1-9][0-9]{{0,8}})\.{role}\.json")
        names = (path.name for path in self.directory.iterdir())
        return [int(match[1]) for match in map(pattern.fullmatch, names) if match]

    def _versions(self) -> list[int]:
        if not self.directory.is_dir():
            return []
        return sorted(self._numbers("root"))

    def _version(self) -> int:
        versions = self._versions()
        if not versions:
            raise NotFound(
                f"there is no repository in {self.directory}", remedy="make one with: weighbridge init"
            )
        return versions[-1]

    def _parse(self, name: str) -> Metadata[Any]:
        from tuf.api.exceptions import RepositoryError
        from tuf.api.metadata import Metadata

        try:
            return Metadata[Any].from_bytes(self._read(name))
        except RepositoryError as error:
            raise _damaged(f"{name} cannot be read: {error}") from error

    def _read(self, name: str) -> bytes:
        try:
            return read_plain(self.directory / name)
        except FileNotFoundError:
            raise NotFound(
                f"the repository has no {name}", remedy="publish again, which writes it anew"
            ) from None
        except OSError as error:
            raise _damaged(f"{name} cannot be read: {error.strerror}") from error


def _set_keys(root: Root, root_keys: Sequence[Key], online: OnlineKeys) -> None:
    """Make the root name exactly these keys, one signature of each role being enough."""
    wanted: dict[str, list[Key]] = {"root": [*root_keys]}
    wanted |= {role: [metadata_key(signer)] for role, signer in online.by_role().items()}
    top = {key.keyid for key in root_keys}
    if any(key.keyid in top for role, keys in wanted.items() if role != "root" for key in keys):
        raise _keys("the root key is used online as well", "keep a key for the root alone, offline")
    for role, keys in wanted.items():
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        for key in keys:
            root.add_key(key, role)
        root.roles[role].threshold = 1


def _check_online(root: Root, online: OnlineKeys) -> None:
    for role, signer in online.by_role().items():
        if metadata_key(signer).keyid not in root.roles[role].keyids:
            raise _keys(
                f"the root does not name the key {signer.key_id.short} for {role}",
                "give the key in force, or rotate with the offline root key",
            )


def _distinct(signers: Iterable[Signer]) -> list[Signer]:
    return list({metadata_key(signer).keyid: signer for signer in signers}.values())


def _ends(role: str, now: datetime) -> datetime:
    rfc3339(now)  # a time without a zone is a mistake
    return (now + LIVES[role]).replace(microsecond=0)


def _keys(cause: str, remedy: str) -> Refused:
    return Refused("these keys do not sign this repository", cause=cause, remedy=remedy, check="tuf.keys")


def _damaged(cause: str) -> RegistryUnusable:
    return RegistryUnusable(
        "the TUF repository is damaged",
        cause=cause,
        remedy="restore its folder from a backup; versions must never go backwards",
        check="tuf.damaged",
    )
