"""An insider who can write everything in the registry's folder, and holds no key, changes no answer."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from weighbridge.claims.records import event
from weighbridge.claims.words import record_type
from weighbridge.core.canonical import canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import (
    CannotTell,
    ConversionRefused,
    NotFound,
    Refused,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.core.statement import Statement, Subject
from weighbridge.core.tier import Origin
from weighbridge.gate import evidence
from weighbridge.gate.judging import setting
from weighbridge.gate.lineage import deployed, family
from weighbridge.gate.policies import use_policy
from weighbridge.gate.revoke import revoke
from weighbridge.keys.files import generate
from weighbridge.policy.settings import starter
from weighbridge.registry import bundles, deployments, models, names, outbox, rebuilding, tally
from weighbridge.registry.outbox import Draft
from weighbridge.trust.authority_file import sign_authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.seal import sign_statement
from world import World, outcomes


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def sql(world, *statements):
    """Write to the database as anybody can who may write the file."""
    with closing(sqlite3.connect(world.registry.layout.database)) as connection:
        for statement in statements:
            connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
        connection.commit()


def rows(world, query):
    with closing(sqlite3.connect(world.registry.layout.database)) as connection:
        return connection.execute(query).fetchall()


def refused(check, act, *arguments, **options):
    with pytest.raises(VerificationFailed) as caught:
        act(*arguments, **options)
    assert caught.value.check == check
    assert caught.value.remedy


def blocked(check, world, folder):
    """What cannot be believed while evidence is gathered is a decision that blocks and names it, in the log like any other."""
    decision = world.promote(folder).decision
    assert (decision.allow, decision.exit_code) == (False, 3)
    [found] = [row.found for row in decision.checks if row.id == "evidence.gathered"]
    assert f"[{check}]" in found


def in_use(world):
    """Two models, one name moved once, one deployment, one revocation of something else."""
    first, second, third = (
        world.ready(name, seed=seed) for name, seed in (("a", 1.0), ("b", 2.0), ("c", 3.0))
    )
    for folder, name in ((first, "encoder"), (second, "encoder"), (third, "third")):
        assert world.promote(folder, name=name).decision.allow
    assert world.admit(second, target="prod/chat").decision.allow
    revoke(world.registry, world.manifest(third).digest, reason="poisoned", signer=world.secret("owner"))
    return first, second, third


CHANGES = {
    "a tier set to trusted": "UPDATE model SET tier = 'trusted' WHERE tier = 'intake'",
    "an origin flipped": "UPDATE model SET origin = 'third-party'",
    "a source that announced what it did not": "UPDATE model SET source = replace(source, 'false', 'true')",
    "a model forgotten": "DELETE FROM model WHERE tier = 'intake'",
    "a revoked model made active": "UPDATE model SET status = 'active'",
    "a revocation deleted": "DELETE FROM revocation",
    "a revocation of something else": "UPDATE revocation SET target = replace(target, 'a', 'b')",
    "a name moved back": "DELETE FROM name WHERE sequence = 2",
    "a name pointed elsewhere": "UPDATE name SET manifest = (SELECT min(digest) FROM model)",
    "a deployment hidden": "DELETE FROM deployment",
    "a deployment ended": "UPDATE deployment SET until = since",
    "a policy unpinned": "UPDATE setting SET value = 'sha256:00' WHERE key = 'policy'",
    "a mode that nobody signed": "INSERT INTO setting SELECT 'mode', 1, '*', 'x', created_at, 'observe' FROM setting LIMIT 1",
    "an older authority": "DELETE FROM authority WHERE version = (SELECT max(version) FROM authority)",
    "a decision deleted": "DELETE FROM decision",
    "a claim no longer found": "DELETE FROM bundle_subject WHERE rowid = 1",
    "an ancestor forgotten": "DELETE FROM edge",
    "the tally deleted": "DELETE FROM setting WHERE key = 'tally'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_row_is_seen_by_whoever_decides_or_lists(world, change):
    _, second, _ = in_use(world)
    world.take(world.model("fresh", 9.0))
    blocked = world.promote(world.folder / "fresh")
    assert not blocked.decision.allow
    sql(world, "PRAGMA foreign_keys = OFF", CHANGES[change])
    digest = world.manifest(second).digest
    # An older authority is refused when the registry is opened as well; the pin saw the newer one.
    check = "authority.rollback" if "authority" in change else "records.tally"
    for act in (lambda: world.admit(second), lambda: world.promote(second)):
        with pytest.raises(VerificationFailed) as caught:
            act()
        assert caught.value.check in (check, "records.tally")
    for act in (
        lambda: models.resolve(world.registry, "encoder"),
        lambda: deployments.running(world.registry),
        lambda: family(world.registry, digest),
        lambda: deployed(world.registry, None),
    ):
        refused("records.tally", act)


def test_an_older_tally_with_the_older_rows_is_refused(world):
    first, _, _ = in_use(world)
    kept = world.folder / "older.db"
    with (
        closing(sqlite3.connect(world.registry.layout.database)) as source,
        closing(sqlite3.connect(kept)) as to,
    ):
        source.backup(to)
    revoke(world.registry, world.manifest(first).digest, reason="poisoned", signer=world.secret("owner"))
    world.registry.close()
    for suffix in ("", "-wal", "-shm"):
        world.registry.layout.database.with_name(f"registry.db{suffix}").unlink(missing_ok=True)
    shutil.copyfile(kept, world.registry.layout.database)
    world.reopen()
    refused("records.tally", world.admit, first)
    refused("records.tally", deployments.running, world.registry)


def test_an_older_folder_is_refused_by_whoever_saw_the_newer_one(world):
    first, _, _ = in_use(world)
    world.registry.close()
    root, kept = world.registry.layout.root, world.folder / "older"
    shutil.copytree(root, kept)
    world.reopen()
    revoke(world.registry, world.manifest(first).digest, reason="poisoned", signer=world.secret("owner"))
    world.registry.close()
    shutil.rmtree(root)
    shutil.copytree(kept, root)
    with pytest.raises(WeighbridgeError) as caught:
        world.reopen()
    assert "log" in str(caught.value)


def test_a_tally_of_another_key_is_refused(world):
    in_use(world)
    stranger = generate()
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("DELETE FROM deployment")
        tally.close(connection, world.registry.id, world.registry.log, stranger, world.registry.record())
    refused("records.tally", deployments.running, world.registry)


# The outbox: a row can be written by anybody, what a key signed cannot.


def push(world, envelope, pem):
    """Put a row into the outbox by SQL and let the next writer find it."""
    values = (canonical(envelope.to_json()).decode(), pem, world.registry.log.size)
    insert = (
        "INSERT INTO outbox (schema_version, project, actor, created_at, envelope, public_pem, log_size)"
        " VALUES (1, 'default', 'insider', '2026-11-22T12:00:00Z', ?, ?, ?)"
    )
    sql(world, (insert, values))
    with world.registry.writing():
        pass


def forged(world, kind, digest, body, key, project="default"):
    facts = world.registry.event_facts() | {"project": project}
    return sign_statement(event(kind, (digest,), body, **facts), key)


def state(world):
    skip = ("setting",)
    tables = [table for table, *_ in tally.STATE if table not in skip]
    policy = rows(world, "SELECT value FROM setting WHERE key <> 'tally'")
    return {table: rows(world, f"SELECT * FROM {table}") for table in tables} | {"policy": policy}


def test_a_row_in_the_outbox_without_a_signature_that_says_so_does_nothing(world):
    first, _, third = in_use(world)
    world.ready("fresh", seed=7.0)
    stranger, before = generate(), state(world)
    junk = Envelope(
        "application/junk",
        b"{}",
        sign_statement(Statement((Subject("x", (("sha256", "0" * 64),)),), "x", {}), stranger).signatures,
    )
    push(world, junk, stranger.public_pem)
    assert state(world) == before
    assert not world.admit(world.folder / "fresh").decision.allow
    assert world.kept(third).status.value == "revoked"
    assert models.resolve(world.registry, "encoder") != world.manifest(first).digest


SAYINGS = (
    ("name", {"name": "encoder", "sequence": 3, "previous": None}),
    ("deployment", {"target": "prod/chat", "ended": False}),
    ("deployment", {"target": "prod/chat", "ended": True}),
    ("revocation", {"reason": "spite", "since": "2026-11-22T12:00:00Z"}),
)
MAY = {("owner", "revocation")}


@pytest.mark.parametrize(
    ("signer", "kind", "body"),
    [
        (signer, kind, body)
        for signer in ("stranger", "train-team", "owner", "intake")
        for kind, body in SAYINGS
        if (signer, kind) not in MAY
    ],
)
def test_who_may_not_say_it_changes_nothing_by_saying_it(world, signer, kind, body):
    first, _, _ = in_use(world)
    key = (
        generate()
        if signer == "stranger"
        else world.people.get(signer)
        or (world.registry.intake_key if signer == "intake" else world.secret("owner"))
    )
    before = state(world)
    push(world, forged(world, kind, world.manifest(first).digest, body, key), key.public_pem)
    assert state(world) == before


def test_what_the_gate_once_said_counts_once(world):
    """A name's old move, an old deployment, an old policy: all are public, and none counts again."""
    first, second, _ = in_use(world)
    assert world.admit(first, target="prod/other").decision.allow
    world.hand.pass_(hours=1)
    with world.registry.writing():
        outbox.submit(world.registry, deployments.deploy(world.registry, None, "prod/other"))
    before = state(world)
    for (content,) in rows(
        world, "SELECT content FROM bundle WHERE stage IN ('name', 'deployment', 'admit', 'decision')"
    ):
        push(world, Bundle.from_json(content.encode()).envelope, world.registry.gate_key.public_pem)
    assert state(world) == before
    assert models.resolve(world.registry, "encoder") == world.manifest(second).digest


