"""Setup: makes a new registry with its keys, log, authority and starter policies; the root key goes elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from weighbridge.config import Config
from weighbridge.core.canonical import canonical
from weighbridge.core.clock import Clock, Entropy, rfc3339
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Role
from weighbridge.keys.files import FileKey, generate
from weighbridge.ledger.checkpoint import Form
from weighbridge.ledger.journal import Commit
from weighbridge.ledger.sequencer import Log
from weighbridge.policy.settings import load_bundle, starter
from weighbridge.registry import changes, journal, policy_files, services, tally
from weighbridge.registry.backends import kept_blobs, open_records
from weighbridge.registry.chain import first_origin
from weighbridge.registry.layout import FORMAT, Layout
from weighbridge.registry.pins import Pin, write_pin
from weighbridge.registry.service_keys import OFFLINE, make_passphrase, root_folder, save_service_key
from weighbridge.registry.wiring import Registry, open_registry
from weighbridge.store import schema
from weighbridge.trust.authority import EVERY_PROJECT, Authority, AuthorityIdentity, AuthorityLog, Project
from weighbridge.trust.authority_file import sign_authority
from weighbridge.trust.bundle import log_body
from weighbridge.trust.development import DevelopmentIssuer
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.issuers import TrustedIssuer
from weighbridge.trust.roots import Roots

AUTHORITY_DAYS = 365
FIRST_ROLES = {
    "intake": (Role.ORIGIN, Role.BOM, Role.CONVERT),
    "gate": (Role.SCAN, Role.ADMIT, Role.DECIDE, Role.RECORD),
    "owner": (Role.REVOKE, Role.WAIVE, Role.POLICY),
}
"""The identities a new registry starts with; the owner's key lies with the root key, outside the registry."""


def init_registry(
    config: Config,
    *,
    clock: Clock,
    entropy: Entropy,
    root: Path | None = None,
    demonstration: bool = False,
    form: Form = "v1",
) -> Registry:
    """Make a registry and open it; in a demonstration its development issuer vouches for anybody at this machine.

    `form` is that of the log that clients sign into: v1 as every generation of them takes it, or v2.

    Everything is made in a folder beside the target and moved there at the end, so that a killed init
    leaves no half registry. Raises UsageError when something is already there.
    """
    layout = Layout(Path(root if root is not None else config["registry"]).expanduser().absolute())
    if layout.root.exists() and (not layout.root.is_dir() or any(layout.root.iterdir())):
        raise UsageError(
            f"there is already something at {layout.root}",
            remedy="choose another folder with --registry, or use the registry that is there",
        )
    registry_id = entropy.token(8).hex()
    layout.root.parent.mkdir(parents=True, exist_ok=True)
    making = Layout(layout.root.with_name(f"{layout.root.name}.{registry_id}.making"))
    try:
        make = _Making(making, config, registry_id, clock, entropy, demonstration, form)
        pin = make.run()
        if layout.root.exists():
            layout.root.rmdir()
        making.root.rename(layout.root)
    except BaseException:
        shutil.rmtree(making.root, ignore_errors=True)
        raise
    write_pin(config.home, pin)
    return open_registry(config, clock=clock, entropy=entropy, root=layout.root)


