"""`revoke`: withdraw a model, distrust a signer or scans, list and lift such distrust; and say what else is hit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe, table
from weighbridge.cli.secrets import open_key
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.core.distrust import Distrust
    from weighbridge.gate.distrusting import Doubt
    from weighbridge.keys.ports import Signer
    from weighbridge.registry.approvals import Proposal
    from weighbridge.registry.wiring import Registry


@click.command()
@click.argument("target", metavar="[MODEL]", required=False)
@click.option(
    "--signer", "who", metavar="WHO", help="Instead of MODEL: a name of the authority, a key id, a subject."
)
@click.option("--from", "start", metavar="TIME", help="With --signer: from when on (YYYY-MM-DD or RFC 3339).")
@click.option(
    "--issuer", default="", metavar="URL", help="With --signer: only certificates that this issuer led to."
)
@click.option(
    "--ruleset", metavar="DIGEST", help="Instead of MODEL: scans under these rules count no longer."
)
@click.option("--before", metavar="TIME", help="Instead of MODEL: scans made before then count no longer.")
@click.option(
    "--lift", "lifted", metavar="ID", help="Take a distrust (dis-…) back; a revocation stands for good."
)
@click.option("--list", "listing", is_flag=True, help="List who and what is distrusted.")
@click.option("--reason", default="", help="Why; goes into the log.")
@click.option(
    "--key", metavar="KEY", help="A key with the role revoke, a path or URI (default: the owner's)."
)
@common
def revoke(shared: Shared, **asked: Any) -> int:
    """Withdraw a model and its weights, for good; what descends from it is quarantined and no longer admitted.

    MODEL may be anything by another name (file-sha256:…), kept here or not. --signer believes somebody no longer from a
    moment on, --ruleset and --before let scans count no longer; these can be lifted. Who may be wrong about a model
    publishes an advisory instead.
    """
    _check(asked)
    with opened(shared) as registry:
        if asked["listing"]:
            return _list(shared, registry)
        from weighbridge.registry.service_keys import root_folder

        owner = root_folder(registry.config.home, registry.id) / "owner.pem"
        signer = open_key(shared, asked["key"] or str(owner))
        if asked["lifted"]:
            return _lift(shared, registry, asked, signer)
        if asked["target"] is not None:
            return _withdraw(shared, registry, asked, signer)
        return _show(shared, _distrust(shared, registry, asked, signer))


def _check(asked: dict[str, Any]) -> None:
    """Refuse anything but one thing to do, told whole."""
    ways = ("target", "who", "ruleset", "before", "lifted", "listing")
    if sum(bool(asked[name]) for name in ways) != 1:
        raise UsageError(
            "say what is to be withdrawn, and only one thing",
            remedy="weighbridge revoke MODEL, or --signer WHO --from TIME, --ruleset DIGEST, --before TIME, --lift ID, --list",
        )
    if bool(asked["who"]) != bool(asked["start"]):
        raise UsageError(
            "--signer and --from belong together",
            remedy="say from when on the signer is not believed: --from 2026-11-20T14:00:00Z"
            if asked["who"]
            else "leave --from out: only a signer is believed until a moment",
        )
    if asked["issuer"] and not asked["who"]:
        raise UsageError("--issuer belongs to --signer", remedy="leave it out")
    if not asked["listing"] and not asked["reason"].strip():
        raise UsageError("a reason is needed", remedy='say why with --reason "…"')


def _withdraw(shared: Shared, registry: Registry, asked: dict[str, Any], signer: Signer) -> int:
    from weighbridge.core.advisory import parse_target
    from weighbridge.core.errors import BadReference
    from weighbridge.gate.revoke import revoke as withdraw
    from weighbridge.registry.models import resolve

    text = asked["target"]
    try:
        target = parse_target(text)
    except BadReference:
        target = resolve(registry, text)
    hit = withdraw(registry, target, reason=asked["reason"], signer=signer)
    item: dict[str, JSON] = {**hit.to_json(), "reason": asked["reason"]}
    lines = [f"revoked: {', '.join(d.short for d in hit.targets)}"]
    lines += [f"revoked when it comes: {safe(str(alias))}" for alias in hit.waiting]
    lines += [f"quarantined, descends from it: {d.short}" for d in hit.descendants]
    lines += [f"runs now: {safe(d.target)} ({d.manifest.short})" for d in hit.deployed]
    emit(shared, "revocation", [item], "\n".join(lines))
    return 0


def _distrust(shared: Shared, registry: Registry, asked: dict[str, Any], signer: Signer) -> Doubt:
    from weighbridge.core.digest import Digest
    from weighbridge.gate import distrusting

    everywhere = shared.config.values["project"].origin == "default"
    common_: dict[str, Any] = {"everywhere": everywhere, "reason": asked["reason"], "signer": signer}
    if asked["who"]:
        start = _moment(asked["start"], "--from")
        return distrusting.distrust_signer(registry, asked["who"], start, issuer=asked["issuer"], **common_)
    if asked["ruleset"]:
        ruleset = Digest.parse(asked["ruleset"])
        if ruleset.algorithm != "sha256":
            raise UsageError(
                f"{ruleset.short} is no ruleset",
                cause="the digest of a ruleset begins with sha256:",
                remedy="copy it from a scan or a decision: weighbridge decisions --format json",
            )
        return distrusting.distrust_ruleset(registry, ruleset, **common_)
    return distrusting.distrust_scans(registry, _moment(asked["before"], "--before"), **common_)


def _show(shared: Shared, found: Doubt) -> int:
    said = found.distrust
    where = "in every project" if said.project == "*" else f"in project {said.project!r}"
    lines = [f"{said.id}: {safe(str(said))} {_counts(said)} no longer, {where}"]
    lines += [f"to be judged again: {digest.short}" for digest in found.models]
    lines += [f"runs now: {safe(d.target)} ({d.manifest.short})" for d in found.deployed]
    here = "nothing that is trusted in this project rests on it"
    lines.append("judge them again: weighbridge reevaluate" if found.models else here)
    emit(shared, "distrust", [found.to_json()], "\n".join(lines))
    return 0


def _lift(shared: Shared, registry: Registry, asked: dict[str, Any], signer: Signer) -> int:
    from weighbridge.cli.policy_change import waits
    from weighbridge.gate import distrusting

    done = distrusting.lift(registry, asked["lifted"], reason=asked["reason"], signer=signer)
    said = done.distrust
    text = (
        f"{said.id} still stands: the lift is signed and waits\n{waits(registry, done.waiting)}"
        if done.waiting is not None
        else f"{said.id} is lifted: {safe(str(said))} {_counts(said)} again\njudge again what fell meanwhile: weighbridge reevaluate"
    )
    emit(shared, "distrust", [_item(said, done.waiting)], text)
    return 0


def _list(shared: Shared, registry: Registry) -> int:
    from weighbridge.cli.policy_change import waits
    from weighbridge.gate import distrusting
    from weighbridge.registry.approvals import lifts_waiting

    found, waiting = distrusting.every(registry), lifts_waiting(registry)
    rows = [
        (s.id, str(s), s.project, s.since, s.lifted or ("waits" if s.id in waiting else ""), s.reason)
        for s in found
    ]
    head = ("id", "what", "project", "since", "lifted", "reason")
    lines = [table(rows, head) if rows else "nobody is distrusted"]
    lines += [f"\n{waits(registry, waiting[said.id])}" for said in found if said.id in waiting]
    emit(shared, "distrust", [_item(said, waiting.get(said.id)) for said in found], "\n".join(lines))
    return 0


def _counts(said: Distrust) -> str:
    return "counts" if said.what.value == "signer" else "count"


def _item(said: Distrust, waiting: Proposal | None) -> dict[str, JSON]:
    from weighbridge.cli.policy_change import proposal_json

    proposal = proposal_json(waiting) if waiting is not None else None
    return {**said.to_json(), "models": [], "deployed": [], "proposal": proposal}


def _moment(text: str, option: str) -> datetime:
    """Read a day (its beginning, UTC) or an RFC 3339 time; raises UsageError."""
    from weighbridge.core.clock import parse_rfc3339

    try:
        if len(text) == len("YYYY-MM-DD"):
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return parse_rfc3339(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option} {text!r} is no time", remedy="write it as 2026-11-20 or 2026-11-20T14:00:00Z"
        ) from error