def test_the_same_words_signed_once_more_do_not_count_again_either(world):
    """Whoever can spell one signature in two ways (ECDSA) gets a new envelope out of an old one."""
    first, second, _ = in_use(world)
    world.hand.pass_(hours=1)
    assert world.admit(first, target="prod/chat").decision.allow
    world.promote(second, name="encoder")
    before = state(world)
    gate = world.registry.gate_key
    for (content,) in rows(
        world, "SELECT content FROM bundle WHERE stage IN ('name', 'deployment') ORDER BY log_index"
    ):
        old = Bundle.from_json(content.encode()).envelope
        if b"prod/chat" in old.payload and world.manifest(first).digest.hex.encode() in old.payload:
            continue  # that one is the newest word
        push(world, sign_statement(Statement.decode(old.payload), gate), gate.public_pem)
    assert state(world) == before


def test_an_outbox_row_taken_away_is_noticed_by_whoever_put_it_there(world, monkeypatch):
    folder = world.model()
    world.take(folder)
    real = outbox.drain

    def emptied(registry, drafts=()):
        sql(world, "DELETE FROM outbox WHERE done_at IS NULL")
        return real(registry, drafts)

    monkeypatch.setattr("weighbridge.gate.settling.drain", emptied)
    refused("records.outbox", world.promote, folder, dry_run=False)