@dataclass(frozen=True)
class _Making:
    """What it takes to make a registry, in a folder that is not yet where it will be."""

    layout: Layout
    config: Config
    registry: str
    clock: Clock
    entropy: Entropy
    demonstration: bool
    form: Form

    def run(self) -> Pin:
        """Make keys, services, log, authority, policy and records; return what the user remembers of them."""
        layout, now = self.layout, self.clock.now()
        for folder in (layout.root, layout.blobs, layout.keys, layout.policy, layout.models, layout.scratch):
            folder.mkdir(mode=0o700)
        (layout.root / ".gitignore").write_text("*\n", encoding="utf-8")
        keys = {name: generate() for name in ("intake", "gate", "log", "root", "owner")}
        keys |= services.make_keys(demonstration=self.demonstration)
        self._keep(keys)
        origin = first_origin(self.registry)
        trusted, signing_log = services.make_services(
            layout, self.registry, keys, now=now, entropy=self.entropy, form=self.form
        )
        logs = (AuthorityLog(origin, keys["log"].public_pem), signing_log)
        authority = self._authority(keys, logs, trusted)
        signed = sign_authority(authority, keys["root"])
        log = Log.create(
            layout.log, origin, keys["log"], now=now, genesis=self._genesis(signed, keys["root"])
        )
        for name, data in starter().items():
            (layout.policy / name).write_bytes(data)
        self._record(authority, signed, log, keys["log"])
        layout.card.write_bytes(canonical({"format": FORMAT, "id": self.registry}) + b"\n")
        return Pin(self.registry, authority.roots, authority.version, log.checkpoint_text)

    def _keep(self, keys: Mapping[str, FileKey]) -> None:
        """Write the keys: what decides who may sign beside the user's settings, the rest encrypted in the registry."""
        secrets = root_folder(self.config.home, self.registry)
        secrets.mkdir(parents=True, mode=0o700)
        make_passphrase(self.config, self.registry, self.entropy)
        for name, key in keys.items():
            if name in OFFLINE:
                key.save(secrets / f"{name}.pem")
            else:
                save_service_key(self.layout.keys, name, key, self.config, self.registry)
        (secrets / "root.pub.pem").write_text(keys["root"].public_pem, encoding="ascii")

    def _authority(
        self, keys: Mapping[str, FileKey], logs: tuple[AuthorityLog, ...], trusted: Roots
    ) -> Authority:
        now = self.clock.now()
        roles: dict[Role, tuple[str, ...]] = {}
        for name, granted in FIRST_ROLES.items():
            for role in granted:
                roles[role] = (name,)
        issuers: list[TrustedIssuer] = []
        if self.demonstration:
            development = DevelopmentIssuer(keys[services.DEVELOPMENT_KEY], entropy=self.entropy)
            issuers.append(development.trusted())
        return Authority(
            registry=self.registry,
            version=1,
            issued=now,
            expires=now + timedelta(days=AUTHORITY_DAYS),
            roots=(keys["root"].public_pem,),
            identities=tuple(AuthorityIdentity(name, keys[name].public_pem, now) for name in FIRST_ROLES),
            logs=logs,
            projects={EVERY_PROJECT: Project(roles=roles)},
            trusted=trusted,
            issuers=tuple(issuers),
            demonstration=self.demonstration,
        )

    def _genesis(self, signed: bytes, root: FileKey) -> list[bytes]:
        first = {
            "kind": "weighbridge.genesis/1",
            "registry": self.registry,
            "time": rfc3339(self.clock.now()),
            "policy": str(load_bundle(starter()).digest),
        }
        return [canonical(first), log_body(Envelope.decode(signed), root.public_pem)]

    def _record(self, authority: Authority, signed: bytes, log: Log, log_key: FileKey) -> None:
        record = {
            "schema_version": schema.SCHEMA_VERSION,
            "project": EVERY_PROJECT,
            "actor": str(self.config["actor"]) or os.environ.get("USER", "init"),
            "created_at": rfc3339(self.clock.now()),
        }
        row = {"version": authority.version, "digest": str(authority.digest), "content": signed.decode()}
        policy = str(load_bundle(starter()).digest)
        blob = policy_files.keep(kept_blobs(self.config, self.layout), starter())
        kept = {"digest": policy, "previous": "", "blob": str(blob), "commit": ""}
        with _first_records(self.config, self.layout, log, record) as connection:
            connection.execute(sa.insert(schema.authority).values(**record, **row))
            connection.execute(sa.insert(schema.setting).values(**record, key="policy", value=policy))
            changes.keep(connection, record, kept, bundle="")
            tally.close(connection, self.registry, log, log_key, record)


@contextmanager
def _first_records(
    config: Config, layout: Layout, log: Log, record: Mapping[str, Any]
) -> Iterator[sa.Connection]:
    """Make the database, and give its first transaction; one that replicas share begins with what the log does."""
    records = open_records(config, layout, create=True)
    try:
        with records.write() as connection:
            if connection.execute(sa.select(sa.func.count()).select_from(schema.authority)).scalar():
                raise UsageError(
                    "this database holds the records of a registry already",
                    remedy="give another database, or begin a further replica of that registry with --join",
                )
            if records.shared:
                first = Commit(log.origin, 0, tuple(log.entries()), log.checkpoint_text)
                journal.insert(connection, first, after="", record=record)
            yield connection
    finally:
        records.close()
