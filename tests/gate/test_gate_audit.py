"""The eight risks: each is flipped by changing what the registry holds, never by changing what is asked."""

import json

import pytest

from weighbridge.claims import predicates
from weighbridge.core.lineage import Relation
from weighbridge.gate.audit import RISKS, STATES, audit
from weighbridge.gate.framework import evidence_for, frameworks, read
from weighbridge.gate.policies import use_policy
from weighbridge.gate.revoke import revoke
from weighbridge.gate.verify_pack import canonical
from weighbridge.keys.files import generate
from weighbridge.ledger.cosignature import Cosigner
from weighbridge.registry import deployments, tally
from weighbridge.registry.outbox import submit
from weighbridge.store import schema
from weighbridge.trust.roots import Roots, Window, Witness
from world import World, outcomes

IDS = [
    "pickle-code",
    "tampered-weights",
    "unknown-origin",
    "poisoned-base",
    "unverified-promotion",
    "backdoored-weights",
    "malicious-dependency",
    "untrusted-load",
]


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def states(world):
    return {risk.id: risk.state for risk in audit(world.registry).risks}


def measure(world, name):
    return audit(world.registry).measures[name]


def run(world, folder, target="prod/chat"):
    result = world.promote(folder)
    assert result.decision.allow, outcomes(result.decision)
    assert world.admit(folder, target=target).decision.allow


def bare(world, folder, target="prod/bare"):
    """Record a deployment that nobody asked the gate about."""
    registry = world.registry
    with registry.writing():
        submit(registry, deployments.deploy(registry, world.manifest(folder).digest, target))


def mode(world, value):
    """Set the mode as the program itself would: a row that counts."""
    registry = world.registry
    with registry.writing(), tally.keeping(registry) as connection:
        row = {**registry.record(), "key": "mode", "value": value}
        connection.execute(schema.setting.insert().values(row))


def policy(world, *changes):
    """Approve a policy with lines of policy.toml exchanged."""
    folder = world.folder / "policy"
    folder.mkdir(exist_ok=True)
    for path in world.registry.layout.policy.iterdir():
        text = path.read_text()
        for old, new in changes if path.name == "policy.toml" else ():
            assert old in text
            text = text.replace(old, new)
        (folder / path.name).write_text(text)
    use_policy(world.registry, folder, world.secret("owner"))


def witness(world, *, age=3600):
    cosigner = Cosigner("witness.example/w1", generate("ed25519"))
    row = Witness(cosigner.name, cosigner.key, cosigner.algorithm, Window(world.hand.now()))
    trusted = world.registry.authority.trusted
    world.publish(
        world.registry.authority.with_trusted(
            Roots(
                authorities=trusted.authorities,
                ctlogs=trusted.ctlogs,
                timestamps=trusted.timestamps,
                witnesses=(row,),
            )
        )
    )
    world.publish(world.registry.authority.with_checkpoint_age(age))
    return cosigner


def cosign(world, cosigner):
    log = world.registry.log
    log.cosigned(log.checkpoint_text + cosigner.line(log.head, int(world.hand.now().timestamp())))


def test_the_eight_risks_stand_in_the_order_of_the_checklist(world):
    found = audit(world.registry)
    assert [risk.id for risk in found.risks] == IDS
    assert len(RISKS) == 8
    assert {risk.state for risk in found.risks} <= set(STATES)
    assert all(any(measure.essential for measure in risk.measures) for risk in found.risks)
    names = [measure.id for risk in found.risks for measure in risk.measures]
    shared = {"gate.mode", "policy.pinned"}
    assert sorted(set(names) - shared) == sorted(name for name in names if name not in shared)


def test_a_registry_in_which_nothing_runs_claims_nothing_for_what_runs(world):
    assert states(world) == {
        "pickle-code": "on",  # whatever comes has to pass the gate
        "tampered-weights": "off",
        "unknown-origin": "off",
        "poisoned-base": "off",
        "unverified-promotion": "on",
        "backdoored-weights": "off",
        "malicious-dependency": "off",
        "untrusted-load": "off",
    }


def test_what_is_not_there_is_counted_as_nothing_and_never_as_everything(world):
    share = measure(world, "scan.complete")
    assert (share.have, share.total, share.holds, share.found) == (0, 0, False, "nothing runs yet")


def test_pickle_code(world):
    run(world, world.ready())
    assert states(world)["pickle-code"] == "on"
    mode(world, "observe")
    assert states(world)["pickle-code"] == "partly"  # what runs was scanned; what comes next is not held back
    with world.registry.writing():
        submit(world.registry, deployments.deploy(world.registry, None, "prod/chat"))
    assert states(world)["pickle-code"] == "off"


def test_a_policy_that_takes_pickles_is_named(world):
    run(world, world.ready())
    policy(world, ('"npz"]', '"npz", "torch-zip"]'))
    found = measure(world, "policy.formats")
    assert not found.holds
    assert "torch-zip" in found.remedy
    assert states(world)["pickle-code"] == "partly"


