"""Trusted models judged again: what is due and why, what falls, what comes back, and what an outage must not do."""

from datetime import timedelta

import pytest

from weighbridge.core.advisory import AdvisorySeverity, parse_target
from weighbridge.core.errors import CannotTell, UsageError
from weighbridge.core.lineage import AdvisoryKind
from weighbridge.core.tier import Origin
from weighbridge.gate import advisories, judging, reevaluate
from weighbridge.gate.due import Reason, due, trusted
from weighbridge.gate.reevaluate import Came, Wish
from weighbridge.keys.files import generate
from weighbridge.registry import alerts, standings
from weighbridge.registry.export import place
from weighbridge.registry.intake import accept
from world import World, outcomes


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def running(world, *names, **options):
    world.furnish(f"{names} running with {options}", lambda new: run(new, names, options))
    return [world.folder / name for name in names]


def run(world, names, options):
    folders = [world.ready(name, seed=float(n + 1), **options) for n, name in enumerate(names)]
    for name, folder in zip(names, folders, strict=True):
        assert world.promote(folder).decision.allow
        assert world.admit(folder, target=f"prod/{name}").decision.allow


def again(world, **wish):
    return reevaluate.reevaluate(world.registry, Wish(**wish))


def came(done):
    return [row.outcome for row in done.seen]


def digest(world, folder):
    return world.manifest(folder).digest


def status(world, folder):
    return world.kept(folder).status.value


def told(world, kind):
    return alerts.kept(world.registry, kinds=[kind])


def admitted(world, folder):
    return (
        place(world.registry, world.kept(folder)).parent / "evidence" / "admission.sigstore.json"
    ).exists()


def lose_bytes(world, folder):
    entry = world.manifest(folder).entry("model.safetensors")
    path = world.registry.blobs.local(entry.sha256)
    data = path.read_bytes()
    path.unlink()
    return path, data


def decisions(world):
    with world.registry.records.read() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM decision").scalar()


def test_nothing_is_due_where_nothing_has_changed(world):
    running(world, "a", "b")
    before = decisions(world)
    done = again(world)
    assert (done.trusted, done.due, done.seen, done.exit_code) == (2, 0, (), 0)
    assert decisions(world) == before


def test_all_are_judged_when_asked_and_each_decision_is_logged(world):
    folders = running(world, "a", "b")
    before = decisions(world)
    done = again(world, every=True)
    assert came(done) == [Came.PASSES, Came.PASSES]
    assert decisions(world) == before + 2
    assert [status(world, folder) for folder in folders] == ["active", "active"]
    with world.registry.records.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT action, answer FROM decision ORDER BY sequence DESC LIMIT 2"
        )
        assert set(rows.all()) == {("reevaluate", "allow")}
    assert again(world).due == 0


def test_what_no_longer_passes_is_quarantined_its_admission_withdrawn_and_its_consumers_told(world):
    lost, kept = running(world, "lost", "kept")
    lose_bytes(world, lost)
    done = again(world, every=True)
    assert {row.digest: row.outcome for row in done.seen} == {
        digest(world, lost): Came.QUARANTINED,
        digest(world, kept): Came.PASSES,
    }
    assert done.exit_code == 1
    assert [status(world, folder) for folder in (lost, kept)] == ["quarantined", "active"]
    assert [admitted(world, folder) for folder in (lost, kept)] == [False, True]
    (row,) = told(world, "quarantine")
    assert row.severity == "critical"
    assert "prod/lost" in row.summary
    assert row.facts["deployments"] == [
        {
            "target": "prod/lost",
            "model": str(digest(world, lost)),
            "since": "2026-11-22T12:00:00Z",
            "owner": world.registry.actor,
        }
    ]
    with world.registry.records.read() as connection:
        held = standings.held(connection, "default")
    assert "bytes.match" in held[digest(world, lost)]
    assert again(world).due == 0


def test_what_passes_again_is_restored(world):
    (folder,) = running(world, "lost")
    path, data = lose_bytes(world, folder)
    again(world, every=True)
    path.write_bytes(data)
    assert came(again(world, only=(digest(world, folder),))) == [Came.RESTORED]
    assert status(world, folder) == "active"
    assert world.admit(folder).decision.allow
    assert admitted(world, folder)


def advise(world, folder):
    return advisories.publish(
        world.registry, [parse_target(str(digest(world, folder)))], kind=AdvisoryKind.WEIGHTS, reason="poisoned",
        severity=AdvisorySeverity.HIGH, signer=world.secret("owner"),
    ).advisory  # fmt: skip