def test_an_outbox_row_taken_away_after_it_was_logged_is_noticed_by_everybody(world, monkeypatch):
    folder = world.ready()
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.promote(folder)
    assert deployments.running(world.registry) == []  # what still waits in the outbox is no contradiction
    sql(world, "DELETE FROM outbox WHERE done_at IS NULL")
    refused("records.tally", deployments.running, world.registry)
    refused("records.tally", world.promote, folder)


def test_an_authority_that_no_root_signed_is_not_taken_over(world):
    mallory = generate()
    grown = world.registry.authority.with_identity("mallory", mallory.public_pem, [])
    signed = Envelope.decode(sign_authority(grown, mallory))
    push(world, signed, mallory.public_pem)
    push(world, signed, world.secret("root").public_pem)
    assert rows(world, "SELECT max(version) FROM authority") == [(1,)]
    assert world.reopen().authority.version == 1


def test_a_newer_authority_of_another_process_is_taken_up_before_anything_is_written(world):
    folder, older = world.ready(), world.registry
    from weighbridge.registry.wiring import open_registry

    world.registry = open_registry(world.config, clock=world.hand, entropy=world.hand)
    world.publish(world.registry.authority.without_roles("train-team", list(_roles("train"))))
    newer, world.registry = world.registry, older
    assert "claims.train" in outcomes(world.promote(folder).decision)
    newer.close()


def _roles(*words):
    from weighbridge.core.tier import Role

    return [Role(word) for word in words]


# The policy.


def open_policy(world):
    """Write a policy that allows more, as files; return its digest."""
    folder = world.folder / "open"
    folder.mkdir()
    for name, data in starter().items():
        text = data.decode().replace("evaluation_required = true", "evaluation_required = false")
        (folder / name).write_text(text)
    return folder


