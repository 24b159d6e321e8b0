"""Adoption: what already runs is registered as it is, and said of each what stands between it and the trusted tier.

Nothing is switched off by this and nothing promoted. A model is taken in as `legacy` (where it lies, if that is wanted and
its source allows), its deployment is recorded, and the gate judges it as if it were asked to promote it: as our own, or as
a stranger's where it comes from a hub. What cannot be read or followed is a row as well, never left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from weighbridge.conversion.plan import plan
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.decision import Check, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, Unreadable, UsageError, WeighbridgeError
from weighbridge.core.evidence import Evidence
from weighbridge.core.reference import Reference, parse_reference
from weighbridge.core.tier import Origin, Status, Tier
from weighbridge.gate.evidence import gather
from weighbridge.gate.judging import judge_model, read_active
from weighbridge.registry import deployments, models, names, sightings
from weighbridge.registry.in_place import Addressed, take_folder_in_place, take_in_place
from weighbridge.registry.intake import asking, take
from weighbridge.registry.outbox import submit
from weighbridge.registry.wiring import Registry
from weighbridge.source import mlflow, objects, workloads
from weighbridge.source.opening import open_source
from weighbridge.source.workloads import Running

SIGNED_LATER = (
    "ancestry.ends",
    "origin.accepted",
    "stages.needed",
    "claims.",
    "policy.evaluation",
    "policy.origin",
    "policy.builder",
)
"""Checks that fail for want of a signature: of a claim, or of whoever accepts a stranger's model."""
SUMS = ("policy.engine",)
"""Checks that fail because others do."""
MAX_FILE = 256 * 1024 * 1024


class Standing(StrEnum):
    """What stands between a model that runs and the trusted tier."""

    PASS = "pass"  # noqa: S105 (a word of ours, no password)
    CONVERT = "convert"
    SIGN = "sign"
    BLOCKED = "blocked"
    CANNOT_TELL = "cannot-tell"


