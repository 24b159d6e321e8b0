"""The closed sets of states: tier, status, mode, origin, assurance, stage."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """Where a model stands: anything may be in intake, only what the gate admitted is trusted."""

    INTAKE = "intake"
    TRUSTED = "trusted"


class Status(StrEnum):
    """What has happened to a model since."""

    ACTIVE = "active"
    QUARANTINED = "quarantined"
    REVOKED = "revoked"


class Mode(StrEnum):
    """What happens with a truthful answer, never what is true. Observe never promotes."""

    OFF = "off"
    OBSERVE = "observe"
    WARN = "warn"
    ENFORCE = "enforce"


class Origin(StrEnum):
    """Class of a model, from intake evidence, never from the submitter."""

    OWN = "own"
    THIRD_PARTY = "third-party"
    LEGACY = "legacy"


class Assurance(StrEnum):
    """How much a log proof is worth: this host alone, countersigned by witnesses, or a public log."""

    SINGLE_OPERATOR = "single-operator"
    WITNESSED = "witnessed"
    PUBLIC = "public"


class Stage(StrEnum):
    """What a claim is about. Each is also the name of the authority's role that may sign it.

    `data`, `train`, `evaluate`, `package` and `convert` tell how a model came to be; `origin` accepts a
    stranger's model; `bom` and `scan` describe it; `admit` is the gate's own summary of an admission.
    """

    DATA = "data"
    TRAIN = "train"
    EVALUATE = "evaluate"
    PACKAGE = "package"
    CONVERT = "convert"
    ORIGIN = "origin"
    BOM = "bom"
    SCAN = "scan"
    ADMIT = "admit"


class Role(StrEnum):
    """What an identity may be named for in the authority: the stages, and what people and services may do."""

    DATA = "data"
    TRAIN = "train"
    EVALUATE = "evaluate"
    PACKAGE = "package"
    CONVERT = "convert"
    ORIGIN = "origin"
    BOM = "bom"
    SCAN = "scan"
    ADMIT = "admit"
    DECIDE = "decide"
    RECORD = "record"
    REVOKE = "revoke"
    WAIVE = "waive"
    POLICY = "policy"
