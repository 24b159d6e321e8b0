"""The insider, at the rules: policy, mode, authority, waivers, and what takes two people."""

from __future__ import annotations

from pathlib import Path

from weighbridge.claims.records import event
from weighbridge.claims.words import record_type
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Mode, Role, Tier
from weighbridge.drill import material
from weighbridge.drill.stage import Stage
from weighbridge.drill.steps import Ending, Seen, Step, blocked, refused, shown, through, without_effect
from weighbridge.gate.break_glass import break_glass
from weighbridge.gate.judging import read_policy, setting
from weighbridge.gate.modes import mode_of, set_mode
from weighbridge.gate.policies import approve, use_policy
from weighbridge.keys.files import FileKey, generate
from weighbridge.registry import approvals, changes, models
from weighbridge.trust.authority import EVERY_PROJECT
from weighbridge.trust.authority_file import sign_authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.seal import sign_statement

HAD = "write access to the registry's folder and database"
TALLY = "the rows that decide are signed, settings among them"


def _laxer(stage: Stage) -> Path:
    """Write a policy that asks for no evaluation."""
    folder = stage.folder / "laxer"
    folder.mkdir()
    for path in (stage.root / "policy").iterdir():
        text = path.read_text(encoding="utf-8")
        text = text.replace("evaluation_required = true", "evaluation_required = false")
        (folder / path.name).write_text(text, encoding="utf-8")
    return folder


def _policy_and_pin(stage: Stage) -> Seen:
    """Exchange the policy's files and the digest that the registry pins."""
    laxer = _laxer(stage)
    for path in laxer.iterdir():
        (stage.root / "policy" / path.name).write_bytes(path.read_bytes())
    digest = str(read_policy(laxer).digest)
    stage.sql(("UPDATE setting SET value = ? WHERE key = 'policy'", (digest,)))
    return refused(lambda: stage.promote(stage.brought("second")), "the laxer policy was asked")


def _policy_by_service(stage: Stage) -> Seen:
    """Make another policy the active one with a key that serves another purpose."""
    laxer = _laxer(stage)
    return refused(lambda: use_policy(stage.registry, laxer, stage.registry.intake_key), "it is in force")


def _policy_openly(stage: Stage) -> Seen:
    """Make another policy the active one, with the key that may."""
    before = setting(stage.registry, "policy")
    use_policy(stage.registry, _laxer(stage), stage.secret("owner"))
    if setting(stage.registry, "policy") == before:
        return through("the owner could not change the policy")
    told = stage.rows("SELECT kind, summary FROM alert WHERE kind = 'policy-change'")
    return shown(*((str(kind), str(said)) for kind, said in told))


def _policy_again(stage: Stage) -> Seen:
    """Hand in again the signed change to a policy that was replaced since."""
    owner, original = stage.secret("owner"), stage.folder / "original"
    original.mkdir()
    for path in (stage.root / "policy").iterdir():
        (original / path.name).write_bytes(path.read_bytes())
    use_policy(stage.registry, _laxer(stage), owner)
    stage.clock.pass_(hours=1)
    use_policy(stage.registry, original, owner)
    stage.clock.pass_(hours=1)
    before, handed_in = setting(stage.registry, "policy"), 0
    for (content,) in stage.rows("SELECT content FROM bundle ORDER BY log_index"):
        envelope = Bundle.from_json(content.encode()).envelope
        if Statement.decode(envelope.payload).predicate_type == record_type("policy"):
            stage.push(envelope, owner.public_pem)
            handed_in += 1
    if handed_in < 2:
        return through("there was nothing to hand in again")
    said = "a change of policy counts once, and only from the policy it was meant to change"
    return without_effect("effects.previous", before, setting(stage.registry, "policy"), said)


def _two(stage: Stage, *kinds: str) -> FileKey:
    """Have the authority ask for two identities, and name a second owner."""
    second = stage.name("second-owner", Role.POLICY, Role.WAIVE)
    for kind in kinds:
        stage.publish(stage.registry.authority.with_approvals(kind, 2))
    return second


def _alone(stage: Stage) -> Seen:
    """Change the policy alone, where the authority asks for two."""
    _two(stage, "policy")
    before = setting(stage.registry, "policy")
    use_policy(stage.registry, _laxer(stage), stage.secret("owner"))
    if not approvals.pending(stage.registry):
        return through("there is no proposal that waits")
    said = "it is kept as a proposal, and waits for a second identity that holds the role"
    return without_effect("approvals", before, setting(stage.registry, "policy"), said)


