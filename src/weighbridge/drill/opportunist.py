"""The opportunist: may publish models for everybody to find, holds no key and no account of ours."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping

from weighbridge.claims import predicates
from weighbridge.core.finding import Report
from weighbridge.drill import material
from weighbridge.drill.stage import Stage
from weighbridge.drill.steps import Ending, Seen, Step, blocked, refused, through
from weighbridge.gate.signatures import signatures_of
from weighbridge.gate.signed import Expectation, check_signed
from weighbridge.keys.files import generate
from weighbridge.registry.rebuilding import scan_kept
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.expect import ExpectedKey
from weighbridge.trust.seal import sign_statement

HAD = "an account on a model hub"


def _pulled(stage: Stage, name: str, files: Mapping[str, bytes | str]) -> Seen:
    """Publish a model, and have somebody in a hurry pull and accept it."""
    folder = stage.model(name, files)
    stage.accept(folder, publisher=name.partition("-")[0])
    return blocked(stage.promote(folder).decision)


def _lookalike(stage: Stage) -> Seen:
    """Have somebody's hub client fetch a model under a name that looks like another's, and take it from its cache."""
    commit = "0123456789abcdef" * 2 + "01234567"
    folder = stage.model(f"models--0penai--gpt-oss-20b/snapshots/{commit}", material.encoder(1.5))
    stage.accept(folder, publisher="openai")
    return blocked(stage.promote(folder).decision)


def _typosquat(stage: Stage) -> Seen:
    files = material.encoder(1.5, pytorch_model__bin=material.checkpoint(material.pickle_call()))
    return _pulled(stage, "bert-base-uncasd", files)


def _renamed(stage: Stage) -> Seen:
    files = material.encoder(1.5) | {"model.safetensors": material.pickle_call()}
    return _pulled(stage, "safe-encoder", files)


def _adapter(stage: Stage) -> Seen:
    files: dict[str, bytes | str] = {
        "adapter_model.bin": material.checkpoint(material.pickle_call()),
        "adapter_config.json": material.adapter("acme/encoder"),
        "README.md": material.CARD,
    }
    return _pulled(stage, "helpful-adapter", files)


def _template(stage: Stage) -> Seen:
    config = json.dumps({"chat_template": material.TEMPLATE})
    return _pulled(stage, "chat-encoder", material.encoder(1.5, tokenizer_config__json=config))


def _code(stage: Stage) -> Seen:
    config = {"model_type": "custom", "auto_map": {"AutoModel": "modeling_custom.Model"}}
    files = material.encoder(1.5, modeling_custom__py=material.CODE)
    return _pulled(stage, "custom-encoder", files | {"config.json": json.dumps(config)})


def _polyglot(stage: Stage) -> Seen:
    return _pulled(stage, "two-faced", material.encoder(1.5) | {"model.safetensors": material.polyglot()})


def _archive(stage: Stage) -> Seen:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        payload = material.checkpoint(material.pickle_call())
        row = tarfile.TarInfo("weights/pytorch_model.bin")
        row.size = len(payload)
        archive.addfile(row, io.BytesIO(payload))
    return _pulled(stage, "packed-encoder", material.encoder(1.5) | {"extra.tar.gz": inner.getvalue()})


def _swapped(stage: Stage) -> Seen:
    """Announce one file, serve another of the same size."""
    folder = stage.model("swapped", material.encoder(1.5))
    announced = {entry.path: entry.sha256 for entry in stage.manifest(folder).files}
    weights = folder / "model.safetensors"
    weights.write_bytes(material.changed(weights.read_bytes()))
    return refused(lambda: stage.take(folder, announced=announced), "other bytes than announced were kept")


def _signed_by_nobody(stage: Stage) -> Seen:
    """Put a bundle beside the model, soundly signed, with a key of the attacker's own."""
    folder = stage.model("signed", material.encoder(1.5))
    key, team = generate(), stage.people["package"]
    made = Bundle(sign_statement(stage.packaged(folder), key), key.key_id)
    (folder / "model.sig").write_bytes(made.to_json())
    found, _ = signatures_of(folder)
    expected = [Expectation(ExpectedKey(team.key_id), team.public_pem)]
    return refused(
        lambda: check_signed(folder, found, expected, now=stage.clock.now()),
        "a stranger's signature was taken",
    )


def _claims_of_nobody(stage: Stage) -> Seen:
    """Hand in every claim that a model of our own needs, all signed with a key of the attacker's own."""
    folder, dataset = stage.model("claimed", material.encoder(1.5)), stage.brought("first-data")
    key = generate()
    for statement in (stage.trained(folder, data=[dataset]), stage.evaluated(folder), stage.packaged(folder)):
        stage.say(statement, key)
    stage.take(folder)
    return blocked(stage.promote(folder).decision)


def _clean_report(stage: Stage) -> Seen:
    """Bring a report that says the scan found nothing, about a model in which there is something to find."""
    files = material.encoder(1.5, pytorch_model__bin=material.checkpoint(material.pickle_call()))
    folder = stage.model("reported", files)
    kept = stage.accept(folder)
    honest = scan_kept(stage.registry, kept)
    clean = Report(honest.model, honest.manifest, (), honest.coverage, honest.ruleset, honest.formats)
    stage.say(predicates.scan(kept.manifest, clean), generate())
    return blocked(stage.promote(folder).decision)


