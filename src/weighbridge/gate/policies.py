"""Changing the active policy: a signed, logged event that pins the digest of the new files, and keeps them for ever.

Where the authority asks for more identities than one, the change waits as a proposal until enough of them approved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.records import event
from weighbridge.claims.words import RECORD_ROLES
from weighbridge.config import Config
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role
from weighbridge.gate.engines import deciding
from weighbridge.keys.ports import Signer
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.settings import PolicyBundle, load_bundle
from weighbridge.policy.vetting import refuse
from weighbridge.registry import approvals, authorities, changes, policy_files, tally
from weighbridge.registry.approvals import Proposal
from weighbridge.registry.outbox import Draft, sign, submit
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust.authority import EVERY_PROJECT


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What a change of policy came to: the new policy, the signed record, and the proposal that waits, if it does."""

    digest: Digest
    bundle: Digest | None
    """None where this policy was active already, and only its files were put back."""
    waiting: Proposal | None = None


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """One policy in the history of a project: since when, by whom, from which git commit, who approved it."""

    project: str
    sequence: int
    digest: Digest
    since: str
    actor: str
    commit: str
    kept: bool
    """Its files are kept here."""
    bundle: str
    """The signed change; empty for the policy that a registry was made with."""
    signers: tuple[str, ...] = ()
    """Who stood behind it, by the names of the authority of today, else the key."""

    def to_json(self) -> dict[str, JSON]:
        """Return the policy as JSON."""
        return {
            "project": self.project,
            "sequence": self.sequence,
            "digest": str(self.digest),
            "since": self.since,
            "asked_by": self.actor,
            "commit": self.commit,
            "kept": self.kept,
            "bundle": self.bundle,
            "approved_by": list(self.signers),
        }


def check_policy(bundle: PolicyBundle, config: Config) -> None:
    """Refuse (BadSetting) a policy that is open, of no use, or certainly wrong (`policy.vetting`).

    The engine that decides is asked as well, where it is another: raises Unreachable when it cannot be.
    """
    with RegorusEngine() as engine, deciding(config) as also:
        refuse(bundle, engine, also)


def use_policy(
    registry: Registry, folder: Path, signer: Signer, *, project: str = EVERY_PROJECT, commit: str = ""
) -> PolicyChange:
    """Make the policy files of `folder` the active ones; raises BadSetting for unsound ones, Refused for strangers.

    `commit` is the git commit that holds these very files, empty where none is known to. The digest is pinned before the
    files are put in place: between the two, the gate blocks. Of a project with a policy of its own the kept files are used.
    """
    files = policy_files.read_folder(folder)
    bundle = load_bundle(files)
    check_policy(bundle, registry.config)
    authorities.require(registry, signer, Role.POLICY, project=project)
    with registry.writing():
        with registry.records.read() as connection:
            previous, since = changes.current(connection, project, changes.POLICY)
        if project == EVERY_PROJECT and previous == str(bundle.digest):
            policy_files.keep(registry.blobs, files)
            policy_files.put(registry.layout.policy, files)
            policy_files.finish(registry)
            return PolicyChange(bundle.digest, None)
        _keep_outgoing(registry, previous)
        blob = policy_files.keep(registry.blobs, files)
        body: dict[str, JSON] = {
            "digest": str(bundle.digest),
            "previous": previous,
            "blob": str(blob),
            "commit": commit,
        }
        at = changes.after(registry.clock.now(), since)
        statement = event("policy", (), body, project=project, actor=registry.actor, at=at)
        signed = submit(registry, sign(statement, signer))[-1].digest
        policy_files.finish(registry)
        with registry.records.read() as connection:
            now, _ = changes.current(connection, project, changes.POLICY)
    waiting = next((row for row in approvals.pending(registry) if row.bundle == signed), None)
    if waiting is None and now != str(bundle.digest):
        raise approvals.without_effect("policy")
    return PolicyChange(bundle.digest, signed, waiting)


