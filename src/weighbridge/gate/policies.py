"""Changing the active policy: a signed, logged event that pins the digest of the new files."""

from __future__ import annotations

import os
from pathlib import Path

from weighbridge.claims.words import record_type
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.statement import Statement, Subject
from weighbridge.core.tier import Role
from weighbridge.gate.judging import read_policy, setting
from weighbridge.keys.ports import Signer
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.lint import refuse_open
from weighbridge.policy.settings import PolicyBundle
from weighbridge.registry import authorities
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.wiring import Registry
from weighbridge.trust.authority import EVERY_PROJECT


def check_policy(bundle: PolicyBundle) -> None:
    """Refuse (BadSetting) a policy that would allow a model without evidence."""
    with RegorusEngine() as engine:
        refuse_open(bundle.modules, bundle.data, engine)


def use_policy(registry: Registry, folder: Path, signer: Signer) -> Digest:
    """Make the policy files of `folder` the active ones; raises BadSetting for unsound ones, Refused for strangers.

    The digest is pinned before the files are put in place: between the two, the gate blocks.
    """
    bundle = read_policy(folder)
    check_policy(bundle)
    authorities.require(registry, signer, Role.POLICY, project=EVERY_PROJECT)
    body: dict[str, JSON] = {
        "schema": "weighbridge.policy/1",
        "project": EVERY_PROJECT,
        "actor": registry.actor,
        "at": rfc3339(registry.clock.now()),
        "body": {"digest": str(bundle.digest), "previous": setting(registry, "policy")},
    }
    statement = Statement((Subject("policy", (("sha256", bundle.digest.hex),)),), record_type("policy"), body)
    with registry.writing():
        submit(registry, sign(statement, signer))
        _put(registry.layout.policy, folder)
    return bundle.digest


def _put(target: Path, folder: Path) -> None:
    wanted = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".rego", ".toml")}
    for old in target.iterdir():
        if old.suffix in (".rego", ".toml") and old.name not in wanted:
            old.unlink()
    for name, data in wanted.items():
        temporary = target / f".{name}.{os.getpid()}"
        temporary.write_bytes(data)
        temporary.replace(target / name)