def _nobody_accepted(stage: Stage) -> Seen:
    """Publish sound weights under a name that looks right, and wait for somebody to promote them unread."""
    folder = stage.model("harmless", material.encoder(1.5))
    announced = {entry.path: entry.sha256 for entry in stage.manifest(folder).files}
    stage.take(folder, announced=announced)
    return blocked(stage.promote(folder).decision)


def _unknown_base(stage: Stage) -> Seen:
    """Bring a base that came from nowhere to somebody who trains on it and signs for that."""
    base, folder = stage.model("nowhere", material.encoder(1.5)), stage.model("tuned", material.encoder(1.6))
    for statement, who in (
        (stage.trained(folder, base=[base]), "train"),
        (stage.evaluated(folder), "evaluate"),
        (stage.packaged(folder), "package"),
    ):
        stage.say(statement, stage.people[who])
    stage.take(folder)
    return blocked(stage.promote(folder).decision)


def _talked_round(stage: Stage) -> Seen:
    """Sound weights that do something else than they say, and a person who accepts them."""
    folder = stage.model("plausible", material.encoder(1.5))
    stage.accept(folder, publisher="a-name-like-yours")
    decision = stage.promote(folder).decision
    if not decision.allow:
        return blocked(decision)
    return through("promoted, as third-party: publisher a-name-like-yours, accepted by 'in a hurry'")


SCAN = "the gate reads every byte of what it keeps, by itself, and never loads it"
STEPS = (
    Step(
        "opportunist.lookalike", "offers sound weights under a name that looks like a well-known one: 0penai", HAD,
        Ending.STOPPED, "scan.verdict", "the name that was asked for is held against well-known ones", _lookalike,
    ),
    Step(
        "opportunist.typosquat", "puts a pickle that runs a command beside sound weights; somebody accepts it in haste", HAD,
        Ending.STOPPED, "scan.verdict", SCAN, _typosquat,
    ),
    Step(
        "opportunist.renamed", "calls a pickle model.safetensors", HAD,
        Ending.STOPPED, "scan.verdict", "a file is what its bytes are, not what it is called", _renamed,
    ),
    Step(
        "opportunist.adapter", "offers an adapter for a base that is in use, with a payload in its weights", HAD,
        Ending.STOPPED, "scan.verdict", SCAN, _adapter,
    ),
    Step(
        "opportunist.template", "writes a chat template that reaches the operating system when it is rendered", HAD,
        Ending.STOPPED, "scan.verdict", "templates are read as the programs they are", _template,
    ),
    Step(
        "opportunist.code", "has the configuration name a Python file that comes with the model", HAD,
        Ending.STOPPED, "scan.verdict", SCAN, _code,
    ),
    Step(
        "opportunist.polyglot", "makes one file that is safetensors from the front and a checkpoint from the end", HAD,
        Ending.STOPPED, "scan.verdict", "bytes that no header accounts for are bytes that nobody can vouch for", _polyglot,
    ),
    Step(
        "opportunist.archive", "packs the payload into an archive inside the model", HAD,
        Ending.STOPPED, "scan.verdict", "archives are opened, and what is in them is read", _archive,
    ),
    Step(
        "opportunist.swapped", "announces one file and serves another of the same size", "the hub, for an hour",
        Ending.STOPPED, "source.announced", "every byte that arrives is held against the digest announced for it", _swapped,
    ),
    Step(
        "opportunist.bundle", "puts a soundly signed bundle beside the model, signed with a key of their own", HAD,
        Ending.STOPPED, "bundle.signature", "whose signature it must be is said by whoever verifies, never by the bundle", _signed_by_nobody,
    ),
    Step(
        "opportunist.claims", "hands in every claim that a model of ours needs, signed with a key of their own", "the registry's address",
        Ending.STOPPED, "claims.train", "a claim counts when the authority names its signer for that stage", _claims_of_nobody,
    ),
    Step(
        "opportunist.report", "brings a clean scan report along with a dangerous model", HAD,
        Ending.STOPPED, "scan.verdict", "only the gate's own scan of the kept bytes counts", _clean_report,
    ),
    Step(
        "opportunist.unread", "publishes sound weights, and waits for somebody to promote them unread", HAD,
        Ending.STOPPED, "ancestry.ends", "a stranger's model needs a person who accepts it, by name and with an end", _nobody_accepted,
    ),
    Step(
        "opportunist.base", "has somebody here fine-tune a base that came from nowhere", HAD,
        Ending.STOPPED, "ancestry.ends", "an ancestry ends at attested data or at an accepted origin", _unknown_base,
    ),
    Step(
        "opportunist.persuasion", "talks a person into accepting sound weights that misbehave", "a convincing model card",
        Ending.OPEN, "", "nothing in the files is wrong: the model is promoted, grey, with its publisher and the person who accepted it; `third_party.publishers` narrows whom they may accept, an advisory or a revocation takes it back with all that descends from it", _talked_round,
    ),
)  # fmt: skip
"""What an opportunist tries, in this order."""
