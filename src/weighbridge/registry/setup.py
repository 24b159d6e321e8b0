"""Setup: makes a new registry with its keys, log, authority and starter policies; the root key goes elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from weighbridge.config import Config
from weighbridge.core.canonical import canonical
from weighbridge.core.clock import Clock, Entropy, rfc3339
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Role
from weighbridge.keys.files import generate
from weighbridge.keys.ports import Signer
from weighbridge.ledger.checkpoint import origin_of
from weighbridge.ledger.sequencer import Log
from weighbridge.policy.settings import load_bundle, starter
from weighbridge.registry import tally
from weighbridge.registry.layout import FORMAT, Layout
from weighbridge.registry.pins import Pin, write_pin
from weighbridge.registry.service_keys import OFFLINE, make_passphrase, root_folder
from weighbridge.registry.wiring import Registry, open_registry
from weighbridge.store import schema
from weighbridge.store.sql import Records
from weighbridge.trust.authority import EVERY_PROJECT, Authority, AuthorityIdentity, AuthorityLog, Project
from weighbridge.trust.authority_file import sign_authority
from weighbridge.trust.bundle import log_body
from weighbridge.trust.dsse import Envelope

AUTHORITY_DAYS = 365
FIRST_ROLES = {
    "intake": (Role.ORIGIN, Role.BOM, Role.CONVERT),
    "gate": (Role.SCAN, Role.ADMIT, Role.DECIDE, Role.RECORD),
    "owner": (Role.REVOKE, Role.WAIVE, Role.POLICY),
}
"""The identities a new registry starts with; the owner's key lies with the root key, outside the registry."""


def init_registry(config: Config, *, clock: Clock, entropy: Entropy, root: Path | None = None) -> Registry:
    """Make a registry and open it.

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
        pin = _make(making, config, registry_id, clock, entropy)
        if layout.root.exists():
            layout.root.rmdir()
        making.root.rename(layout.root)
    except BaseException:
        shutil.rmtree(making.root, ignore_errors=True)
        raise
    write_pin(config.home, pin)
    return open_registry(config, clock=clock, entropy=entropy, root=layout.root)


def _make(layout: Layout, config: Config, registry_id: str, clock: Clock, entropy: Entropy) -> Pin:
    for folder in (layout.root, layout.blobs, layout.keys, layout.policy, layout.models, layout.scratch):
        folder.mkdir(mode=0o700)
    (layout.root / ".gitignore").write_text("*\n", encoding="utf-8")
    secrets = root_folder(config.home, registry_id)
    secrets.mkdir(parents=True, mode=0o700)
    keys = {name: generate() for name in ("intake", "gate", "log", "root", "owner")}
    passphrase = make_passphrase(config, registry_id, entropy)
    for name, key in keys.items():
        if name in OFFLINE:
            key.save(secrets / f"{name}.pem")
        else:
            key.save(layout.keys / f"{name}.pem", passphrase)
    root_key, log_key = keys["root"], keys["log"]
    (secrets / "root.pub.pem").write_text(root_key.public_pem, encoding="ascii")

    origin = origin_of(registry_id, int(registry_id[:12], 16))
    identities = {name: keys[name] for name in FIRST_ROLES}
    authority = _first_authority(
        registry_id, AuthorityLog(origin, log_key.public_pem), clock, identities, root_key.public_pem
    )
    signed = sign_authority(authority, root_key)
    envelope = Envelope.decode(signed)
    policy = load_bundle(starter()).digest
    first = {
        "kind": "weighbridge.genesis/1",
        "registry": registry_id,
        "time": rfc3339(clock.now()),
        "policy": str(policy),
    }
    genesis = [canonical(first), log_body(envelope, root_key.public_pem)]
    log = Log.create(layout.log, origin, log_key, now=clock.now(), genesis=genesis)
    for name, data in starter().items():
        (layout.policy / name).write_bytes(data)
    record = {
        "schema_version": schema.SCHEMA_VERSION,
        "project": EVERY_PROJECT,
        "actor": str(config["actor"]) or os.environ.get("USER", "init"),
        "created_at": rfc3339(clock.now()),
    }
    row = {"version": authority.version, "digest": str(authority.digest), "content": signed.decode()}
    with _first_records(layout) as connection:
        connection.execute(sa.insert(schema.authority).values(**record, **row))
        connection.execute(sa.insert(schema.setting).values(**record, key="policy", value=str(policy)))
        tally.close(connection, registry_id, log, log_key, record)
    layout.card.write_bytes(canonical({"format": FORMAT, "id": registry_id}) + b"\n")
    return Pin(registry_id, (root_key.public_pem,), authority.version, log.checkpoint_text)


def _first_authority(
    registry_id: str, log: AuthorityLog, clock: Clock, identities: Mapping[str, Signer], root_pem: str
) -> Authority:
    now = clock.now()
    roles: dict[Role, tuple[str, ...]] = {}
    for name, granted in FIRST_ROLES.items():
        for role in granted:
            roles[role] = (name,)
    return Authority(
        registry=registry_id,
        version=1,
        issued=now,
        expires=now + timedelta(days=AUTHORITY_DAYS),
        roots=(root_pem,),
        identities=tuple(AuthorityIdentity(name, key.public_pem, now) for name, key in identities.items()),
        logs=(log,),
        projects={EVERY_PROJECT: Project(roles=roles)},
    )


@contextmanager
def _first_records(layout: Layout) -> Iterator[sa.Connection]:
    """Make the database, and give its first transaction."""
    records = Records.open(layout.database, create=True)
    try:
        with records.write() as connection:
            yield connection
    finally:
        records.close()
