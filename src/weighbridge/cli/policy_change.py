"""`policy use`, `approve`, `mode` and `show`: what the gate judges by, who changed it, and what waits for somebody else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe, table
from weighbridge.cli.secrets import open_key
from weighbridge.cli.signing import how_to_sign
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Mode

if TYPE_CHECKING:
    from weighbridge.gate.policies import KeptPolicy
    from weighbridge.registry.approvals import Proposal
    from weighbridge.registry.outbox import Draft
    from weighbridge.registry.signing import Signed
    from weighbridge.registry.wiring import Registry

KEY = click.option(
    "--key", metavar="KEY", help="A key with the role policy, a path or URI (default: the owner's)."
)


@click.command("use")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@KEY
@common
def use(shared: Shared, *, folder: Path, key: str | None) -> int:
    """Make the policy files of a folder the active ones: of every project without its own, or of --project only.

    Where the authority asks for a second identity, the change waits for `weighbridge policy approve`.
    """
    from weighbridge.gate.policies import use_policy
    from weighbridge.recorder.code import commit_holding
    from weighbridge.registry.policy_files import SUFFIXES, read_folder

    project = _project(shared)
    with opened(shared) as registry:
        commit = commit_holding(folder, read_folder(folder), SUFFIXES, os.environ)
        signer = open_key(shared, key or _owner(registry))
        change = use_policy(registry, folder, signer, project=project, commit=commit)
        said = waits(registry, change.waiting) if change.waiting else ""
    source = f"git commit {commit}" if commit else "no git commit holds exactly these files"
    waiting = change.waiting
    item: dict[str, JSON] = {
        "digest": str(change.digest),
        "project": project,
        "commit": commit,
        "active": waiting is None,
        "proposal": proposal_json(waiting) if waiting else None,
    }
    if change.bundle is None:
        text = f"active already, files put in place: {change.digest}"
    elif waiting is not None:
        text = f"{change.digest}\n{source}\n{said}"
    else:
        text = f"active: {change.digest}\n{source}"
    emit(shared, "policy", [item], text)
    return 0


@click.command("approve")
@click.argument("proposal")
@how_to_sign
@common
def approve(shared: Shared, proposal: str, **options: Any) -> int:
    """Stand behind a change that waits, as another identity: a policy, a mode, a broken glass, a lift, a waiver.

    Who you are is your key, or the subject of your certificate. The default key is the owner's.
    """
    from weighbridge.cli.signing import chosen
    from weighbridge.gate import policies
    from weighbridge.registry import approvals

    with opened(shared) as registry:
        if not options["key"] and not options["keyless"]:
            options["key"] = _owner(registry)
        how = chosen(options)
        if how.keyless or how.certificate:
            from weighbridge.cli.signing import sign_with

            waiting = approvals.find(registry, proposal)
            signed = sign_with(shared, registry, policies.approval_of(registry, waiting), how)
            after = policies.approve_with(registry, waiting, _draft(signed))
        else:
            after = policies.approve(registry, proposal, open_key(shared, how.key))
        done = after.state == approvals.DONE
        text = f"{described(after)}: in effect" if done else waits(registry, after)
    emit(shared, "proposal", [proposal_json(after)], text)
    return 0


@click.command("mode")
@click.argument("mode", required=False, type=click.Choice([mode.value for mode in Mode]))
@click.option(
    "--namespace", default="", metavar="NAME", help="Only what runs at targets that begin with NAME/."
)
@click.option("--reason", default="", help="Why; goes into the log.")
@KEY
@common
def mode_(shared: Shared, mode: str | None, *, namespace: str, reason: str, key: str | None) -> int:
    """Show all modes, or set one: of every project without its own, or of --project only.

    enforce acts on every answer, warn only on what is allowed, observe and off on none. Enforcing less can take two people.
    """
    from weighbridge.gate import modes

    with opened(shared) as registry:
        if mode is None:
            if namespace or reason or key:
                raise UsageError("say which mode", remedy='weighbridge policy mode warn --reason "…"')
            _show_modes(shared, registry)
            return 0
        project = _project(shared)
        signer = open_key(shared, key or _owner(registry))
        change = modes.set_mode(
            registry, Mode(mode), namespace=namespace, project=project, reason=reason, signer=signer
        )
        waiting = waits(registry, change.waiting) if change.waiting else ""
    item: dict[str, JSON] = {
        "project": project,
        "namespace": namespace,
        "mode": change.now.value,
        "before": change.before.value,
        "proposal": proposal_json(change.waiting) if change.waiting else None,
    }
    said = f"{change.now.value} (before: {change.before.value})"
    emit(shared, "mode", [item], waiting or said)
    return 0


@click.command("show")
@common
def show(shared: Shared) -> int:
    """Show the active policy, since when and by whom, every one before it, and what waits for approval."""
    from weighbridge.gate.judging import setting
    from weighbridge.gate.modes import mode_of
    from weighbridge.gate.policies import history
    from weighbridge.registry import approvals

    with opened(shared) as registry:
        past, waiting = history(registry), approvals.pending(registry)
        pinned, mode = setting(registry, "policy") or "", mode_of(registry)
        project = registry.project
        open_ = [
            f"\n{waits(registry, row)}" if not row.reason else f"\n{described(row)}: {row.reason}"
            for row in waiting
        ]
    own = any(row.project == project for row in past)
    active = next((r for r in reversed(past) if r.project == (project if own else "*")), None)
    item: dict[str, JSON] = {
        "digest": pinned,
        "project": project,
        "mode": mode.value,
        "own": own,
        "history": [row.to_json() for row in past],
        "waiting": [proposal_json(row) for row in waiting],
    }
    lines = [f"active for project {project!r}: {pinned}, mode {mode.value}"]
    if active is not None and str(active.digest) == pinned:
        lines.append(f"since {active.since}, by {_by(active)}; {_commit(active)}")
    rows = [
        (
            row.project,
            row.since,
            row.digest.short,
            _by(row),
            row.commit[:12] or "-",
            "yes" if row.kept else "no",
        )
        for row in past
    ]
    if rows:
        lines += ["", table(rows, ("project", "since", "policy", "by", "git commit", "kept"))]
    emit(shared, "policy", [item], "\n".join([*lines, *open_]))
    return 0


def proposal_json(proposal: Proposal) -> dict[str, JSON]:
    """Return a proposal as JSON."""
    record = proposal.record
    return {
        "id": str(proposal.bundle),
        "kind": record.kind,
        "project": record.project,
        "asked_by": record.actor,
        "body": dict(record.body),
        "logged_at": rfc3339(proposal.logged_at),
        "until": rfc3339(proposal.until),
        "state": proposal.state,
        "reason": proposal.reason,
        "needed": proposal.needed,
        "identities": [
            {"name": one.name, "key": str(one.key), "issuer": one.issuer, "subject": one.subject}
            for one in proposal.identities
        ],
    }


def described(proposal: Proposal) -> str:
    """Say in words what a proposal is."""
    record = proposal.record
    where = "" if record.project == "*" else f" in project {record.project!r}"
    if record.kind == "policy":
        what = f"policy {str(record.body['digest'])[:19]}"
    elif record.kind == "mode":
        namespace = record.body["namespace"]
        what = f"mode {record.body['mode']}" + (f" for namespace {namespace!r}" if namespace else "")
    elif record.kind == "lift":
        what = f"lift of {record.body['id']}"
    else:
        what = f"{record.kind} of {', '.join(digest.short for digest in record.about)}"
    return f"proposal {proposal.bundle.short}: {safe(what)}{where}"


def waits(registry: Registry, proposal: Proposal) -> str:
    """Say in words who stands behind a proposal, how many more it takes, who they may be, until when, and how they do it."""
    from weighbridge.claims.words import RECORD_ROLES
    from weighbridge.registry.approvals import may_join

    names = " and ".join(one.subject or one.name or one.key.short for one in proposal.identities)
    more = proposal.needed - len(proposal.identities)
    people = "identity" if more == 1 else "identities"
    role, others = RECORD_ROLES[proposal.record.kind].value, may_join(registry, proposal)
    short = f"  too few may agree: somebody else needs the role {role}: weighbridge trust add NAME --key FILE --role {role}\n"
    who = f"  who may agree (role {role}): {safe(', '.join(others))}\n" if others else ""
    return (
        f"{described(proposal)}, signed by {safe(names)}, waits for {more} more {people} until {rfc3339(proposal.until)}\n"
        f"{who}{short if len(others) < more else ''}"
        f"  next: weighbridge policy approve {proposal.bundle.hex[:12]} --key KEY"
    )


def _show_modes(shared: Shared, registry: Registry) -> None:
    from weighbridge.gate import modes

    found, now = modes.modes(registry), modes.mode_of(registry)
    rows = [(row.project, row.namespace or "-", row.mode.value, row.since, safe(row.actor)) for row in found]
    text = f"mode of project {registry.project!r}: {now.value}"
    if rows:
        text += "\n" + table(rows, ("project", "namespace", "mode", "since", "by"))
    emit(shared, "mode", [row.to_json() for row in found], text)


def _by(row: KeptPolicy) -> str:
    return safe(" and ".join(row.signers) or row.actor)


def _commit(row: KeptPolicy) -> str:
    return f"git commit {row.commit}" if row.commit else "from no git commit"


def _project(shared: Shared) -> str:
    given = shared.config.values["project"]
    return "*" if given.origin == "default" else str(given.value)


def _owner(registry: Registry) -> str:
    from weighbridge.registry.service_keys import root_folder

    return str(root_folder(registry.config.home, registry.id) / "owner.pem")


def _draft(signed: Signed) -> Draft:
    from weighbridge.registry.outbox import Draft
    from weighbridge.trust.authority_services import pem_of_certificate
    from weighbridge.trust.certificates import signer_of

    if signed.pem:
        return Draft(signed.bundle.envelope, signed.pem)
    certificate = signer_of(signed.bundle.certificates[0]).certificate
    return Draft(signed.bundle.envelope, pem_of_certificate(certificate), signed.bundle)
