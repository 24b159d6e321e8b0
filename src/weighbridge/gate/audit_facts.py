"""What is known of each model that runs: read from its latest decision, its evidence and its signed bill of materials.

Rows are read one after the other and reduced at once, so that thousands of running models need no more memory than
their facts. A decision counts by the digest under which it was signed, its evidence by the digest that the decision names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.summary import read_vsa
from weighbridge.claims.words import record_type
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Status
from weighbridge.gate.pack_lists import PASSED
from weighbridge.gate.pack_sources import bundle_of
from weighbridge.registry import decisions, deployments
from weighbridge.registry.deployments import Deployment
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle

ADAPTER = "adapter"
CARRIED = ("decision", "revocation", "waiver", "break-glass", "policy", "mode", "approval", "advisory", "lift", "deployment", "data", "train", "evaluate",
           "package", "convert", "origin", "bom", "scan", "admit")  # fmt: skip
"""The words under which bundles are kept, as `edges.stage_name` gives them."""
LOOKS_FOR_BACKDOORS = "backdoor"
"""How the metric begins under which somebody signs the result of a test for backdoors."""


@dataclass(frozen=True, slots=True)
class Running:
    """One deployment and what stands behind it; all of it false or empty where nothing does."""

    target: str
    manifest: Digest
    status: str = ""
    kept: bool = False
    """The registry knows the model."""
    decided: bool = False
    """The newest decision on it allows, was enforced, and is in the log."""
    admitted: bool = False
    """It was admitted, and that has not ended."""
    bytes_same: bool = False
    scanned: bool = False
    """The gate's own scan of every byte, which passed."""
    formats: tuple[str, ...] = ()
    excused: int = 0
    """On how many waivers and break-glass the newest decision rests."""
    signed: bool = False
    """A verified packaging claim, or an accepted origin whose bytes are those announced."""
    witnessed: bool = False
    """Every claim that was believed is proven in a log that somebody else saw."""
    ends: str = ""
    """Where its ancestry ends: data, origin, broken, or nothing known."""
    adapter: bool = False
    evaluated: bool = False
    data: bool = False
    """A verified claim about a dataset it descends from."""
    probed: bool = False
    """A signed evaluation that passed has a metric about backdoors."""
    waived: int = 0
    apart: bool = True
    """Nobody who built it evaluated it or waived a finding in it."""
    bom: bool = False
    dependencies: int = 0
    """Libraries in its bill of materials that have a hash."""
    laid_out: bool = False


def running(registry: Registry) -> Iterator[Running]:
    """Yield the facts of every deployment of the current project; the records were held against their tally."""
    known: dict[Digest, Running] = {}
    for deployment in deployments.running(registry):
        facts = known.get(deployment.manifest)
        if facts is None:
            with registry.records.read() as connection:
                facts = _facts(registry, connection, deployment)
            known[deployment.manifest] = facts
            yield facts
        else:
            yield _at(facts, deployment.target)


def counts(registry: Registry) -> dict[str, int]:
    """Return how many records of each kind are kept, and how many models and entries there are."""
    table = schema.bundle
    with registry.records.read() as connection:
        query = sa.select(table.c.stage, sa.func.count()).group_by(table.c.stage)
        found = dict.fromkeys(CARRIED, 0) | {row[0]: row[1] for row in connection.execute(query)}
        for name, rows in (("model", schema.model), ("authority", schema.authority)):
            found[name] = int(connection.execute(sa.select(sa.func.count()).select_from(rows)).scalar() or 0)
        found["policy"] += _policies(connection)
    return {**found, "entry": sum(log.size for log in (*registry.before, registry.log))}


def _policies(connection: sa.Connection) -> int:
    """Count the changes of policy, which are kept among what is about no model."""
    query = sa.select(schema.bundle.c.content).where(schema.bundle.c.stage == "other")
    kept = (Bundle.from_json(text.encode()) for text in connection.execute(query).scalars())
    return sum(record_type("policy").encode() in bundle.envelope.payload for bundle in kept)


def _at(facts: Running, target: str) -> Running:
    return replace(facts, target=target)