def test_what_an_advisory_holds_is_not_restored_and_a_lift_does_not_free_what_the_gate_holds(world):
    (folder,) = running(world, "lost")
    said = advise(world, folder)
    assert status(world, folder) == "quarantined"
    (row,) = due(world.registry)
    assert Reason.ADVISORY in row.reasons
    assert came(again(world)) == [Came.HELD]
    with world.registry.records.read() as connection:
        assert standings.held(connection, "default") == {}  # the advisory holds it, nothing else
    path, data = lose_bytes(world, folder)
    assert came(again(world, every=True)) == [Came.HELD]
    advisories.lift(world.registry, said.id, reason="mistaken", signer=world.secret("owner"))
    assert status(world, folder) == "quarantined"
    path.write_bytes(data)
    assert came(again(world)) == [Came.RESTORED]
    assert status(world, folder) == "active"


def test_restoring_does_not_free_what_an_advisory_holds(world):
    (folder,) = running(world, "lost")
    path, data = lose_bytes(world, folder)
    again(world, every=True)
    advise(world, folder)
    path.write_bytes(data)
    assert came(again(world)) == [Came.HELD]
    assert status(world, folder) == "quarantined"


@pytest.mark.parametrize("mode", ["observe", "warn"])
def test_where_the_gate_does_not_enforce_it_only_says_so(world, monkeypatch, mode):
    (folder,) = running(world, "lost")
    set_mode(world, mode)
    lose_bytes(world, folder)
    done = again(world, every=True)
    assert came(done) == [Came.NOT_ENFORCED]
    assert status(world, folder) == "active"
    assert told(world, "quarantine")
    assert again(world).due == 0
    set_mode(world, "enforce")
    assert came(again(world)) == [Came.QUARANTINED]


def set_mode(world, mode):
    from weighbridge.core.tier import Mode
    from weighbridge.gate.modes import set_mode as change

    world.hand.pass_(minutes=1)
    change(world.registry, Mode(mode), reason="trying it", signer=world.secret("owner"))


# ---------------------------------------------------------------- an outage


def broken_engine(monkeypatch, world):
    from weighbridge.core.decision import EngineAnswer, Outcome

    real = judging.conclude

    def conclude(basis, case, now, ask, **options):
        return real(
            basis,
            case,
            now,
            lambda _asked: EngineAnswer(Outcome.CANNOT_TELL, problem="it is down"),
            **options,
        )

    monkeypatch.setattr(judging, "conclude", conclude)


def test_an_engine_that_is_down_quarantines_nobody_ends_the_round_and_says_so(world, monkeypatch):
    folders = running(world, "a", "b", "c", "d", "e")
    with monkeypatch.context() as patch:
        broken_engine(patch, world)
        done = again(world, every=True)
        assert came(done) == [Came.CANNOT_TELL] * reevaluate.IN_A_ROW
        assert "it is down" in done.stopped
        assert done.exit_code == 3
        assert {status(world, folder) for folder in folders} == {"active"}
        assert told(world, "outage")
        assert not world.admit(folders[0]).decision.allow
    rows = due(world.registry)
    assert {row.digest for row in rows} >= {row.digest for row in done.seen}
    assert set(came(again(world))) == {Came.PASSES}


def test_an_expired_authority_quarantines_nobody(world):
    folders = running(world, "a", "b")
    world.hand.pass_(days=366)
    done = again(world, every=True)
    assert set(came(done)) == {Came.CANNOT_TELL}
    assert {status(world, folder) for folder in folders} == {"active"}


def test_a_store_that_is_not_mounted_quarantines_nobody(world):
    folders = running(world, "a", "b")
    store = world.registry.layout.blobs / "sha256"
    store.rename(store.with_name("elsewhere"))
    done = again(world, every=True)
    assert done.seen == ()
    assert "cannot be read" in done.stopped
    assert {status(world, folder) for folder in folders} == {"active"}
    store.with_name("elsewhere").rename(store)
    assert set(came(again(world, every=True))) == {Came.PASSES}


def test_a_round_quarantines_no_more_than_it_may(world, monkeypatch):
    monkeypatch.setattr(reevaluate, "LEAST_BRAKE", 1)
    folders = running(world, "a", "b", "c")
    for folder in folders:
        lose_bytes(world, folder)
    done = again(world, every=True)
    assert sorted(came(done)) == [Came.HELD_BACK, Came.HELD_BACK, Came.QUARANTINED]
    assert told(world, "outage")[-1].facts["held_back"] == 2
    assert sorted(status(world, folder) for folder in folders) == ["active", "active", "quarantined"]
    assert sorted(came(again(world, most=10))) == [Came.QUARANTINED, Came.QUARANTINED]
    assert {status(world, folder) for folder in folders} == {"quarantined"}