def _twice(stage: Stage) -> Seen:
    """Approve a proposal of one's own."""
    _two(stage, "policy")
    owner = stage.secret("owner")
    use_policy(stage.registry, _laxer(stage), owner)
    (waiting,) = approvals.pending(stage.registry)
    return refused(lambda: approve(stage.registry, waiting.bundle, owner), "one person counted as two")


def _glass(stage: Stage) -> Seen:
    """Break the glass, with two keys, for a model that would run code."""
    second, owner = _two(stage), stage.secret("owner")
    files = material.encoder(6.5, pytorch_model__bin=material.checkpoint(material.pickle_call()))
    folder = stage.model("urgent", files)
    model = stage.accept(folder)
    asked = break_glass(stage.registry, model.digest, reason="it is urgent", hours=2, signer=owner)
    approve(stage.registry, asked.proposal.bundle, second)
    return blocked(stage.promote(folder).decision)


def _mode_row(stage: Stage) -> Seen:
    """Switch the gate to observing, in the database."""
    row = "SELECT 'mode', 1, '*', 'x', created_at, 'observe' FROM setting LIMIT 1"
    stage.sql(f"INSERT INTO setting (key, schema_version, project, actor, created_at, value) {row}")
    return refused(lambda: stage.admit(stage.brought("unproven")), "the gate only observes")


def mode_change(stage: Stage) -> Statement:
    """Return the change of mode that whoever may sign it would sign."""
    with stage.registry.records.read() as connection:
        previous, _ = changes.current(connection, EVERY_PROJECT, changes.mode_key(""))
    body: dict[str, JSON] = {
        "namespace": "",
        "mode": "observe",
        "previous": previous,
        "reason": "a quiet week",
    }
    return event("mode", (), body, project=EVERY_PROJECT, actor="drill", at=stage.clock.now())


def _mode_signed(stage: Stage) -> Seen:
    """Sign the change of mode with a key that trains."""
    before, key = mode_of(stage.registry), stage.people["train"]
    stage.push(sign_statement(mode_change(stage), key), key.public_pem)
    said = "it is in the log under its signer's key, and the mode stays"
    return without_effect("effects.signer", before, mode_of(stage.registry), said)


def _mode_openly(stage: Stage) -> Seen:
    """Let the gate only observe, with the key that may, and ask for a refused model to be promoted."""
    set_mode(stage.registry, Mode.OBSERVE, reason="a quiet week", signer=stage.secret("owner"))
    folder = stage.brought("unproven")
    result = stage.promote(folder)
    if result.decision.allow or stage.kept(folder).tier is not Tier.INTAKE:
        return through("the refused model was promoted")
    told = stage.rows("SELECT kind, summary FROM alert WHERE kind = 'mode-change'")
    return shown(*((str(kind), str(said)) for kind, said in told))


def _authority_row(stage: Stage) -> Seen:
    """Delete the newest version of the authority, in which somebody was ended."""
    stage.publish(stage.registry.authority.revoked("train", stage.clock.now()))
    stage.sql("DELETE FROM authority WHERE version = (SELECT max(version) FROM authority)")
    return refused(lambda: stage.registry, "the older authority is in force")


def _authority_forged(stage: Stage) -> Seen:
    """Sign a next version with a root key of their own, naming themselves for everything."""
    mallory, root = generate(), generate()
    grown = stage.registry.authority.with_identity("mallory", mallory.public_pem, tuple(Role))
    before = stage.registry.authority.version
    stage.push(Envelope.decode(sign_authority(grown, root)), root.public_pem)
    stage.close()
    said = "the next version of the authority is signed by a root that the version before names"
    return without_effect("effects.root", before, stage.registry.authority.version, said)


def _registry_exchanged(stage: Stage) -> Seen:
    """Put a registry of their own, with a root of their own, in the place of this one."""
    stage.close()
    from weighbridge.registry.setup import init_registry

    other = Stage(stage.folder / "other", stage.clock, stage.entropy, stage.loader)
    other.folder.mkdir()
    init_registry(other.config(), clock=stage.clock, entropy=stage.entropy).close()
    stage.root.rename(stage.folder / "gone")
    other.root.rename(stage.root)
    return refused(lambda: stage.registry, "another registry was opened in its place")