def _facts(registry: Registry, connection: sa.Connection, deployment: Deployment) -> Running:
    decision, model = schema.decision, schema.model
    here = (decision.c.project == registry.project, decision.c.manifest == str(deployment.manifest))
    query = sa.select(decision).where(*here).order_by(decision.c.place.desc())
    row = connection.execute(query.limit(1)).mappings().first()
    status = connection.execute(
        sa.select(model.c.status).where(
            model.c.project == registry.project, model.c.digest == str(deployment.manifest)
        )
    ).scalar()
    folder = registry.layout.models / deployment.manifest.hex
    base = Running(
        deployment.target,
        deployment.manifest,
        status=str(status or ""),
        kept=status is not None,
        admitted=_admitted(connection, deployment.manifest, registry.clock.now()),
        laid_out=(folder / "model").is_dir() and (folder / "evidence" / "admission.sigstore.json").is_file(),
    )
    if row is None or str(Digest.of(row["content"].encode())) != row["id"]:
        return base
    content: Any = json.loads(row["content"])
    evidence = decisions.evidence_text(connection, row["evidence"])
    if str(Digest.of(evidence.encode())) != content["digests"]["evidence"]:
        return base
    allows = content["decision"] == "allow" and content["enforced"] is True and row["receipt"] is not None
    used = [row for row in content.get("exceptions", ()) if row["state"] == "used"]
    base = replace(base, excused=len(used))
    return _with_evidence(connection, base, json.loads(evidence), decided=allows)


def _with_evidence(connection: sa.Connection, base: Running, said: Any, *, decided: bool) -> Running:
    own = {said["manifest"], said["weights"]}
    claims = [row for row in said["claims"] if row["outcome"] == "pass" and row["proof"] is not None]
    mine = [row for row in claims if own & set(row["about"])]
    scan, evaluations = said["scan"], [row for row in mine if row["stage"] == "evaluate"]
    built = {row["signer"]["key"] for row in mine if row["stage"] in PASSED}
    approved = {row["signer"]["key"] for row in (*evaluations, *said["waivers"])}
    boms = [row for row in mine if row["stage"] == "bom"]
    passed = [row for row in evaluations if row["detail"].get("result") == "PASSED"]
    metrics = {name for row in passed for name in row["detail"].get("metrics", {})}
    return replace(
        base,
        decided=decided,
        bytes_same=said["bytes"]["outcome"] == "pass",
        scanned=bool(
            scan
            and scan["by_gate"]
            and scan["complete"]
            and scan["verdict"] in ("clean", "notes", "unlisted")
        ),
        formats=tuple(sorted(set((scan or {}).get("formats", {}).values()))),
        signed=any(row["stage"] == "package" for row in mine)
        or any(row["stage"] == "origin" and row["detail"].get("matches_announced") for row in claims),
        witnessed=bool(claims)
        and all(row["proof"]["assurance"] in ("witnessed", "public") for row in claims),
        ends=said["ancestry"]["end"],
        adapter=any(relation == ADAPTER for _, _, relation in said["ancestry"]["links"]),
        evaluated=bool(passed),
        data=any(row["stage"] == "data" for row in claims),
        probed=any(name.startswith(LOOKS_FOR_BACKDOORS) for name in metrics),
        waived=len(said["waivers"]),
        apart=not built & approved,
        bom=any(row["detail"].get("bound") for row in boms),
        dependencies=max((_dependencies(connection, row["bundle"]) for row in boms), default=0),
    )


def _dependencies(connection: sa.Connection, bundle: str) -> int:
    """Count the libraries with a hash in the bill of materials that a bundle carries."""
    try:
        statement = Statement.decode(bundle_of(connection, bundle).envelope.payload)
    except VerificationFailed:
        return 0
    return _libraries(statement.predicate)


def _libraries(part: Any) -> int:
    total = 0
    for component in part.get("components") or []:
        kind = component.get("type")
        total += kind in ("library", "framework") and bool(component.get("hashes"))
        total += _libraries(component)
    return total


def _admitted(connection: sa.Connection, manifest: Digest, now: datetime) -> bool:
    """Tell whether the newest word of the gate about a model has not ended."""
    table, subject = schema.bundle, schema.bundle_subject
    query = sa.select(table.c.digest).select_from(subject.join(table, subject.c.bundle == table.c.digest))
    query = query.where(subject.c.identity == str(manifest), table.c.stage == "admit")
    newest = connection.execute(query.order_by(table.c.place.desc()).limit(1)).scalar()
    if newest is None:
        return False
    try:
        return read_vsa(Statement.decode(bundle_of(connection, newest).envelope.payload)).expires > now
    except VerificationFailed:
        return False


def last_advisory(registry: Registry) -> datetime | None:
    """Return when the newest revocation or advisory was recorded; None for none."""
    table = schema.bundle
    with registry.records.read() as connection:
        query = sa.select(sa.func.max(table.c.created_at)).where(
            table.c.stage.in_(("revocation", "advisory"))
        )
        text = connection.execute(query).scalar()
    return parse_rfc3339(text) if text else None


def is_active(facts: Running) -> bool:
    """Tell whether no advisory or revocation holds a model back."""
    return facts.status == Status.ACTIVE.value
