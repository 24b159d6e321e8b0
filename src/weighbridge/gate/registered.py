"""May a registered version of MLflow get an alias or a stage: asked of the gate, about the bytes that the version holds now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from weighbridge.core.errors import NotFound, Refused, VerificationFailed
from weighbridge.core.reference import parse_reference
from weighbridge.gate.promote import Result, admit
from weighbridge.registry import models, sightings
from weighbridge.registry.intake import asking
from weighbridge.registry.wiring import Registry
from weighbridge.source.opening import open_source
from weighbridge.source.read import identify_tree


def admit_version(
    registry: Registry, name: str, version: str, *, mlflow_uri: str, environ: Mapping[str, str]
) -> Result:
    """Ask whether version `version` of `name` may be handed out; the decision is logged.

    Every byte is read from MLflow again, for whoever can write to its artifacts can exchange them without a trace. Raises
    Refused (`mlflow.unknown`) for a version that was never taken in, VerificationFailed (`mlflow.bytes`) for one that holds
    other bytes now, and what reading raises.
    """
    reference = parse_reference(f"models:/{name}/{version}")
    try:
        known = models.resolve(registry, str(reference))
    except NotFound as error:
        raise Refused(
            f"{reference} was never taken in, so the gate cannot have admitted it",
            cause="no model of this registry came from there",
            remedy=f"weighbridge pull {reference}",
            check="mlflow.unknown",
        ) from error
    tree = open_source(reference, replace(asking(registry, environ), mlflow_uri=mlflow_uri))
    try:
        now = identify_tree(tree).digest
    finally:
        tree.close()
    sightings.note(registry, reference, now, pinned=version)
    if now != known:
        raise VerificationFailed(
            f"{reference} no longer holds the files that were taken in",
            cause=f"it held {known.short} and holds {now.short}",
            remedy="find out who wrote to its artifacts; register what is meant as a new version",
            check="mlflow.bytes",
        )
    return admit(registry, known)