def test_tampered_weights(world):
    folder = world.ready()
    bare(world, world.ready("unsigned", seed=7.0))
    assert states(world)["tampered-weights"] == "off"
    run(world, folder)
    assert measure(world, "files.signed").have == 1
    assert states(world)["tampered-weights"] == "partly"
    with world.registry.writing():
        submit(world.registry, deployments.deploy(world.registry, None, "prod/bare"))
    cosigner = witness(world)
    assert states(world)["tampered-weights"] == "partly"
    cosign(world, cosigner)
    assert states(world)["tampered-weights"] == "on"
    world.hand.pass_(hours=2)
    assert states(world)["tampered-weights"] == "partly"  # nobody saw the log lately
    assert "at most 3600 s ago" in measure(world, "log.witnessed").found


def test_bytes_that_were_changed_when_last_read_are_counted(world):
    folder = world.ready()
    run(world, folder)
    blob = world.registry.blobs.local(world.manifest(folder).entry("model.safetensors").sha256)
    data = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    world.admit(folder)
    found = measure(world, "bytes.same")
    assert (found.have, found.total) == (0, 1)
    assert "prod/chat" in found.found


def test_unknown_origin(world):
    bare(world, world.ready("unsigned", seed=7.0))
    assert states(world)["unknown-origin"] == "off"
    run(world, world.ready())
    assert states(world)["unknown-origin"] == "partly"
    with world.registry.writing():
        submit(world.registry, deployments.deploy(world.registry, None, "prod/bare"))
    assert states(world)["unknown-origin"] == "partly"  # anybody may build
    policy(world, ("builders = []", 'builders = ["https://weighbridge.dev/builders/test"]'))
    assert states(world)["unknown-origin"] == "on"


def test_poisoned_base(world):
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    other = world.ready("other", seed=9.0)
    assert states(world)["poisoned-base"] == "off"
    run(world, other, "prod/other")
    assert states(world)["poisoned-base"] == "partly"  # nobody ever recorded an advisory
    world.promote(base)
    run(world, tuned, "prod/tuned")
    revoke(world.registry, world.manifest(base).digest, reason="poisoned", signer=world.secret("owner"))
    found = measure(world, "advisories.clear")
    assert (found.have, found.total) == (1, 2)
    assert "prod/tuned" in found.found
    assert states(world)["poisoned-base"] == "partly"
    with world.registry.writing():
        submit(world.registry, deployments.deploy(world.registry, None, "prod/tuned"))
    assert states(world)["poisoned-base"] == "on"
    world.hand.pass_(days=364)
    assert states(world)["poisoned-base"] == "on"
    world.hand.pass_(days=2)
    assert states(world)["poisoned-base"] == "partly"  # for longer than a year nobody looked


def test_unverified_promotion(world):
    folder = world.ready()
    run(world, folder)
    assert states(world)["unverified-promotion"] == "on"
    bare(world, world.ready("second", seed=2.0))
    assert states(world)["unverified-promotion"] == "partly"
    mode(world, "off")
    for target in ("prod/chat", "prod/bare"):
        with world.registry.writing():
            submit(world.registry, deployments.deploy(world.registry, None, target))
    assert states(world)["unverified-promotion"] == "off"


def test_somebody_who_evaluates_what_they_built_is_counted(world):
    key = world.person("one-for-all", "data", "train", "evaluate", "package")
    folder, dataset = world.model(), world.dataset()
    world.say_data(dataset, key)
    world.say_train(folder, key, data=[dataset])
    world.say_evaluate(folder, key)
    world.say_package(folder, key)
    world.take(folder)
    run(world, folder)
    assert measure(world, "running.apart").have == 0
    assert states(world)["unverified-promotion"] == "partly"


def test_a_decision_that_blocked_last_counts_for_nothing(world):
    folder = world.ready()
    run(world, folder)
    revoke(world.registry, world.manifest(folder).digest, reason="bad", signer=world.secret("owner"))
    assert not world.admit(folder).decision.allow
    assert measure(world, "running.decided").have == 0


def test_an_exchanged_decision_row_counts_for_nothing(world):
    run(world, world.ready())
    with world.registry.records.write() as connection:
        connection.exec_driver_sql(
            "UPDATE decision SET content = replace(content, '\"enforced\":true', '\"enforced\":false')"
        )
    assert measure(world, "running.decided").have == 0
    assert measure(world, "scan.complete").have == 0


def test_exchanged_evidence_counts_for_nothing(world):
    run(world, world.ready())
    with world.registry.records.write() as connection:
        connection.exec_driver_sql(
            'UPDATE evidence SET content = replace(content, \'"verdict":"clean"\', \'"verdict":"notes"\')'
        )
    assert measure(world, "scan.complete").have == 0


