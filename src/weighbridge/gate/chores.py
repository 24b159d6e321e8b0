"""Chores: what jobs consist of. Each may be begun again at any point, and done twice comes to what done once does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, UsageError
from weighbridge.core.reference import Reference, parse_reference
from weighbridge.gate.promote import promote
from weighbridge.gate.reevaluate import Seen, Wish, reevaluate
from weighbridge.registry import intake, models
from weighbridge.registry.jobs import Report
from weighbridge.registry.rebuilding import convert_kept, needs_conversion, scan_kept
from weighbridge.registry.wiring import Registry

HERE = ("path", "name", "digest")
"""Schemes that mean something of this machine: a job may be asked for over HTTP, and takes in nothing from here."""


def take_in(registry: Registry, subject: Mapping[str, Any], report: Report) -> Mapping[str, JSON]:
    """Take in what `reference` names, convert what can be rebuilt, and ask the gate unless `promote` is false.

    What is kept already is not fetched again. That the gate says no is a result, and no failure of the work.
    """
    reference = _reference(subject)
    seen = _Counted(report, f"taking in {reference}")
    model = intake.take(registry, reference, environ=os.environ, progress=seen)
    result: dict[str, JSON] = {"model": str(model.digest), "reference": str(reference)}
    if not subject.get("promote", True):
        return result
    report(seen.bytes, seen.bytes, "looking through what was taken in")
    usable = _usable(registry, model)
    report(seen.bytes, seen.bytes, "asking the gate")
    result["usable"] = str(usable.digest)
    return {**result, **_asked(registry, usable.digest)}


def scan_again(registry: Registry, subject: Mapping[str, Any], report: Report) -> Mapping[str, JSON]:
    """Look through the kept bytes of `model`; the gate makes its own scan when it judges, and this is for people."""
    model = models.get(registry, models.resolve(registry, str(subject.get("model", ""))))
    report(0, model.manifest.size, f"looking through {model.digest.short}")
    found = scan_kept(registry, model)
    return {
        "model": str(model.digest),
        "verdict": found.verdict.value,
        "ruleset": str(found.ruleset),
        "findings": len(found.findings),
        "rules": sorted({finding.rule for finding in found.findings}),
    }


def judge_again(registry: Registry, subject: Mapping[str, Any], report: Report) -> Mapping[str, JSON]:
    """Judge again what is due, or the models that `models` names, or with `every` all that are trusted."""
    only = tuple(models.resolve(registry, str(text)) for text in subject.get("models", ()))
    wish, seen = Wish(only=only, every=bool(subject.get("every"))), []

    def told(row: Seen) -> None:
        seen.append(row)
        report(len(seen), 0, f"{row.digest.short}: {row.outcome.value}")

    done = reevaluate(registry, wish, told=told)
    if done.stopped:
        raise _stopped(done.stopped)
    return {"trusted": done.trusted, "due": done.due, "counts": done.to_json()["counts"]}


class _Counted:
    """Counts bytes as they are read, and reports them."""

    def __init__(self, report: Report, message: str) -> None:
        self._report = report
        self._message = message
        self.bytes = 0

    def __call__(self, number: int) -> None:
        self.bytes += number
        self._report(self.bytes, 0, self._message)


def _reference(subject: Mapping[str, Any]) -> Reference:
    text = subject.get("reference")
    if not isinstance(text, str) or not text:
        raise UsageError(
            "the job does not say what to take in", remedy='give "reference": "hf://org/name@rev"'
        )
    reference = parse_reference(text)
    if reference.scheme in HERE:
        raise Refused(
            f"{text!r} is not taken in by a job",
            cause="it names something of the machine that the registry runs on",
            remedy=f"take it in there by hand: weighbridge intake {text}",
            check="job.reference",
        )
    return reference


def _usable(registry: Registry, model: models.Model) -> models.Model:
    report = scan_kept(registry, model)
    if report.verdict.passes and needs_conversion(report, model):
        return convert_kept(registry, model, report)
    return model


def _asked(registry: Registry, digest: Digest) -> dict[str, JSON]:
    said = promote(registry, digest)
    against = [check for check in said.decision.checks if check.outcome.value != "pass"]
    return {
        "decision": str(said.id),
        "answer": "allow" if said.decision.allow else "block",
        "enforced": said.decision.enforced,
        "against": [{"check": check.id, "found": check.found, "remedy": check.remedy} for check in against],
    }


def _stopped(problem: str) -> Exception:
    from weighbridge.core.errors import CannotTell

    return CannotTell(
        "the round of re-evaluation ended early",
        cause=problem,
        remedy="look at what does not answer: weighbridge doctor",
        check="job.stopped",
    )