def approve(registry: Registry, proposal: Digest | str, signer: Signer) -> Proposal:
    """Stand behind a proposal of whatever kind as another identity; returns it as it stands then.

    Raises NotFound, and Refused for a proposal that is over, a key without the role, and one that stands behind it already.
    """
    with registry.writing():
        waiting = approvals.find(registry, str(proposal))
        role = RECORD_ROLES[waiting.record.kind]
        _check_waits(waiting)
        authorities.require(registry, signer, role, project=waiting.record.project)
        enough = len(waiting.identities) >= waiting.needed
        if not enough and any(
            approvals.person(one) == ("", str(signer.key_id)) for one in waiting.identities
        ):
            raise _nobody_new()
        return approve_with(registry, waiting, sign(approval_of(registry, waiting), signer))


def approval_of(registry: Registry, proposal: Proposal) -> Statement:
    """Return what somebody signs who stands behind a proposal."""
    body: dict[str, JSON] = {"bundle": str(proposal.bundle), "kind": proposal.record.kind}
    project, at = proposal.record.project, registry.clock.now()
    return event("approval", (), body, project=project, actor=registry.actor, at=at)


def approve_with(registry: Registry, proposal: Proposal, approval: Draft) -> Proposal:
    """Log an approval that was signed by whatever means, and act on it; raises Refused when it added nobody."""
    with registry.writing():
        _check_waits(approvals.find(registry, str(proposal.bundle)))
        submit(registry, approval)
        policy_files.finish(registry)
    after = approvals.find(registry, str(proposal.bundle))
    if after.state == approvals.WAITING and len(after.identities) <= len(proposal.identities):
        raise _nobody_new()
    return after


def history(registry: Registry) -> list[KeptPolicy]:
    """Return every policy that was ever active, oldest first by project; held against the tally."""
    tally.check(registry)
    table = schema.policy
    with registry.records.read() as connection:
        rows = (
            connection.execute(sa.select(table).order_by(table.c.project, table.c.sequence)).mappings().all()
        )
        return [_kept(registry, connection, row) for row in rows]


def kept_policy(registry: Registry, digest: Digest) -> PolicyBundle:
    """Return a policy that is or was active; raises NotFound when its files are not kept, VerificationFailed for others.

    Of a registry that is older than the keeping of policies, the active one is read from its folder.
    """
    try:
        return load_bundle(policy_files.kept_files(registry, digest))
    except NotFound:
        files = policy_files.read_folder(registry.layout.policy) if registry.layout.policy.is_dir() else {}
        if policy_files.digest_of(files) != digest:
            raise
        return load_bundle(files)


def _kept(registry: Registry, connection: sa.Connection, row: Mapping[Any, Any]) -> KeptPolicy:
    return KeptPolicy(
        row["project"],
        row["sequence"],
        Digest.parse(row["digest"]),
        row["created_at"],
        row["actor"],
        row["git"],
        bool(row["blob"]),
        row["bundle"],
        tuple(approvals.signers(connection, registry.authority, row["bundle"])) if row["bundle"] else (),
    )


def _keep_outgoing(registry: Registry, digest: str) -> None:
    """Keep the policy that is about to be replaced, where the registry is older than the keeping of policies."""
    table = schema.policy
    with registry.records.read() as connection:
        known = connection.execute(sa.select(table.c.digest).where(table.c.digest == digest)).first()
    files = policy_files.read_folder(registry.layout.policy)
    if known or not digest or str(policy_files.digest_of(files)) != digest:
        return
    blob = policy_files.keep(registry.blobs, files)
    body = {"digest": digest, "previous": "", "blob": str(blob), "commit": ""}
    with tally.keeping(registry) as connection:
        since = changes.current(connection, EVERY_PROJECT, changes.POLICY)[1]
        row = {**registry.record(), "project": EVERY_PROJECT, "created_at": since}
        changes.keep(connection, row, body, bundle="")


def _check_waits(proposal: Proposal) -> None:
    if proposal.state == approvals.WAITING:
        return
    done = proposal.state == approvals.DONE
    ended = rfc3339(proposal.ended_at) if proposal.ended_at else ""
    raise Refused(
        f"proposal {proposal.bundle.short} {'took effect already' if done else 'can no longer take effect'}",
        cause=f"at {ended}" if done else proposal.reason,
        remedy="nothing is left to do" if done else "propose it again, from what is in force now",
        check="approval.open",
    )


def _nobody_new() -> Refused:
    return Refused(
        "this approval adds nobody",
        cause="whoever signed it stands behind the proposal already; who somebody is, is the key or the certificate's subject",
        remedy="let another identity with the role approve it: weighbridge trust show",
        check="approval.distinct",
    )