def test_policy_files_and_their_pin_replaced_together_are_caught(world):
    from weighbridge.gate.judging import read_policy

    folder = world.ready()
    changed = open_policy(world)
    for path in changed.iterdir():
        shutil.copyfile(path, world.registry.layout.policy / path.name)
    sql(world, ("UPDATE setting SET value = ? WHERE key = 'policy'", (str(read_policy(changed).digest),)))
    refused("records.tally", world.promote, folder)


def test_an_older_policy_handed_in_again_does_not_come_back(world):
    owner, first = world.secret("owner"), setting(world.registry, "policy")
    changed = open_policy(world)
    original = world.folder / "original"
    original.mkdir()
    for name, data in starter().items():
        (original / name).write_bytes(data)
    world.hand.pass_(hours=1)
    use_policy(world.registry, changed, owner)
    world.hand.pass_(hours=1)
    use_policy(world.registry, original, owner)
    assert setting(world.registry, "policy") == first
    for (content,) in rows(world, "SELECT content FROM bundle WHERE stage = 'policy'"):
        old = Bundle.from_json(content.encode()).envelope
        if Statement.decode(old.payload).predicate["body"]["previous"] == first:
            push(world, old, owner.public_pem)
            push(world, sign_statement(Statement.decode(old.payload), owner), owner.public_pem)
    assert setting(world.registry, "policy") == first
    assert len(rows(world, "SELECT 1 FROM bundle WHERE stage = 'policy'")) == 3


def test_a_policy_change_by_somebody_without_the_role_changes_nothing(world):
    world.team()
    digest = "ab" * 32
    body = {"digest": f"sha256:{digest}", "previous": setting(world.registry, "policy")}
    predicate = {
        "schema": "weighbridge.policy/1",
        "project": "*",
        "actor": "x",
        "at": rfc3339(world.hand.now()),
        "body": body,
    }
    statement = Statement((Subject("policy", (("sha256", digest),)),), record_type("policy"), predicate)
    for key in (generate(), world.people["train-team"], world.registry.gate_key):
        push(world, sign_statement(statement, key), key.public_pem)
    assert setting(world.registry, "policy") == body["previous"]


def test_the_policy_of_every_project_is_not_for_whoever_may_change_one(world):
    key = world.person("local", "policy", project="default")
    with pytest.raises(Refused, match="does not hold the role 'policy'"):
        use_policy(world.registry, open_policy(world), key)


# What is kept beside the rows.


def test_a_claim_exchanged_for_another_is_caught(world):
    folder = world.ready("a")
    world.ready("b", seed=2.0)
    sql(
        world,
        "UPDATE bundle SET content = (SELECT content FROM bundle WHERE stage = 'train' ORDER BY log_index DESC LIMIT 1)"
        " WHERE stage = 'train'",
    )
    blocked("records.bundle", world, folder)


def test_a_claim_put_under_another_model_is_caught(world):
    """So that nobody hides an evaluation that failed."""
    folder = world.ready()
    sql(
        world,
        "UPDATE bundle_subject SET identity = 'wb1:0' WHERE bundle = (SELECT digest FROM bundle WHERE stage = 'evaluate')",
    )
    blocked("records.tally", world, folder)


def test_a_claim_removed_is_caught(world):
    folder = world.ready()
    sql(
        world,
        "INSERT INTO bundle SELECT NULL, 'sha256:x', schema_version, project, actor, created_at, stage, signer, log_index, content"
        " FROM bundle LIMIT 1",
        "DELETE FROM bundle WHERE stage = 'train'",
    )
    blocked("records.bundle", world, folder)
    sql(world, "DELETE FROM bundle WHERE stage = 'evaluate'")
    refused("records.tally", world.promote, folder)


def test_a_manifest_exchanged_for_another_is_caught(world):
    good, bad = world.ready("good"), world.model("bad", 6.0)
    world.take(bad)
    text = world.kept(bad).manifest.canonical_bytes.decode()
    sql(
        world,
        ("UPDATE description SET manifest = ? WHERE digest = ?", (text, str(world.manifest(good).digest))),
    )
    blocked("records.manifest", world, good)


def test_a_description_that_is_gone_is_said(world):
    good = world.ready("good")
    sql(world, ("DELETE FROM description WHERE digest = ?", (str(world.manifest(good).digest),)))
    blocked("records.manifest", world, good)