# ---------------------------------------------------------------- due


def reasons(world, folder):
    return {row.digest: set(row.reasons) for row in trusted(world.registry)}[digest(world, folder)]


def test_a_claim_about_a_model_or_what_it_came_from_makes_it_due(world):
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=2.0, base=[base])
    other = world.ready("other", seed=3.0)
    for folder in (base, tuned, other):
        assert world.promote(folder).decision.allow
    world.say_evaluate(base, world.people["evaluate-team"], accuracy=0.5)
    assert [reasons(world, folder) for folder in (base, tuned, other)] == [
        {Reason.CLAIM},
        {Reason.CLAIM},
        set(),
    ]
    assert set(came(again(world))) == {Came.PASSES}
    assert again(world).due == 0


def test_another_authority_policy_ruleset_and_floor_make_everything_due(world, monkeypatch):
    from weighbridge.gate import due as looking

    (folder,) = running(world, "a")
    world.person("somebody", "train")
    assert reasons(world, folder) == {Reason.AUTHORITY}
    monkeypatch.setattr(looking, "floor_digest", lambda: digest(world, folder))
    assert reasons(world, folder) == {Reason.AUTHORITY, Reason.FLOOR}
    again(world)
    monkeypatch.undo()
    assert reasons(world, folder) == set()


def test_what_was_judged_too_long_ago_is_due(world):
    (folder,) = running(world, "a")
    world.hand.pass_(days=30)
    assert reasons(world, folder) == {Reason.AGE}


def test_a_clock_that_went_backwards_hides_nothing(world):
    world.hand.pass_(days=5)
    (folder,) = running(world, "a")
    world.hand.pass_(days=-2)
    assert reasons(world, folder) == {Reason.CLOCK}
    with pytest.raises(CannotTell) as caught:  # behind its own log nobody says anything
        world.say_evaluate(folder, world.people["evaluate-team"], accuracy=0.5)
    assert caught.value.check == "log.clock"
    done = again(world)
    assert (came(done), status(world, folder)) == ([Came.CANNOT_TELL], "active")
    assert "clock" in done.stopped
    world.hand.pass_(days=2)
    world.say_evaluate(folder, world.people["evaluate-team"], accuracy=0.5)
    assert reasons(world, folder) == {Reason.CLAIM}
    again(world)
    assert reasons(world, folder) == set()


def test_an_acceptance_that_ended_makes_due_and_falls(world):
    folder = world.model("stranger")
    announced = {entry.path: entry.sha256 for entry in world.manifest(folder).files}
    model = world.take(folder, origin=Origin.THIRD_PARTY, announced=announced)
    accept(world.registry, model, world.acceptance(expires=world.hand.now() + timedelta(days=20)))
    decision = world.promote(folder).decision
    assert decision.allow, outcomes(decision)
    world.hand.pass_(days=7)
    (end,) = again(world).expiring
    assert (end.kind, end.about[0]) == ("acceptance", digest(world, folder))
    world.hand.pass_(days=13)
    assert reasons(world, folder) == {Reason.ENDED}
    assert came(again(world)) == [Came.QUARANTINED]
    accept(world.registry, model, world.acceptance())
    assert reasons(world, folder) == {Reason.CLAIM}
    assert came(again(world)) == [Came.RESTORED]


def test_an_exchanged_decision_makes_due(world):
    (folder,) = running(world, "a")
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("UPDATE decision SET sequence = sequence + 100 WHERE action = 'admit'")
    assert reasons(world, folder) == {Reason.UNREADABLE}


def test_only_trusted_models_are_judged_again(world):
    folder = world.ready()
    with pytest.raises(UsageError, match="intake"):
        again(world, only=(digest(world, folder),))


def test_a_dry_run_changes_and_logs_nothing(world):
    (folder,) = running(world, "lost")
    lose_bytes(world, folder)
    size, before = world.registry.log.size, decisions(world)
    done = again(world, every=True, dry_run=True)
    assert came(done) == [Came.QUARANTINED]
    assert (world.registry.log.size, decisions(world), status(world, folder)) == (size, before, "active")


# ---------------------------------------------------------------- attacks