def test_backdoored_weights(world):
    folder = world.ready()
    run(world, folder)
    assert states(world)["backdoored-weights"] == "off"  # an accuracy is no test for backdoors
    assert measure(world, "evaluation.passed").have == 1
    world.say_evaluate(folder, world.people["evaluate-team"], accuracy=0.9, **{"backdoor.clean": 0.99})
    assert states(world)["backdoored-weights"] == "off"  # not judged yet
    world.admit(folder)
    assert states(world)["backdoored-weights"] == "partly"  # and the policy does not ask for it
    policy(world, ("# accuracy = 0.8", '"backdoor.clean" = 0.95'))
    world.admit(folder)
    assert states(world)["backdoored-weights"] == "on"
    limits = next(risk.limits for risk in audit(world.registry).risks if risk.id == "backdoored-weights")
    assert "no probes of its own" in limits


def test_malicious_dependency(world):
    bare(world, world.ready("unknown", seed=7.0))
    assert states(world)["malicious-dependency"] == "off"
    folder = world.ready()
    run(world, folder)
    assert states(world)["malicious-dependency"] == "partly"
    with world.registry.writing():
        submit(world.registry, deployments.deploy(world.registry, None, "prod/bare"))
    with world.registry.records.read() as connection:
        bom = json.loads(
            connection.exec_driver_sql(
                "SELECT bom FROM description WHERE digest = ?", (str(world.manifest(folder).digest),)
            ).scalar()
        )
    hashes = [{"alg": "SHA-256", "content": "0" * 64}]
    bom["components"].append(
        {"type": "library", "name": "numpy", "version": "2.0", "bom-ref": "numpy", "hashes": hashes}
    )
    world.say(predicates.bom(world.manifest(folder), bom), world.registry.intake_key)
    world.admit(folder)
    assert measure(world, "bom.dependencies").have == 1
    assert states(world)["malicious-dependency"] == "on"


def test_untrusted_load_is_never_fully_on_and_says_why(world):
    folder = world.ready()
    bare(world, folder)
    assert states(world)["untrusted-load"] == "off"
    run(world, folder, "prod/bare")
    assert states(world)["untrusted-load"] == "partly"
    found = measure(world, "load.receipts")
    assert (found.have, found.holds) == (0, False)
    world.hand.pass_(hours=25)
    assert states(world)["untrusted-load"] == "off"  # the admission has ended
    assert world.admit(folder).decision.allow
    assert states(world)["untrusted-load"] == "partly"


def test_one_projects_models_do_not_count_for_another(world):
    run(world, world.ready())
    world.reopen(project="other")
    found = audit(world.registry)
    assert found.running == 0
    assert found.measures["running.decided"].total == 0


def test_a_crosswalk_points_at_measures_and_records_that_there_are(world):
    found = audit(world.registry)
    assert frameworks() == ["sp800-218a"]
    for name in frameworks():
        crosswalk = read(name)
        ids = [task["id"] for task in crosswalk["tasks"]]
        assert len(ids) == len(set(ids)) == 48
        for task in crosswalk["tasks"]:
            assert task["checked"] in crosswalk["checked"]
            assert task["gap"]
            for item in task["evidence"]:
                assert item.get("measure") in found.measures or item.get("records") in found.records, item


def test_no_task_is_said_to_be_read_in_the_document_that_was_not():
    """Nobody here had the document itself; whoever compares a task with it changes this number with the data."""
    tasks = read("sp800-218a")["tasks"]
    assert sum(task["checked"] == "primary" for task in tasks) == 0
    assert [task["id"] for task in tasks if task["checked"] == "known"] == ["PO.1.1", "PO.1.2", "PO.1.3"]


def test_a_crosswalk_speaks_of_evidence_and_never_of_compliance():
    for name in frameworks():
        text = canonical(read(name)).decode().lower()
        assert "complian" not in text
        assert "certif" not in text


def test_evidence_for_a_framework_is_counted_from_this_registry(world):
    def task(name):
        rows = evidence_for("sp800-218a", audit(world.registry))["tasks"]
        return next(row for row in rows if row["id"] == name)

    assert task("PS.3.2")["held"] == 0
    assert task("PO.3.3")["held"] == 1  # a log has entries from its beginning
    run(world, world.ready())
    assert task("PS.3.2")["held"] == 3
    assert task("PO.3.3")["held"] == 5
    assert task("PO.5.1")["of"] == 0
    counted = {row["records"]: row["have"] for row in task("PO.3.3")["evidence"]}
    assert counted == {"data": 1, "train": 1, "evaluate": 1, "package": 1, "entry": world.registry.log.size}


def test_changes_of_policy_are_counted(world):
    assert audit(world.registry).records["policy"] == 0
    policy(world, ("notes_allowed = true", "notes_allowed = false"))
    assert audit(world.registry).records["policy"] == 1


def test_a_relation_that_audit_knows_is_one_of_the_core():
    from weighbridge.gate.audit_facts import ADAPTER

    assert Relation.ADAPTER.value == ADAPTER