def _waiver(stage: Stage) -> Seen:
    """Excuse code that would run, with the key that may waive."""
    files = material.encoder(6.5, pytorch_model__bin=material.checkpoint(material.pickle_call()))
    folder = stage.model("excused", files)
    model = stage.accept(folder)
    from weighbridge.registry.rebuilding import scan_kept

    worst = max(scan_kept(stage.registry, model).findings, key=lambda row: row.verdict.rank)
    body: dict[str, JSON] = {
        "rule": worst.rule,
        "fingerprint": worst.fingerprint,
        "reason": "it is fine",
        "expires": rfc3339(stage.clock.now().replace(year=stage.clock.now().year + 1)),
    }
    statement = event("waiver", (model.digest,), body, **stage.registry.event_facts())
    stage.say(statement, stage.secret("owner"))
    return blocked(stage.promote(folder).decision)


def _name_openly(stage: Stage) -> Seen:
    """Have the gate itself move a name back to an older approved model."""
    older = stage.brought("first")
    if not stage.promote(older, name="encoder").decision.allow:
        return through("the gate did not allow it")
    if models.resolve(stage.registry, "encoder") != stage.manifest(older).digest:
        return through("the name did not move")
    rows = stage.rows(
        "SELECT sequence, actor FROM name WHERE name = 'encoder' ORDER BY sequence DESC LIMIT 1"
    )
    return shown(*(("name.history", f"move {number} of the name, by {actor}") for number, actor in rows))


STEPS = (
    Step(
        "insider.policy-pin", "exchanges the policy's files and the digest that the registry pins", HAD,
        Ending.STOPPED, "records.tally", TALLY, _policy_and_pin,
    ),
    Step(
        "insider.policy-key", "changes the policy with the key that takes models in", "a key of the registry's own services",
        Ending.STOPPED, "identity.role", "the policy changes by whom the authority names for that", _policy_by_service,
    ),
    Step(
        "insider.policy-again", "hands in again the owner's signed change to a laxer policy that was replaced since", "every claim and record there is, all of them public",
        Ending.STOPPED, "effects.previous", "a change of policy names the policy that it changes", _policy_again,
    ),
    Step(
        "insider.policy-alone", "changes the policy alone, where the authority asks for two", "the owner's key",
        Ending.STOPPED, "approvals", "changes that the authority binds to two identities wait for the second", _alone,
    ),
    Step(
        "insider.policy-twice", "proposes the change, and approves it as well", "the owner's key",
        Ending.STOPPED, "approval.distinct", "who somebody is, is their key or certificate; nobody counts twice", _twice,
    ),
    Step(
        "insider.break-glass", "breaks the glass for a model that would run code when it is loaded", "the keys of two who may waive",
        Ending.STOPPED, "scan.verdict", "break-glass passes over the policy, never over the floor", _glass,
    ),
    Step(
        "insider.policy-openly", "makes a laxer policy the active one, where one signer is enough", "the owner's key",
        Ending.SHOWN, "policy-change", "everybody who is alerted, and the log; what it allows from then on carries its digest", _policy_openly,
    ),
    Step(
        "insider.mode-row", "switches the gate to observing, in the database", HAD,
        Ending.STOPPED, "records.tally", TALLY, _mode_row,
    ),
    Step(
        "insider.mode-key", "signs the change of mode with a key that trains", "a key of the training team",
        Ending.STOPPED, "effects.signer", "what changes is read from the signed statement, and only from a signer who may say it", _mode_signed,
    ),
    Step(
        "insider.mode-openly", "lets the gate only observe, where one signer is enough", "the owner's key",
        Ending.SHOWN, "mode-change", "everybody who is alerted, and the log; a gate that observes promotes nothing", _mode_openly,
    ),
    Step(
        "insider.authority-row", "deletes the version of the authority in which an identity was ended", HAD,
        Ending.STOPPED, "authority.rollback", "the pin has seen the newer version", _authority_row,
    ),
    Step(
        "insider.authority-forged", "signs a next version with a root key of their own", HAD,
        Ending.STOPPED, "effects.root", "a version is signed by a root that the one before names; the root key does not lie in the registry", _authority_forged,
    ),
    Step(
        "insider.exchanged", "puts a registry of their own in the place of this one", HAD,
        Ending.STOPPED, "registry.pinned", "a registry that this user has not pinned decides nothing", _registry_exchanged,
    ),
    Step(
        "insider.waiver", "waives code that would run when the model is loaded", "the owner's key",
        Ending.STOPPED, "scan.verdict", "the floor: no waiver excuses what is dangerous", _waiver,
    ),
    Step(
        "insider.name-openly", "has the gate move a name back to an older approved model", "an account that may promote",
        Ending.SHOWN, "name.history", "whoever looks at the name: each move is signed, numbered and logged. The older model is approved still; revoke what must not come back", _name_openly,
    ),
)  # fmt: skip
"""What an insider tries with rules, in this order."""