def test_an_old_standing_that_is_handed_in_again_changes_nothing(world):
    from weighbridge.registry import bundles
    from weighbridge.registry.outbox import submit
    from weighbridge.trust.bundle import Bundle

    (folder,) = running(world, "lost")
    path, data = lose_bytes(world, folder)
    again(world, every=True)
    path.write_bytes(data)
    again(world, every=True)
    assert status(world, folder) == "active"
    with world.registry.records.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT content FROM bundle WHERE stage = 'standing' ORDER BY rowid"
        ).all()
    down, up = (Bundle.from_json(row[0].encode()) for row in rows)
    with world.registry.writing():
        submit(world.registry, bundles.take(down.envelope, world.registry.gate_key.public_pem))
    assert status(world, folder) == "active"
    path.unlink()
    again(world, every=True)
    assert status(world, folder) == "quarantined"
    with world.registry.writing():
        submit(world.registry, bundles.take(up.envelope, world.registry.gate_key.public_pem))
    assert status(world, folder) == "quarantined"


@pytest.mark.parametrize("who", ["stranger", "gate"])
def test_a_standing_without_the_decision_for_it_changes_nothing(world, who):
    from weighbridge.claims.records import event
    from weighbridge.core.digest import Digest

    (folder,) = running(world, "lost")
    lose_bytes(world, folder)
    again(world, every=True)
    key = generate() if who == "stranger" else world.registry.gate_key
    with world.registry.records.read() as connection:
        promoted = connection.exec_driver_sql("SELECT id FROM decision WHERE action = 'promote'").scalar()
    for decision in (promoted, str(Digest.of(b"made up"))):
        body = {"status": "active", "reason": "please", "decision": decision}
        world.say(event("standing", (digest(world, folder),), body, **world.registry.event_facts()), key)
        assert status(world, folder) == "quarantined"


def test_rounds_go_on_after_one_that_failed(world, monkeypatch):
    running(world, "a")
    seen, real, calls = [], reevaluate.reevaluate, []

    def sometimes(registry, wish, **options):
        calls.append(None)
        if len(calls) == 1:
            raise OSError(5, "the disk")
        return real(registry, wish, **options)

    monkeypatch.setattr(reevaluate, "reevaluate", sometimes)
    reevaluate.keep_on(world.registry, Wish(), wait=lambda: len(calls) == 2, told=seen.append)
    assert "failed" in str(seen[0])
    assert seen[1].exit_code == 0
    assert told(world, "outage")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("odd"), AssertionError("ours"), RecursionError()]
)
def test_whatever_a_round_fails_of_is_returned_and_told(world, monkeypatch, error):
    running(world, "a")

    def fails(*_arguments, **_options):
        raise error

    monkeypatch.setattr(reevaluate, "reevaluate", fails)
    done = reevaluate.round_of(world.registry, Wish())
    assert type(error).__name__ in done.cause
    (row,) = told(world, "outage")
    assert (row.severity, row.summary) == ("critical", "a round of re-evaluation failed")
    assert type(error).__name__ in row.facts["cause"]


def test_a_round_that_fails_where_no_row_can_be_written_is_spooled(world, monkeypatch):
    from weighbridge.core.errors import RegistryUnusable
    from weighbridge.registry import alert_spool

    def fails(*_arguments, **_options):
        raise RegistryUnusable("the database is gone")

    monkeypatch.setattr(reevaluate, "reevaluate", fails)
    with monkeypatch.context() as patch:
        patch.setattr(type(world.registry.records), "write", fails)
        assert "gone" in reevaluate.round_of(world.registry, Wish()).problem
    [kept] = alert_spool.waiting(world.registry.config.home)
    assert (kept.alert.kind, kept.alert.summary) == ("outage", "the database is gone")


def test_a_round_that_is_told_to_end_ends_after_the_model_under_way(world):
    running(world, "a", "b", "c")
    world.person("somebody", "train")  # another authority: all are due
    seen = []
    done = reevaluate.reevaluate(world.registry, told=seen.append, over=lambda: len(seen) == 1)
    assert (len(done.seen), done.due, done.stopped, done.exit_code) == (1, 3, "", 0)
    assert told(world, "outage") == []
    assert again(world).due == 2


# ---------------------------------------------------------------- what is about to end


def test_each_thing_that_is_about_to_end_is_told_once(world):
    running(world, "a")
    world.hand.pass_(days=352)
    assert [end.kind for end in again(world).expiring] == ["authority"]
    assert len(told(world, "evidence-expiring")) == 1
    world.hand.pass_(days=1)
    again(world)
    (row,) = told(world, "evidence-expiring")
    assert row.count == 1


def test_an_admission_that_nobody_renews_is_told(world):
    (folder,) = running(world, "a")
    assert again(world).expiring == ()
    world.hand.pass_(hours=19)
    (end,) = again(world).expiring
    assert (end.kind, end.targets, end.about) == ("admission", ("prod/a",), (digest(world, folder),))
    world.admit(folder)
    assert again(world).expiring == ()
    world.hand.at += timedelta(hours=25)
    assert again(world).expiring == ()
