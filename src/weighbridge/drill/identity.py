"""The stolen identity: a build job's token, with which real certificates and valid signatures are had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from weighbridge.core.decision import Decision, Outcome
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Stage as Claimed
from weighbridge.drill.issuer import TRAIN, WHO, Ci, signed, trust
from weighbridge.drill.material import changed, encoder
from weighbridge.drill.stage import BUILDER, Stage
from weighbridge.drill.steps import Ending, Seen, Step, blocked, refused, through
from weighbridge.gate.evidence import told
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.dsse import Envelope

HAD = "the token of a build job"


def target(stage: Stage, name: str = "target", *, leave: tuple[str, ...] = ("train",)) -> Path:
    """Return a model that lacks nothing but a training claim."""
    return stage.ready(name, 6.0, leave=leave)


def training(stage: Stage, folder: Path) -> Statement:
    """Return the honest training claim of a target."""
    return stage.trained(folder, data=[stage.brought(f"{folder.name}-data")])


def judged(stage: Stage, folder: Path, bundle: Bundle) -> Seen:
    """Hand a claim in and ask the gate; the check that refused the claim stands before those of the decision."""
    stage.hand_in_proven(bundle)
    decision = stage.promote(folder).decision
    return _with_reason(stage, folder, decision)


def _with_reason(stage: Stage, folder: Path, decision: Decision) -> Seen:
    seen = blocked(decision)
    if seen.ending is Ending.OPEN:
        return seen
    facts = told(stage.registry, stage.manifest(folder))
    why = [(fact.check, fact.reason) for fact in facts if fact.outcome is not Outcome.PASS and fact.check]
    return Seen(seen.ending, (*why, *seen.words))


def _honest(stage: Stage) -> tuple[Ci, Path]:
    return trust(stage), target(stage)


def _workflow(stage: Stage) -> Seen:
    ci, folder = _honest(stage)
    other = TRAIN.replace("train.yml", "lint.yml")
    return judged(stage, folder, signed(stage, training(stage, folder), ci, other))


def _branch(stage: Stage) -> Seen:
    ci, folder = _honest(stage)
    other = TRAIN.replace("refs/heads/main", "refs/pull/7/merge")
    return judged(stage, folder, signed(stage, training(stage, folder), ci, other))


def _repository(stage: Stage) -> Seen:
    """Ask for a certificate with a token of a repository outside of the organisation."""
    ci, folder = _honest(stage)
    other = TRAIN.replace("acme/", "acme-evil/")
    claims = {"repository": "acme-evil/models", "repository_owner": "acme-evil"}
    statement = training(stage, folder)
    return refused(lambda: signed(stage, statement, ci, other, **claims), "it got a certificate")


def _late(stage: Stage) -> Seen:
    """Keep the token, and use it when the job has long ended."""
    ci, folder = _honest(stage)
    token, statement = ci.token(TRAIN, stage.clock.now()), training(stage, folder)
    stage.clock.pass_(hours=1)
    from weighbridge.registry.services import sign_here

    return refused(lambda: sign_here(stage.registry, statement, token), "an old token got a certificate")


def _audience(stage: Stage) -> Seen:
    """Show a token that the job had for another service."""
    ci, folder = _honest(stage)
    statement = training(stage, folder)
    return refused(lambda: signed(stage, statement, ci, aud="storage.example"), "it got a certificate")


def _stage(stage: Stage) -> Seen:
    """Sign an evaluation as the workflow that trains."""
    ci, folder = trust(stage), target(stage, leave=("evaluate",))
    return judged(stage, folder, signed(stage, stage.evaluated(folder), ci))


def _project(stage: Stage) -> Seen:
    """Sign in one project as a workflow that may train in another."""
    ci, folder = trust(stage, project="research"), target(stage)
    return judged(stage, folder, signed(stage, training(stage, folder), ci))


def _builder(stage: Stage) -> Seen:
    """Sign validly that the weights were made on a laptop, where the policy takes the build service only."""
    stage.close()
    settings = (stage.root / "policy" / "policy.toml").read_text(encoding="utf-8")
    _use_policy(stage, settings.replace("builders = []", f'builders = ["{BUILDER}"]'))
    ci, folder = _honest(stage)
    laptop = stage.trained(
        folder, data=[stage.brought(f"{folder.name}-data")], builder="https://laptop.example"
    )
    return judged(stage, folder, signed(stage, laptop, ci))


def _use_policy(stage: Stage, settings: str) -> None:
    """Have the owner make a policy with these settings the active one."""
    from weighbridge.gate.policies import use_policy

    folder = stage.folder / "policy"
    folder.mkdir()
    for path in (stage.root / "policy").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "policy.toml").write_text(settings, encoding="utf-8")
    use_policy(stage.registry, folder, stage.secret("owner"))


def _replayed(stage: Stage) -> Seen:
    """Show the honest training claim of another model."""
    ci, folder = _honest(stage)
    honest = target(stage, "honest")
    stage.hand_in_proven(signed(stage, training(stage, honest), ci))
    poisoned = stage.model("poisoned", encoder(6.0))
    weights = poisoned / "model.safetensors"
    weights.write_bytes(changed(weights.read_bytes()))
    for statement, who in ((stage.evaluated(poisoned), "evaluate"), (stage.packaged(poisoned), "package")):
        stage.say(statement, stage.people[who])
    stage.take(poisoned)
    del folder
    return blocked(stage.promote(poisoned).decision)


def _rewritten(stage: Stage) -> Seen:
    """Put another model's weights into a claim that is signed already."""
    ci, folder = _honest(stage)
    other = stage.model("other", encoder(7.0))
    made, said = signed(stage, training(stage, folder), ci), training(stage, folder).encode()
    old, new = stage.manifest(folder).weights, stage.manifest(other).weights
    assert old is not None
    assert new is not None
    payload = said.replace(old.hex.encode(), new.hex.encode())
    forged = Envelope(made.envelope.payload_type, payload, made.envelope.signatures)
    return refused(lambda: stage.hand_in_proven(replace(made, content=forged)), "it was taken in")


