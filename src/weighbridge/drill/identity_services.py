"""The stolen identity, further: the keys of the services that certify, and everybody's keys at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from weighbridge.drill.identity import judged, target, training
from weighbridge.drill.issuer import HOST, TRAIN, WHO, Ci, signed, trust
from weighbridge.drill.material import encoder
from weighbridge.drill.stage import TEAM, Stage
from weighbridge.drill.steps import Ending, Seen, Step, blocked, shown, through
from weighbridge.gate.announced import announced_in, issuers_of
from weighbridge.gate.evidence import told
from weighbridge.gate.monitor import Monitor
from weighbridge.gate.monitor_entries import Announced, Watch, announced_by
from weighbridge.keys.files import generate, load
from weighbridge.ledger.following import FolderSource, LogReader
from weighbridge.ledger.sequencer import Log
from weighbridge.registry.service_keys import root_folder
from weighbridge.registry.services import open_services
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.ca import CertificateService
from weighbridge.trust.ctlog import CertificateLog
from weighbridge.trust.expect import ExpectedIdentity
from weighbridge.trust.keyless import Services, sign_keyless
from weighbridge.trust.minting import make_intermediate, make_root

OWNER = ExpectedIdentity(f"{HOST}/{TRAIN}", HOST)
CA_KEY = "the key of the certificate authority, out of the registry's folder and its passphrase"


def _watched(stage: Stage, log: Log, announced: Callable[[], Announced], watch: Watch) -> Seen:
    """Look at a log as `log watch` does."""
    folder = next(path.parent for path in stage.root.rglob("checkpoint") if _is(path, log))
    reader = LogReader(FolderSource(folder), origin=log.origin, public_pem=log.public_pem)
    monitor = Monitor(stage.folder / "monitor", reader, log.public_pem, watch)
    with monitor.holding():
        step = monitor.step(announced, stage.clock.now())
    return shown(*((alert.kind, f"entry {alert.index}: {alert.what}") for alert in step.alerts))


def _is(path: Path, log: Log) -> bool:
    return path.read_text(encoding="utf-8").partition("\n")[0] == log.origin


def _certificates(stage: Stage, announced: Callable[[], Announced]) -> Seen:
    services = open_services(stage.registry)
    watch = Watch((OWNER,), certificates=True, issuers=issuers_of(stage.registry))
    return _watched(stage, services.ct.log, announced, watch)


def _minted(stage: Stage) -> tuple[Ci, Bundle, Bundle]:
    """Return a CI, what it signed honestly, and what whoever has the certificate authority's key made in its name."""
    ci, folder = trust(stage), target(stage)
    honest = signed(stage, training(stage, folder), ci)
    stage.clock.pass_(minutes=20)
    poisoned = stage.model("poisoned", encoder(6.5))
    return ci, honest, signed(stage, stage.trained(poisoned, data=[stage.brought("first-data")]), ci)


def _mint(stage: Stage) -> Seen:
    """Issue a certificate for the watched workflow, and use it somewhere else."""
    _, honest, _ = _minted(stage)
    stage.hand_in_proven(honest)
    return _certificates(stage, lambda: announced_in(stage.registry))


def _mint_and_use(stage: Stage) -> Seen:
    """Issue a certificate, and hand in here what it signed: the registry then counts it as announced."""
    _, honest, forged = _minted(stage)
    stage.hand_in_proven(forged)
    if _certificates(stage, lambda: announced_in(stage.registry) | announced_by(honest)).words:
        return through("the registry's own monitor was not expected to see it")
    return _certificates(stage, lambda: announced_by(honest))


def _rogue(stage: Stage) -> Seen:
    """Certify an issuing key of one's own with the stolen offline root."""
    services = open_services(stage.registry)
    root = load(root_folder(stage.home, stage.registry.id) / "ca-root.pem")
    mine, now = generate(), stage.clock.now()
    chain = make_intermediate(
        root, services.ca.chain[-1], mine.public_pem, name="weighbridge", now=now, entropy=stage.entropy
    )
    services.ct.add_authority(chain, now)
    return _certificates(stage, lambda: announced_in(stage.registry))


def _signed_elsewhere(stage: Stage) -> Seen:
    """Sign a model for somebody else with the stolen token, in our signing log."""
    _, honest, _ = _minted(stage)
    stage.hand_in_proven(honest)
    services = open_services(stage.registry)
    return _watched(stage, services.log, lambda: announced_in(stage.registry), Watch((OWNER,)))


def _forged(stage: Stage, ci: Ci, folder: Path, services: Services) -> Bundle:
    token = ci.token(TRAIN, stage.clock.now())
    return sign_keyless(training(stage, folder), token, services, stage.clock.now())


def _unseen(stage: Stage) -> Seen:
    """Issue a certificate past the log of certificates: into one that the attacker keeps."""
    ci, folder = trust(stage), target(stage)
    real = open_services(stage.registry)
    own, now = generate(), stage.clock.now()
    ct = CertificateLog.create(
        stage.folder / "ct", "attacker.example - 1", own, now=now, authorities=real.ca.chain
    )
    ca = CertificateService(stage.registry.service_key("ca"), real.ca.chain, ct=ct, entropy=stage.entropy)
    return judged(stage, folder, _forged(stage, ci, folder, replace(real, ca=ca)))