SENTENCES: Mapping[Standing, str] = {
    Standing.PASS: "pass",
    Standing.CONVERT: "after conversion",
    Standing.SIGN: "need a signer",
    Standing.BLOCKED: "are blocked",
    Standing.CANNOT_TELL: "cannot be told",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that runs: which model that is, what it would need, whose it is and what they type next."""

    running: Running
    standing: Standing
    why: str
    next: str
    manifest: Digest | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return the row as JSON."""
        return {
            "target": self.running.target,
            "reference": self.running.reference,
            "owner": self.running.owner,
            "note": self.running.note,
            "standing": self.standing.value,
            "why": self.why,
            "next": self.next,
            "manifest": str(self.manifest) if self.manifest else None,
        }


def found_in(
    registry: Registry, kind: str, place: str, environ: Mapping[str, str]
) -> tuple[list[Running], int]:
    """Return what runs by the word of `kind` (k8s, mlflow, s3 or a file), and how many things there name no model.

    `place` is the document of a cluster or the file for k8s and file, the bucket and prefix for s3. Raises UsageError, and
    what the sources raise when they cannot be asked at all.
    """
    if kind == "k8s":
        return workloads.running(_read(place))
    if kind == "mlflow":
        return [_version(row) for row in mlflow.registered(asking(registry, environ))], 0
    if kind == "s3":
        reference = parse_reference(place)
        if reference.scheme not in ("s3", "gs", "az"):
            raise UsageError(
                f"{place!r} is no bucket", remedy="weighbridge deploy --from s3 s3://bucket/prefix"
            )
        prefixes = objects.model_prefixes(reference, asking(registry, environ))
        return [
            Running(text.partition("://")[2], text, reference.target.partition("/")[0]) for text in prefixes
        ], 0
    return list(_lines(_read(place))), 0


def adopt(
    registry: Registry,
    found: Sequence[Running],
    *,
    environ: Mapping[str, str],
    in_place: bool,
    told: Callable[[Row], None] = lambda _row: None,
) -> list[Row]:
    """Register what runs and judge it; each model is read once, however often it runs. `told` hears of each row."""
    taken: dict[str, models.Model | WeighbridgeError] = {}
    places: dict[str, str] = {}
    rows = []
    for running in found:
        if places.setdefault(running.target, running.reference) != running.reference:
            why = f"{running.target!r} was named before, with another model"
            rows.append(
                _untold(running, why, "give each model that runs a target of its own, and run it again")
            )
        else:
            rows.append(_adopted(registry, running, taken, environ, in_place=in_place))
        told(rows[-1])
    return rows


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many rows have each standing."""
    return {standing.value: sum(row.standing is standing for row in rows) for standing in Standing}


def lasts(registry: Registry) -> datetime | None:
    """Return until when models that were already running may go on by the active policy; None: none may."""
    legacy = read_active(registry).settings.get("legacy")
    until = legacy.get("until") if isinstance(legacy, Mapping) else ""
    return parse_rfc3339(until) if isinstance(until, str) and until else None


def _adopted(
    registry: Registry,
    running: Running,
    taken: dict[str, models.Model | WeighbridgeError],
    environ: Mapping[str, str],
    *,
    in_place: bool,
) -> Row:
    if running.problem:
        return _untold(running, running.problem)
    if running.reference not in taken:
        try:
            taken[running.reference] = _take(registry, running.reference, environ, in_place=in_place)
        except WeighbridgeError as error:
            taken[running.reference] = error
        except OSError as error:  # a text that no file can be called, a disk that fails: the others go on
            taken[running.reference] = Unreadable("it cannot be read", cause=error.strerror or str(error))
    model = taken[running.reference]
    if isinstance(model, WeighbridgeError):
        return _failed(running, model)
    try:
        with registry.writing():
            submit(registry, deployments.deploy(registry, model.digest, running.target))
            return _judged(registry, running, models.get(registry, model.digest))
    except WeighbridgeError as error:
        return replace(_failed(running, error), manifest=model.digest)


def _take(registry: Registry, text: str, environ: Mapping[str, str], *, in_place: bool) -> models.Model:
    """Take a model in as legacy; one that is known already keeps its class."""
    reference = Reference("path", text) if Path(text).expanduser().exists() else parse_reference(text)
    if reference.scheme in ("digest", "name"):
        return models.get(registry, models.resolve(registry, text))
    if in_place and reference.scheme == "path":
        return take_folder_in_place(registry, Path(reference.target).expanduser(), origin=Origin.LEGACY)
    if in_place:
        tree = open_source(reference, asking(registry, environ))
        try:
            if isinstance(tree, Addressed):
                model = take_in_place(registry, tree, origin=Origin.LEGACY)
                sightings.note(
                    registry, reference, model.digest, pinned=str(tree.origin.get("version") or "")
                )
                return model
        finally:
            tree.close()
    return take(registry, reference, environ=environ, origin=Origin.LEGACY)


def _judged(registry: Registry, running: Running, model: models.Model) -> Row:
    """Judge as if promotion was asked for, of the class that the model would have; nothing is logged but the scan."""
    class_ = model.origin if model.origin is not Origin.LEGACY else _class_of(running.reference)
    evidence = gather(registry, replace(model, origin=class_))
    active = Check(
        "status.active",
        Outcome.PASS if model.status is Status.ACTIVE else Outcome.FAIL,
        "a model that is neither quarantined nor revoked",
        model.status.value,
    )
    decision = judge_model(registry, evidence, action="promote", further=[active]).decision
    again = _again(running.reference, class_, model)
    if decision.allow:
        name = next(iter(names.names_of(registry, model.digest)), model.digest.short)
        after = f"weighbridge admit {name} --target {running.target}" if model.tier is Tier.TRUSTED else again
        return Row(running, Standing.PASS, "nothing stands in its way", after, model.digest)
    against = [check for check in decision.refusals if check.id not in SUMS]
    grave = [check for check in against if not check.id.startswith(SIGNED_LATER)]
    if grave and not (convert := _convertible(model, evidence)):
        untold = all(check.outcome is Outcome.CANNOT_TELL for check in grave)
        standing = Standing.CANNOT_TELL if untold else Standing.BLOCKED
        return Row(
            running,
            standing,
            _said(grave[0]),
            grave[0].remedy or f"weighbridge promote {model.digest.short} --dry-run --explain",
            model.digest,
        )
    if grave or (convert := _convertible(model, evidence)):
        return Row(running, Standing.CONVERT, f"{convert[0]} is a pickled checkpoint", again, model.digest)
    return Row(running, Standing.SIGN, _said(against[0]), again, model.digest)


def _convertible(model: models.Model, evidence: Evidence) -> tuple[str, ...]:
    """Return the pickled checkpoints that can be rebuilt, where the scan found nothing that stands in the way of it."""
    if evidence.scan is None or not evidence.scan.verdict.passes or model.status is not Status.ACTIVE:
        return ()
    if evidence.revocations or evidence.advisories:
        return ()
    return tuple(path for path, _ in plan(model.manifest, evidence.scan.formats).convert)


def _class_of(reference: str) -> Origin:
    return Origin.THIRD_PARTY if reference.startswith("hf://") else Origin.OWN


def _again(reference: str, class_: Origin, model: models.Model) -> str:
    """Return the command that takes a model in anew, as what it is."""
    if class_ is Origin.THIRD_PARTY:
        commit = model.source.get("commit")
        pinned = f"{reference.partition('@')[0]}@{commit}" if commit else reference
        return f"weighbridge pull {pinned} --accept REASON"
    return f"weighbridge pull {reference}"


def _failed(running: Running, error: WeighbridgeError) -> Row:
    said = f"{error.problem}{f' [{error.check}]' if error.check else ''}"
    if isinstance(error, Refused):
        return Row(running, Standing.BLOCKED, said, error.remedy)
    return _untold(running, said, error.remedy)


def _untold(running: Running, why: str, remedy: str = "") -> Row:
    after = remedy or f"weighbridge deploy MODEL --target {running.target}"
    return Row(running, Standing.CANNOT_TELL, why, after)


def _said(check: Check) -> str:
    return f"{check.found} [{check.id}]"


def _version(row: mlflow.Version) -> Running:
    called = [*(f"@{alias}" for alias in row.aliases), *([row.stage] if row.stage else [])]
    return Running(f"mlflow/{row.name}/{row.version}", row.reference, row.owner, note=", ".join(called))


def _lines(data: bytes) -> Iterator[Running]:
    """Read JSON lines with target, reference and owner; a line that cannot be read is a row that says so."""
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            unknown = set(value) - {"target", "reference", "owner"}
            target, reference = value["target"], value["reference"]
            owner = value.get("owner", "")
            if unknown or not all(isinstance(text, str) for text in (target, reference, owner)):
                raise ValueError(
                    "it has other fields than target, reference and owner, or one that is no text"
                )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            yield Running(
                f"line {number}",
                "",
                problem=f"line {number} cannot be read: {type(error).__name__}: {str(error)[:120]}",
            )
            continue
        yield Running(target, reference, owner)


def _read(place: str) -> bytes:
    """Read the file that was named; the shell hands standard input in as a file as well."""
    try:
        with Path(place).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(
            f"{place} cannot be read", cause=error.strerror or str(error), remedy="check the path"
        ) from error
    if len(data) > MAX_FILE:
        raise UsageError(
            f"{place} is larger than {MAX_FILE} bytes", remedy="divide it, by namespace for example"
        )
    return data
