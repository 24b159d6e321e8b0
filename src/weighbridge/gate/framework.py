"""Crosswalks: a framework's tasks, the evidence that this registry holds for each, and what is missing. Data, not code.

A crosswalk is a JSON file in `gate/data/` (`weighbridge.crosswalk/1`, docs/crosswalks.md). It points at measures of the
audit and at kinds of records; numbers are this registry's. Nothing here says that a task is met: a person does.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import NotFound
from weighbridge.gate.audit import Audit

SCHEMA = "weighbridge.crosswalk/1"
ENDING = ".json"


def frameworks() -> list[str]:
    """Return the names of the crosswalks that are shipped."""
    folder = resources.files("weighbridge.gate").joinpath("data")
    return sorted(path.name.removesuffix(ENDING) for path in folder.iterdir() if path.name.endswith(ENDING))


def read(name: str) -> Any:
    """Return a crosswalk as it is shipped; raises NotFound."""
    if name not in frameworks():
        raise NotFound(
            f"there is no crosswalk to {name!r}",
            cause=f"shipped are {', '.join(frameworks())}",
            remedy="docs/crosswalks.md says how one is written",
        )
    data = resources.files("weighbridge.gate").joinpath("data", f"{name}{ENDING}").read_bytes()
    return json.loads(data)


def evidence_for(name: str, audit: Audit) -> dict[str, JSON]:
    """Return one item of `weighbridge.framework/1`: each task with the evidence held, counted, and the gap."""
    crosswalk = read(name)
    return {
        "framework": crosswalk["id"],
        "title": crosswalk["title"],
        "edition": crosswalk["edition"],
        "source": crosswalk["source"],
        "wording": crosswalk["wording"],
        "checked": dict(crosswalk["checked"]),
        "registry": audit.registry,
        "project": audit.project,
        "at": rfc3339(audit.at),
        "tasks": [_task(row, audit) for row in crosswalk["tasks"]],
    }


def _task(row: Any, audit: Audit) -> dict[str, JSON]:
    evidence = [_evidence(item, audit) for item in row["evidence"]]
    held = sum(bool(item["have"]) for item in evidence)
    rows: list[JSON] = list(evidence)
    return {
        "id": row["id"],
        "title": row["title"],
        "priority": row["priority"],
        "checked": row["checked"],
        "evidence": rows,
        "held": held,
        "of": len(evidence),
        "gap": row["gap"],
        "people": row["people"],
    }


def _evidence(item: Any, audit: Audit) -> dict[str, JSON]:
    if "measure" in item:
        measure = audit.measures[item["measure"]]
        return {
            "says": item["says"],
            "measure": measure.id,
            "have": measure.have,
            "total": measure.total,
            "where": measure.where,
        }
    return {
        "says": item["says"],
        "records": item["records"],
        "have": audit.records.get(item["records"], 0),
        "where": "audit --pack, log/",
    }