def _own_authority(stage: Stage) -> Seen:
    """Make a certificate authority of one's own, with the names of ours."""
    ci, folder = trust(stage), target(stage)
    real, now = open_services(stage.registry), stage.clock.now()
    root, below = generate("ecdsa-p384"), generate("ecdsa-p384")
    name = f"weighbridge.{stage.registry.id}"
    top = make_root(root, name=name, now=now, entropy=stage.entropy)
    chain = (
        make_intermediate(root, top, below.public_pem, name=name, now=now, entropy=stage.entropy),
        top,
    )
    stage.clock.pass_(minutes=1)
    ca = CertificateService(below, chain, ct=real.ct, entropy=stage.entropy)
    return judged(stage, folder, _forged(stage, ci, folder, replace(real, ca=ca)))


def _borrowed(stage: Stage) -> Seen:
    """After the identity ended, sign, and show log entry and timestamp of something signed before."""
    ci, folder = trust(stage), target(stage)
    before = signed(stage, training(stage, folder), ci)
    stage.clock.pass_(hours=1)
    stage.publish(stage.registry.authority.revoked(WHO, stage.clock.now()))
    stage.clock.pass_(minutes=10)
    after = signed(stage, stage.trained(folder, data=[stage.brought("first-data")]), ci)
    return judged(stage, folder, replace(after, entries=before.entries, timestamps=before.timestamps))


def _everybody(stage: Stage) -> Seen:
    poisoned = stage.ready("poisoned", 6.5)
    decision = stage.promote(poisoned).decision
    return through("promoted, as our own") if decision.allow else blocked(decision)


def _afterwards(stage: Stage) -> Seen:
    """Find out, and end the stolen identities from the time of the theft."""
    stolen = stage.clock.now()
    stage.clock.pass_(minutes=10)
    poisoned = stage.ready("poisoned", 6.5)
    if not stage.promote(poisoned).decision.allow:
        return through("it was not promoted in the first place")
    stage.clock.pass_(days=1)
    for who in TEAM:
        stage.publish(stage.registry.authority.revoked(who, stolen))
    seen = blocked(stage.admit(poisoned).decision)
    facts = told(stage.registry, stage.manifest(poisoned))
    return Seen(seen.ending, (*((fact.check, fact.reason) for fact in facts if fact.check), *seen.words))


STEPS = (
    Step(
        "identity.borrowed", "signs after the end, and shows the log entry and the timestamp of an older claim", "an older claim",
        Ending.STOPPED, "log.body", "a log entry and a timestamp are about one signature", _borrowed,
    ),
    Step(
        "identity.mint", "issues a certificate in the workflow's name, and uses it elsewhere", CA_KEY,
        Ending.SHOWN, "certificate.unannounced", "whoever runs `weighbridge log watch` on this registry", _mint,
    ),
    Step(
        "identity.mint-here", "issues a certificate in the workflow's name, and hands in here what it signed", CA_KEY,
        Ending.SHOWN, "certificate.unannounced", "the workflow's own people, when they watch the log of certificates against a list of what they signed; the registry's own monitor counts what the registry keeps as announced", _mint_and_use,
    ),
    Step(
        "identity.mint-unlogged", "issues a certificate past the log of certificates", CA_KEY,
        Ending.STOPPED, "evidence.scts", "a certificate counts when a log that the authority names has promised to show it", _unseen,
    ),
    Step(
        "identity.authority", "makes a certificate authority with the same names, and logs what it issues", "a token, and the way into the log of certificates",
        Ending.STOPPED, "certificate.chain", "chains end at certificates that the authority holds, whatever they are called", _own_authority,
    ),
    Step(
        "identity.intermediate", "certifies an issuing key of their own with the offline root", "the offline root key of the certificate authority",
        Ending.SHOWN, "certificate.authority", "whoever runs `weighbridge log watch`: an issuing key that the authority does not name", _rogue,
    ),
    Step(
        "identity.elsewhere", "signs a model for somebody else in the workflow's name", "the token of a build job",
        Ending.SHOWN, "entry.unannounced", "whoever runs `weighbridge log watch`: a signature that nobody here announced", _signed_elsewhere,
    ),
    Step(
        "identity.everybody", "signs data, training, evaluation and packaging of a poisoned model", "the keys of four teams at once",
        Ending.OPEN, "", "the model is promoted: nothing tells it from an honest one. Each team finds the claim in the log, and it comes back with what descends from it once the theft is known (next step)", _everybody,
    ),
    Step(
        "identity.afterwards", "relies on what was signed between the theft and its discovery", "the keys of four teams at once",
        Ending.STOPPED, "identity.time", "identities are ended from the time of the theft on; what they signed later stops counting, at the next admit", _afterwards,
    ),
)  # fmt: skip
"""What can be tried with the keys above a token, and with everybody's."""
