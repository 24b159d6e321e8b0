"""Taking a transfer in: verified by what the user pinned of its registry, and then judged by this one's own authority.

Two questions are kept apart. *Is this what that registry has?* Its authority must be signed by the root keys that the user
pinned (or gives, the first time), the list by the log that this authority names, every file and claim must be in the list or in the
log, and the log must extend the one that was seen at the last import. *Does it count here?* That is for this registry's own
authority and gate: claims are logged here as claims of whoever signed them, models land in intake, withdrawals take
effect when their signer may withdraw here. Naming the other registry's people is a decision that its owner makes, not the import.

When the last transfer was made is noted in the records, under their tally: `overdue` says what of it is older than the
project's setting `import-days` allows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, parse
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, UsageError, VerificationFailed, WeighbridgeError
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.tier import Origin
from weighbridge.keys.public import key_id_of_pem
from weighbridge.ledger.sequencer import Log
from weighbridge.registry import bundles, intake, outbox
from weighbridge.registry.backup import BLOBS
from weighbridge.registry.backup_files import changed, check_name, open_member, plain
from weighbridge.registry.chain import check_pinned
from weighbridge.registry.import_age import AHEAD, imports, note
from weighbridge.registry.pins import Pin, advance, pin_path, read_pin, write_pin
from weighbridge.registry.transfer import AUTHORITY, BODY, CLAIMS, NEWS, SCHEMA, SIGNATURE, TYPE
from weighbridge.registry.wiring import Registry
from weighbridge.source.tree import TreeFile
from weighbridge.store import schema
from weighbridge.trust.authority import Authority
from weighbridge.trust.authority_file import verify_authority, verify_next
from weighbridge.trust.authority_services import pem_of_certificate
from weighbridge.trust.bundle import Bundle, log_body
from weighbridge.trust.certificates import signer_of
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.verify import verify_envelope

MAX_MEMBER = 256 * 1024 * 1024
"""Bytes of one list; an export of so many claims is made in parts."""


@dataclass(frozen=True, slots=True)
class Received:
    """What came of a transfer."""

    registry: str
    made: str
    claims: int
    news: int
    known: int
    """Claims and news that were here already."""
    models: tuple[str, ...]
    waiting: tuple[str, ...] = field(default=())
    """Models whose bytes are not all here: run it again when they are."""
    refused: tuple[str, ...] = field(default=())
    """Claims that were left out, and why."""
    entries: int = 0

    def to_json(self) -> dict[str, JSON]:
        """Return it as `transfer import` prints it."""
        return {
            "registry": self.registry,
            "made": self.made,
            "claims": self.claims,
            "news": self.news,
            "known": self.known,
            "models": list[JSON](self.models),
            "waiting": list[JSON](self.waiting),
            "refused": list[JSON](self.refused),
            "entries": self.entries,
        }


def take_in(registry: Registry, folder: Path, *, root: str = "") -> Received:
    """Verify a transfer and take in what it brings; safe to be cut off and repeated, and to be given half of the bytes.

    `root` is the other registry's root public key (PEM) the first time; after that it is remembered. Raises
    VerificationFailed (backup.signed, log.consistency, transfer.older and what verifying an authority raises), UsageError
    for a transfer of this very registry.
    """
    return _Taking(registry, folder, root).run()


class _Taking:
    """One transfer on its way in."""

    def __init__(self, registry: Registry, folder: Path, root: str) -> None:
        self.registry = registry
        self.folder = folder
        self.refused: list[str] = []
        self.members: dict[str, bytes] = {}
        """What was signed, read once: the medium may change under our hands."""
        self.body, self.authorities, self.logs = self._believed(root)
        self.pems = {
            key_id_of_pem(one.pem): one.pem
            for version in self.authorities
            for one in version.identities
            if one.keyless is None
        }

    def run(self) -> Received:
        body, registry = self.body, self.registry
        known = len(self._bundles(CLAIMS)) + len(self._bundles(NEWS))
        claims = self._hand_in(CLAIMS)
        arrived, waiting = self._models()
        news = self._hand_in(NEWS)
        note(registry, str(body["registry"]), str(body["made"]), self.logs[-1].size)
        return Received(
            str(body["registry"]), str(body["made"]), claims, news, known - claims - news - len(self.refused),
            arrived, waiting, tuple(self.refused), self.logs[-1].size,
        )  # fmt: skip

    def _believed(self, root: str) -> tuple[Mapping[str, Any], Sequence[Authority], Sequence[Log]]:
        """Return the signed list, the versions of the authority and the logs, each verified; moves the pin on."""
        data = plain(self.folder / BODY)
        try:
            body: Any = parse(data)
            if body["schema"] != SCHEMA:
                raise ValueError(f"it is no {SCHEMA}")
            pin = self._pin(str(body["registry"]), root)
            versions = self._authority(pin)
            logs = self._logs(body, versions[-1])
            payload = verify_envelope(
                Envelope.decode(plain(self.folder / SIGNATURE)), logs[-1].public_pem, TYPE
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise changed(f"{BODY} cannot be read: {error}") from error
        if payload != data.rstrip(b"\n"):
            raise changed(f"what was signed is not what lies in {BODY}")
        for row in body["members"]:
            check_name(str(row["path"]))
            self.members[str(row["path"])] = self._member(row)
        check_pinned(logs, pin.checkpoint)
        self._not_older(body)
        later = advance(
            pin, authority_version=versions[-1].version, checkpoint=logs[-1].checkpoint_text,
            before=[log.origin for log in logs[:-1]],
        )  # fmt: skip
        write_pin(self.registry.config.home, later)
        return body, versions, logs

    def _member(self, row: Mapping[str, Any]) -> bytes:
        with open_member(self.folder / str(row["path"]), self.folder) as file:
            data = file.read(MAX_MEMBER + 1)
        if (len(data), hashlib.sha256(data).hexdigest()) != (row["size"], row["sha256"]):
            raise changed(f"{row['path']} is not the file that was signed")
        return data

    def _pin(self, other: str, root: str) -> Pin:
        home = self.registry.config.home
        if other == self.registry.id:
            raise UsageError(
                "this transfer is of this very registry",
                remedy="to make a registry again from its own copy: weighbridge restore",
            )
        if root and not pin_path(home, other).exists():
            return Pin(other, (root,))
        return read_pin(home, other)

    def _authority(self, pin: Pin) -> list[Authority]:
        found: list[Authority] = []
        for line in plain(self.folder / AUTHORITY).splitlines():
            found.append(
                verify_next(line, current=found[-1], now=None)
                if found
                else verify_authority(line, root_keys=pin.roots, now=None, minimum_version=1)
            )
        if not found or found[-1].registry != pin.registry:
            raise changed("the authority in it is none, or another registry's")
        return found

    def _logs(self, body: Mapping[str, Any], authority: Authority) -> list[Log]:
        """Open the copies of the logs, read them whole, and hold them against the signed checkpoints."""
        keys = {log.origin: log.pem for log in authority.logs}
        found = []
        for number, signed in enumerate(body["checkpoints"]):
            folder = self.folder / "log" / str(number)
            if folder.is_symlink() or folder.parent.is_symlink():
                raise changed(f"log/{number} is a link")
            try:
                log = Log.open(folder, keys[str(signed).partition("\n")[0]])
                log.verify_all(promises=False)
            except WeighbridgeError as error:
                raise changed(f"log/{number}: {error.problem}") from error
            if log.checkpoint_text != signed:
                raise changed(f"log/{number} is not the log whose checkpoint was signed")
            found.append(log)
        return found

    def _not_older(self, body: Mapping[str, Any]) -> None:
        made, now = parse_rfc3339(str(body["made"])), self.registry.clock.now()
        last = imports(self.registry).get(str(body["registry"]))
        if last is not None and made < last.made:
            raise VerificationFailed(
                "a later transfer of this registry was taken in already",
                cause=f"this one was made {rfc3339(made)}, the last one {rfc3339(last.made)}",
                remedy="take in the newest one; what this one withdraws is in it as well",
                check="transfer.older",
            )
        if made > now + AHEAD:
            raise VerificationFailed(
                "this transfer was made in the future",
                cause=f"it says {rfc3339(made)}, and it is {rfc3339(now)} here: one of the two clocks is wrong",
                remedy="set the clock that is wrong; a transfer dated ahead would look fresh for too long",
                check="transfer.older",
            )

    # Claims.

    def _bundles(self, name: str) -> list[Bundle]:
        return [Bundle.from_json(line) for line in self.members.get(name, b"").splitlines()]

    def _hand_in(self, name: str) -> int:
        """Log the claims that are not here yet, as what they are: claims of whoever signed them."""
        registry, drafts = self.registry, []
        with registry.writing():
            for bundle in self._bundles(name):
                if not self._kept(bundle):
                    try:
                        drafts.append(self._draft(bundle))
                    except WeighbridgeError as error:
                        self.refused.append(f"{bundle.digest.short}: {error.problem}")
            if drafts:
                outbox.submit(registry, *drafts)
        return len(drafts)

    def _kept(self, bundle: Bundle) -> bool:
        table = schema.bundle
        with self.registry.records.read() as connection:
            query = sa.select(table.c.digest).where(table.c.digest == str(bundle.digest))
            return connection.execute(query).first() is not None

    def _draft(self, bundle: Bundle) -> outbox.Draft:
        """Make a draft of a claim that is in one of the other registry's logs."""
        if bundle.certificates:
            draft = bundles.take_proven(bundle)
            pem = pem_of_certificate(signer_of(bundle.certificates[0]).certificate)
        else:
            pem = self.pems.get(bundle.key, "") if bundle.key else ""
            if not pem:
                raise NotFound(
                    "its signer's key is in no version of the authority", remedy="ask who signed it"
                )
            draft = bundles.take(bundle.envelope, pem)
        body = log_body(bundle.envelope, pem)
        if all(log.find(body) is None for log in self.logs):
            raise VerificationFailed(
                "it is in none of the logs that came with it",
                remedy="somebody put it into the transfer: find out who can write there",
                check="log.inclusion",
            )
        return draft

    # Models.

    def _models(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        arrived, waiting = [], []
        for name in self.body["models"]:
            digest = Digest.parse(str(name))
            said: Any = parse(self.members[f"models/{digest.hex}.json"])
            manifest = Manifest.from_json(str(said["manifest"]).encode())
            if manifest.digest != digest:
                raise changed(f"models/{digest.hex}.json is the manifest of another model")
            carried = _Carried(self.folder, manifest, said, self.body)
            missing = [f for f in manifest.files if not (carried.has(f) or self.registry.blobs.has(f.sha256))]
            if missing:
                waiting.append(
                    f"{said['label']} ({digest.short}): {len(missing)} of {len(manifest.files)} files are not here"
                )
                continue
            model = intake.take_tree(self.registry, carried.over(self.registry), origin=Origin.THIRD_PARTY)
            if model.digest != digest:
                raise changed(f"the bytes of {said['label']} are another model's")
            arrived.append(f"{said['label']} ({digest.short})")
        return tuple(arrived), tuple(waiting)


class _Carried:
    """The files of a model that was carried here: a tree whose files are announced by the other registry's manifest."""

    def __init__(
        self, folder: Path, manifest: Manifest, said: Mapping[str, Any], body: Mapping[str, Any]
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._said = said
        self._body = body
        self._registry: Registry | None = None

    def over(self, registry: Registry) -> _Carried:
        """Take from the registry itself what did not come along."""
        self._registry = registry
        return self

    @property
    def model_hint(self) -> str:
        return str(self._said["label"])

    @property
    def origin(self) -> Mapping[str, str]:
        source = {
            key: str(value) for key, value in self._said["source"].items() if key in ("repository", "commit")
        }
        return {
            **source,
            "scheme": "transfer",
            "registry": str(self._body["registry"]),
            "made": str(self._body["made"]),
        }

    def files(self) -> Sequence[TreeFile]:
        return [
            TreeFile(entry.path, entry.size, lambda entry=entry: self._open(entry), (entry.sha256,))  # type: ignore[misc]
            for entry in self._manifest.files
        ]

    def has(self, entry: FileEntry) -> bool:
        path = self._path(entry)
        return path.is_file() and not path.is_symlink() and path.stat().st_size == entry.size

    def settle(self) -> None:
        return

    def close(self) -> None:
        return

    def _open(self, entry: FileEntry) -> BinaryIO:
        if not self.has(entry) and self._registry is not None:
            return self._registry.blobs.open(entry.sha256)
        return open_member(self._path(entry), self._folder)

    def _path(self, entry: FileEntry) -> Path:
        return self._folder / BLOBS / "sha256" / entry.sha256.hex[:2] / entry.sha256.hex