def _after_the_end(stage: Stage) -> Seen:
    """Sign on after the theft was noticed and the identity ended."""
    ci, folder = _honest(stage)
    stage.clock.pass_(hours=1)
    stage.publish(stage.registry.authority.revoked(WHO, stage.clock.now()))
    stage.clock.pass_(minutes=10)
    return judged(stage, folder, signed(stage, training(stage, folder), ci))


def _less_proof(stage: Stage) -> Seen:
    """Leave out the timestamp that the authority demands of this signer."""
    ci, folder = trust(stage, timestamps=1), target(stage)
    made = signed(stage, training(stage, folder), ci)
    return judged(stage, folder, replace(made, timestamps=()))


def _unlogged(stage: Stage) -> Seen:
    """Leave out the proof that the signature stands in a log, so that no monitor sees it."""
    ci, folder = _honest(stage)
    made = signed(stage, training(stage, folder), ci)
    return judged(stage, folder, replace(made, entries=()))


def _one_stage(stage: Stage) -> Seen:
    """Do everything right, with the stolen token: train on poisoned data and claim it."""
    ci, folder = trust(stage), stage.model("poisoned", encoder(6.5))
    dataset = stage.brought("first-data")
    stage.take(folder)
    stage.hand_in_proven(signed(stage, stage.trained(folder, data=[dataset]), ci))
    facts = told(stage.registry, stage.manifest(folder))
    if not any(fact.stage is Claimed.TRAIN and fact.outcome is Outcome.PASS for fact in facts):
        return through("the claim was not believed, and should have been")
    return blocked(stage.promote(folder).decision)


STEPS = (
    Step(
        "identity.workflow", "signs a training claim in another workflow of the same repository", HAD,
        Ending.STOPPED, "identity.known", "the authority names one workflow, not whoever has a certificate", _workflow,
    ),
    Step(
        "identity.branch", "runs the right workflow from a pull request", "a pull request",
        Ending.STOPPED, "identity.known", "the workflow is named with its branch", _branch,
    ),
    Step(
        "identity.repository", "asks for a certificate from a repository outside of the organisation", "a repository called acme-evil",
        Ending.STOPPED, "token.subject", "an issuer may vouch for what the authority says, segment by segment", _repository,
    ),
    Step(
        "identity.late", "uses the token an hour after its job ended", HAD,
        Ending.STOPPED, "token.time", "a token ends after minutes", _late,
    ),
    Step(
        "identity.audience", "shows a token that the job had for another service", "a token for storage",
        Ending.STOPPED, "token.audience", "a token is for one reader", _audience,
    ),
    Step(
        "identity.stage", "signs an evaluation with the identity that may train", HAD,
        Ending.STOPPED, "identity.role", "each stage has its own signers", _stage,
    ),
    Step(
        "identity.project", "signs in a project in which it may not", "the token of a job that trains for research",
        Ending.STOPPED, "identity.role", "roles are given for each project", _project,
    ),
    Step(
        "identity.builder", "signs validly that the weights were made on a laptop", HAD,
        Ending.STOPPED, "policy.builder", "the policy narrows which builders may train and package: own.builders", _builder,
    ),
    Step(
        "identity.replay", "shows the honest training claim of one model for another", HAD,
        Ending.STOPPED, "claims.train", "a claim is about digests: of these weights, or of none", _replayed,
    ),
    Step(
        "identity.rewrite", "puts other weights into a claim that is signed already", "a signed claim",
        Ending.STOPPED, "bundle.signature", "the signature covers every byte of the claim", _rewritten,
    ),
    Step(
        "identity.ended", "signs on after the theft was noticed", HAD,
        Ending.STOPPED, "identity.time", "an identity ends at a time, and logs and timestamps say when it signed", _after_the_end,
    ),
    Step(
        "identity.timestamp", "leaves out the timestamp that is demanded of this signer", HAD,
        Ending.STOPPED, "evidence.timestamps", "how much proof a signer brings is the authority's word, not the bundle's", _less_proof,
    ),
    Step(
        "identity.unlogged", "leaves out the log, so that nobody sees the signature", HAD,
        Ending.STOPPED, "evidence.logs", "what is in no log counts for nothing", _unlogged,
    ),
    Step(
        "identity.alone", "does everything right: trains on poisoned data and claims it, as the right workflow", HAD,
        Ending.STOPPED, "claims.evaluate", "one identity is one stage; evaluation and packaging are signed by others", _one_stage,
    ),
)  # fmt: skip
"""What can be tried with a stolen token, in this order."""
