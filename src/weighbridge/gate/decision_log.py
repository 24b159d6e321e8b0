"""Decisions in the shape of OPA's decision log, for whatever already reads that; what it has no member for stands under `weighbridge`.

https://www.openpolicyagent.org/docs/management-decision-logs: labels, decision_id, path, input, result, timestamp, bundles,
requested_by. `input` names the evidence by its digest; asked for whole, it is what the policy was asked, to the byte. The
time that an evaluation took is not recorded, so there are no metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.core.canonical import JSON, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.envelope import VERSION
from weighbridge.core.tier import Origin
from weighbridge.gate.decisions import Kept
from weighbridge.gate.judging import PACKAGES

REVISIONS = ("policy", "floor", "engine", "authority", "ruleset")
NOT_ASKED = ("floor.complete",)
"""Checks that the judge adds after the policy was asked."""


def opa_event(one: Kept, registry: str, *, whole: bool = False) -> dict[str, JSON]:
    """Return one decision as an event of OPA's decision log; `whole` writes the evidence into its input."""
    body = one.body
    document: Any = parse(one.text) if one.text and not one.problem else None
    asked: dict[str, JSON] = {"action": body.get("action"), "evaluated_at": body.get("time")}
    if whole and document is not None:
        asked |= {"evidence": document, "floor": [row for row in body["checks"] if _was_asked(row)]}
    else:
        asked["evidence"] = {"digest": one.evidence or None, "manifest": one.manifest}
    digests: Mapping[str, str] = body.get("digests", {})
    return {
        "labels": {"app": "weighbridge", "id": registry, "version": VERSION, "project": one.project},
        "decision_id": str(one.id),
        "path": _path(document),
        "input": asked,
        "result": _result(body),
        "timestamp": body.get("time"),
        "bundles": {name: {"revision": digests[name]} for name in REVISIONS if digests.get(name)},
        "requested_by": one.asked_by,
        "weighbridge": item(one, checks=False),
    }


def item(one: Kept, *, checks: bool = True) -> dict[str, JSON]:
    """Return one decision as `weighbridge.decision/1` has it, with its receipt, who asked, and what speaks against it."""
    said = {name: value for name, value in one.body.items() if checks or name != "checks"}
    return {
        **said,
        "id": str(one.id),
        "receipt": dict(one.receipt) or None,
        "asked_by": one.asked_by,
        "logged_at": rfc3339(one.logged_at) if one.logged_at else None,
        "bundle": str(one.bundle.digest) if one.bundle else None,
        "problem": one.problem,
    }


def _was_asked(row: Mapping[str, Any]) -> bool:
    return not row["id"].startswith("policy.") and row["id"] not in NOT_ASKED


def _path(document: Any) -> str:
    """Return the package that was asked: of the model's class; of none where there was no evidence."""
    if not isinstance(document, Mapping):
        return "weighbridge"
    return f"weighbridge/{PACKAGES[Origin(str(document['origin']))]}"


def _result(body: Mapping[str, Any]) -> dict[str, JSON]:
    """Return what the gate concluded, in the members of the decision contract: checks that stand in the way are denials."""
    deny: list[JSON] = [
        {"rule": row["id"], "msg": row["found"]} for row in body.get("checks", ()) if row["outcome"] != "pass"
    ]
    warnings: list[str] = list(body.get("warnings", ()))
    warn: list[JSON] = [dict(zip(("rule", "msg"), text.split(": ", 1), strict=False)) for text in warnings]
    return {"allow": body.get("decision") == "allow", "deny": deny, "warn": warn}