def test_a_fine_tune_called_third_party_still_needs_every_claim_of_its_own(world):
    world.team()
    base = world.model("base", 1.0)
    kept = world.take(base, announced={e.path: e.sha256 for e in world.manifest(base).files})
    from weighbridge.registry.intake import accept

    accept(world.registry, kept, world.acceptance())
    assert world.promote(base).decision.allow, outcomes(world.promote(base).decision)
    tuned = world.model("tuned", 5.0)
    world.say_train(tuned, world.people["train-team"], base=[base])
    world.take(tuned)
    with world.registry.writing(), tally.keeping(world.registry) as connection:
        models.set_origin(world.registry, connection, world.manifest(tuned).digest, Origin.THIRD_PARTY)
    found = world.promote(tuned)
    assert not found.decision.allow
    assert "claims.evaluate" in outcomes(found.decision)


def test_a_revocation_by_someone_of_another_project_withdraws_nothing_here(world):
    folder = world.ready()
    other = world.person("other-owner", "revoke", project="other")
    digest = world.manifest(folder).digest
    body = {"reason": "spite", "since": rfc3339(world.hand.now())}
    envelope = forged(world, "revocation", digest, body, other, project="other")
    with world.registry.writing():
        outbox.submit(world.registry, Draft(envelope, other.public_pem))
    assert rows(world, "SELECT count(*) FROM revocation") == [(1,)]
    assert world.promote(folder).decision.allow


def test_a_revocation_signed_elsewhere_takes_effect_when_it_is_handed_in(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    owner = world.secret("owner")
    body = {"reason": "poisoned", "since": rfc3339(world.hand.now())}
    envelope = forged(world, "revocation", world.manifest(folder).digest, body, owner)
    with world.registry.writing():
        outbox.submit(world.registry, bundles.take(envelope, owner.public_pem))
    assert world.kept(folder).status.value == "revoked"
    assert not world.admit(folder).decision.allow


def test_a_waiver_of_another_project_excuses_nothing_here(world):
    from weighbridge.gate.evidence import gather

    folder = world.ready()
    digest = world.manifest(folder).digest
    body = {"rule": "x", "fingerprint": "y", "reason": "z", "expires": "2027-01-01T00:00:00Z"}
    owner = world.secret("owner")
    for project in ("other", "default"):
        envelope = forged(world, "waiver", digest, body, owner, project=project)
        with world.registry.writing():
            outbox.submit(world.registry, bundles.take(envelope, owner.public_pem))
        waivers = gather(world.registry, world.kept(folder), keep_scan=False).waivers
        assert len(waivers) == (project == "default")


def test_a_clock_that_went_back_loses_no_revocation_that_waits(world, monkeypatch):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    world.hand.pass_(days=10)
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            revoke(
                world.registry, world.manifest(folder).digest, reason="poisoned", signer=world.secret("owner")
            )
    world.hand.pass_(days=-10)
    world.reopen()
    with pytest.raises(CannotTell, match="clock"):
        world.admit(folder)
    assert world.kept(folder).status.value == "revoked"


def test_names_nobody_gave_are_not_found(world):
    assert names.resolve(world.registry, "nobody") is None
    with pytest.raises(NotFound):
        models.resolve(world.registry, "nobody")


# The bytes.


def swapped(blob, data):
    """Put other bytes where a blob lies; returns what lay there."""
    before = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(data)
    return before


def test_bytes_swapped_for_the_scan_and_swapped_back_are_noticed(world, monkeypatch):
    folder = world.ready()
    blob = world.registry.blobs.local(world.manifest(folder).entry("config.json").sha256)
    real = evidence.scan_kept

    def scan_other_bytes(*arguments):
        before = swapped(blob, b"{}")
        report = real(*arguments)
        swapped(blob, before)
        return report

    size = world.registry.log.size
    monkeypatch.setattr(evidence, "scan_kept", scan_other_bytes)
    against = outcomes(world.promote(folder).decision)
    assert against["bytes.match"] == "fail"
    assert against["scan.present"] == "cannot-tell"
    assert world.registry.log.size == size + 1  # the decision, and no scan report that was a lie


def test_a_checkpoint_changed_in_the_store_is_not_converted(world):
    folder = world.files("pickled", model__bin=b"PK", config__json="{}")
    kept = world.take(folder)
    entry = kept.manifest.entry("model.bin")
    swapped(world.registry.blobs.local(entry.sha256), b"KP")
    with pytest.raises(ConversionRefused) as caught:
        rebuilding._convert_one(world.registry, kept.manifest, "model.bin", "model.safetensors")
    assert caught.value.check == "bytes.match"
