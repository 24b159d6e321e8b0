"""What a recorded run says: one claim for each output, or for an evaluation one about the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from weighbridge.claims import predicates
from weighbridge.claims.words import HOUSE, Material
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.recorder.inputs import Read
from weighbridge.recorder.outputs import Made
from weighbridge.recorder.stages import stage_word

RECORDING = f"{HOUSE}/attestation/recording/v0.1"
"""Name of the member that carries the record of a run in claims that have no place of their own for it."""
SCHEMA = "weighbridge.recording/1"
RECORDER = f"{HOUSE}/builders/recorder"
"""The builder of a claim that a script made about its own run: at most level 1 of SLSA's build track."""


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that is said of one run beside its inputs and outputs; all of it has been through `scrub`."""

    builder: str
    invocation: str
    started: datetime
    finished: datetime
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    record: Mapping[str, JSON] = field(default_factory=dict)
    materials: tuple[Material, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    result: str = "PASSED"
    source: str = ""
    licence: str = ""
    description: str = ""


def statements(stage: str, reads: Sequence[Read], made: Sequence[Made], account: Account) -> list[Statement]:
    """Return the claims of a finished run, unsigned; raises VerificationFailed (`claim.form`) for what cannot be said."""
    if stage == "evaluate":
        return [_evaluation(reads, account)]
    return [_of_output(stage, reads, one, account) for one in made]


def _of_output(stage: str, reads: Sequence[Read], made: Made, account: Account) -> Statement:
    parents = [read.parent for read in reads]
    if stage == "data":
        statement = predicates.data(
            made.manifest.digest,
            source=account.source,
            licence=account.licence,
            invocation=account.invocation,
            description=account.description,
            parents=parents,
        )
        return with_record(statement, {**account.record, "observed": made.facts.to_json()})
    if stage == "package":
        statement = predicates.package(
            made.manifest,
            made.chunks,
            builder=account.builder,
            invocation=account.invocation,
            parameters=account.parameters,
            finished=account.finished,
            materials=account.materials,
        )
        return with_record(statement, account.record)
    return _training(stage, reads, made, account)


def _training(stage: str, reads: Sequence[Read], made: Made, account: Account) -> Statement:
    assert made.manifest.weights is not None  # looked at when the output was read
    own = {made.manifest.digest, made.manifest.weights}
    if same := next((read for read in reads if read.identity in own), None):
        raise VerificationFailed(
            f"{made.path} holds the same weights as {same.input.name}: the run changed nothing",
            remedy="nothing was claimed; give the folder that the run writes",
            check="recorder.output",
        )
    return predicates.train(
        made.manifest.weights,
        stage_word(stage).method,
        [read.parent for read in reads],
        builder=account.builder,
        invocation=account.invocation,
        parameters=account.parameters,
        started=account.started,
        finished=account.finished,
        materials=account.materials,
        internal={"schema": SCHEMA, **account.record},
    )


def _evaluation(reads: Sequence[Read], account: Account) -> Statement:
    """Say how the one model among the inputs did, with which datasets and code."""
    model = next(read for read in reads if not read.input.is_dataset)
    tested: list[dict[str, JSON]] = [
        {
            "name": read.input.name,
            "digest": {"sha256": read.identity.hex},
            "annotations": {"weighbridge:identity": str(read.identity)},
        }
        for read in reads
        if read.input.is_dataset
    ]
    tested += [_descriptor(one) for one in account.materials]
    statement = predicates.evaluate(
        model.identity,
        account.result,
        account.metrics,
        invocation=account.invocation,
        configuration=tested,
    )
    return with_record(statement, {**account.record, "parameters": dict(account.parameters)})


def _descriptor(one: Material) -> dict[str, JSON]:
    algorithm = "gitCommit" if one.digest.algorithm == "sha1" else one.digest.algorithm
    row: dict[str, JSON] = {"name": one.name, "digest": {algorithm: one.digest.hex}}
    return {**row, "uri": one.uri} if one.uri else row


def with_record(statement: Statement, record: Mapping[str, JSON]) -> Statement:
    """Return the claim with the record of its run as a member that in-toto's readers pass over, read back once."""
    said = replace(statement, predicate={**statement.predicate, RECORDING: {"schema": SCHEMA, **record}})
    predicates.read_claim(said)
    return said
